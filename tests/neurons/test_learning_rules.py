import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_snn import neurons, surrogates
from keras_snn.neurons import learning_rules, sequences
from tests.helpers import Golden, gradients, slow_on_jax


def spike_train(seed=0, shape=(3, 11, 7), rate=0.3):
    rng = np.random.default_rng(seed)
    return (rng.random(shape) < rate).astype("float32")


def test_statistics_against_a_loop():
    spikes, beta = spike_train(), 0.9
    trace = np.zeros((3, 7))
    last = np.zeros((3, 7))
    for t in range(spikes.shape[1]):
        trace = beta * trace + spikes[:, t]
        last = np.where(spikes[:, t] > 0, t + 1, last)
    total, f, t_last = neurons.spike_statistics(spikes, beta)
    np.testing.assert_array_equal(total, spikes.sum(1))
    np.testing.assert_allclose(f, trace, rtol=1e-5)
    np.testing.assert_array_equal(t_last, last)


def test_factor_of_a_neuron_that_fired_once_at_the_last_step():
    # total = f = 1: (1 + ln beta) / threshold
    factor = neurons.leak_corrected_factor(
        np.float32([1.0]), np.float32([1.0]), beta=0.99, threshold=2.0
    )
    assert float(factor[0]) == pytest.approx((1 + math.log(0.99)) / 2)


def test_factor_of_a_silent_neuron_is_zero():
    zero = np.zeros(1, "float32")
    assert float(neurons.leak_corrected_factor(zero, zero)[0]) == 0.0


@pytest.mark.parametrize("unroll", [False, True])
def test_exact_rule_credits_the_next_spike(unroll):
    spikes = np.float32([0, 1, 0, 1, 0]).reshape(1, 5, 1)
    upstream = np.float32([1, 2, 3, 4, 5]).reshape(1, 5, 1)
    credit = neurons.exact_backward(
        spikes, upstream, np.float32([[0.5]]), unroll
    )
    assert np.ravel(credit).tolist() == [1.0, 1.0, 2.0, 2.0, 0.0]


def test_collapsed_rule_leaves_out_what_follows_the_last_spike():
    upstream = np.float32([1, 2, 3, 4, 5]).reshape(1, 5, 1)
    credit = neurons.collapsed_backward(
        upstream, np.float32([[0.5]]), np.float32([[4.0]])
    )
    np.testing.assert_allclose(np.ravel(credit), 0.5 * 3 * 4 / 5)


def lif_loop(currents, beta, threshold, reset, start=0.0):
    """Plain NumPy LIF; returns spikes and potentials before the reset."""
    v = np.full_like(currents[:, 0], start)
    spikes, potentials = [], []
    for t in range(currents.shape[1]):
        u = v + currents[:, t]
        s = (u > np.float32(threshold)).astype("float32")
        v = np.float32(beta) * (
            u * (1 - s) if reset == "zero" else u - np.float32(threshold) * s
        )
        spikes.append(s)
        potentials.append(u)
    return np.stack(spikes, 1), np.stack(potentials, 1)


def numpy_backward(rule, spikes, potentials, upstream, beta, threshold, reset):
    """Section 3, section 4 and ordinary BPTT as plain loops."""
    time_steps = spikes.shape[1]
    total, trace, last = (np.zeros_like(spikes[:, 0]) for _ in range(3))
    for t in range(time_steps):
        total += spikes[:, t]
        trace = beta * trace + spikes[:, t]
        last = np.where(spikes[:, t] > 0, t + 1, last)
    factor = (
        (trace > 1e-3) + math.log(beta) * trace / np.maximum(total, 1)
    ) / threshold
    if rule == "collapsed":
        d = factor * upstream.mean(1) * last / time_steps
        return np.repeat(d[:, None], time_steps, 1)
    credit, carry = np.zeros_like(spikes), np.zeros_like(total)
    for t in reversed(range(time_steps)):
        s, g = spikes[:, t], upstream[:, t]
        if rule == "exact":
            carry = np.where(s > 0, factor * g, carry)
        else:
            kept = beta * carry * ((1 - s) if reset == "zero" else 1)
            x = potentials[:, t] - threshold
            carry = g * np.asarray(rule.derivative(x)) + kept
        credit[:, t] = carry
    return credit


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize(
    "rule", ["exact", "collapsed", surrogates.Arctan(), surrogates.Boxcar()]
)
def test_lif_and_its_gradient_against_loops(rule, reset, unroll):
    rng = np.random.default_rng(1)
    currents = rng.normal(0.2, 0.5, (2, 13, 5)).astype("float32")
    upstream = rng.normal(size=currents.shape).astype("float32")
    neuron = {"beta": 0.9, "threshold": 0.8, "reset": reset}
    spikes, potentials = lif_loop(currents, **neuron)

    def weighted(x):
        y = sequences.lif(x, learning_rule=rule, unroll=unroll, **neuron)
        return ops.sum(y * upstream)

    value, (gradient,) = gradients(weighted, [currents])
    assert value == pytest.approx((spikes * upstream).sum(), rel=1e-4)
    expected = numpy_backward(rule, spikes, potentials, upstream, **neuron)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("leak_in_backward", [False, True])
def test_readout_and_its_gradient_against_a_loop(leak_in_backward):
    rng = np.random.default_rng(2)
    currents = rng.normal(size=(2, 6, 3)).astype("float32")
    v = np.zeros((2, 3))
    for t in range(6):
        v = 0.9 * (v + currents[:, t])

    def total(x):
        return ops.sum(sequences.leaky_average(x, 0.9, leak_in_backward))

    value, (gradient,) = gradients(total, [currents])
    assert value == pytest.approx(v.sum() / 6, rel=1e-5)
    leak = 0.9 ** np.arange(6, 0, -1) if leak_in_backward else np.ones(6)
    expected = np.broadcast_to((leak / 6)[None, :, None], currents.shape)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "case", ["lenet", pytest.param("vgg9", marks=slow_on_jax), "resnet11"]
)
def test_total_trace_and_factor_equal_the_golden_case(case):
    golden = Golden(case)
    model = golden.model("exact")
    lifs = [layer for layer in model.layers if type(layer).__name__ == "LIF"]
    trains = keras.Model(model.input, [x.output for x in lifs])(golden.spikes)
    assert len(lifs) == len(golden.neurons)
    for train, name in zip(trains, golden.neurons):
        total, trace, _ = neurons.spike_statistics(train, golden.beta)
        factor = neurons.leak_corrected_factor(total, trace, golden.beta)
        np.testing.assert_array_equal(total, golden.frames(f"total/{name}"))
        np.testing.assert_allclose(
            trace, golden.frames(f"trace/{name}"), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
            factor, golden.frames(f"factor/{name}"), rtol=1e-5, atol=1e-6
        )


def test_unknown_rule_lists_what_is_known():
    with pytest.raises(ValueError, match='"exact", "collapsed", "arctan"'):
        learning_rules.get("backprop")
