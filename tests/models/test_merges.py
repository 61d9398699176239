"""Branches of a spiking network meet, layer by layer and in the time loop."""

import keras
import numpy as np
import pytest

import keras_snn as snn


def spikes(batch=3, time_steps=6):
    random = np.random.default_rng(0)
    return (random.random((batch, time_steps, 6, 6, 2)) < 0.5).astype("float32")


def network(kind, axis=-1):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 6, 6, 2))
    branches = [
        snn.layers.LIF(threshold=0.3)(
            snn.layers.TimeFold(keras.layers.Conv2D(3, 3))(inputs)
        )
        for _ in range(2)
    ]
    x = keras.layers.Concatenate(axis=axis)(branches)
    x = snn.layers.TimeFold(keras.layers.Flatten())(x)
    x = snn.layers.TimeFold(keras.layers.Dense(4))(x)
    return kind(inputs, snn.layers.MembraneReadout()(x))


@pytest.mark.parametrize("axis", [-1, -3])
def test_concatenated_features_run_in_the_loop_over_time(axis):
    model, plain = network(snn.Model, axis), network(keras.Model, axis)
    assert model.runs_layer_by_layer is None
    x = spikes()
    expected = plain.predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-6)
    step = snn.streaming(model)
    state = step.initial_state(3)
    for t in range(6):
        y, *state = step([x[:, t], *state])
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_concatenated_features_train_alike_in_the_loop():
    x, labels, after = spikes(), np.eye(4)[[0, 1, 2]], []
    for kind in (snn.Model, keras.Model):
        model = network(kind)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(x, labels, verbose=0)
        after.append(model.get_weights())
    for ours, plain in zip(*after):
        np.testing.assert_allclose(ours, plain, atol=1e-5)


@pytest.mark.parametrize("axis", [1, 4, -4])
def test_an_axis_that_time_would_shift_runs_layer_by_layer(axis):
    inputs = keras.Input((5, 6, 6, 2))
    x = snn.layers.LIF()(inputs)
    x = keras.layers.Concatenate(axis=axis)([x, x])
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(x))
    assert "Concatenate" in model.runs_layer_by_layer
