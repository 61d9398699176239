"""README's code runs from top to bottom, in one process."""

import os
import pathlib
import re
import subprocess
import sys

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Instead of CIFAR-10, which would have to be downloaded, and a photograph.
BEFORE = """
import keras
import numpy as np
import keras_snn

keras.utils.save_img("photo.png", np.zeros((40, 40, 3)))
load = keras_snn.datasets.load


def load_made(name, *arguments):
    if name != "cifar10":
        return load(name, *arguments)
    x = np.random.default_rng(0).random((50, 32, 32, 3), "float32")
    return ((x, np.eye(10)[np.arange(50) % 10].astype("float32")),) * 2


keras_snn.datasets.load = load_made
"""


def blocks():
    text = (ROOT / "README.md").read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow exports"
)
def test_its_code_runs_from_top_to_bottom(tmp_path):
    for module in ("nir", "onnx", "tf2onnx", "numba", "matplotlib", "pandas"):
        pytest.importorskip(module)
    code = "\n".join([BEFORE, *blocks()])
    # Long enough for the code, not for the accuracies.
    code = code.replace("epochs=10", "epochs=1").replace(", 32, 10", ", 32, 1")
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for name in ("digits", "saved_models/digits", "served/digits/1"):
        assert (tmp_path / name / "saved_model.pb").exists()
    for name in ("digits.tflite", "digits.onnx", "digits.npz", "lenet.nir"):
        assert (tmp_path / name).stat().st_size > 1000
