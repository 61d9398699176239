"""Delays of whole steps."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.layers import LIF, Delay, MembraneReadout, TimeFold
from tests.helpers import gradients, slow_on_jax

STEPS = [3, 0, 1]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def delayed(x, steps):
    """Return `x`, each channel by its own delay, by a plain loop."""
    y = np.zeros_like(x)
    for channel, n in enumerate(np.broadcast_to(steps, x.shape[-1:])):
        for t in range(n, x.shape[1]):
            y[:, t, ..., channel] = x[:, t - n, ..., channel]
    return y


@pytest.mark.parametrize("steps", [0, 2, STEPS, 9])
def test_each_step_comes_later(steps):
    x, g = drawn(2, 6, 2, 3), drawn(2, 6, 2, 3, seed=1)
    layer = Delay(steps)
    np.testing.assert_array_equal(layer(x), delayed(x, steps))
    _, (credit,) = gradients(lambda x: keras.ops.sum(layer(x) * g), [x])
    # The derivative goes the other way.
    expected = delayed(g[:, ::-1], steps)[:, ::-1]
    np.testing.assert_array_equal(credit, expected)


@pytest.mark.parametrize("steps", [2, STEPS])
def test_steps_and_windows_give_the_same(steps):
    x, layer = drawn(2, 7, 3), Delay(steps)
    state, found = layer.initial_state((2, 3)), []
    for start, end in ((0, 1), (1, 4), (4, 7)):
        output, state = layer.window(x[:, start:end], state)
        found.append(output)
    np.testing.assert_array_equal(np.concatenate(found, 1), layer(x))
    state, found = layer.initial_state((2, 3)), []
    for t in range(7):
        output, state = layer.step(x[:, t], state)
        found.append(output)
    np.testing.assert_array_equal(np.stack(found, 1), layer(x))


def network(rule="arctan"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 4))
    x = TimeFold(keras.layers.Dense(3))(inputs)
    x = LIF(0.75, 0.25, learning_rule=rule, name="before")(x)
    x = Delay(STEPS, name="delay")(x)
    x = TimeFold(keras.layers.Dense(3))(x)
    x = LIF(0.75, 0.25, learning_rule=rule)(x)
    return snn.Model(inputs, MembraneReadout(0.9, rule)(x))


@pytest.mark.parametrize(
    "rule", ["arctan", pytest.param("rate", marks=slow_on_jax)]
)
def test_a_network_runs_streams_and_is_saved(rule, tmp_path):
    model, x = network(rule), drawn(3, 8, 4)
    expected = np.asarray(keras.Model(model.input, model.output)(x))
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.any(found)
    stream = snn.streaming(model).stream(3)
    for t in range(8):
        scores = stream.step(x[:, t])
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), found)


def test_it_trains_in_windows_as_layer_by_layer():
    model, x = network(), drawn(3, 8, 4)
    layered = keras.Model(model.input, model.output)
    model.remat_steps = 3
    assert model.runs_layer_by_layer is None
    found, expected = (
        gradients(
            lambda x, run=run: keras.ops.sum(run(x, training=True) ** 2),
            [x],
            model.trainable_variables,
        )[1][1:]
        for run in (model, layered)
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert any(map(np.any, expected))


def test_masked_steps_do_not_count():
    x, mask = drawn(1, 6, 3), np.array([[True, False, True, True, False, True]])
    found = np.asarray(Delay(STEPS)(x, mask=keras.ops.convert_to_tensor(mask)))
    np.testing.assert_array_equal(found[mask], delayed(x[mask][None], STEPS)[0])
    assert not np.any(found[~mask])


@pytest.mark.parametrize("steps", [-1, 1.5, [1, -1], [0.5], [], True, "a"])
def test_bad_delays_are_refused(steps):
    with pytest.raises(ValueError, match="`steps` must be"):
        Delay(steps)


def test_delays_that_do_not_broadcast_are_refused():
    with pytest.raises(ValueError, match="`steps` of Delay.*broadcasts"):
        Delay([1, 2])(keras.Input((4, 3)))
