"""The loop over time, on every backend, forwards and backwards."""

import keras
from keras import ops


def scan(step, carry, sequences, reverse=False, unroll=False):
    """Run `step` over axis 1 of `sequences` and collect its outputs.

        carry, y(t) = step(carry, x_1(t), x_2(t), ...)

    Args:
        step: Function of the carry and one slice of each sequence.
        carry: Tensor or tuple of tensors, the state before the first step.
            Outputs must have its structure, shapes and dtypes (a limit of
            TensorFlow's loop).
        sequences: Tuple of tensors with axes (batch, time, ...).
        reverse: Whether to run from the last step to the first.
        unroll: Whether to lay the steps out one by one instead of looping;
            needs a known number of steps.

    Returns:
        Tensor(s) with axes (batch, time, ...), in the order of time.
    """
    if unroll:
        return _unrolled(step, carry, sequences, reverse)
    time_major = tuple(ops.moveaxis(x, 1, 0) for x in sequences)
    if len(sequences) > 1 and time_major[0].shape[0] is None:
        # TensorFlow's `ops.scan` of several sequences wants to know T.
        xs = ops.arange(ops.shape(time_major[0])[0])

        def body(carry, t):
            return step(carry, *(x[t] for x in time_major))
    else:
        xs = time_major

        def body(carry, xs):
            return step(carry, *xs)

    _, outputs = ops.scan(body, carry, xs, reverse=reverse)
    return keras.tree.map_structure(lambda y: ops.moveaxis(y, 0, 1), outputs)


def through_time(step, state, sequence, unroll=False):
    """Run `step` over axis 1 of `sequence`, differentiable as `step` is.

        y(t), state(t) = step(x(t), state(t-1))

    For steps that call Keras layers; it keeps what every step needs for its
    derivative. `scan` under a gradient of one's own keeps less.

    Args:
        step: Function of one slice and the list of state tensors.
        state: List of float32 tensors before the first step.
        sequence: float32 tensor with axes (batch, time, ...).
        unroll: Whether to lay the steps out one by one instead of looping.

    Returns:
        Tuple of the outputs, axes (batch, time, ...), and the last state.
    """
    if unroll:
        outputs = []
        for t in range(_known_time_steps(sequence)):
            output, state = step(sequence[:, t], state)
            outputs.append(output)
        return ops.stack(outputs, axis=1), state
    # Unlike that of `ops.scan`, its loop has a derivative under XLA, too.
    loop = keras.layers.RNN(
        _Cell(step, len(state)),
        return_sequences=True,
        return_state=True,
        dtype="float32",
        name="loop",
    )
    outputs, *state = loop(sequence, initial_state=list(state))
    return outputs, state


class _Cell:
    """What `keras.layers.RNN` needs to know of a step."""

    compute_dtype = "float32"

    def __init__(self, step, states):
        self.call = step
        # Only their number is used, as the initial state is given.
        self.state_size = [1] * states

    def __call__(self, frame, state):
        return self.call(frame, state)


def unrolls_windows(sequence):
    """Return whether to lay out the steps of a window one by one.

    On TensorFlow that is three times as fast as its loop; the others compile
    loops. Their number may be unknown in a graph.
    """
    known = sequence.shape[1] is not None
    return known and keras.config.backend() == "tensorflow"


def _unrolled(step, carry, sequences, reverse):
    time_steps = _known_time_steps(sequences[0])
    outputs = [None] * time_steps
    order = range(time_steps)
    for t in reversed(order) if reverse else order:
        carry, outputs[t] = step(carry, *(x[:, t] for x in sequences))
    return keras.tree.map_structure(
        lambda *steps: ops.stack(steps, axis=1), *outputs
    )


def _known_time_steps(sequence):
    """Return T, or raise a `ValueError` if it is not known."""
    time_steps = sequence.shape[1]
    if time_steps is None:
        raise ValueError(
            "`unroll=True` needs a fixed number of time steps, but axis 1 of "
            f"the input has none (shape {tuple(sequence.shape)}). Fix the "
            "time axis of the Input, or use `unroll=False`."
        )
    return time_steps


def step_numbers(sequence):
    """Return `[1, ..., T]`, float32, shaped to broadcast over `sequence`."""
    time_steps = ops.shape(sequence)[1]
    numbers = ops.cast(ops.arange(time_steps), "float32") + 1.0
    ones = (1,) * (len(sequence.shape) - 2)
    return ops.reshape(numbers, (1, time_steps) + ones)
