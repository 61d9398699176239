"""Poisson, rate, latency and repeated input."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_snn import checks
from keras_snn.typing import Tensor


def _over_time(x, time_steps):
    """Return `x` with a new time axis 1, and step numbers 1..T beside it."""
    steps = ops.cast(ops.arange(1, time_steps + 1), "float32")
    steps = ops.reshape(steps, (1, time_steps) + (1,) * (len(x.shape) - 1))
    return ops.expand_dims(x, 1), steps


def _check(x, time_steps, max_rate=1.0):
    checks.tensor("x", x)
    if not len(x.shape):
        raise ValueError(
            "`x` must have a batch axis. Received: a number, without axes."
        )
    checks.time_steps(time_steps)
    checks.max_rate(max_rate)


def _signed(spikes, x):
    """Return `spikes` with the sign of `x`, NaN where `x` is, as constants.

    0 * NaN is not to be relied on: XLA multiplies by a cast bool as a choice.
    """
    spikes = ops.cast(spikes, x.dtype) * ops.sign(x)
    return ops.stop_gradient(ops.where(ops.isnan(x), x, spikes))


def poisson(
    x: Any, time_steps: int, seed: int | None, max_rate: float = 1.0
) -> Tensor:
    """Draw a spike at every step with probability `max_rate * |x|`.

        P(s(t) = sign(x)) = min(max_rate * |x|, 1), else s(t) = 0

    Args:
        x: Float tensor, axes (batch, ...), of values in [-1, 1].
        time_steps: Number of steps T.
        seed: Integer or `keras.random.SeedGenerator`.
        max_rate: Spikes a step for `|x| = 1`, in (0, 1].

    References:
        - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119)
    """
    _check(x, time_steps, max_rate)
    # Keras also takes a tensor of two words.
    is_state = isinstance(seed, keras.random.SeedGenerator)
    is_array = isinstance(seed, (np.ndarray, np.generic))
    if not is_state and (is_array or not hasattr(seed, "dtype")):
        seed = checks.seed(seed)
    shape = ops.shape(x)
    x = ops.expand_dims(x, 1)
    noise = keras.random.uniform(
        (shape[0], time_steps, *shape[1:]), dtype="float32", seed=seed
    )
    probability = ops.cast(ops.abs(x), "float32") * float(max_rate)
    return _signed(ops.less(noise, probability), x)


def rate(x: Any, time_steps: int, max_rate: float = 1.0) -> Tensor:
    """Space `max_rate * |x| * T` spikes evenly, without randomness.

        s(t) = floor(r * t + 1/2) - floor(r * (t - 1) + 1/2),   r = rate

    After t steps a pixel has spiked `r * t` times, to the nearest integer.

    Args:
        x: Float tensor, axes (batch, ...), of values in [-1, 1].
        time_steps: Number of steps T.
        max_rate: Spikes a step for `|x| = 1`, in (0, 1].
    """
    _check(x, time_steps, max_rate)
    y, steps = _over_time(x, time_steps)
    r = ops.cast(ops.abs(y), "float32") * float(max_rate)
    r = ops.minimum(r, 1.0)
    spikes = ops.floor(r * steps + 0.5) - ops.floor(r * (steps - 1.0) + 0.5)
    return _signed(spikes, y)


def latency(x: Any, time_steps: int) -> Tensor:
    """Give each nonzero value one spike, the earlier the larger it is.

        s(t) = 1 only at t = 1 + round((1 - |x|) * (T - 1)), and x != 0

    Args:
        x: Float tensor, axes (batch, ...), of values in [-1, 1].
        time_steps: Number of steps T.
    """
    _check(x, time_steps)
    y, steps = _over_time(x, time_steps)
    size = ops.minimum(ops.cast(ops.abs(y), "float32"), 1.0)
    step = 1.0 + ops.floor((1.0 - size) * (time_steps - 1) + 0.5)
    # sign(0) is 0: a black pixel never spikes.
    return _signed(ops.equal(steps, step), y)


def repeat(x: Any, time_steps: int) -> Tensor:
    """Give the analog value itself at every step (direct encoding).

    Args:
        x: Float tensor, axes (batch, ...).
        time_steps: Number of steps T.
    """
    _check(x, time_steps)
    return ops.repeat(ops.expand_dims(x, 1), time_steps, axis=1)
