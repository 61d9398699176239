"""Accuracy after t steps is that of a network that stops after t steps."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.analysis.networks import dense, images, lenet, neurons


def labels():
    return np.random.default_rng(3).integers(0, 3, 12)


def test_it_equals_running_each_number_of_steps():
    model, rng = dense(), np.random.default_rng(0)
    x = (rng.random((12, 6, 6)) < 0.4).astype("float32")
    curve = snn.analysis.latency_curve(model, x, labels(), batch_size=5)
    recording = snn.analysis.record(model, x)
    for t in range(1, 7):
        answers = np.argmax(model.predict(x[:, :t], verbose=0), axis=1)
        assert curve.accuracy[t - 1] == np.mean(answers == labels())
        spikes = recording.spikes["lif"][:, :t].sum()
        assert curve.spikes[t - 1] == pytest.approx(spikes / 12)
    assert len(set(curve.accuracy)) > 1
    assert (curve.time_steps, curve.samples) == (6, 12)


def test_it_ends_in_the_accuracy_of_the_model():
    model, x = lenet(time_steps=11), images(12)
    one_hot = np.eye(3, dtype="float32")[labels()]
    curve = snn.analysis.latency_curve(model, x, one_hot)
    answers = np.argmax(model.predict(x, verbose=0), axis=1)
    assert curve.accuracy[-1] == np.mean(answers == labels())
    assert curve.time_steps == 11


def test_it_ends_in_the_spikes_of_the_profile():
    """Both count what neurons fire, not what pooling or inputs pass on."""
    x = inputs = keras.Input((5, 6, 6, 1))
    x = snn.layers.TimeFold(keras.layers.Conv2D(2, 3, padding="same"))(x)
    x = snn.layers.LIF(threshold=0.4, name="lif")(x)
    x = snn.layers.MaxRatePooling2D(name="pool")(x)
    x = snn.layers.TimeFold(keras.layers.Flatten())(x)
    x = snn.layers.TimeFold(keras.layers.Dense(4))(x)
    x = snn.layers.IF(threshold=0.4, name="if")(x)
    x = snn.layers.TimeFold(keras.layers.Dense(3))(x)
    model = snn.Model(inputs, snn.layers.MembraneReadout()(x))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0.2, 0.5, w.shape) for w in model.weights])
    x = (rng.random((12, 5, 6, 6, 1)) < 0.4).astype("float32")
    curve = snn.analysis.latency_curve(model, x, labels())
    layers = snn.analysis.profile(model, x).layers
    assert [layer.name for layer in layers if layer.neuron] == ["lif", "if"]
    assert all(layer.spikes > 0 for layer in layers if layer.neuron)
    spikes = sum(layer.spikes for layer in layers if layer.neuron)
    assert curve.spikes[-1] == pytest.approx(spikes)
    assert sum(layer.spikes or 0.0 for layer in layers) > spikes


def test_layers_after_the_readout_belong_to_the_output():
    core = neurons(threshold=0.5)
    flip = keras.layers.Rescaling(-1.0)
    model = snn.Model(core.input, flip(core.output))
    x = np.random.default_rng(0).random((6, 5, 3)).astype("float32")
    y = np.argmax(model.predict(x, verbose=0), axis=1)
    curve = snn.analysis.latency_curve(model, x, y[:, None])
    assert curve.accuracy[-1] == 1.0


@pytest.mark.parametrize(
    "accuracy, step", [(0.1, 1), (0.5, 2), (0.8, 4), (0.81, None)]
)
def test_earliest_step(accuracy, step):
    curve = snn.analysis.LatencyCurve(
        np.array([0.2, 0.5, 0.4, 0.8]), np.zeros(4), 10
    )
    assert curve.earliest(accuracy) == step


def test_accuracy_out_of_range():
    curve = snn.analysis.LatencyCurve(np.ones(2), np.zeros(2), 1)
    with pytest.raises(ValueError, match="For percent divide by 100"):
        curve.earliest(95)


@pytest.mark.parametrize(
    "y, message",
    [
        (np.zeros(3), "12 samples and 3 labels"),
        (np.full(12, 3), "integers from 0 to 2.*one-hot"),
        (np.full(12, 0.5), "integers from 0 to 2"),
        (np.zeros((12, 2)), "integers from 0 to 2"),
        ([0] * 12, "Received: list"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        snn.analysis.latency_curve(lenet(), images(12), y)


def test_models_without_a_class_at_each_step():
    with pytest.raises(ValueError, match="one time step at a time.*returns"):
        snn.analysis.latency_curve(
            lenet(include_top=False), images(12), labels()
        )
    inputs = keras.Input((3, 4, 2))
    model = snn.Model(inputs, snn.layers.MembraneReadout()(inputs))
    with pytest.raises(ValueError, match="one output of shape"):
        snn.analysis.latency_curve(model, np.zeros((1, 3, 4, 2)), np.zeros(1))
