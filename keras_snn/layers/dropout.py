"""Dropout with one mask a sample for all time steps."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.encoding import ReplicaSeedGenerator
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.typing import Shape, State, Tensor


@keras.saving.register_keras_serializable(package="keras_snn")
class TimeConstantDropout(TimeLayer):
    """Silences the same neurons at every step of a sample, while training.

        y(t) = m * x(t),   m = 0 with probability rate, else 1 / (1 - rate)

    The mask `m` is drawn once a sample and call. In a spiking network a mask
    that changed from step to step would average out over time.

    Args:
        rate: Fraction of neurons dropped, in [0, 1).
        seed: Integer, or None for a random one.

    Call arguments:
        sequences: Floating point tensor.
        training: Whether to drop; False is the identity.
        mask: Which steps exist, (batch, time); passed on.

    Input shape:
        `(batch, time, ...features)`.

    Output shape:
        The input's.

    Raises:
        ValueError: If `rate` is outside [0, 1) or `seed` is no integer.

    References:
        - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119)
    """

    draws_at_start = True

    def __init__(
        self, rate: float, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rate = checks.number(
            "rate", rate, "[0, 1)", "the fraction of neurons dropped"
        )
        self.seed = checks.seed(seed)
        self.seed_generator = ReplicaSeedGenerator(self.seed)

    def mask(self, frame_shape: Shape, dtype: str = "float32") -> Tensor:
        """Draw a mask of 0 and `1 / (1 - rate)` for frames of this shape."""
        noise = keras.random.uniform(
            frame_shape, dtype="float32", seed=self.seed_generator
        )
        kept = ops.cast(ops.greater_equal(noise, self.rate), "float32")
        return ops.cast(kept / (1.0 - self.rate), dtype)

    def call(
        self,
        sequences: Tensor,
        training: bool | None = False,
        mask: Tensor | None = None,
    ) -> Any:
        self.check_sequence(sequences)
        if not training or self.rate == 0.0:
            return sequences
        shape = ops.shape(sequences)
        mask = self.mask((shape[0], *shape[2:]), sequences.dtype)
        return sequences * ops.expand_dims(mask, 1)

    def initial_state(
        self, frame_shape: Shape, dtype: str = "float32"
    ) -> State:
        return [self.mask(frame_shape, dtype)]

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        if not training or self.rate == 0.0:
            return frame, state
        return ops.cast(frame, state[0].dtype) * state[0], state

    def window(
        self, sequence: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        if not training or self.rate == 0.0:
            return sequence, state
        sequence = ops.cast(sequence, state[0].dtype)
        return sequence * ops.expand_dims(state[0], 1), state

    def collapsed(
        self, mean: Tensor, outcome: Any, state: State, training: bool = False
    ) -> Tensor:
        """Return the masked mean."""
        return self.step(mean, state, training)[0]

    def compute_output_shape(self, sequences_shape: Shape) -> Any:
        return tuple(sequences_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
