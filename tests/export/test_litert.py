"""`snn.export.litert`: LiteRT files for batches of one."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.export.small_networks import lenet, spikes

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow writes these"
)


@pytest.fixture(scope="module")
def model():
    return lenet(encoder=None, time_steps=None, width=0.5)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """The paths of the float32 and of the int8 file."""
    folder = tmp_path_factory.mktemp("litert")
    paths = [folder / "float32.tflite", folder / "int8.tflite"]
    for path, quantize in zip(paths, (None, "int8_weights")):
        snn.export.litert(model, path, quantize)
    return paths


def interpreter(path):
    module = pytest.importorskip("ai_edge_litert.interpreter")
    return module.Interpreter(str(path))


def serve(path, x):
    return interpreter(path).get_signature_runner("serve")(input=x)["scores"]


@pytest.mark.parametrize("time_steps", [1, 7])
def test_any_number_of_steps(files, model, time_steps):
    x = spikes(1, time_steps)
    np.testing.assert_allclose(
        serve(files[0], x), model.predict(x, verbose=0), atol=1e-5
    )


def test_only_built_in_operations(files):
    for path in files:
        operations = interpreter(path)._get_ops_details()
        assert operations
        assert not [x for x in operations if "Flex" in x["op_name"]]


def test_int8_weights_take_a_quarter_of_the_space(files, model):
    large = sum(w.size for w in model.get_weights() if w.size >= 1024)
    whole, small = (path.stat().st_size for path in files)
    assert whole - small > 0.9 * 3 * large


def test_int8_weights_are_those_of_a_model_rounded_alike(files, model):
    x = spikes(1)
    copy = lenet(encoder=None, time_steps=None, width=0.5)
    for w in copy.weights:
        if np.prod(w.shape) >= 1024:
            values = np.asarray(w)
            axes = tuple(range(values.ndim - 1))
            scale = np.abs(values).max(axes) / 127
            w.assign(np.round(values / scale) * scale)
    expected = copy.predict(x, verbose=0)
    assert np.abs(expected - model.predict(x, verbose=0)).max() > 1e-4
    np.testing.assert_allclose(serve(files[1], x), expected, atol=1e-4)


def test_a_stream_starts_from_the_initial_potential(tmp_path):
    inputs = keras.Input((None, 4))
    x = snn.layers.IF(initial_potential=0.9, reset="subtract")(inputs)
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(x))
    path = tmp_path / "step.tflite"
    snn.export.litert(snn.streaming(model), path)
    loaded = interpreter(path)
    state = loaded.get_signature_runner("initial_state")()
    step = loaded.get_signature_runner("step")
    currents = np.random.default_rng(0).random((1, 6, 4), "float32")
    v, count = np.full((1, 4), 0.9, "float32"), 0
    for t in range(6):
        state = step(frame=currents[:, t], **state)
        v = v + currents[:, t]
        count = count + (v > 1)
        v = v - (v > 1)
        np.testing.assert_allclose(
            state.pop("scores"), count / (t + 1), atol=1e-6
        )


def test_what_follows_a_random_encoder_can_be_written(tmp_path):
    model = lenet(encoder="poisson", time_steps=4)
    path = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match="'encoder' .*draws random") as error:
        snn.export.litert(model, path)
    advice = str(error.value)
    assert "keras_snn.Model(model.get_layer('encoder').output" in advice
    rest = snn.Model(model.get_layer("encoder").output, model.output)
    snn.export.litert(rest, path)
    x = spikes(1, 4)
    (name,) = (x.name for x in rest.inputs)
    run = interpreter(path).get_signature_runner("serve")
    np.testing.assert_allclose(
        run(**{name: x})["scores"], rest.predict(x, verbose=0), atol=1e-5
    )


@keras.saving.register_keras_serializable(package="test_litert")
class Inverse(keras.layers.Layer):
    """An operation that LiteRT does not have."""

    def call(self, x):
        return keras.ops.inv(x)

    def compute_output_shape(self, input_shape):
        return input_shape


def test_an_operation_that_litert_lacks_is_named(tmp_path):
    inputs = keras.Input((5, 2, 2))
    x = snn.layers.TimeFold(Inverse())(inputs)
    x = snn.layers.TimeFold(keras.layers.Flatten())(x)
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(x), name="odd")
    path = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match="'odd' cannot .*MatrixInverse"):
        snn.export.litert(model, path)
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(model, tmp_path):
    with pytest.raises(ValueError, match='None or "int8_weights"'):
        snn.export.litert(model, tmp_path / "model.tflite", "int8")
    with pytest.raises(ValueError, match="must end in '.tflite'"):
        snn.export.litert(model, tmp_path / "model.lite")
