"""Encoders: from values to spike trains."""

from __future__ import annotations

from typing import Any

import keras

from keras_snn import checks, encoding
from keras_snn.encoding import ReplicaSeedGenerator
from keras_snn.layers.fixed_arguments import FixedArguments
from keras_snn.layers.input_range import InputRange
from keras_snn.typing import Tensor


class Encoder(FixedArguments, keras.layers.Layer):
    """A layer that adds a time axis: (batch, ...) to (batch, time, ...)."""

    # Whether values beyond [-1, 1] are lost.
    is_bounded = False

    def __init__(self, time_steps, **kwargs):
        super().__init__(**kwargs)
        self.time_steps = checks.time_steps(time_steps)
        self._input_range = InputRange(self)

    def compute_output_spec(self, inputs, *args, **kwargs):
        checks.floating(self, inputs)
        return super().compute_output_spec(inputs, *args, **kwargs)

    def call(self, inputs):
        checks.floating(self, inputs)
        if self.is_bounded:
            self._input_range.look(inputs)
        return self.encode(inputs)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.time_steps, *input_shape[1:])

    def get_config(self):
        return {**super().get_config(), "time_steps": self.time_steps}


@keras.saving.register_keras_serializable(package="keras_snn")
class PoissonEncoder(Encoder):
    """Signed random spikes, at each step with probability `|x|`.

        P(s(t) = sign(x)) = min(max_rate * |x|, 1), else s(t) = 0

    The noise is new at every call and on every replica, in training and in
    inference; with a `seed` the sequence of calls is reproducible.

    Args:
        time_steps: Number of steps T.
        max_rate: Spikes a step of an input of size 1, in (0, 1]. The paper
            uses 1, and 1/2 for MNIST.
        seed: Integer, or None for a random one.

    Call arguments:
        inputs: Floating point values in [-1, 1], e.g. scaled images.

    Input shape:
        `(batch, ...features)`.

    Output shape:
        `(batch, time_steps, ...features)`, values -1, 0 or 1.

    Raises:
        ValueError: For arguments out of range or integer input.

    References:
        - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119)
    """

    is_bounded = True

    def __init__(
        self,
        time_steps: int,
        max_rate: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(time_steps, **kwargs)
        self.max_rate = checks.max_rate(max_rate)
        self.seed = checks.seed(seed)
        self.seed_generator = ReplicaSeedGenerator(self.seed)

    def encode(self, inputs: Tensor) -> Tensor:
        return encoding.poisson(
            inputs, self.time_steps, self.seed_generator, self.max_rate
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_rate": self.max_rate,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="keras_snn")
class RateEncoder(Encoder):
    """Evenly spaced spikes: the Poisson encoder without its noise.

        s(t) = floor(r * t + 1/2) - floor(r * (t - 1) + 1/2),
        r = min(max_rate * |x|, 1)

    The count after t steps is `r * t` to the nearest integer.

    Args:
        time_steps: Number of steps T.
        max_rate: Spikes a step of an input of size 1, in (0, 1].

    Call arguments:
        inputs: Floating point values in [-1, 1].

    Input shape:
        `(batch, ...features)`.

    Output shape:
        `(batch, time_steps, ...features)`, values -1, 0 or 1.

    Raises:
        ValueError: For arguments out of range or integer input.
    """

    is_bounded = True

    def __init__(
        self, time_steps: int, max_rate: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(time_steps, **kwargs)
        self.max_rate = checks.max_rate(max_rate)

    def encode(self, inputs: Tensor) -> Tensor:
        return encoding.rate(inputs, self.time_steps, self.max_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_rate": self.max_rate}


@keras.saving.register_keras_serializable(package="keras_snn")
class LatencyEncoder(Encoder):
    """One spike an input, the earlier the larger; none for 0.

        s(t) = sign(x) only at t = 1 + round((1 - |x|) * (T - 1))

    Args:
        time_steps: Number of steps T.

    Call arguments:
        inputs: Floating point values in [-1, 1].

    Input shape:
        `(batch, ...features)`.

    Output shape:
        `(batch, time_steps, ...features)`, values -1, 0 or 1.

    Raises:
        ValueError: If `time_steps` is no positive integer, or the input is
            of integers.
    """

    is_bounded = True

    def encode(self, inputs: Tensor) -> Tensor:
        return encoding.latency(inputs, self.time_steps)


@keras.saving.register_keras_serializable(package="keras_snn")
class RepeatEncoder(Encoder):
    """The analog input itself at every step (direct encoding).

        y(t) = x

    The first layer's neurons then make the spikes; its convolution works on
    analog values, and gradients reach the input.

    Args:
        time_steps: Number of steps T.

    Call arguments:
        inputs: Floating point values.

    Input shape:
        `(batch, ...features)`.

    Output shape:
        `(batch, time_steps, ...features)`.

    Raises:
        ValueError: If `time_steps` is no positive integer, or the input is
            of integers.
    """

    def encode(self, inputs: Tensor) -> Tensor:
        return encoding.repeat(inputs, self.time_steps)
