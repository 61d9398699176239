"""Whole spike trains from whole currents, with the derivative of a rule."""

import math

from keras import ops

from keras_snn.neurons import learning_rules, time_loop
from keras_snn.neurons.dynamics import fire, lif_step, reset_and_leak
from keras_snn.neurons.surrogates import Surrogate


def lif(
    currents,
    beta=0.99,
    threshold=1.0,
    reset="zero",
    learning_rule="collapsed",
    factor="leak_corrected",
    unroll=False,
    initial_potential=0.0,
):
    """Return the spikes of LIF neurons.

        u(t) = v(t-1) + I(t)
        s(t) = 1 where u(t) > threshold, else 0
        v(t) = beta * reset(u(t), s(t))

    Args:
        currents: float32 tensor `I`, axes (batch, time, ...).
        beta: Decay per time step, in (0, 1].
        threshold: Firing threshold.
        reset: `"zero"` or `"subtract"`.
        learning_rule: A result of `learning_rules.get`.
        factor: A result of `learning_rules.get_factor`; used by the rules
            `"exact"` and `"collapsed"`.
        unroll: Whether to lay out the time steps one by one.
        initial_potential: `v(0)` of every neuron.

    Returns:
        float32 tensor of 0 and 1, axes (batch, time, ...).
    """
    neuron = {"beta": beta, "threshold": threshold, "reset": reset}
    if isinstance(learning_rule, Surrogate):
        return _with_surrogate(
            currents, learning_rule, neuron, unroll, initial_potential
        )

    @ops.custom_gradient
    def spikes_of(currents):
        def step(v, current):
            spikes, v = lif_step(v, current, **neuron)
            return v, spikes

        start = ops.full_like(currents[:, 0], initial_potential)
        spikes = time_loop.scan(step, start, (currents,), unroll=unroll)
        total, trace, t_last = learning_rules.spike_statistics(spikes, beta)
        derivative = learning_rules.resolve_factor(
            factor, total, trace, beta, threshold
        )
        # One byte a spike is all the exact rule has to remember.
        fired = ops.cast(spikes, "int8")

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            if learning_rule == "exact":
                return learning_rules.exact_backward(
                    fired, upstream, derivative, unroll
                )
            return learning_rules.collapsed_backward(
                upstream, derivative, t_last
            )

        return spikes, grad

    return spikes_of(currents)


def _with_surrogate(currents, surrogate, neuron, unroll, initial_potential):
    @ops.custom_gradient
    def spikes_of(currents):
        def step(v, current):
            u = v + current
            v = reset_and_leak(u, fire(u, neuron["threshold"]), **neuron)
            return v, u

        start = ops.full_like(currents[:, 0], initial_potential)
        potentials = time_loop.scan(step, start, (currents,), unroll=unroll)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            return learning_rules.surrogate_backward(
                potentials, upstream, surrogate, unroll=unroll, **neuron
            )

        return fire(potentials, neuron["threshold"]), grad

    return spikes_of(currents)


def leaky_average(currents, beta=0.99, leak_in_backward=False):
    """Return the last potential of neurons that never fire, divided by T.

        v(t) = beta * (v(t-1) + I(t));   y = v(T) / T

    Args:
        currents: float32 tensor `I`, axes (batch, time, ...).
        beta: Decay per time step, in (0, 1].
        leak_in_backward: False is the paper's rule, `dL/dI(t) = dL/dy / T` at
            every step. True is the derivative of the equation,
            `dL/dI(t) = beta^(T - t + 1) * dL/dy / T`.

    Returns:
        float32 tensor, axes (batch, ...).
    """

    @ops.custom_gradient
    def average(currents):
        steps = time_loop.step_numbers(currents)
        time_steps = ops.cast(ops.shape(currents)[1], "float32")
        weights = ops.exp(math.log(beta) * (time_steps - steps + 1.0))
        weights = weights / time_steps

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            upstream = ops.expand_dims(upstream, 1)
            if leak_in_backward:
                return weights * upstream
            return ops.ones_like(weights) * (upstream / time_steps)

        return ops.sum(weights * currents, axis=1), grad

    return average(currents)
