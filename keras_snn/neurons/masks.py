"""Sequences in which some steps are padding.

A masked step does not exist: neurons hold their state, nothing is spiked, and
T is the number of the others. So the steps that exist are put first, in their
order; then what is causal runs as ever, and what looks at a whole sequence
is told each sample's own T.
"""

import keras
from keras import ops

from keras_snn.neurons import time_loop


def of_steps(mask):
    """Return a mask, True where a step exists, as bool of (batch, time).

    Keras masks each pixel of a sequence of images; a step exists where any of
    its pixels does.
    """
    if len(mask.shape) < 2:
        raise ValueError(
            "A mask of a sequence has axes (batch, time). Received: shape "
            f"{tuple(mask.shape)}."
        )
    mask = ops.cast(mask, "bool")
    if len(mask.shape) == 2:
        return mask
    return ops.any(mask, axis=tuple(range(2, len(mask.shape))))


def over(mask, rank):
    """Return a mask with axes (batch, time, 1, ...), `rank` of them."""
    mask = of_steps(mask)
    for _ in range(rank - 2):
        mask = ops.expand_dims(mask, -1)
    return mask


def silenced(sequence, mask):
    """Return `sequence` with 0, and no derivative, at masked steps."""
    if mask is None:
        return sequence
    zero = ops.cast(0.0, sequence.dtype)
    return ops.where(over(mask, len(sequence.shape)), sequence, zero)


def on_existing_steps(function, sequence, mask):
    """Return `function(sequence, time_steps)`, as if without masked steps.

    Args:
        function: From a sequence and `time_steps`, as in `existing_first`, to
            a sequence of as many steps, or a tuple of them, each step of which
            may hang on itself and on those before, forwards, and on those
            after, backwards.
        sequence: Tensor with axes (batch, time, ...).
        mask: Tensor, see `of_steps`, or None.

    Returns:
        Tensor with axes (batch, time, ...), 0 at masked steps.
    """
    if mask is None:
        return function(sequence, None)
    order, place = _order_and_place(mask)
    existing, time_steps = existing_first(sequence, mask)
    return keras.tree.map_structure(
        lambda x: silenced(_permuted(x, place, order), mask),
        function(existing, time_steps),
    )


def existing_first(sequence, mask):
    """Return `(sequence, time_steps)`, masked steps last and 0.

    `time_steps` is the number of steps that exist, at least 1, float32 with
    axes (batch, 1, ...); None if `mask` is.
    """
    if mask is None:
        return sequence, None
    order, place = _order_and_place(mask)
    steps = ops.cast(over(mask, len(sequence.shape)), "float32")
    time_steps = ops.maximum(ops.sum(steps, axis=1), 1.0)
    return _permuted(silenced(sequence, mask), order, place), time_steps


def given(time_steps):
    """Return `time_steps` as a list of none or one, for `f(x, *given)`."""
    return [] if time_steps is None else [time_steps]


def time_steps_of(sequence, time_steps=None, keepdims=False):
    """Return T, float32, shaped to broadcast over frames.

    With `keepdims`, over `sequence`.
    """
    if time_steps is None:
        return ops.cast(ops.shape(sequence)[1], "float32")
    return ops.expand_dims(time_steps, 1) if keepdims else time_steps


def steps_left(sequence, time_steps=None):
    """Return `T - t` for each step t, shaped to broadcast over `sequence`.

    It is 0 at the steps after T, if `time_steps` gives T.
    """
    steps = time_loop.step_numbers(sequence)
    left = time_steps_of(sequence, time_steps, keepdims=True) - steps
    return left if time_steps is None else ops.maximum(left, 0.0)


def up_to_last(sequence, time_steps=None):
    """Return `sequence` with 0 at the steps after T."""
    if time_steps is None:
        return sequence
    steps = time_loop.step_numbers(sequence)
    exists = ops.less_equal(steps, ops.expand_dims(time_steps, 1))
    return ops.where(exists, sequence, 0.0)


def mean(sequence, time_steps=None):
    """Return the mean over T steps of a sequence that is 0 after them."""
    if time_steps is None:
        return ops.mean(sequence, axis=1)
    return ops.sum(sequence, axis=1) / time_steps


def _order_and_place(mask):
    """Return the step that comes n-th, and the place that step t gets.

    Each is a permutation of 0..T-1 and the inverse of the other; float32, as
    gradients of one's own take no integers on JAX.
    """
    mask = ops.cast(of_steps(mask), "int32")
    existing = ops.sum(mask, axis=1, keepdims=True)
    place = ops.where(
        ops.cast(mask, "bool"),
        ops.cumsum(mask, axis=1),
        existing + ops.cumsum(1 - mask, axis=1),
    )
    return (
        ops.cast(ops.argsort(place, axis=1), "float32"),
        ops.cast(place - 1, "float32"),
    )


@ops.custom_gradient
def _permuted(sequence, order, inverse):
    """Return the steps of `sequence` in the order of `order`.

    The derivative of a gather is a sparse scatter; that of a permutation is
    its inverse.
    """

    def grad(*args, upstream=None):
        (upstream,) = args or (upstream,)
        zeros = ops.zeros_like(order), ops.zeros_like(inverse)
        return _taken(upstream, inverse), *zeros

    return _taken(sequence, order), grad


def _taken(sequence, order):
    """Return row `order[b, n]` of each sample b as its n-th."""
    shape = ops.shape(sequence)
    first = ops.expand_dims(ops.arange(shape[0]) * shape[1], 1)
    rows = ops.cast(order, "int32") + ops.cast(first, "int32")
    frames = ops.reshape(sequence, (-1, *shape[2:]))
    taken = ops.take(frames, ops.reshape(rows, (-1,)), axis=0)
    return ops.reshape(taken, (-1, *shape[1:]))
