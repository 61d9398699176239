"""`snn.export.saved_model`: endpoints, and what it tells a wrong caller."""

import http.server
import json
import pathlib
import subprocess
import sys
import threading
import urllib.request

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.export.small_networks import lenet, run_steps, spikes

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow writes these"
)


@pytest.fixture(scope="module")
def model():
    return lenet(encoder=None, time_steps=None)


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """The path of a SavedModel, its description, and the loaded object."""
    import tensorflow as tf

    path = tmp_path_factory.mktemp("served") / "lenet" / "1"
    description = snn.export.saved_model(model, path)
    return path, description, tf.saved_model.load(path)


def test_the_description_says_what_goes_in_and_out(served):
    path, description, _ = served
    file = path / "assets.extra" / "keras_snn.json"
    assert json.loads(file.read_text("utf-8")) == description
    assert description["time_steps"] is None
    assert description["classes"] == 10
    assert description["missing"] == {}
    assert description["spiking_layers"][0] == "block1_lif1"
    step = description["endpoints"]["step"]
    assert step["inputs"]["frame"] == {
        "shape": [None, 8, 8, 1],
        "dtype": "float32",
    }
    assert step["outputs"]["scores"]["shape"] == [None, 10]
    assert step["inputs"].keys() - {"frame"} == (
        step["outputs"].keys() - {"scores"}
    )


def test_an_endpoint_is_a_function_and_a_signature(served):
    *_, loaded = served
    x = spikes(2)
    np.testing.assert_array_equal(
        loaded.signatures["serving_default"](input=x)["scores"],
        loaded.serve(x),
    )
    rates = loaded.spike_rates(x)
    same = loaded.signatures["spike_rates"](input=x)
    for name in rates:
        np.testing.assert_array_equal(rates[name], same[name])


# Each cast, shape and number that no caller gets away with.
WRONG = {
    "height": (lambda f: f.serve(np.zeros((2, 5, 9, 8, 1), "float32")),
               r"shape=\(2, 5, 9, 8, 1\).*to .*shape=\(None, None, 8, 8, 1\)"),
    "no time axis": (lambda f: f.serve(np.zeros((2, 8, 8, 1), "float32")),
                     r"shape=\(None, None, 8, 8, 1\)"),
    "no steps": (lambda f: f.serve(np.zeros((2, 0, 8, 8, 1), "float32")),
                 "serve expects `input` of one time step or more"),
    "type": (lambda f: f.serve(tensor((2, 5, 8, 8, 1), "uint8")),
             "dtype=tf.uint8.*to .*dtype=tf.float32"),
    "signature, height": (
        lambda f: f.signatures["serve"](input=tensor((2, 5, 9, 8, 1))),
        r"\[2,5,9,8,1\] is not compatible with expected shape \[\?,\?,8,8,1\]",
    ),
    "signature, type": (
        lambda f: f.signatures["serve"](input=tensor((2, 5, 8, 8, 1), "uint8")),
        "expected to be a float tensor but is a uint8 tensor",
    ),
    "no streams": (lambda f: f.initial_state(0),
                   "initial_state expects `batch_size`"),
    "frame of one, state of two": (
        lambda f: f.step(tensor((1, 8, 8, 1)), f.initial_state(2)),
        "step expects `frame` and `state_0` of one batch size",
    ),
    "frame": (lambda f: f.step(tensor((1, 9, 8, 1)), f.initial_state(1)),
              r"shape=\(None, 8, 8, 1\)"),
}  # fmt: skip


def tensor(shape, dtype="float32"):
    return keras.ops.zeros(shape, dtype)


@pytest.mark.parametrize("call, message", WRONG.values(), ids=WRONG)
def test_a_wrong_call_is_told_what_was_expected(served, call, message):
    *_, loaded = served
    with pytest.raises(Exception, match=f"(?s){message}"):
        call(loaded)


def test_pixels_up_to_255_are_refused(tmp_path):
    import tensorflow as tf

    images = keras.Input((4,), name="images")
    x = snn.layers.LIF()(snn.layers.RateEncoder(2)(images))
    outputs = snn.layers.SpikeCountReadout()(x)
    snn.export.saved_model(snn.Model(images, outputs), tmp_path / "model")
    loaded = tf.saved_model.load(tmp_path / "model")
    loaded.serve(np.array([[0, 1, 1, 0]], "uint8"))
    with pytest.raises(Exception, match="`images` to be floating point images"):
        loaded.serve(np.array([[0, 255, 3, 0]], "uint8"))


def test_the_command_line_of_tensorflow_runs_it(served, model, tmp_path):
    path, *_ = served
    x = spikes(2)
    np.save(tmp_path / "x.npy", x)
    command = pathlib.Path(sys.executable).with_name("saved_model_cli")
    subprocess.run(
        [
            *(command, "run", "--dir", path, "--tag_set", "serve"),
            *("--signature_def", "serve", "--outdir", tmp_path),
            *("--inputs", f"input={tmp_path / 'x.npy'}"),
        ],
        check=True,
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "scores.npy"), model.predict(x, verbose=0), atol=1e-5
    )


class Predict(http.server.BaseHTTPRequestHandler):
    """The predict call of TensorFlow Serving's REST interface."""

    signatures = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(body)
        signature = self.signatures[request["signature_name"]]
        _, specs = signature.structured_input_signature
        named = {
            name: np.array(x, specs[name].dtype.as_numpy_dtype)
            for name, x in request["inputs"].items()
        }
        outputs = {k: v.numpy().tolist() for k, v in signature(**named).items()}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"outputs": outputs}).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def predict(served, monkeypatch):
    """Ask the SavedModel through HTTP and JSON."""
    monkeypatch.setattr(Predict, "signatures", served[2].signatures)
    server = http.server.ThreadingHTTPServer(("localhost", 0), Predict)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def ask(signature, **inputs):
        request = {"signature_name": signature, "inputs": inputs}
        url = f"http://localhost:{server.server_port}/v1/models/x:predict"
        body = json.dumps(request).encode()
        with urllib.request.urlopen(url, body) as answer:
            return json.load(answer)["outputs"]

    yield ask
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_client_streams_over_http_with_named_tensors(predict, model):
    x = spikes(2)
    state = predict("initial_state", batch_size=2)
    for t in range(x.shape[1]):
        state = predict("step", frame=x[:, t].tolist(), **state)
        scores = state.pop("scores")
    np.testing.assert_allclose(
        scores, run_steps(snn.streaming(model), x), atol=1e-6
    )


def test_what_a_model_has_not_is_said(tmp_path):
    inputs = keras.Input((5, 3))
    currents = snn.layers.TimeFold(keras.layers.Dense(2))(inputs)
    outputs = keras.layers.MaxPooling1D(2)(currents)
    description = snn.export.saved_model(
        keras.Model(inputs, outputs), tmp_path / "model"
    )
    assert list(description["endpoints"]) == ["serve"]
    missing = description["missing"]
    assert "has none" in missing["spike_rates"]
    assert "MaxPooling1D) works on the whole sequence" in missing["step"]
    assert description["classes"] is None


def test_nothing_is_overwritten_unless_asked(served, model):
    path, *_ = served
    before = sorted(path.rglob("*"))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        snn.export.saved_model(model, path)
    assert sorted(path.rglob("*")) == before


def test_a_failed_export_leaves_what_was_there(tmp_path, monkeypatch):
    import tensorflow as tf

    def fail(*_):
        raise OSError("disk full")

    inputs = keras.Input((5, 3))
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(inputs))
    path = tmp_path / "model"
    snn.export.saved_model(model, path)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        snn.export.saved_model(model, path, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.undo()
    snn.export.saved_model(model, path, overwrite=True)
    assert (path / "saved_model.pb").exists()


@pytest.mark.parametrize(
    "export, name",
    [
        (snn.export.saved_model, "model"),
        (snn.export.litert, "model.tflite"),
        (snn.export.onnx, "model.onnx"),
    ],
)
class TestWhatAllFormatsRefuse:
    def test_other_backends(self, export, name, model, tmp_path, monkeypatch):
        monkeypatch.setattr(keras.config, "backend", lambda: "jax")
        with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
            export(model, tmp_path / name)

    def test_what_is_no_functional_model(self, export, name, tmp_path):
        with pytest.raises(ValueError, match="expects a functional model"):
            export(keras.layers.Dense(3), tmp_path / name)

    def test_what_is_no_path(self, export, name, model):
        with pytest.raises(ValueError, match="`path` must be a path"):
            export(model, 7)

    def test_a_path_where_something_is(self, export, name, model, tmp_path):
        (tmp_path / name).write_text("mine")
        with pytest.raises(FileExistsError, match="overwrite=True"):
            export(model, tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    "name, expected",
    [
        ("my-input", "my_input"),
        ("x.1", "x_1"),
        ("left eye", "left_eye"),
        ("self", "input_self"),
        ("1st", "input_1st"),
        ("scores", "scores"),
    ],
)
def test_inputs_of_any_name(name, expected, tmp_path):
    import tensorflow as tf

    inputs = keras.Input((5, 3), name=name)
    other = keras.Input((3,), name=f"{name}_side")
    x = snn.layers.SpikeCountReadout()(snn.layers.LIF(0.9)(inputs))
    model = snn.Model([inputs, other], keras.layers.Concatenate()([x, other]))
    given = snn.export.saved_model(model, tmp_path / "model")["endpoints"]
    assert list(given["serve"]["inputs"])[0] == expected
    loaded = tf.saved_model.load(tmp_path / "model")
    rng = np.random.default_rng(0)
    x, side = rng.random((2, 5, 3), "float32"), rng.random((2, 3), "float32")
    values = dict(zip(given["serve"]["inputs"], (x, side)))
    values = {k: tf.constant(v) for k, v in values.items()}
    found = loaded.signatures["serve"](**values)["scores"]
    expected = model.predict([x, side], verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rates_are_of_steps_that_are_not_masked(tmp_path):
    import tensorflow as tf

    x = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")
    x[:2, 2:] = -9.0
    inputs = keras.Input((6, 8))
    dense = snn.layers.TimeFold(keras.layers.Dense(16))
    y = dense(keras.layers.Masking(-9.0)(inputs))
    model = snn.Model(inputs, snn.layers.LIF(name="n", threshold=0.3)(y))
    snn.export.saved_model(model, tmp_path / "model")
    loaded = tf.saved_model.load(tmp_path / "model")
    found = loaded.spike_rates(x)
    expected = snn.models.spike_rates(model, x)["n"]
    assert expected > 0.1
    assert float(found["n"]) == pytest.approx(expected)
