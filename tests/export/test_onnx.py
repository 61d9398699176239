"""`snn.export.onnx`: ONNX files, and what ONNX cannot do."""

import json

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.export.small_networks import lenet, spikes

pytest.importorskip("tf2onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow writes these"
)


def test_batch_and_time_are_open(tmp_path):
    model, path = lenet(encoder=None, time_steps=None), tmp_path / "model.onnx"
    snn.export.onnx(model, path)
    session = onnxruntime.InferenceSession(path)
    (given,), (scores,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("input", ["batch", "time", 8, 8, 1])
    assert (scores.name, scores.shape) == ("scores", ["batch", 10])
    for batch, time_steps in [(1, 3), (4, 6)]:
        x = spikes(batch, time_steps)
        np.testing.assert_allclose(
            session.run(None, {"input": x})[0],
            model.predict(x, verbose=0),
            atol=1e-5,
        )


def test_a_step_says_what_each_state_starts_with(tmp_path):
    inputs = keras.Input((None, 4))
    x = snn.layers.IF(initial_potential=0.5, reset="subtract")(inputs)
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(x))
    path = tmp_path / "step.onnx"
    snn.export.onnx(snn.streaming(model), path)
    session = onnxruntime.InferenceSession(path)
    properties = session.get_modelmeta().custom_metadata_map
    initial = json.loads(properties["initial_values"])
    assert initial == [0.0, 0.5, 0.0]
    names = [f"state_{i}" for i in range(3)]
    assert [x.name for x in session.get_inputs()] == ["frame", *names]
    assert [x.name for x in session.get_outputs()] == [
        "scores",
        *(f"next_{name}" for name in names),
    ]


@pytest.mark.parametrize("unroll", [False, True])
def test_whole_sequences_are_written_unrolled(tmp_path, unroll):
    inputs = keras.Input((5, 3), name="currents")
    trains = snn.layers.LIF(unroll=unroll, name="neurons")(inputs)
    model, path = snn.Model(inputs, trains), tmp_path / "model.onnx"
    if not unroll:
        with pytest.raises(ValueError, match="'neurons': .*unroll=True"):
            snn.export.onnx(model, path)
        assert not list(tmp_path.iterdir())
        return
    snn.export.onnx(model, path)
    session = onnxruntime.InferenceSession(path)
    x = np.random.default_rng(0).random((2, 5, 3), "float32")
    expected = model.predict(x, verbose=0)
    assert 0 < expected.mean() < 1
    (found,) = session.run(None, {"currents": x})
    np.testing.assert_array_equal(found, expected)


def test_wrong_arguments(tmp_path):
    inputs = keras.Input((5, 3))
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(inputs))
    with pytest.raises(ValueError, match="must end in '.onnx'"):
        snn.export.onnx(model, tmp_path / "model")


def named(name):
    inputs = keras.Input((5, 3), name=name)
    x = snn.layers.TimeFold(keras.layers.Dense(4))(inputs)
    return snn.Model(inputs, snn.layers.SpikeCountReadout()(x))


def test_an_input_called_as_the_output_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Received: scores. Rename"):
        snn.export.onnx(named("scores"), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_names_are_of_letters_digits_and_underscores(tmp_path):
    model, path = named("left-eye.1"), tmp_path / "model.onnx"
    snn.export.onnx(model, path)
    x = np.random.default_rng(0).random((2, 5, 3), "float32")
    found = onnxruntime.InferenceSession(path).run(None, {"left_eye_1": x})
    np.testing.assert_allclose(found[0], model.predict(x, verbose=0), atol=1e-5)
