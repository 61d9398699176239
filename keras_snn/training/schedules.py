"""Schedules of the learning rate."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn import checks


@keras.saving.register_keras_serializable(package="keras_snn")
class Triangular(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises along a line, then falls along another.

        rising(n) = peak * (n + 1) / (warmup * total_steps)
        falling(n) = end + (peak - end) * (total_steps - n)
                                          / ((1 - warmup) * total_steps)
        rate(n) = min(rising(n), falling(n)),   end from n = total_steps on

    for update n = 0, 1, ...: neither the first nor the last update has a rate
    of 0. For few epochs; `keras.optimizers.schedules.CosineDecay` is the usual
    one for many.

    Args:
        peak: Highest rate, positive.
        total_steps: Number of updates: batches an epoch times epochs.
        warmup: Part of them, in [0, 1), in which the rate rises. Defaults to
            0.2.
        end: Rate at the end, from 0 (default) to `peak`.

    Raises:
        ValueError: For arguments out of range.

    Example:

    >>> schedule = keras_snn.training.Triangular(0.1, total_steps=400)
    >>> optimizer = keras.optimizers.Adam(schedule)
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup: float = 0.2,
        end: float = 0.0,
    ) -> None:
        super().__init__()
        self.peak = checks.number("peak", peak, "(0, inf)")
        self.total_steps = checks.integer(
            "total_steps", total_steps, 1, "batches an epoch times epochs"
        )
        self.warmup = checks.number("warmup", warmup, "[0, 1)")
        self.end = checks.number("end", end, f"[0, {self.peak}]", "up to peak")

    def __call__(self, step):
        step = ops.cast(step, "float32")
        # At least the first update, so that no warmup divides by zero.
        up = max(self.warmup * self.total_steps, 1.0)
        down = (1.0 - self.warmup) * self.total_steps
        left = ops.maximum(self.total_steps - step, 0.0) / down
        rising = self.peak * (step + 1.0) / up
        return ops.minimum(rising, self.end + (self.peak - self.end) * left)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup": self.warmup,
            "end": self.end,
        }


def cosine(peak, total_steps, warmup):
    """Return Keras' cosine, with a line up to the peak before it."""
    rising = round(warmup * total_steps)
    decay = keras.optimizers.schedules.CosineDecay
    if not rising:
        return decay(peak, total_steps)
    return decay(
        peak / rising,
        total_steps - rising,
        warmup_target=peak,
        warmup_steps=rising,
    )
