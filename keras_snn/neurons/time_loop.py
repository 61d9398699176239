"""The loop over time, on every backend, forwards and backwards."""

import keras
from keras import ops


def scan(step, carry, sequences, reverse=False, unroll=False):
    """Run `step` over axis 1 of `sequences` and collect its outputs.

        carry, y(t) = step(carry, x_1(t), x_2(t), ...)

    Args:
        step: Function of the carry and one slice of each sequence.
        carry: Tensor, the state before the first step. Outputs must have its
            shape and dtype (a limit of TensorFlow's loop).
        sequences: Tuple of tensors with axes (batch, time, ...).
        reverse: Whether to run from the last step to the first.
        unroll: Whether to lay the steps out one by one instead of looping;
            needs a known number of steps.

    Returns:
        Tensor with axes (batch, time, ...), in the order of time.
    """
    if unroll:
        return _unrolled(step, carry, sequences, reverse)
    time_major = tuple(ops.moveaxis(x, 1, 0) for x in sequences)
    _, outputs = ops.scan(
        lambda carry, xs: step(carry, *xs), carry, time_major, reverse=reverse
    )
    return ops.moveaxis(outputs, 0, 1)


def unrolls_windows():
    """Return whether to lay out the steps of a window one by one.

    On TensorFlow that is three times as fast as its loop; the others compile
    loops.
    """
    return keras.config.backend() == "tensorflow"


def _unrolled(step, carry, sequences, reverse):
    time_steps = sequences[0].shape[1]
    if time_steps is None:
        raise ValueError(
            "`unroll=True` needs a fixed number of time steps, but axis 1 of "
            f"the input has none (shape {tuple(sequences[0].shape)}). Fix the "
            "time axis of the Input, or use `unroll=False`."
        )
    outputs = [None] * time_steps
    order = range(time_steps)
    for t in reversed(order) if reverse else order:
        carry, outputs[t] = step(carry, *(x[:, t] for x in sequences))
    return ops.stack(outputs, axis=1)


def step_numbers(sequence):
    """Return `[1, ..., T]`, float32, shaped to broadcast over `sequence`."""
    time_steps = ops.shape(sequence)[1]
    numbers = ops.cast(ops.arange(time_steps), "float32") + 1.0
    ones = (1,) * (len(sequence.shape) - 2)
    return ops.reshape(numbers, (1, time_steps) + ones)
