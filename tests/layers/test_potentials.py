"""Membrane potentials at every step, as an output."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn import analysis
from keras_snn.layers import (
    ALIF,
    IF,
    LIF,
    PLIF,
    MembraneReadout,
    RecurrentLIF,
    SynapticLIF,
    TimeFold,
)
from tests.helpers import gradients, slow_on_jax

SHAPE = 2, 7, 3
NEURONS = {
    "LIF": lambda **k: LIF(0.75, learning_rule="arctan", **k),
    "IF": lambda **k: IF(learning_rule="arctan", **k),
    "SynapticLIF": lambda **k: SynapticLIF(0.75, alpha=0.5, **k),
    "ALIF": lambda **k: ALIF(0.75, amplitude=0.25, rho=0.5, **k),
    "PLIF": lambda **k: PLIF(0.75, **k),
    "RecurrentLIF": lambda **k: RecurrentLIF(
        keras.layers.Dense(3, use_bias=False, kernel_initializer="ones"),
        0.75,
        alpha=0.5,
        **k,
    ),
}


def drawn(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 0.6, shape).astype("float32")


def plain_potentials(name, x, reset):
    """Return `u(t)` by a plain loop, of neurons with the numbers above."""
    beta = 1.0 if name == "IF" else 0.75
    v, i, a = (np.zeros_like(x[:, 0], "float64") for _ in range(3))
    s, found = np.zeros_like(v), []
    for t in range(x.shape[1]):
        current = x[:, t] + 0.0
        if name == "RecurrentLIF":
            current = current + s.sum(axis=-1, keepdims=True)
        if name in ("SynapticLIF", "RecurrentLIF"):
            current = i = 0.5 * i + current
        u = v + current
        risen = 0.25 * a if name == "ALIF" else 0.0
        s = (u - risen > 1.0).astype(float)
        found.append(u - risen)
        v = beta * (u * (1 - s) if reset == "zero" else u - (1 + risen) * s)
        a = 0.5 * a + s
    return np.stack(found, 1)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("name", NEURONS)
def test_potentials_are_those_of_a_plain_loop(name, reset):
    x = drawn(*SHAPE)
    layer = NEURONS[name](reset=reset, return_potentials=True)
    spikes, potentials = layer(x)
    expected = plain_potentials(name, x, reset)
    np.testing.assert_allclose(potentials, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(spikes, expected > 1.0)
    assert 0.05 < np.mean(spikes) < 0.95


@pytest.mark.parametrize(
    "reset", ["zero", pytest.param("subtract", marks=slow_on_jax)]
)
@pytest.mark.parametrize("name", NEURONS)
def test_a_loss_of_both_has_the_derivative_of_the_steps(name, reset):
    x, g, h = (drawn(*SHAPE, seed=seed) for seed in range(3))
    layer = NEURONS[name](reset=reset, return_potentials=True)
    layer.build(SHAPE)

    def of_sequence(x):
        spikes, potentials = layer(x)
        return ops.sum(spikes * g) + ops.sum(potentials * h)

    def of_steps(x):
        state, total = layer.initial_state((2, 3)), 0.0
        for t in range(SHAPE[1]):
            total += ops.sum(layer.potential(x[:, t], state) * h[:, t])
            spikes, state = layer.step(x[:, t], state)
            total += ops.sum(spikes * g[:, t])
        return total

    found, expected = (
        gradients(f, [x], layer.trainable_variables)
        for f in (of_sequence, of_steps)
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", ["collapsed", "rate", "exact", "arctan"])
def test_a_readout_returns_its_potentials(rule):
    x, g, h = drawn(*SHAPE), drawn(2, 3, seed=1), drawn(*SHAPE, seed=2)
    layer = MembraneReadout(0.75, rule, return_potentials=True)

    def loss(x):
        outputs, potentials = layer(x)
        return ops.sum(outputs * g) + ops.sum(potentials * h)

    _, (found,) = gradients(loss, [x])
    v, expected = np.zeros((2, 3)), []
    for t in range(SHAPE[1]):
        v = 0.75 * (v + x[:, t])
        expected.append(v)
    outputs, potentials = layer(x)
    np.testing.assert_allclose(potentials, np.stack(expected, 1), rtol=1e-5)
    np.testing.assert_allclose(outputs, v / SHAPE[1], rtol=1e-5)
    # Only through time there is a leak in the derivative.
    kept = 0.75 if rule == "arctan" else 1.0
    credit, d = np.zeros(SHAPE), g / SHAPE[1]
    for t in reversed(range(SHAPE[1])):
        d = kept * (d + h[:, t])
        credit[:, t] = d
    np.testing.assert_allclose(found, credit, rtol=1e-4, atol=1e-5)


def network(readout=True):
    """Return a network of which a layer inside returns potentials, too."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 4))
    x = TimeFold(keras.layers.Dense(5))(inputs)
    options = {"learning_rule": "arctan", "return_potentials": True}
    spikes, potentials = LIF(0.75, **options, name="inner")(x)
    x = keras.layers.Concatenate()([spikes, potentials])
    x = TimeFold(keras.layers.Dense(3))(x)
    outputs = MembraneReadout(
        0.75, "arctan", return_potentials=True, name="scores"
    )(x)
    return snn.Model(inputs, [potentials, *outputs])


def test_a_network_says_why_it_runs_layer_by_layer():
    model = network()
    words = "'inner' (LIF) returns its potentials at every step"
    assert model.runs_layer_by_layer == words
    if keras.config.backend() == "tensorflow":
        assert model.dense_reason() == words


def test_potentials_are_predicted_saved_recorded_and_streamed(tmp_path):
    model, x = network(), drawn(3, 6, 4)
    expected = model.predict(x, verbose=0)
    assert [a.shape for a in expected] == [(3, 6, 5), (3, 3), (3, 6, 3)]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for a, b in zip(again.predict(x, verbose=0), expected):
        np.testing.assert_array_equal(a, b)
    recording = analysis.record(model, x)
    np.testing.assert_allclose(
        recording.potentials["inner"], expected[0], rtol=1e-6, atol=1e-6
    )
    stream = snn.streaming(model).stream(3)
    for t in range(6):
        inner, scores, potentials = stream.step(x[:, t])
        np.testing.assert_allclose(inner, expected[0][:, t], atol=1e-5)
        np.testing.assert_allclose(potentials, expected[2][:, t], atol=1e-5)
    np.testing.assert_allclose(scores, expected[1], atol=1e-5)
    assert "returns its potentials" in stream.dense_reason or (
        keras.config.backend() != "tensorflow"
    )


def test_a_loss_on_potentials_trains():
    x = drawn(16, 8, 3)
    # So high a threshold that hardly any spike moves.
    expected = LIF(0.75, 4.0, return_potentials=True, learning_rule="arctan")
    _, potentials = expected(x)
    inputs = keras.Input((8, 3))
    layer = PLIF(0.5, 4.0, return_potentials=True)
    model = keras.Model(inputs, layer(inputs)[1])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(x, potentials, 16, 40, verbose=0)
    assert float(layer.decay) == pytest.approx(0.75, abs=0.03)


def test_masked_steps_have_no_potential():
    x, mask = drawn(2, 6, 3), np.ones((2, 6), bool)
    mask[0, [0, 3]] = mask[1, 4:] = False
    for layer in (
        LIF(0.75, learning_rule="arctan", return_potentials=True),
        MembraneReadout(0.75, return_potentials=True),
    ):
        _, found = layer(x, mask=ops.convert_to_tensor(mask))
        for sample, (row, exists) in enumerate(zip(x, mask)):
            _, alone = layer(row[None, exists])
            np.testing.assert_allclose(
                np.asarray(found)[sample, exists], alone[0], rtol=1e-5
            )
        assert not np.any(np.asarray(found)[~mask])


def test_potentials_are_float32_in_low_precision(mixed_bfloat16):
    layer = LIF(0.75, learning_rule="arctan", return_potentials=True)
    symbols, values = layer(keras.Input(SHAPE[1:])), layer(drawn(*SHAPE))
    for found in (symbols, values):
        dtypes = [keras.backend.standardize_dtype(y.dtype) for y in found]
        assert dtypes == ["bfloat16", "float32"]


class OwnNeuron(snn.layers.SpikingLayer):
    """A neuron with a `step` and a `potential`, and no more."""

    learning_rule = snn.surrogates.Arctan()

    def initial_state(self, frame_shape, dtype="float32"):
        return [ops.zeros(frame_shape)]

    def step(self, frame, state, training=False):
        u = self.potential(frame, state)
        spikes = self.learning_rule(u - 1.0)
        return spikes, [0.75 * u * (1 - ops.stop_gradient(spikes))]

    def potential(self, frame, state):
        return state[0] + frame


def test_a_neuron_of_ones_own_returns_them():
    x = drawn(*SHAPE)
    _, found = OwnNeuron(return_potentials=True)(x)
    expected = plain_potentials("LIF", x, "zero")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    class Silent(OwnNeuron):
        potential = None

    with pytest.raises(ValueError, match="return_potentials.*`potential"):
        Silent(return_potentials=True)(x)


@pytest.mark.parametrize("rule", ["collapsed", "exact", "rate"])
def test_rules_without_a_derivative_of_potentials_are_refused(rule):
    words = f"return_potentials=True.*LIF.*(?i:{rule}).*record"
    with pytest.raises(ValueError, match=words):
        LIF(learning_rule=rule, return_potentials=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: LIF(learning_rule="arctan", **k),
        lambda **k: MembraneReadout(**k),
    ],
)
def test_a_regularizer_of_activity_is_refused(make):
    with pytest.raises(ValueError, match="return_potentials.*Identity"):
        layer = make(activity_regularizer="l2", return_potentials=True)
        layer(drawn(*SHAPE))
