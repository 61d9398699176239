"""Whole spike trains from whole currents, with the derivative of a rule."""

import math

import keras
from keras import ops

from keras_snn.neurons import learning_rules, masks, time_loop
from keras_snn.neurons.dynamics import fire, lif_step, reset_and_leak
from keras_snn.neurons.rate import Rate, rate_backward, rate_step
from keras_snn.neurons.surrogates import Surrogate
from keras_snn.neurons.synaptic import synaptic_currents


def lif(
    currents,
    beta=0.99,
    threshold=1.0,
    reset="zero",
    learning_rule="collapsed",
    factor="leak_corrected",
    unroll=False,
    initial_potential=0.0,
    time_steps=None,
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
        time_steps: T of each sample, as in `masks.existing_first`; None is
            all steps.

    Returns:
        float32 tensor of 0 and 1, axes (batch, time, ...).
    """
    neuron = {"beta": beta, "threshold": threshold, "reset": reset}
    if isinstance(learning_rule, Rate):
        return rate_spikes(
            currents,
            learning_rule.surrogate,
            **neuron,
            unroll=unroll,
            initial_potential=initial_potential,
            time_steps=time_steps,
        )
    if isinstance(learning_rule, Surrogate):
        start = ops.full_like(currents[:, 0], initial_potential)
        spikes, _ = surrogate_window(
            currents, start, learning_rule, **neuron, unroll=unroll
        )
        return spikes

    @ops.custom_gradient
    def spikes_of(currents, *time_steps):
        def step(v, current):
            spikes, v = lif_step(v, current, **neuron)
            return v, spikes

        start = ops.full_like(currents[:, 0], initial_potential)
        spikes = time_loop.scan(step, start, (currents,), unroll=unroll)
        spikes = masks.up_to_last(spikes, *time_steps)
        total, trace, t_last = learning_rules.spike_statistics(
            spikes, beta, *time_steps
        )
        derivative = learning_rules.resolve_factor(
            factor, total, trace, beta, threshold
        )
        # One byte a spike is all the exact rule has to remember.
        fired = ops.cast(ops.greater(spikes, 0.0), "int8")

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            if learning_rule == "exact":
                credit = learning_rules.exact_backward(
                    fired, upstream, derivative, unroll
                )
            else:
                credit = learning_rules.collapsed_backward(
                    upstream, derivative, t_last, *time_steps
                )
            return credit, *map(ops.zeros_like, time_steps)

        return spikes, grad

    return spikes_of(currents, *masks.given(time_steps))


def rate_spikes(
    currents,
    surrogate,
    beta=0.99,
    threshold=1.0,
    reset="zero",
    unroll=False,
    initial_potential=0.0,
    time_steps=None,
):
    """Return the spikes of LIF neurons, differentiable by the rate rule.

    One number a neuron is kept for the backward pass, however many steps.

    Args:
        currents: float32 tensor `I`, axes (batch, time, ...).
        surrogate: Object of `keras_snn.surrogates`.
        beta, threshold, reset, unroll, initial_potential, time_steps: As in
            `lif`.
    """
    neuron = {"beta": beta, "threshold": threshold, "reset": reset}

    @ops.custom_gradient
    def spikes_of(currents, *time_steps):
        def step(current, state):
            v, eligibility, total, *left = state
            u = v + current
            spikes = fire(u, threshold)
            eligibility, after = rate_step(
                u, spikes, eligibility, total, surrogate, **neuron
            )
            for count in left:
                after = ops.where(ops.greater(count, 0.0), after, total)
            left = [count - 1.0 for count in left]
            v = reset_and_leak(u, spikes, **neuron)
            return spikes, [v, eligibility, after, *left]

        # Eager TensorFlow would keep the steps for a derivative of its own.
        currents = ops.stop_gradient(currents)
        v = ops.full_like(currents[:, 0], initial_potential)
        state = [v, ops.zeros_like(v), ops.zeros_like(v), *time_steps]
        spikes, (_, _, total, *_) = time_loop.through_time(
            step, state, currents, unroll
        )
        derivative = total / masks.time_steps_of(currents, *time_steps)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            credit = rate_backward(upstream, derivative, *time_steps)
            return credit, *map(ops.zeros_like, time_steps)

        return spikes, grad

    return spikes_of(currents, *masks.given(time_steps))


def surrogate_window(
    currents,
    v,
    surrogate,
    beta=0.99,
    threshold=1.0,
    reset="zero",
    unroll=False,
    with_potentials=False,
):
    """Return the spikes of some steps, and the potential after them.

    What `lif` computes with a surrogate, and besides the derivatives to the
    potential before and from the one after, so that T steps may be cut into
    windows. With `d(t) = dL/dI(t)`, see `learning_rules.surrogate_backward`,
    and `r(t) = reset(u(t), s(t))`:

        dL/d beta = sum_t d(t+1) * r(t),   d(T+1) = dL/dv(T)
        dL/d threshold = - sum_t dL/ds(t) * surrogate'(u(t) - threshold)
                         - sum_t beta * d(t+1) * s(t)     reset="subtract"

    Args:
        currents: float32 tensor `I`, axes (batch, time, ...).
        v: float32 tensor, the potential before the first step, (batch, ...).
        surrogate: Object of `keras_snn.surrogates`.
        beta: Decay per step: a number, an array, or a float32 tensor, to
            which the spikes are then differentiable, too.
        threshold: Firing threshold, in the same way.
        reset: `"zero"` or `"subtract"`.
        unroll: Whether to lay out the time steps one by one.
        with_potentials: Whether the potentials `u`, before the reset, are
            returned, too.

    Returns:
        Tuple `(spikes, v)` or `(spikes, v, potentials)`.
    """
    numbers = {"beta": beta, "threshold": threshold}
    learned = {name: x for name, x in numbers.items() if ops.is_tensor(x)}

    @ops.custom_gradient
    def run(currents, v, *values):
        neuron = {**numbers, **dict(zip(learned, values)), "reset": reset}

        def step(v, current):
            u = v + current
            spikes = fire(u, neuron["threshold"])
            return reset_and_leak(u, spikes, **neuron), u

        potentials = time_loop.scan(step, v, (currents,), unroll=unroll)
        spikes = fire(potentials, neuron["threshold"])
        last = reset_and_leak(potentials[:, -1], spikes[:, -1], **neuron)

        def grad(*args, upstream=None):
            of_spikes, of_v, *of_u = keras.tree.flatten(args or upstream)
            credit = learning_rules.surrogate_backward(
                potentials,
                of_spikes,
                surrogate,
                unroll=unroll,
                upstream_v=of_v,
                upstream_u=of_u[0] if of_u else None,
                **neuron,
            )
            found = []
            if learned:
                found = learning_rules.credit_of_numbers(
                    dict(zip(learned, values)),
                    spikes,
                    of_spikes
                    * surrogate.derivative(potentials - neuron["threshold"]),
                    later=ops.concatenate(
                        [credit[:, 1:], ops.expand_dims(of_v, 1)], axis=1
                    ),
                    kept=reset_and_leak(
                        potentials, spikes, **{**neuron, "beta": 1.0}
                    ),
                    beta=neuron["beta"],
                    reset=reset,
                )
            return credit, credit[:, 0], *found

        outputs = (spikes, last)
        return (*outputs, potentials) if with_potentials else outputs, grad

    return run(currents, v, *learned.values())


@ops.custom_gradient
def credit_next_spike(currents, carry, spikes, factor):
    """Return `(spikes, carry)`, differentiable by the exact rule.

        c(t) = factor * G(t) where s(t) else c(t+1);   D(t) = c(t)

    `carry` takes the credit from window to window: the derivative to the
    returned one is `c` after the last of these steps, and the derivative to
    the given one is `c` of the first.

    Args:
        currents: float32 tensor, axes (batch, time, ...); its values are not
            used.
        carry: float32 tensor, axes (batch, ...).
        spikes: float32 tensor `s`, axes (batch, time, ...).
        factor: float32 tensor, axes (batch, ...).
    """

    def grad(*args, upstream=None):
        of_spikes, of_carry = keras.tree.flatten(args or upstream)
        credit = learning_rules.exact_backward(
            spikes,
            of_spikes,
            factor,
            unroll=time_loop.unrolls_windows(spikes),
            credit=of_carry,
        )
        zeros = ops.zeros_like(spikes), ops.zeros_like(factor)
        return credit, credit[:, 0], *zeros

    return (spikes, carry), grad


@ops.custom_gradient
def credit_all_steps(currents, carry):
    """Return `carry`, whose derivative is that of a sum over time.

    Args:
        currents: float32 tensor, axes (batch, time, ...); its values are not
            used.
        carry: float32 tensor, axes (batch, ...).
    """

    def grad(*args, upstream=None):
        (upstream,) = args or (upstream,)
        each = ops.expand_dims(upstream, 1)
        return ops.broadcast_to(each, ops.shape(currents)), upstream

    return carry, grad


def leaky_sum(currents, v, beta=0.99, leak_in_backward=False):
    """Return the potential of neurons that never fire, after some steps.

        v(t) = beta * (v(t-1) + I(t))

    Args:
        currents: float32 tensor `I`, axes (batch, time, ...).
        v: float32 tensor, the potential before the first step.
        beta: Decay per step, in (0, 1].
        leak_in_backward: As in `leaky_average`.
    """
    steps = time_loop.step_numbers(currents)
    count = ops.cast(ops.shape(currents)[1], "float32")
    weights = ops.exp(math.log(beta) * (count - steps + 1.0))
    after = ops.exp(math.log(beta) * count) * v
    after = after + ops.sum(weights * currents, axis=1)
    if leak_in_backward:
        return after
    without_leak = v + ops.sum(currents, axis=1)
    derivative_only = without_leak - ops.stop_gradient(without_leak)
    return ops.stop_gradient(after) + derivative_only


def leaky_potentials(
    currents, v, beta=0.99, leak_in_backward=False, unroll=False
):
    """Return the potentials of neurons that never fire, at every step.

        v(t) = beta * (v(t-1) + I(t))

    Args:
        currents: float32 tensor `I`, axes (batch, time, ...).
        v: float32 tensor, the potential before the first step.
        beta: Decay per step, in (0, 1].
        leak_in_backward: As in `leaky_average`: else the derivative of `v(t)`
            to each current up to t is 1.
        unroll: Whether to lay out the time steps one by one.
    """
    potentials = synaptic_currents(beta * currents, v, beta, unroll)
    if leak_in_backward:
        return potentials
    without_leak = ops.expand_dims(v, 1) + ops.cumsum(currents, axis=1)
    derivative_only = without_leak - ops.stop_gradient(without_leak)
    return ops.stop_gradient(potentials) + derivative_only


def leaky_average(currents, beta=0.99, leak_in_backward=False, time_steps=None):
    """Return the last potential of neurons that never fire, divided by T.

        v(t) = beta * (v(t-1) + I(t));   y = v(T) / T

    Args:
        currents: float32 tensor `I`, axes (batch, time, ...).
        beta: Decay per time step, in (0, 1].
        leak_in_backward: False is the paper's rule, `dL/dI(t) = dL/dy / T` at
            every step. True is the derivative of the equation,
            `dL/dI(t) = beta^(T - t + 1) * dL/dy / T`.
        time_steps: T of each sample, as in `masks.existing_first`, after
            which currents are 0; None is all steps.

    Returns:
        float32 tensor, axes (batch, ...).
    """

    @ops.custom_gradient
    def average(currents, *time_steps):
        age = masks.steps_left(currents, *time_steps)
        count = masks.time_steps_of(currents, *time_steps, keepdims=True)
        weights = ops.exp(math.log(beta) * (age + 1.0)) / count

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            upstream = ops.expand_dims(upstream, 1)
            if leak_in_backward:
                credit = weights * upstream
            else:
                credit = ops.ones_like(weights) * (upstream / count)
            return credit, *map(ops.zeros_like, time_steps)

        return ops.sum(weights * currents, axis=1), grad

    return average(currents, *masks.given(time_steps))
