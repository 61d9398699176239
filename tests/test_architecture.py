"""Data flows one way through the package, and TensorFlow is not needed."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_snn"

# A part imports only from parts left of it. Parts in one group do not know
# each other.
ORDER = (
    (
        *("atomic", "checks", "onednn", "optional", "progress", "tables"),
        *("typing", "untrusted"),
    ),
    ("neurons",),
    ("encoding",),
    ("layers",),
    ("network",),
    ("event_driven",),
    ("running",),
    ("models",),
    ("conversion", "training", "callbacks"),
    ("analysis",),
    ("study",),
    ("export",),
)
RANK = {name: i for i, group in enumerate(ORDER) for name in group}

# Side modules: what each may import. The parts up to the models do without
# them; what is right of the models may use them.
SIDE = {
    "datasets": {"checks", "optional", "progress", "untrusted"},
    "losses": {"checks", "network"},
    "metrics": {"network"},
    "regularizers": {"checks"},
    "rules": {"neurons"},
    "surrogates": {"neurons"},
}
# `typing` imports for type checkers only.
ANYTHING = {"__init__", "__main__", "cli", "typing"}


def allowed(part):
    """Return the parts that `part` may import from."""
    if part in SIDE:
        return SIDE[part] | {part, "typing"}
    left = {name for name in RANK if RANK[name] < RANK[part]}
    beyond_models = RANK[part] > RANK["models"]
    return left | {part} | (set(SIDE) if beyond_models else set())


def imports(source):
    """Return the absolute names of all modules that `source` imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def parts_imported(source):
    """Return the parts of keras_snn that `source` imports."""
    return {
        (name.split(".") + ["the whole package"])[1]
        for name in imports(source)
        if name.split(".")[0] in ("keras_snn", "")
    }


MODULES = sorted(str(x.relative_to(PACKAGE)) for x in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES)
def test_imports_only_go_left(path):
    part = pathlib.Path(path).parts[0].removesuffix(".py")
    if part in ANYTHING:
        return
    assert part in RANK or part in SIDE, f"give {part} a place in ORDER"
    source = (PACKAGE / path).read_text("utf-8")
    assert parts_imported(source) <= allowed(part)


@pytest.mark.parametrize(
    "part, source",
    [
        ("neurons", "from keras_snn.layers import LIF"),
        ("layers", "from keras_snn import models"),
        ("layers", "def f():\n    import keras_snn.models.vgg"),
        ("models", "import keras_snn"),
        ("models", "from keras_snn import datasets"),
        ("training", "from keras_snn.callbacks import SpikeRateMonitor"),
        ("losses", "from keras_snn import neurons"),
        ("encoding", "from ..layers import LIF"),
    ],
)
def test_a_wrong_import_is_seen(part, source):
    assert not parts_imported(source) <= allowed(part)


@pytest.mark.parametrize("path", MODULES)
def test_no_backend_is_imported_at_module_level(path):
    top = ast.parse((PACKAGE / path).read_text("utf-8")).body
    source = "\n".join(
        ast.unparse(node)
        for node in top
        if isinstance(node, (ast.Import, ast.ImportFrom))
    )
    roots = {name.split(".")[0] for name in imports(source)}
    assert not roots & {"tensorflow", "jax", "torch"}


# What Keras keeps to itself of its graph; only `network/reading.py` knows it.
PRIVATE = (
    "_nodes_by_depth",
    "_inbound_nodes",
    "_outbound_nodes",
    "_keras_history",
    "_flatten_layers",
    "_functional",
    "_inputs_struct",
    "_outputs_struct",
    "_standardize_inputs",
    "_call_has_training_arg",
    "fill_in",
    "node_index",
)


@pytest.mark.parametrize("path", MODULES)
def test_one_file_knows_the_graph_of_keras(path):
    tree = ast.parse((PACKAGE / path).read_text("utf-8"))
    names = {x.attr for x in ast.walk(tree) if isinstance(x, ast.Attribute)}
    # What a module calls `_functional` itself is not Keras'.
    names -= {x.name for x in ast.walk(tree) if isinstance(x, ast.FunctionDef)}
    if path != os.path.join("network", "reading.py"):
        assert not names & set(PRIVATE)


def test_the_package_shows_its_public_names_once():
    import keras_snn
    from keras_snn import export

    assert dir(keras_snn) == sorted({*keras_snn.__all__, "__version__"})
    assert dir(export) == sorted(set(export.__all__))
    for module in (keras_snn, export):
        for name in dir(module):
            assert getattr(module, name) is not None


def test_the_runtime_needs_numpy_and_numba_alone():
    known = {*sys.stdlib_module_names, "numpy", "numba", "llvmlite"}
    for path in (ROOT / "keras_snn_runtime").glob("*.py"):
        found = {x.split(".")[0] for x in imports(path.read_text("utf-8"))}
        assert found <= known | {"keras_snn_runtime"}, path


# Without optimizations the program compiles in half the time.
JAX = {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

WITHOUT_TENSORFLOW = """
import sys


class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ImportError("this machine has no TensorFlow")


sys.meta_path.insert(0, NoTensorFlow())

import numpy as np

import keras_snn

model = keras_snn.models.LeNet(
    input_shape=(8, 8, 1), time_steps=2, width=1 / 10, dropout=0.1
)
model.compile("sgd", keras_snn.losses.SummedSquaredError())
x = np.full((2, 8, 8, 1), 0.5, "float32")
model.fit(x, np.eye(10)[:2], verbose=0)
assert model.predict(x, verbose=0).shape == (2, 10)
assert "tensorflow" not in sys.modules
"""


def test_trains_on_jax_where_tensorflow_is_missing():
    pytest.importorskip("jax")
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW],
        cwd=ROOT,
        env={**os.environ, **JAX},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
