"""Delay: what comes in goes out some steps later."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_snn import checks
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.neurons import masks
from keras_snn.typing import Shape, State, Tensor


@keras.saving.register_keras_serializable(package="keras_snn")
class Delay(TimeLayer):
    """Gives each step some steps later, and zeros before.

        y(t) = x(t - steps),   0 for t <= steps

    Of axons and synapses that take their time, so that what is sent at
    different steps can meet. The delays do not learn.

    Args:
        steps: Number of steps, at least 0. An array is one a neuron or
            channel: it broadcasts to the features as in NumPy.

    Call arguments:
        sequences: Floating point tensor.
        mask: Which steps exist, (batch, time); delays count those.

    Input shape:
        `(batch, time, ...features)`.

    Output shape:
        The input's. What would come after the last step is lost.

    Raises:
        ValueError: If `steps` are no such integers, or do not broadcast.

    Example:

    >>> x = np.float32([[[1], [2], [3]]])
    >>> keras_snn.layers.Delay(1)(x)[0, :, 0]   # 0 1 2
    """

    keeps_state = True
    per_neuron = ("steps",)

    def __init__(self, steps: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = _steps(steps)

    @property
    def longest(self) -> int:
        """Number of frames that are kept, the longest delay or 1."""
        return max(1, int(np.max(self.steps)))

    def check_sequence(self, sequences: Tensor) -> None:
        super().check_sequence(sequences)
        checks.broadcasts(self, sequences.shape[2:])

    def call(self, sequences: Tensor, mask: Tensor | None = None) -> Any:
        self.check_sequence(sequences)

        def delayed(sequences, time_steps):
            shape = ops.shape(sequences)
            state = self.initial_state((shape[0], *shape[2:]), sequences.dtype)
            return self.window(sequences, state)[0]

        return masks.on_existing_steps(delayed, sequences, mask)

    def initial_state(
        self, frame_shape: Shape, dtype: str = "float32"
    ) -> State:
        # The frames of the last steps, the oldest first.
        batch, *frame = frame_shape
        return [ops.zeros((batch, self.longest, *frame), "float32")]

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        output, state = self.window(ops.expand_dims(frame, 1), state)
        return output[:, 0], state

    def window(
        self, sequence: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        """Return `(output, state)` of some steps."""
        count, longest = ops.shape(sequence)[1], self.longest
        sequence = ops.cast(sequence, "float32")
        frames = ops.concatenate([state[0], sequence], axis=1)
        output = None
        for delay in np.unique(self.steps):
            start = longest - int(delay)
            found = frames[:, start : start + count]
            if output is not None:
                found = ops.where(self.steps == delay, found, output)
            output = found
        kept = frames[:, -longest:]
        return ops.cast(output, self.compute_dtype), [kept]

    def compute_output_shape(self, sequences_shape: Shape) -> Any:
        return tuple(sequences_shape)

    def get_config(self) -> dict[str, Any]:
        steps = checks.in_config(self.steps)
        return {**super().get_config(), "steps": steps}


def _steps(steps):
    """Return delays as an integer, or as an array that is read-only."""
    given = checks.array("steps", steps)
    if not given.ndim:
        return checks.integer("steps", steps, 0, "the delay")
    if given.dtype.kind not in "iu" or not given.size or np.any(given < 0):
        raise ValueError(
            "`steps` must be an integer, at least 0, or an array of one for "
            f"each neuron or channel. Received: steps={steps!r}."
        )
    given = given.astype("int32")
    given.setflags(write=False)
    return given
