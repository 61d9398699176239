import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_snn.layers import IF, LIF, TimeFold
from tests.helpers import compiled, gradients
from tests.neurons.test_learning_rules import lif_loop

RULES = ("collapsed", "exact", "arctan", "rate")


def currents_of(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 0.5, shape).astype("float32")


def weighted_spikes(layer, shape, seed=7):
    """Return a scalar function with another weight on every spike."""
    weights = np.random.default_rng(seed).normal(size=shape)
    weights = weights.astype("float32")
    return lambda x: ops.sum(layer(x) * weights)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("shape", [(2, 9, 5), (2, 6, 3, 4, 2)])
def test_spikes_against_a_loop(shape, reset):
    x = currents_of(shape)
    neuron = {"beta": 0.9, "threshold": 0.8, "reset": reset}
    expected, _ = lif_loop(x, **neuron)
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_array_equal(LIF(**neuron)(x), expected)


@pytest.mark.parametrize(
    "beta, threshold, current",
    [(0.9, 1.0, 0.11), (0.9, 1.0, 0.35), (0.99, 2.0, 0.15), (0.5, 1.0, 3.0)],
)
def test_firing_rate_of_a_constant_current(beta, threshold, current):
    # From rest u(n) = I (1 - beta^n) / (1 - beta), so the first spike is at
    # the least n with beta^n < 1 - threshold (1 - beta) / I, and again n
    # steps after every reset to 0.
    n = 1 + math.floor(
        math.log(1 - threshold * (1 - beta) / current) / math.log(beta)
    )
    spikes = LIF(beta=beta, threshold=threshold)(
        np.full((1, 90, 1), current, "float32")
    )
    steps = 1 + np.flatnonzero(np.asarray(spikes))
    assert steps.tolist() == list(range(n, 91, n))


@pytest.mark.parametrize("beta, current", [(0.9, 0.09), (0.5, 0.5)])
def test_no_spike_where_the_potential_tends_to_the_threshold(beta, current):
    # u(n) rises to I / (1 - beta) <= 1 and never beyond.
    spikes = LIF(beta=beta)(np.full((1, 90, 1), current, "float32"))
    assert not np.any(spikes)


@pytest.mark.parametrize("rule", ["collapsed", "arctan", "rate"])
def test_initial_potential_against_a_loop(rule):
    x, neuron = currents_of((2, 9, 5)), {"threshold": 0.8, "reset": "subtract"}
    layer = LIF(0.9, **neuron, learning_rule=rule, initial_potential=0.7)
    expected, _ = lif_loop(x, 0.9, **neuron, start=0.7)
    assert (expected != lif_loop(x, 0.9, **neuron)[0]).any()
    np.testing.assert_array_equal(layer(x), expected)
    again = LIF.from_config(layer.get_config())
    assert again.initial_potential == 0.7
    with pytest.raises(ValueError, match="must be finite"):
        IF(initial_potential=math.inf)


@pytest.mark.parametrize("count, expected", [(3, 0.0), (4, 1.0)])
def test_a_pooling_neuron_needs_four_spikes_of_four(count, expected):
    frame = np.float32([1] * count + [0] * (4 - count)).reshape(1, 1, 2, 2, 1)
    pooled = TimeFold(keras.layers.AveragePooling2D(2))(frame)
    assert float(IF(threshold=0.75)(pooled)[0, 0, 0, 0, 0]) == expected


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_if_sums_without_leak(reset):
    x = currents_of((2, 9, 5))
    expected, _ = lif_loop(x, beta=1.0, threshold=1.0, reset=reset)
    np.testing.assert_array_equal(IF(reset=reset)(x), expected)


def test_tau_is_beta_by_another_name():
    layer = LIF(tau=10)
    assert layer.beta == pytest.approx(math.exp(-1 / 10))
    assert layer.tau == pytest.approx(10)
    assert IF().tau == math.inf


def test_batch_and_time_may_be_unknown():
    inputs = keras.Input((None, 5))
    model = keras.Model(inputs, LIF(beta=0.9)(inputs))
    assert model.output_shape == (None, None, 5)
    for shape in ((1, 3, 5), (4, 7, 5)):
        x = currents_of(shape)
        expected, _ = lif_loop(x, 0.9, 1.0, "zero")
        np.testing.assert_array_equal(model(x), expected)


def test_a_sample_does_not_depend_on_its_batch():
    x = currents_of((5, 8, 3))
    together = np.asarray(LIF()(x))
    alone = np.concatenate([LIF()(x[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(together, alone)


def test_no_state_is_kept_from_call_to_call():
    layer, x = LIF(), currents_of((2, 8, 3))
    np.testing.assert_array_equal(layer(x), layer(x))
    assert layer.variables == []


@pytest.mark.parametrize("rule", RULES)
def test_unrolled_equals_loop(rule):
    x = currents_of((2, 7, 4))
    found = [
        gradients(
            weighted_spikes(LIF(learning_rule=rule, unroll=unroll), x.shape),
            [x],
        )
        for unroll in (False, True)
    ]
    (value, (gradient,)), (unrolled, (unrolled_gradient,)) = found
    assert value == pytest.approx(unrolled, rel=1e-5)
    np.testing.assert_allclose(gradient, unrolled_gradient, atol=1e-6)
    assert np.any(gradient)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_compiled_equals_eager(rule, jit_compile):
    x = currents_of((2, 7, 4))
    function = weighted_spikes(LIF(learning_rule=rule), x.shape)
    value, (gradient,) = gradients(function, [x])
    again, (same,) = gradients(compiled(function, jit_compile), [x])
    assert again == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(same, gradient, rtol=1e-5, atol=1e-6)


def test_step_by_step_equals_the_whole_sequence():
    layer, x = LIF(beta=0.8, reset="subtract"), currents_of((2, 6, 3))
    state, spikes = layer.initial_state((2, 3)), []
    for t in range(6):
        frame, state = layer.step(x[:, t], state)
        spikes.append(np.asarray(frame))
    np.testing.assert_array_equal(np.stack(spikes, 1), layer(x))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_membranes_are_float32_under_mixed_precision(policy):
    # Next to 0.75 a half float cannot tell 2^-13 from 0; 101 of them count.
    small = 2.0**-13
    x = np.full((1, 110, 1), small, "float32")
    x[0, 0] = 0.75
    spikes = IF(threshold=0.75 + 100 * small, dtype=policy)(x)
    assert keras.backend.standardize_dtype(spikes.dtype) == policy[6:]
    spikes = np.asarray(ops.cast(spikes, "float32"))
    assert np.flatnonzero(spikes)[0] == 101


def test_time_constant_survives_the_config():
    layer = LIF(tau=5, reset="subtract", learning_rule="sigmoid", factor=0.5)
    again = LIF.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.beta == layer.beta
