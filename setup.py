"""Metadata and dependencies of keras-snn.

Lower bounds are the versions the test suite ran with (of TensorFlow, Keras and
NumPy those that .ci/run tests layers and models with); upper bounds stop
before the next release that may break something (the next minor release of
TensorFlow, Keras and packages below 1.0, the next major one elsewhere).
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

DATASETS = [
    "tensorflow-datasets>=4.9.10,<4.10",
    "scikit-learn>=1.9,<2",
    "scipy>=1.17,<2",
    "pillow>=13,<14",
    # tensorflow-datasets needs it for downloads but does not say so.
    "importlib-resources>=7.1,<8",
]
CLI = ["typer>=0.29,<0.30", "rich>=15,<16"]
TENSORBOARD = ["tensorboard>=2.20,<2.22"]
JAX = ["jax>=0.10.2,<0.11"]
PLOT = ["matplotlib>=3.11,<4"]
ANALYSIS = ["pandas>=3.1,<4", *PLOT]
NUMBA = ["numba>=0.68.1,<0.69"]
NIR = ["nir>=1.0.8,<1.1"]
LITERT = ["ai-edge-litert>=2.3,<3"]
EVENTS = ["faery>=0.7.1,<0.8"]
DV = ["dv-processing>=2.0.4,<3"]
# Some 200 MB; few files need it, so that it is not among `all`.
HDF5 = ["hdf5plugin>=7.1,<8"]
ONNX = ["tf2onnx>=1.17,<1.18", "onnx>=1.23,<1.24", "onnxruntime>=1.32,<2"]
DOCS = [
    "mkdocs>=1.6.1,<1.7",
    "mkdocs-material>=9.8,<10",
    "mkdocstrings-python>=2.0.11,<2.1",
]
ALL = [
    *DATASETS,
    *CLI,
    *TENSORBOARD,
    *JAX,
    *ANALYSIS,
    *NUMBA,
    *NIR,
    *LITERT,
    *ONNX,
    *EVENTS,
    *DV,
]
TEST = [
    "pytest>=9.2,<10",
    "pytest-xdist>=3.8,<4",
    "hypothesis>=6.170,<7",
    "ruff>=0.17.6,<0.18",
    "mypy>=2.4.1,<3",
    *ALL,
    *DOCS,
]


def readme():
    """Return the README for a package index, where no file lies beside it.

    Pictures are left out, and of links to files their paths are left, which
    are those in the source distribution. What is installed is the package of
    the index, but for the tests.
    """
    text = Path(__file__).with_name("README.md").read_text("utf-8")
    file = r"\((?!https?:|#)([^)\s]+)\)"
    text = re.sub(rf"!\[[^\]]*\]{file}\n*", "", text)
    text = re.sub(r'"\.\[(?!test|docs)', '"keras-snn[', text)
    text = re.sub(rf"\(\[([^\]]+)\]{file}", r"(\1: `\2`", text)
    return re.sub(rf"(?<!!)\[([^\]]+)\]{file}", r"\1 (`\2`)", text)


setup(
    name="keras-snn",
    version="0.1.0",
    description=(
        "Train deep spiking neural networks with Keras 3 through model.fit"
    ),
    long_description=readme(),
    long_description_content_type="text/markdown",
    author="The keras_snn authors",
    keywords=(
        "spiking neural networks, neuromorphic, event-driven, keras, "
        "tensorflow, jax, surrogate gradient, event camera"
    ),
    license="MIT",
    packages=find_packages(
        include=["keras_snn", "keras_snn.*", "keras_snn_runtime"]
    ),
    package_data={
        "keras_snn": ["py.typed"],
        "keras_snn.models": ["weights/*"],
    },
    python_requires=">=3.11",
    install_requires=[
        "tensorflow>=2.20,<2.22",
        "keras>=3.10,<3.16",
        "numpy>=2.1,<2.5",
    ],
    extras_require={
        "datasets": DATASETS,
        "cli": CLI,
        "tensorboard": TENSORBOARD,
        "jax": JAX,
        "plot": PLOT,
        "analysis": ANALYSIS,
        "numba": NUMBA,
        "nir": NIR,
        "litert": LITERT,
        "onnx": ONNX,
        "events": EVENTS,
        "dv": DV,
        "hdf5": HDF5,
        "docs": DOCS,
        "all": ALL,
        "test": TEST,
    },
    entry_points={
        "console_scripts": ["keras-snn = keras_snn.__main__:main"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
