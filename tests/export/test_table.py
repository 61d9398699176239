"""Every cell of the export table is what the table says.

A cell reads "yes", the endpoints' names, or "refused: words of the message".
Files are read where keras_snn is not: SavedModels in one process that has
TensorFlow alone, LiteRT files in one that has not even that.
"""

import functools
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.layers.encoders import Encoder
from tests.export import small_networks
from tests.export.small_networks import NETWORKS

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow writes these"
)

TABLE = pathlib.Path(__file__).parents[2] / "docs" / "export_table.md"
LABELS = {name: f"network{i}" for i, name in enumerate(NETWORKS)}
ALL = ["serve", "spike_rates", "step", "initial_state"]


def rows():
    """Return the table's cells, a dict by column for each network."""
    lines = TABLE.read_text("utf-8").strip().splitlines()
    head, _, *body = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines
    ]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in body}


# Reads every SavedModel in a folder, and asks it what the model was asked.
TENSORFLOW_ALONE = """
import pathlib
import sys
import numpy as np
import tensorflow as tf

def answers(loaded, x, state):
    if state and hasattr(loaded, "serve"):
        for t in range(x.shape[1]):
            scores, *state = loaded.serve([x[:, t], *state])
        return {"step": scores}
    found = {}
    if hasattr(loaded, "serve"):
        found["serve"] = loaded.serve(x)
    if hasattr(loaded, "spike_rates"):
        found.update(loaded.spike_rates(x))
    if hasattr(loaded, "step") and x.ndim == 5:
        state = loaded.initial_state(len(x))
        for t in range(x.shape[1]):
            scores, state = loaded.step(x[:, t], state)
        found["step"] = scores
    return found

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.saved_model")):
    loaded = tf.saved_model.load(path)
    for signature in loaded.signatures.values():
        content = signature.graph.as_graph_def().SerializeToString()
        assert b"_XlaMustCompile" not in content
    given = np.load(path.with_suffix(".npz"))
    x, state = given["x"], [given[k] for k in given.files if k != "x"]
    found = answers(loaded, x, state)
    if "serve" in found:
        found["one"] = loaded.serve(x[:1])
    found = {k: tf.cast(v, "float32").numpy() for k, v in found.items()}
    np.savez(f"{path}.npz", **found)
assert "keras_snn" not in sys.modules
"""

WITHOUT_TENSORFLOW = """
import pathlib
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.tflite")):
    interpreter = Interpreter(str(path))
    runner = interpreter.get_signature_runner
    x = np.load(path.with_suffix(".npz"))["x"][:1]
    if "step" in interpreter.get_signature_list():
        state = runner("initial_state")()
        for t in range(x.shape[1]):
            state = runner("step")(frame=x[:, t], **state)
            scores = state.pop("scores")
    else:
        (name,) = runner("serve").get_input_details()
        scores = runner("serve")(**{name: x})["scores"]
    np.save(f"{path}.npy", scores)
assert "tensorflow" not in sys.modules
assert "keras_snn" not in sys.modules
"""


class Case:
    """One network of the table and what each format makes of it."""

    def __init__(self, network, folder):
        self.network = network
        self.model = NETWORKS[network]()
        self.is_step = len(self.model.inputs) > 1
        self.x = small_networks.inputs_for(self.model, 3)
        # Noise goes on where it was at the export.
        self.before = [np.asarray(v) for v in self.model.variables]
        self.path = folder / LABELS[network]
        self.state = []
        if self.is_step:
            self.state = [np.asarray(s) for s in self.model.initial_state(3)]
        self.errors = {}
        for column, (ending, write) in FORMATS.items():
            path = self.path.with_name(f"{self.path.name}{ending}")
            np.savez(path.with_suffix(".npz"), *self.state, x=self.x)
            try:
                write(self.model, path)
            except ValueError as error:
                self.errors[column] = str(error)

    def file(self, column):
        return self.path.with_name(f"{self.path.name}{FORMATS[column][0]}")

    @functools.cached_property
    def answers(self):
        """The model's own answers, in the order a SavedModel is asked."""
        return {"serve": self.scores(), **self.rates()}

    def restore(self, weights=None):
        for v, value in zip(self.model.variables, weights or self.before):
            v.assign(value)

    def scores(self, weights=None):
        self.restore(weights)
        if self.is_step:
            return small_networks.run_steps(self.model, self.x)
        return self.model.predict(self.x, verbose=0)

    def rates(self):
        return (
            {} if self.is_step else snn.models.spike_rates(self.model, self.x)
        )

    def expected(self, *names):
        """Return the answers to the questions of these names."""
        answers = {**self.answers, "step": self.answers["serve"]}
        answers["one"] = answers["serve"][:1]
        return {name: answers[name] for name in names}


FORMATS = {
    "`.keras`": (".keras", lambda model, path: model.save(path)),
    "`model.export`": (
        ".export.saved_model",
        lambda model, path: model.export(path, verbose=False),
    ),
    "`export.saved_model`": (
        ".endpoints.saved_model",
        lambda model, path: snn.export.saved_model(model, path),
    ),
    "LiteRT": (
        ".float32.tflite",
        lambda model, path: snn.export.litert(model, path),
    ),
    "LiteRT, int8 weights": (
        ".int8.tflite",
        lambda model, path: snn.export.litert(model, path, "int8_weights"),
    ),
    "ONNX": (".onnx", lambda model, path: snn.export.onnx(model, path)),
    "NIR": (".nir", lambda model, path: snn.export.to_nir(model, path)),
}


def run_alone(script, folder):
    # -P keeps the checkout, and with it keras_snn, off the path.
    subprocess.run(
        [sys.executable, "-P", "-c", script, str(folder)],
        check=True,
        cwd=folder,
    )


def test_the_table_has_every_network_and_format():
    assert list(rows()) == list(NETWORKS)
    assert all(list(row) == list(FORMATS) for row in rows().values())


def test_the_readme_shows_the_table():
    readme = TABLE.parents[1] / "README.md"
    assert TABLE.read_text("utf-8") in readme.read_text("utf-8")


@pytest.mark.slow
def test_every_cell_is_what_the_table_says(tmp_path):
    for module in ("ai_edge_litert", "onnxruntime", "tf2onnx", "nir"):
        pytest.importorskip(module)
    cases = {network: Case(network, tmp_path) for network in NETWORKS}
    run_alone(TENSORFLOW_ALONE, tmp_path)
    run_alone(WITHOUT_TENSORFLOW, tmp_path)
    wrong = {}
    for network, row in rows().items():
        for column, cell in row.items():
            try:
                check(cases[network], column, cell)
            except AssertionError as error:
                wrong[network, column] = str(error)
    assert wrong == {}


def check(case, column, cell):
    """Raise an `AssertionError` unless a cell tells the truth."""
    if cell.startswith("refused: "):
        assert cell.removeprefix("refused: ") in case.errors[column]
        assert not case.file(column).exists()
    else:
        assert column not in case.errors, case.errors[column]
        CHECKS[column](case, case.file(column), cell)


def assert_equal(found, expected, atol=1e-5):
    assert found.keys() == expected.keys()
    # A silent network would be equal whatever happens.
    assert any(np.any(y) for y in expected.values())
    for name, y in expected.items():
        np.testing.assert_allclose(
            np.asarray(found[name], "float32"),
            np.asarray(y, "float32"),
            atol=atol,
            err_msg=name,
        )


def check_keras(case, path, cell):
    model = keras.models.load_model(path)
    if case.is_step:
        found = small_networks.run_steps(model, case.x)
    else:
        found = model.predict(case.x, verbose=0)
    assert_equal({"serve": found}, case.expected("serve"))


def check_saved_model(case, path, cell):
    found = dict(np.load(f"{path}.npz"))
    if case.network == "`PoissonEncoder`":
        # Noise has the batch's shape: one image gets other noise than three.
        del found["one"]
    assert_equal(found, case.expected(*found))


def check_endpoints(case, path, cell):
    names = ALL if cell == "all" else cell.split(", ")
    description = path / "assets.extra" / "keras_snn.json"
    assert list(json.loads(description.read_text())["endpoints"]) == names
    check_saved_model(case, path, cell)
    if "spike_rates" in names:
        assert case.answers.keys() <= np.load(f"{path}.npz").keys()


def check_litert(case, path, cell):
    assert_equal({"one": np.load(f"{path}.npy")}, case.expected("one"))


def rounded(weight):
    """Return a kernel as eight bits and a scale a channel can hold it."""
    if weight.ndim < 2 or weight.size < 1024:
        return weight
    scale = np.abs(weight).max(tuple(range(weight.ndim - 1))) / 127
    return np.round(weight / scale) * scale


def check_int8(case, path, cell):
    expected = case.scores([rounded(w) for w in case.before])[:1]
    assert_equal({"one": np.load(f"{path}.npy")}, {"one": expected}, 1e-4)


def check_onnx(case, path, cell):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    first = session.get_inputs()[0].name
    if not case.is_step:
        one, serve = (
            session.run(["scores"], {first: x})[0] for x in (case.x[:1], case.x)
        )
        assert_equal(
            {"one": one, "serve": serve}, case.expected("one", "serve")
        )
        return
    state = case.state
    for t in range(case.x.shape[1]):
        named = {f"state_{i}": s for i, s in enumerate(state)}
        scores, *state = session.run(None, {first: case.x[:, t], **named})
    assert_equal({"step": scores}, case.expected("step"))


def check_nir(case, path, cell):
    """NIR begins with the spikes, behind the encoder."""
    expected, x = case.expected("serve"), case.x
    case.restore()
    for layer in case.model.layers:
        if isinstance(layer, Encoder):
            x = layer(x)
    found = snn.export.from_nir(path).predict(np.asarray(x), verbose=0)
    # A NIR file computes in float32 wherever it is read.
    atol = 0.05 if case.network == "`mixed_bfloat16`" else 1e-5
    assert_equal({"serve": found}, expected, atol)


CHECKS = {
    "`.keras`": check_keras,
    "`model.export`": check_saved_model,
    "`export.saved_model`": check_endpoints,
    "LiteRT": check_litert,
    "LiteRT, int8 weights": check_int8,
    "ONNX": check_onnx,
    "NIR": check_nir,
}
