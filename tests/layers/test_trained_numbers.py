"""Decays and thresholds that are weights."""

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

# Of frames of 2 x 3: a decay a channel, a threshold a row.
BETA, THRESHOLD = [0.5, 0.75, 0.9], [[0.75], [1.25]]
SHAPE = 2, 7, 2, 3
BOTH = {"trainable_beta": True, "trainable_threshold": True}
NEURONS = {
    "LIF": lambda **k: LIF(BETA, THRESHOLD, learning_rule="arctan", **k),
    "SynapticLIF": lambda **k: SynapticLIF(BETA, THRESHOLD, **k),
    "ALIF": lambda **k: ALIF(BETA, THRESHOLD, **k),
    "RecurrentLIF": lambda **k: RecurrentLIF(None, BETA, THRESHOLD, **k),
}


def drawn(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.4, 0.6, shape).astype("float32")


def plain_lif(x, g, beta, threshold, reset):
    """Return spikes and the derivatives of `sum(g * s)`, by hand."""
    v, u, s, kept = np.zeros(x[:, 0].shape), [], [], []
    for t in range(x.shape[1]):
        u.append(v + x[:, t])
        s.append((u[t] > threshold).astype(float))
        zero = reset == "zero"
        kept.append(u[t] * (1 - s[t]) if zero else u[t] - threshold * s[t])
        v = beta * kept[t]
    d, to_beta, to_threshold = 0 * v, 0 * v, 0 * v
    for t in reversed(range(x.shape[1])):
        to_beta += d * kept[t]
        by_spike = g[:, t] / (1 + (np.pi * (u[t] - threshold)) ** 2)
        to_threshold -= by_spike
        if not zero:
            to_threshold -= beta * d * s[t]
        d = by_spike + beta * d * (1 - s[t] if zero else 1.0)
    return np.stack(s, 1), to_beta, to_threshold


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_gradients_are_those_of_a_plain_loop(reset):
    x, g = drawn(*SHAPE), drawn(*SHAPE, seed=1)
    layer = NEURONS["LIF"](reset=reset, **BOTH)
    layer.build(SHAPE)
    _, (_, to_beta, to_threshold) = gradients(
        lambda x: ops.sum(layer(x) * g), [x], layer.trainable_variables
    )
    spikes, of_beta, of_threshold = plain_lif(
        x.astype(float), g, np.array(BETA), np.array(THRESHOLD), reset
    )
    np.testing.assert_array_equal(layer(x), spikes)
    np.testing.assert_allclose(to_beta, of_beta.sum((0, 1)), rtol=1e-4)
    expected = of_threshold.sum((0, 2))[:, None]
    np.testing.assert_allclose(to_threshold, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "reset", ["zero", pytest.param("subtract", marks=slow_on_jax)]
)
@pytest.mark.parametrize("name", ["SynapticLIF", "ALIF", "RecurrentLIF"])
def test_gradients_are_those_of_the_steps(name, reset):
    x, g = drawn(*SHAPE), drawn(*SHAPE, seed=1)
    layer = NEURONS[name](reset=reset, **BOTH)
    layer.build(SHAPE)

    def of_steps(x):
        state, total = layer.initial_state((2, *SHAPE[2:])), 0.0
        for t in range(SHAPE[1]):
            spikes, state = layer.step(x[:, t], state)
            total += ops.sum(spikes * g[:, t])
        return total

    found, expected = (
        gradients(f, [x], layer.trainable_variables)
        for f in (lambda x: ops.sum(layer(x) * g), of_steps)
    )
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_scalars_train_as_one_number():
    x, g = drawn(2, 6, 3), drawn(2, 6, 3, seed=1)
    layer = LIF(0.8, 0.9, learning_rule="arctan", **BOTH)
    layer.build(x.shape)
    assert [w.shape for w in layer.trainable_variables] == [(), ()]
    _, (_, to_beta, to_threshold) = gradients(
        lambda x: ops.sum(layer(x) * g), [x], layer.trainable_variables
    )
    _, of_beta, of_threshold = plain_lif(x.astype(float), g, 0.8, 0.9, "zero")
    np.testing.assert_allclose(to_beta, of_beta.sum(), rtol=1e-4)
    np.testing.assert_allclose(to_threshold, of_threshold.sum(), rtol=1e-4)


def test_training_finds_the_teachers_numbers():
    x = drawn(32, 20, 8)
    spikes = LIF(0.9, 1.5)(x)
    inputs = keras.Input((20, 8))
    layer = LIF(0.7, 1.0, learning_rule="arctan", **BOTH)
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(x, spikes, 32, 60, verbose=0)
    found = [float(ops.copy(w)) for w in (layer.beta, layer.threshold)]
    np.testing.assert_allclose(found, [0.9, 1.5], atol=0.05)


def test_constraints_keep_them_in_range():
    inputs = keras.Input((5, 3))
    layer = LIF([0.9, 0.5, 0.1], 0.1, learning_rule="arctan", **BOTH)
    outputs = layer(inputs)
    model = keras.Model(inputs, outputs)
    # So large steps leave any range, in either direction.
    model.compile(keras.optimizers.SGD(1e4), "mse")
    for sign in (1, -1):
        model.train_on_batch(drawn(4, 5, 3), sign * 10 * np.ones((4, 5, 3)))
        beta, threshold = map(np.asarray, map(ops.copy, layer.weights))
        assert np.all((beta > 0) & (beta <= 1)) and threshold > 0


def network():
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 4))
    x = TimeFold(keras.layers.Dense(3))(inputs)
    x = LIF(
        BETA, 0.25, learning_rule="arctan", reset="subtract", name="lif", **BOTH
    )(x)
    x = TimeFold(keras.layers.Dense(2))(x)
    return snn.Model(inputs, MembraneReadout(0.9, "arctan")(x))


def trained_network():
    model = network()
    lif = model.get_layer("lif")
    lif.beta.assign([0.25, 0.6, 0.8])
    lif.threshold.assign(0.3)
    return model


def test_what_was_learned_is_saved_streamed_and_recorded(tmp_path):
    model, x = trained_network(), drawn(3, 6, 4)
    expected = model.predict(x, verbose=0)
    inputs = keras.Input((6, 4))
    plain = model.layers[1](inputs)
    plain = LIF([0.25, 0.6, 0.8], 0.3, "subtract")(plain)
    plain = model.layers[-1](model.layers[3](plain))
    plain = keras.Model(inputs, plain)
    np.testing.assert_allclose(expected, plain(x), rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), expected)
    stream = snn.streaming(again).stream(3)
    for t in range(6):
        scores = stream.step(x[:, t])
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    recording = analysis.record(model, x)
    above = recording.potentials["lif"] > recording.thresholds["lif"]
    assert recording.thresholds["lif"] == pytest.approx(0.3)
    np.testing.assert_array_equal(above, recording.spikes["lif"] > 0)
    rates = snn.models.spike_rates(model, x)
    assert rates["lif"] == pytest.approx(recording.rates()["lif"])


def test_a_config_has_the_numbers_of_the_beginning():
    config = trained_network().get_layer("lif").get_config()
    assert config["threshold"] == 0.25
    np.testing.assert_allclose(config["beta"], BETA)
    again = LIF.from_config(config)
    assert again.get_config() == config
    assert again.trained_numbers == ["beta", "threshold"]


def test_windows_of_steps_have_the_same_gradients():
    model, x = network(), drawn(3, 6, 4)
    layered = keras.Model(model.input, model.output)
    model.remat_steps = 2
    assert model.runs_layer_by_layer is None
    found, expected = (
        gradients(
            lambda x, run=run: ops.sum(ops.square(run(x, training=True))),
            [x],
            model.trainable_variables,
        )[1][1:]
        for run in (model, layered)
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert sum(map(np.any, expected)) >= len(expected) - 1


@pytest.mark.parametrize("rule", ["collapsed", "exact", "rate"])
@pytest.mark.parametrize("option", ["trainable_beta", "trainable_threshold"])
def test_rules_without_their_derivative_are_refused(rule, option):
    words = f"{option}=True.*LIF.*surrogate.*(?i:{rule})"
    with pytest.raises(ValueError, match=words):
        LIF(learning_rule=rule, **{option: True})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LIF(trainable_beta="yes"), "trainable_beta.*True or False"),
        (lambda: IF(trainable_beta=True), "IF has no decay.*LIF"),
        (lambda: PLIF(trainable_beta=True), "PLIF is a weight already"),
    ],
)
def test_bad_arguments_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
