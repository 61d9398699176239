"""What a neuron remembers of its spikes, at one bit a spike.

Within a window of eight steps each neuron's spikes are the bits of one byte,
the newest lowest. After the window the byte goes into three sums, so that
the memory does not grow with T and a step touches one byte a neuron instead
of three floats.
"""

import collections.abc
import functools
import math

import keras
import numpy as np
from keras import ops

from keras_snn import neurons
from keras_snn.event_driven.words import OF_BYTE, word_for
from keras_snn.neurons import learning_rules
from keras_snn.running.compilation import fused

WINDOW = OF_BYTE

# Neurons of a sample up to which several passes over their spikes cost little.
FEW = 4096


class Frames(collections.abc.Sequence):
    """Frames that are made when one of them is asked for: `_frames`."""

    def __getitem__(self, t):
        return self._frames[t]


class Spikes(Frames):
    """Frames of spikes that are bits of words until they are asked for.

    Args:
        windows: List of pairs of a tensor of words, (batch, ...), and the
            number of steps whose spikes are lowest in it, the newest at the
            end: of bytes, or of one int32.
        dtype: Of the frames.
    """

    def __init__(self, windows, dtype):
        self._windows, self._dtype = windows, dtype

    def __len__(self):
        return sum(steps for _, steps in self._windows)

    @functools.cached_property
    def _frames(self):
        frames = []
        for word, steps in self._windows:
            shape = tuple(word.shape)
            frames += spikes_of(steps, self._dtype, shape)(word)
        return list(map(ops.stop_gradient, frames))

    def moved_by(self, layer):
        """Return the spikes behind a layer that moves values."""
        moved = [(layer(word), steps) for word, steps in self._windows]
        return Spikes(moved, self._dtype)

    @functools.cached_property
    def word(self):
        """The spikes of all steps, of which there are no more than bits."""
        dtype = word_for(len(self))
        (word, _), *others = ((ops.cast(x, dtype), n) for x, n in self._windows)
        for other, steps in others:
            word = join(steps, tuple(word.shape))(word, other)
        return word


class _Array:
    """An array as the key of a cache."""

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return hash(self.value.tobytes())

    def __eq__(self, other):
        return isinstance(other, _Array) and np.array_equal(
            self.value, other.value
        )


def cached(make):
    """Return `make`, called once for equal arguments; arrays may be among them.

    The functions below are cached by shape too, although they do not use it:
    TensorFlow warns when one function is traced for many shapes.
    """

    @functools.lru_cache(1024)
    def once(*arguments):
        plain = (x.value if isinstance(x, _Array) else x for x in arguments)
        return make(*plain)

    @functools.wraps(make)
    def of(*arguments):
        keys = (
            _Array(x) if isinstance(x, np.ndarray) else x for x in arguments
        )
        return once(*keys)

    return of


@cached
def counting_step(beta, threshold, reset, dtype, shape):
    """Return the step `(v, I, byte) -> (spikes, v, byte)`."""
    return fused(_counting(beta, threshold, reset, dtype))


def _counting(beta, threshold, reset, dtype):
    def step(v, current, byte):
        spikes, v = neurons.lif_step(
            v, ops.cast(current, "float32"), beta, threshold, reset
        )
        return ops.cast(spikes, dtype), v, append(byte, spikes)

    return step


@cached
def plain_step(beta, threshold, reset, dtype, shape):
    """Return the step `(v, I) -> (spikes, v)`."""

    def step(v, current):
        spikes, v = neurons.lif_step(
            v, ops.cast(current, "float32"), beta, threshold, reset
        )
        return ops.cast(spikes, dtype), v

    return fused(step)


@cached
def rate_step(beta, threshold, reset, dtype, surrogate, shape):
    """Return the step `(v, I, total, e, d) -> (spikes, v, total, e, d)`.

    `e` and `d` are the eligibility and the derivative of `neurons.rate_step`.
    """
    return fused(_rate(beta, threshold, reset, dtype, surrogate))


def _rate(beta, threshold, reset, dtype, surrogate):
    neuron = {"beta": beta, "threshold": threshold, "reset": reset}

    def step(v, current, total, eligibility, derivative):
        u = v + ops.cast(current, "float32")
        spikes = neurons.fire(u, threshold)
        credit = neurons.rate_step(
            u, spikes, eligibility, derivative, surrogate, **neuron
        )
        v = neurons.reset_and_leak(u, spikes, **neuron)
        return ops.cast(spikes, dtype), v, total + spikes, *credit

    return step


@cached
def rate_window(
    beta, threshold, reset, surrogate, start, steps, time_steps, shape
):
    """Return some steps of `rate_step` at once.

    Compilers make one pass over the currents for each tensor that is returned.

    Args:
        start: The potential before the first step of all; None if these steps
            are others.
        steps: Number of steps, at most 8.
        time_steps: Number of all steps if these are the last, else None.

    Returns:
        Function `(currents, affine, v, e, d) -> [byte, v, e, d]`, the spikes
        lowest in the byte; of the first steps `(currents, affine) -> ...`, of
        the last ones `... -> [byte, d / time_steps]`. `currents` is a list of
        a frame each step, or of one that stands for all; `affine` a pair
        `(scale, shift)` that they are still to be taken through, or None.
    """
    step = _rate(beta, threshold, reset, "float32", surrogate)

    def window(currents, affine, *state):
        frames = _frames(currents, affine, steps)
        v, e, d = state or _at_rest(frames[0], start, 2)
        byte = ops.zeros_like(v, "uint8")
        for current in frames:
            spikes, v, _, e, d = step(v, current, 0.0, e, d)
            byte = append(byte, spikes)
        return [byte, v, e, d] if time_steps is None else [byte, d / time_steps]

    return fused(window)


@cached
def counting_window(beta, threshold, reset, start, steps, shape):
    """Return some steps of `counting_step` at once; see `rate_window`.

    Returns:
        Function `(currents, affine, v, byte) -> [v, byte]`; of the first steps
        `(currents, affine) -> ...`.
    """
    step = _counting(beta, threshold, reset, "float32")

    def window(currents, affine, *state):
        frames = _frames(currents, affine, steps)
        v, byte = state or (
            *_at_rest(frames[0], start, 0),
            ops.zeros_like(frames[0], "uint8"),
        )
        for current in frames:
            _, v, byte = step(v, current, byte)
        return [v, byte]

    return fused(window)


def _at_rest(current, start, others):
    """Return the potential before the first step, and zeros, as constants."""
    return ops.full_like(current, start), *[ops.zeros_like(current)] * others


def _frames(currents, affine, steps):
    """Return the frame of each step, float32."""
    frames = [ops.cast(x, "float32") for x in currents]
    if affine is not None:
        scale, shift = affine
        frames = [x * scale + shift for x in frames]
    return frames * steps if len(frames) == 1 else frames


def append(byte, spikes):
    """Return the byte with one more step's spikes as its lowest bit."""
    fired = ops.cast(ops.greater(spikes, 0), "uint8")
    return ops.bitwise_or(ops.left_shift(byte, ops.ones_like(byte)), fired)


@cached
def spikes_of(steps, dtype, shape):
    """Return the function from a word to the list of its last steps' spikes."""

    def spikes(word):
        ages = reversed(range(steps))
        return [ops.cast(_bit(word, age), dtype) for age in ages]

    # A compiler's memory, where a network needs none otherwise, is 50 MB.
    return spikes if math.prod(shape[1:]) <= FEW else fused(spikes)


@cached
def join(steps, shape):
    """Return the function that appends the last steps of a second word."""

    def joined(word, other):
        last = ops.bitwise_and(other, _as(word, 2**steps - 1))
        return ops.bitwise_or(ops.left_shift(word, _as(word, steps)), last)

    return fused(joined)


@cached
def count(steps, time_steps, shape):
    """Return the function that adds a byte's last spikes to a number of them.

        total + sum_k bit_k,   divided by `time_steps` unless that is None

    Returns:
        Function `(byte)` or `(byte, total)`.
    """

    def counted(byte, *total):
        bits = (ops.cast(_bit(byte, k), "float32") for k in range(steps))
        total = sum((*total, *bits))
        return total if time_steps is None else total / time_steps

    return fused(counted)


def _bit(word, k):
    shifted = ops.right_shift(word, _as(word, k))
    return ops.bitwise_and(shifted, _as(word, 1))


def _as(word, number):
    """Return a number as a word."""
    return np.dtype(keras.backend.standardize_dtype(word.dtype)).type(number)


def unpack(byte, steps):
    """Return a window's spikes, float32, axes (batch, step, ...).

    Args:
        byte: uint8 tensor, axes (batch, ...), after the window's steps.
        steps: Number of steps in the window, an int of at most 8.
    """
    age = np.arange(steps - 1, -1, -1, dtype="uint8")
    age = age.reshape(1, steps, *[1] * (len(byte.shape) - 1))
    bits = ops.right_shift(ops.expand_dims(byte, 1), age)
    return ops.cast(ops.bitwise_and(bits, np.uint8(1)), "float32")


@cached
def absorb(beta, with_trace, shape):
    """Return `(byte, sums, steps, end) -> sums`, run after each window.

    `sums` are `total`, `t_last` and, if `with_trace`, the leaky trace;
    `steps` is the number of steps in the window and `end` the number of its
    last one, both float32 scalars. The byte is 0 when a window starts. Bit k
    is the spike of step `end - k`:

        total += sum_k bit_k
        t_last = max(t_last, (end - k) * bit_k)
        trace = beta^steps * trace + sum_k beta^k * bit_k
    """

    def update(byte, sums, steps, end):
        total, t_last, *trace = sums
        if with_trace:
            decay = ops.exp(learning_rules.log(beta) * steps)
            trace = [decay * trace[0]]
        one = ops.ones_like(byte)
        for k in range(WINDOW):
            bit = ops.cast(ops.bitwise_and(byte, one), "float32")
            byte = ops.right_shift(byte, one)
            total = total + bit
            t_last = ops.maximum(t_last, bit * (end - k))
            if with_trace:
                trace = [trace[0] + beta**k * bit]
        return [total, t_last, *trace]

    return fused(update)
