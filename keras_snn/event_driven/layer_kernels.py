"""What a layer of a network does to all steps before the next, by Numba.

A neuron's spikes are the bits of one word, the newest lowest: a byte for up to
eight steps, else an int32. Currents have axes (sample * step, row, pixel,
channel), those that are the same at every step (sample, row, pixel, channel).
"""

import numpy as np
from numba import types

from keras_snn_runtime.compiler import compiled, compiled_for, inner
from keras_snn_runtime.kernels import (
    _INDICES,
    _INTEGER,
    _NUMBER,
    _STARTS,
    _array,
    _read,
    _write,
    any_neurons,
    convolve,
    list_fired,
    most_neurons,
)
from keras_snn_runtime.neuron_vectors import CREDIT, neuron_histories
from keras_snn_runtime.operations import SMALL
from keras_snn_runtime.vectors import ones

_WORDS = types.uint8, types.int32
_READ_WORDS = [_array(x, 4, readonly=True) for x in _WORDS]
_WRITE_WORDS = [_array(x, 4) for x in _WORDS]
_TOTALS = _array(types.float64, 2)

_with_sums, _with_traces, _with_credit = (
    any_neurons(neuron_histories, x) for x in (2, 3, CREDIT)
)

_convolve = inner(convolve)


@compiled_for(
    (),
    _READ_WORDS,
    (
        *(_INDICES, _STARTS, _read(4), _read(1), _write(4)),
        *(types.UniTuple(_INTEGER, 4), _INTEGER),
    ),
)
def convolve_steps(
    words, indices, starts, weights, bias, currents, places, steps
):
    """Compute the currents of some samples at all steps.

    Args:
        words: Spikes of the input.
        indices, starts: Room for the spikes of all frames.
        weights, bias: As in `kernels.convolve`.
        currents: Receives the currents.
        places: `sy`, `sx`, `top` and `left`, as there.
        steps: Number of steps.
    """
    samples, rows, pixels, channels = words.shape
    size = pixels * channels
    fired = np.empty(size, np.uint8)
    one = words.dtype.type(1)
    for i in range(samples):
        for y in range(rows):
            history = words[i, y].reshape(size)
            for t in range(steps):
                age = words.dtype.type(steps - 1 - t)
                for k in range(size):
                    fired[k] = history[k] >> age & one
                frame = i * steps + t
                list_fired(fired, channels, indices[frame, y], starts[frame, y])
    frames = samples * steps
    # Small weights stay in the cache, and so does what is then written.
    together = 1 if weights.nbytes <= SMALL else frames
    _convolve(
        indices,
        np.empty((0, 0, 0), np.float32),
        starts,
        weights,
        np.empty(0, np.float32),
        bias,
        currents,
        *places,
        together,
        frames,
    )


@compiled(_read(4), _write(4), _TOTALS, _INTEGER)
def sum_currents(currents, means, totals, steps):
    """Take means over time, and sums over time, places and samples.

    Args:
        currents: At `steps` steps.
        means: Receives the mean of each neuron over time.
        totals: Of each channel, axes (sum, channel): to the sums of currents,
            of their squares, and of squares of the means are added these.
        steps: Number of steps.
    """
    samples, rows, pixels, channels = means.shape
    of_row = np.empty((3, channels), np.float32)
    each = np.float32(1 / steps)
    for i in range(samples):
        for y in range(rows):
            of_row[:] = 0
            # What is left of each has the size of the deviation.
            pivot = currents[i * steps, y, 0]
            for x in range(pixels):
                mean = means[i, y, x]
                mean[:] = 0
                for t in range(steps):
                    current = currents[i * steps + t, y, x]
                    for c in range(channels):
                        left = current[c] - pivot[c]
                        mean[c] += left
                        of_row[1, c] += left * left
                for c in range(channels):
                    of_row[0, c] += mean[c]
                    left = mean[c] * each
                    of_row[2, c] += left * left
                    mean[c] = left + pivot[c]
            for c in range(channels):
                p, total = np.float64(pivot[c]), np.float64(of_row[0, c])
                totals[0, c] += total + pixels * steps * p
                totals[1, c] += (
                    of_row[1, c] + 2 * p * total + pixels * steps * p * p
                )
                totals[2, c] += (
                    of_row[2, c] + 2 * p * total / steps + pixels * p * p
                )


@compiled_for(
    (_read(4), *[_read(1)] * 2),
    _WRITE_WORDS,
    (
        *(*[_write(4)] * 3, *[_NUMBER] * 3, _INTEGER, _NUMBER),
        *(*[types.boolean] * 2, _INTEGER),
    ),
)
def fire_scaled(
    currents,
    scale,
    shift,
    words,
    totals,
    others,
    traces,
    beta,
    threshold,
    initial,
    kind,
    parameter,
    subtract,
    held,
    steps,
):
    """Take the neurons of some samples through all steps.

    Args:
        currents: What neurons get is `scale * current + shift`.
        scale, shift: Of each channel.
        words: Receives the spikes.
        totals, others, traces: As in `kernels.fire_steps`; of the rate rule
            the derivative's mean over time alone, as `others`.
        initial: Potential before the first step.
        beta, threshold, kind, parameter, subtract, held: As there.
        steps: Number of steps.
    """
    samples, rows, pixels, channels = words.shape
    size = pixels * channels
    frames = 1 if held else steps
    stride = 0 if held else 4 * rows * size
    scales, shifts = np.empty(size, np.float32), np.empty(size, np.float32)
    for k in range(size):
        scales[k], shifts[k] = scale[k % channels], shift[k % channels]
    zero, one = np.float32(0), np.float32(1)
    amount, factor = (threshold, one) if subtract else (zero, zero)
    numbers = beta, threshold, amount, factor, parameter, initial
    for i in range(samples):
        for y in range(rows):
            current = currents[i * frames, y].ctypes.data
            history = words[i, y].ctypes.data
            other = others[i, y].ctypes.data
            total = totals[i, y].ctypes.data if totals.size else 0
            trace = traces[i, y].ctypes.data if traces.size else 0
            n = 0
            while n < size:
                lanes = most_neurons(size - n)
                places = (
                    current + 4 * n,
                    scales.ctypes.data + 4 * n,
                    shifts.ctypes.data + 4 * n,
                    history + words.itemsize * n,
                    total + 4 * n,
                    other + 4 * n,
                    trace + 4 * n,
                )
                given = lanes, places, stride, numbers, kind, steps, words
                if kind >= 0:
                    _with_credit(*given)
                elif traces.size:
                    _with_traces(*given)
                else:
                    _with_sums(*given)
                n += lanes


@compiled(*[_read(4)] * 3, _read(1), _write(4), _TOTALS)
def sum_credit(upstream, derivative, means, m, credit, totals):
    """Credit normalized currents, and sum it over places and samples.

    Args:
        upstream: Of the neurons' spikes.
        derivative: Of the spikes to normalized currents; without any numbers
            where upstream is of these.
        means: Of currents over time.
        m: Their mean, of each channel.
        credit: Receives `upstream * derivative`, or `upstream`.
        totals: Of each channel, axes (sum, channel): to the sums of credit,
            and of `credit * (means - m)`, are added these.
    """
    samples, rows, pixels, channels = means.shape
    of_row = np.empty((2, channels), np.float32)
    for i in range(samples):
        for y in range(rows):
            of_row[:] = 0
            for x in range(pixels):
                above, each = upstream[i, y, x], credit[i, y, x]
                if derivative.size:
                    slope = derivative[i, y, x]
                    for c in range(channels):
                        each[c] = above[c] * slope[c]
                else:
                    each[:] = above
                mean = means[i, y, x]
                for c in range(channels):
                    of_row[0, c] += each[c]
                    of_row[1, c] += each[c] * (mean[c] - m[c])
            for c in range(channels):
                totals[0, c] += of_row[0, c]
                totals[1, c] += of_row[1, c]


@compiled(_write(4), _read(4), *[_read(1)] * 4)
def spread_credit(credit, means, m, scale, shift, slope):
    """Turn credit of normalized currents into that of currents, in place.

    Args:
        credit: Becomes `scale * (credit + shift + slope * (means - m))`.
        means: Of currents over time.
        m, scale, shift, slope: Of each channel.
    """
    samples, rows, pixels, channels = means.shape
    for i in range(samples):
        for y in range(rows):
            for x in range(pixels):
                mean, each = means[i, y, x], credit[i, y, x]
                for c in range(channels):
                    each[c] = scale[c] * (
                        each[c] + shift[c] + slope[c] * (mean[c] - m[c])
                    )


@compiled(_read(4), *[_read(1)] * 2, _write(4))
def add_scaled(currents, scale, shift, sums):
    """Add `scale * current + shift` to sums.

    Args:
        currents: Axes (frame, row, pixel, channel).
        scale, shift: Of each channel.
        sums: Updated.
    """
    frames, rows, pixels, channels = currents.shape
    for i in range(frames):
        for y in range(rows):
            for x in range(pixels):
                current, total = currents[i, y, x], sums[i, y, x]
                for c in range(channels):
                    total[c] += scale[c] * current[c] + shift[c]


@compiled_for((), _READ_WORDS, (), types.int64)
def count_spikes(words):
    """Return the number of all spikes."""
    places, found = words.reshape(-1), np.int64(0)
    for k in range(len(places)):
        found += ones(places[k])
    return found


@compiled_for((), _READ_WORDS, (_write(4), _INTEGER))
def mean_spikes(words, means, steps):
    """Compute the mean over time of neurons' spikes.

    Args:
        words: The spikes.
        means: Receives the means.
        steps: Number of steps.
    """
    places, found = words.reshape(-1), means.reshape(-1)
    count = np.float32(steps)
    for k in range(len(places)):
        found[k] = np.float32(ones(places[k])) / count
