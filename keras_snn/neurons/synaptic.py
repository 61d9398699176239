"""LIF neurons whose input decays in the synapse."""

from keras import ops

from keras_snn.neurons import time_loop


def synaptic_currents(currents, i, alpha=0.9, unroll=False):
    """Return the currents that synapses with a memory pass on.

        i(t) = alpha * i(t-1) + I(t)

    Args:
        currents: float32 tensor `I`, axes (batch, time, ...).
        i: float32 tensor, the synaptic current before the first step,
            (batch, ...).
        alpha: Fraction of the synaptic current kept after a step.
        unroll: Whether to lay out the time steps one by one.

    Returns:
        float32 tensor, axes (batch, time, ...). Its last step is the state
        after these steps.
    """

    def leaky_sum(carry, x):
        carry = alpha * carry + x
        return carry, carry

    @ops.custom_gradient
    def run(currents, i):
        filtered = time_loop.scan(leaky_sum, i, (currents,), unroll=unroll)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            # The derivative of a leaky sum is one from the other end.
            credit = time_loop.scan(
                leaky_sum,
                ops.zeros_like(i),
                (upstream,),
                reverse=True,
                unroll=unroll,
            )
            return credit, alpha * credit[:, 0]

        return filtered, grad

    return run(currents, i)
