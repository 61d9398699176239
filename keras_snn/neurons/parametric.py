"""LIF neurons whose decay is learned."""

import keras
from keras import ops

from keras_snn.neurons import learning_rules, time_loop
from keras_snn.neurons.dynamics import fire, reset_and_leak


def plif_step(v, current, decay, threshold=1.0, reset="zero", surrogate=None):
    """Advance LIF neurons, whose decay is a tensor, by one time step.

    `dynamics.lif_step` with a tensor `decay` that broadcasts over `v`; with a
    `surrogate` differentiable by it, though not through the reset.

    Returns:
        Tuple `(spikes, v)`.
    """
    u = v + current
    if surrogate is None:
        spikes = fire(u, threshold)
    else:
        spikes = surrogate(u - threshold)
    resets = ops.stop_gradient(spikes)
    return spikes, decay * reset_and_leak(u, resets, 1.0, threshold, reset)


def plif_window(
    currents, v, decay, surrogate, threshold=1.0, reset="zero", unroll=False
):
    """Return the spikes of some steps, and the potential after them.

        u(t) = v(t-1) + I(t)
        s(t) = 1 where u(t) > threshold, else 0
        v(t) = decay * r(t),   r(t) = reset(u(t), s(t))

    Differentiable to all three tensors; with `d(t) = dL/dI(t)` as in
    `learning_rules.surrogate_backward`,

        dL/d decay = sum_t d(t+1) * r(t),   d(T+1) = dL/dv(T)

    Args:
        currents: float32 tensor `I`, axes (batch, time, ...).
        v: float32 tensor, the potential before the first step, (batch, ...).
        decay: float32 tensor in (0, 1): a scalar, or one value for each entry
            of the last axis.
        surrogate: Object of `keras_snn.surrogates`.
        threshold: Firing threshold.
        reset: `"zero"` or `"subtract"`.
        unroll: Whether to lay out the time steps one by one.

    Returns:
        Tuple `(spikes, v)`.
    """
    neuron = {"threshold": threshold, "reset": reset}

    @ops.custom_gradient
    def run(currents, v, decay):
        def step(v, current):
            _, after = plif_step(v, current, decay, **neuron)
            return after, v + current

        potentials = time_loop.scan(step, v, (currents,), unroll=unroll)
        spikes = fire(potentials, threshold)
        kept = reset_and_leak(potentials, spikes, 1.0, **neuron)

        def grad(*args, upstream=None):
            of_spikes, of_v = keras.tree.flatten(args or upstream)
            credit = learning_rules.surrogate_backward(
                potentials,
                of_spikes,
                surrogate,
                decay,
                **neuron,
                unroll=unroll,
                upstream_v=of_v,
            )
            of_kept = ops.concatenate(
                [credit[:, 1:], ops.expand_dims(of_v, 1)], axis=1
            )
            axes = tuple(range(len(kept.shape) - len(decay.shape)))
            of_decay = ops.sum(of_kept * kept, axis=axes)
            return credit, credit[:, 0], of_decay

        return (spikes, decay * kept[:, -1]), grad

    return run(currents, v, decay)
