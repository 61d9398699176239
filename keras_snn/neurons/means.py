"""What a network's one backward pass on means over time is made of."""

from typing import Any, NamedTuple

from keras import ops


class Sums(NamedTuple):
    """What was counted of each neuron's spikes, tensors (batch, ...).

    Attributes:
        total: Number of spikes.
        t_last: Step of the last one, from 1; 0 if none.
        trace: `sum_t beta^(T - t) * s(t)`, or () where nobody asks for it.
    """

    total: Any
    t_last: Any
    trace: Any = ()


class Outcome(NamedTuple):
    """A layer's output as the backward pass sees it, tensors (batch, ...).

    Attributes:
        value: Its mean over time.
        derivative: Of the value, to the mean of the input.
    """

    value: Any
    derivative: Any


class Seen(NamedTuple):
    """What the exact rule knows of a layer in some steps.

    Attributes:
        spikes: The steps' spikes, axes (batch, time, ...); None of readouts.
        sums: `Sums` of all steps; None of readouts.
        time_steps: Number of all steps T.
    """

    spikes: Any
    sums: Sums
    time_steps: Any


@ops.custom_gradient
def replace(x, value, derivative):
    """Return `value`, whose derivative to `x` is `derivative`."""

    def grad(*args, upstream=None):
        if upstream is None:
            (upstream,) = args
        credit = ops.cast(upstream, derivative.dtype) * derivative
        return (
            ops.cast(credit, x.dtype),
            ops.zeros_like(value),
            ops.zeros_like(derivative),
        )

    return value, grad


@ops.custom_gradient
def known(x, value):
    """Return `value`, which `x` is known to equal, differentiable as `x` is.

    Compilers then drop what would compute `x`.
    """

    def grad(*args, upstream=None):
        (upstream,) = args or (upstream,)
        return upstream, ops.zeros_like(value)

    return value, grad
