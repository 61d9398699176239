"""LIF neurons whose threshold rises with their own spikes."""

import keras
from keras import ops

from keras_snn.neurons import learning_rules, time_loop
from keras_snn.neurons.dynamics import fire


def alif_step(
    v,
    a,
    current,
    beta=0.99,
    threshold=1.0,
    reset="zero",
    amplitude=0.1,
    rho=0.95,
    surrogate=None,
):
    """Advance adaptive LIF neurons by one time step.

        u = v + I
        A = threshold + amplitude * a
        s = 1 where u > A, else 0
        v = beta * u * (1 - s)             reset="zero"
        v = beta * (u - A * s)             reset="subtract"
        a = rho * a + s

    Args:
        v: Tensor, the membrane potential from the step before.
        a: Tensor, the adaptation from the step before.
        current: Tensor `I`, the input current of this step.
        beta: Decay of the potential per time step.
        threshold: Firing threshold without adaptation.
        reset: `"zero"` or `"subtract"`.
        amplitude: What one unit of adaptation adds to the threshold.
        rho: Decay of the adaptation per time step.
        surrogate: Object of `keras_snn.surrogates` that the spikes are
            differentiable by, though not through the reset; None for spikes
            without a derivative.

    Returns:
        Tuple `(spikes, v, a)`.
    """
    u = v + current
    effective = above_adaptation(u, a, amplitude)
    if surrogate is None:
        spikes = fire(effective, threshold)
    else:
        spikes = surrogate(effective - threshold)
    resets = ops.stop_gradient(spikes)
    if reset == "zero":
        kept = u * (1.0 - resets)
    else:
        risen = ops.stop_gradient(amplitude * a)
        kept = u - (threshold + risen) * resets
    return spikes, beta * kept, rho * a + spikes


def above_adaptation(u, a, amplitude):
    """Return the potential less what the threshold has risen by."""
    return u - amplitude * a


def alif_window(
    currents,
    v,
    a,
    surrogate,
    beta=0.99,
    threshold=1.0,
    reset="zero",
    amplitude=0.1,
    rho=0.95,
    unroll=False,
    with_potentials=False,
):
    """Return the spikes of some steps, and the state after them.

    Backward, with `x = u - A` and `k = beta * (1 - s)` or, with
    `reset="subtract"`, `k = beta`:

        q(t) = (G(t) + e(t+1)) * surrogate'(x(t)) + dL/dx(t)
        d(t) = q(t) + k(t) * d(t+1)                 dL/dI(t)
        e(t) = rho * e(t+1) - amplitude * q(t)      dL/da(t)

    No derivative flows through the reset; through the adaptation it does, as
    that is what carries credit over long times.

    Args:
        currents: float32 tensor `I`, axes (batch, time, ...).
        v: float32 tensor, the potential before the first step, (batch, ...).
        a: float32 tensor, the adaptation before the first step.
        surrogate: Object of `keras_snn.surrogates`.
        beta, threshold, reset, amplitude, rho: As in `alif_step`. The first
            two may be tensors, to which the spikes are then differentiable,
            too.
        unroll: Whether to lay out the time steps one by one.
        with_potentials: Whether the potentials, less what the threshold has
            risen by, are returned, too.

    Returns:
        Tuple `(spikes, v, a)` or `(spikes, v, a, potentials)`.
    """
    numbers = {"beta": beta, "threshold": threshold}
    learned = {name: x for name, x in numbers.items() if ops.is_tensor(x)}
    fixed = {"reset": reset, "amplitude": amplitude, "rho": rho}

    @ops.custom_gradient
    def run(currents, v, a, *values):
        neuron = {**numbers, **dict(zip(learned, values)), **fixed}
        beta, threshold = neuron["beta"], neuron["threshold"]

        def step(carry, current):
            v, a = carry
            _, *after = alif_step(v, a, current, **neuron)
            return tuple(after), (v + current, a)

        u, a = time_loop.scan(step, (v, a), (currents,), unroll=unroll)
        effective = above_adaptation(u, a, amplitude)
        # The last step once more, from its potential: its current is in it.
        last = alif_step(u[:, -1], a[:, -1], 0.0, **neuron)

        def grad(*args, upstream=None):
            of_spikes, of_v, of_a, *of_u = keras.tree.flatten(args or upstream)

            def step(carry, x, upstream, *of_u):
                of_v, of_a = carry
                credit = (upstream + of_a) * surrogate.derivative(x)
                for own in of_u:
                    credit = credit + own
                kept = beta * of_v
                if reset == "zero":
                    kept = ops.where(ops.greater(x, 0.0), 0.0, kept)
                carry = (credit + kept, rho * of_a - amplitude * credit)
                return carry, carry

            to_v, to_a = time_loop.scan(
                step,
                (of_v, of_a),
                (effective - threshold, of_spikes, *of_u),
                reverse=True,
                unroll=unroll,
            )
            found = []
            if learned:
                found = of_numbers(
                    of_spikes, _next(to_v, of_v), _next(to_a, of_a)
                )
            return to_v, to_v[:, 0], to_a[:, 0], *found

        def of_numbers(of_spikes, later, later_a):
            slope = surrogate.derivative(effective - threshold)
            if reset == "zero":
                kept = u * (1.0 - spikes)
            else:
                kept = u - (threshold + amplitude * a) * spikes
            return learning_rules.credit_of_numbers(
                dict(zip(learned, values)),
                spikes,
                (of_spikes + later_a) * slope,
                later,
                kept,
                beta,
                reset,
            )

        spikes = fire(effective, threshold)
        outputs = (spikes, *last[1:])
        return (*outputs, effective) if with_potentials else outputs, grad

    return run(currents, v, a, *learned.values())


def _next(x, last):
    """Return what comes at step t + 1, `last` after the last step."""
    return ops.concatenate([x[:, 1:], ops.expand_dims(last, 1)], axis=1)
