"""The rate rule against plain loops in float64 and against BPTT."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_snn import neurons, rules, surrogates
from keras_snn.layers import IF, LIF, MembraneReadout, TimeFold
from keras_snn.neurons import learning_rules, sequences
from tests.helpers import gradients, relative_error

RESETS = ("zero", "subtract")


def slope_of(x, steepness=4.0):
    """The sigmoid surrogate."""
    y = 1 / (1 + np.exp(-steepness * x))
    return steepness * y * (1 - y)


def run(currents, beta, threshold, reset, start=0.0):
    """Return float64 spikes and potentials before the reset, (T, ...)."""
    v, spikes, potentials = start, [], []
    for current in np.moveaxis(np.asarray(currents, "float64"), 1, 0):
        u = v + current
        s = 1.0 * (u > threshold)
        v = beta * (u * (1 - s) if reset == "zero" else u - threshold * s)
        spikes.append(s)
        potentials.append(u)
    return np.stack(spikes), np.stack(potentials)


def rate_credit(currents, upstream, beta, threshold, reset, start=0.0):
    """Section by section: e, k, g, and `D = g * mean_t(G)`."""
    spikes, potentials = run(currents, beta, threshold, reset, start)
    e, k, g = 0.0, 0.0, 0.0
    for s, u in zip(spikes, potentials):
        e = 1 + beta * k * e
        slope = slope_of(u - threshold)
        k = (1 - s - u * slope) if reset == "zero" else 1 - threshold * slope
        g = g + slope * e
    credit = g / len(spikes) * upstream.mean(1)
    return spikes, np.repeat(credit[:, None], len(spikes), axis=1)


def through_time_and_reset(currents, upstream, beta, threshold, reset):
    """Backpropagation through time; every path has its derivative.

    Backwards, unlike the rule: from `dL/dv` after a step to that before it,
    with `dv/du = beta * reset'` and `dv/ds` the derivative of the reset.
    """
    spikes, potentials = run(currents, beta, threshold, reset)
    of_v, credit = 0.0, np.zeros_like(spikes)
    for t in reversed(range(len(spikes))):
        s, u = spikes[t], potentials[t]
        by_s = -u if reset == "zero" else -threshold
        of_s = upstream[:, t] + beta * by_s * of_v
        passed = (1 - s) if reset == "zero" else 1.0
        of_v = of_s * slope_of(u - threshold) + beta * passed * of_v
        credit[t] = of_v
    return np.moveaxis(credit, 0, 1)


def normal(shape, mean=0.0, deviation=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(mean, deviation, shape).astype("float32")


def weighted(layer, upstream):
    return lambda x: ops.sum(layer(x) * upstream)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize(
    "beta, threshold, time_steps, start",
    [(1.0, 1.0, 1, 0.0), (0.5, 0.8, 4, 0.0), (0.95, 1.2, 17, 0.0)]
    + [(1.0, 0.75, 9, 0.5), (0.99, 1.0, 50, 0.0)],
)
def test_credit_against_a_loop(beta, threshold, time_steps, start, reset):
    x = normal((2, time_steps, 5, 3), 0.3, 0.5)
    upstream = normal(x.shape, seed=1)
    neuron = {"beta": beta, "threshold": threshold, "reset": reset}
    spikes, credit = rate_credit(x, upstream, **neuron, start=start)
    layer = LIF(**neuron, learning_rule="rate", initial_potential=start)
    value, (gradient,) = gradients(weighted(layer, upstream), [x])
    expected = np.sum(np.moveaxis(spikes, 0, 1) * upstream)
    assert value == pytest.approx(expected, rel=1e-4)
    assert relative_error(gradient, credit) < 1e-5


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("time_steps", [1, 8, 20])
def test_one_layer_equals_backpropagation_through_time(time_steps, reset):
    # Of a constant current, so D sums over time to the same.
    x = np.repeat(normal((3, 1, 40), 0.4, 0.4), time_steps, axis=1)
    upstream = np.repeat(normal((3, 1, 40), seed=1), time_steps, axis=1)
    neuron = {"beta": 0.9, "threshold": 1.0, "reset": reset}
    layer = LIF(**neuron, learning_rule="rate")
    _, (gradient,) = gradients(weighted(layer, upstream), [x])
    expected = through_time_and_reset(x, upstream, **neuron)
    assert relative_error(gradient.sum(1), expected.sum(1)) < 1e-6


@pytest.mark.parametrize("reset", RESETS)
def test_a_network_of_one_step_equals_backpropagation(reset):
    sizes = (12, 9, 7, 5)
    kernels = [
        normal(shape, 0.1, 0.6, seed)
        for seed, shape in enumerate(zip(sizes, sizes[1:]))
    ]
    x, labels = normal((4, 1, 12), 0.5, 0.5, 7), normal((4, 5), seed=8)
    inputs = keras.Input((1, 12))
    y = inputs
    for units in sizes[1:3]:
        y = TimeFold(keras.layers.Dense(units, use_bias=False))(y)
        y = IF(reset=reset, learning_rule="rate")(y)
    y = TimeFold(keras.layers.Dense(sizes[3], use_bias=False))(y)
    y = MembraneReadout(beta=1.0, learning_rule="rate")(y)
    model = keras.Model(inputs, y)
    model.set_weights(kernels)

    activity, slopes = [x[:, 0].astype("float64")], []
    for kernel in kernels[:2]:
        u = activity[-1] @ kernel
        activity.append(1.0 * (u > 1))
        slopes.append(slope_of(u - 1))
    error = 2 * (activity[-1] @ kernels[2] - labels)
    expected = [activity[2].T @ error]
    for n in (1, 0):
        error = (error @ kernels[n + 1].T) * slopes[n]
        expected.insert(0, activity[n].T @ error)

    def loss(x):
        return ops.sum(ops.square(model(x) - labels))

    _, found = gradients(loss, [x], model.trainable_variables)
    for actual, gradient in zip(found[1:], expected, strict=True):
        assert relative_error(actual, gradient) < 1e-6


def test_silent_neurons_are_credited_and_saturated_ones_hardly():
    x = np.float32([0.2, 30.0]) * np.ones((1, 6, 2), "float32")
    layer = LIF(0.5, learning_rule="rate")
    assert np.mean(layer(x), axis=(0, 1)).tolist() == [0.0, 1.0]
    _, (gradient,) = gradients(lambda x: ops.sum(layer(x)), [x])
    assert np.all(gradient[..., 0] > 0.1)
    assert np.all(gradient[..., 1] < 1e-6)


def test_step_by_hand():
    # slope_of(0) = 1 at the threshold, which does not fire.
    u, s, before = (np.float32([x]) for x in (2.0, 0.0, 0.5))
    found = {
        reset: neurons.rate_step(
            u, s, before, before, surrogates.Sigmoid(), 0.5, 2.0, reset
        )
        for reset in RESETS
    }
    # e = 1.5; k = 1 - 2; 0.5 * -1 * 1.5; the sum is 0.5 + 1.5.
    for eligibility, derivative in found.values():
        assert float(eligibility[0]) == pytest.approx(-0.75)
        assert float(derivative[0]) == pytest.approx(2.0)
    # Fired: zero takes all of the potential away, whatever it was.
    eligibility, _ = neurons.rate_step(
        u, s + 1, before, before, surrogates.Boxcar(0.1), 1.0, 1.0, "zero"
    )
    assert float(eligibility[0]) == 0.0


def test_membranes_are_float32_under_mixed_precision():
    # Next to 0.75 a half float cannot tell 2^-13 from 0.
    x = np.full((1, 110, 1), 2.0**-13, "float32")
    x[0, 0] = 0.75
    found = []
    for policy in ("float32", "mixed_bfloat16"):
        layer = IF(0.75 + 100 * 2.0**-13, dtype=policy, learning_rule="rate")
        _, (gradient,) = gradients(
            lambda x: ops.sum(ops.cast(layer(x), "float32")), [x]
        )
        found.append(gradient)
    np.testing.assert_allclose(found[1], found[0], rtol=0.01)


@pytest.mark.skipif(
    keras.config.backend() != "jax", reason="JAX lists what it keeps"
)
def test_what_is_kept_does_not_grow_with_time():
    import jax

    x = normal((2, 30, 5))
    _, backward = jax.vjp(
        lambda x: sequences.lif(x, learning_rule=rules.Rate()), x
    )
    kept = jax.tree.leaves(backward)
    assert kept and max(np.size(array) for array in kept) == 2 * 5


@pytest.mark.parametrize(
    "rule",
    ["rate", rules.Rate("arctan"), rules.Rate(surrogates.Boxcar(0.7))],
    ids=str,
)
def test_round_trip(rule, tmp_path):
    rule = learning_rules.get(rule)
    text = json.dumps(learning_rules.serialize(rule))
    again = learning_rules.get(json.loads(text))
    assert again == rule and hash(again) == hash(rule)
    assert repr(again) == repr(rule)
    inputs = keras.Input((None, 4))
    outputs = MembraneReadout(0.9, rule)(LIF(0.9, learning_rule=rule)(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [layer.learning_rule for layer in loaded.layers[1:]] == [rule, rule]


def test_rules_differ_by_their_surrogates():
    assert learning_rules.get("rate") == rules.Rate(surrogates.Sigmoid(4))
    others = [rules.Rate("arctan"), rules.Rate(surrogates.Sigmoid(3)), "rate"]
    assert all(rules.Rate() != other for other in others)
    assert repr(rules.Rate()) == "Rate(surrogate=Sigmoid(slope=4.0))"
