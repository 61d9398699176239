"""What a layer of a network does to all steps before the next, by Numba.

A neuron's spikes of up to eight steps are the bits of one byte, the newest
lowest. Currents have axes (sample * step, row, pixel, channel), those that are
the same at every step (sample, row, pixel, channel).
"""

import numpy as np
from numba import types

from keras_snn_runtime.compiler import compiled, inlined, inner
from keras_snn_runtime.kernels import (
    _BYTES,
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

_READ_BYTES = _array(types.uint8, 4, readonly=True)
_TOTALS = _array(types.float64, 2)

_with_sums, _with_traces, _with_credit = (
    any_neurons(neuron_histories, x) for x in (2, 3, CREDIT)
)

_convolve = inner(convolve)


@compiled(
    _READ_BYTES,
    _INDICES,
    _STARTS,
    _read(4),
    _read(1),
    _write(4),
    types.UniTuple(_INTEGER, 4),
    _INTEGER,
)
def convolve_steps(
    bytes_, indices, starts, weights, bias, currents, places, steps
):
    """Compute the currents of some samples at all steps.

    Args:
        bytes_: Spikes of the input.
        indices, starts: Room for the spikes of all frames.
        weights, bias: As in `kernels.convolve`.
        currents: Receives the currents.
        places: `sy`, `sx`, `top` and `left`, as there.
        steps: Number of steps.
    """
    samples, rows, pixels, channels = bytes_.shape
    size = pixels * channels
    fired = np.empty(size, np.uint8)
    for i in range(samples):
        for y in range(rows):
            history = bytes_[i, y].reshape(size)
            for t in range(steps):
                age = np.uint8(steps - 1 - t)
                for k in range(size):
                    fired[k] = history[k] >> age & np.uint8(1)
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


@compiled(
    _read(4),
    *[_read(1)] * 2,
    _BYTES,
    *[_write(4)] * 3,
    *[_NUMBER] * 3,
    _INTEGER,
    _NUMBER,
    *[types.boolean] * 2,
    _INTEGER,
)
def fire_scaled(
    currents,
    scale,
    shift,
    bytes_,
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
        bytes_: Receives the spikes.
        totals, others, traces: As in `kernels.fire_steps`; of the rate rule
            the derivative's mean over time alone, as `others`.
        initial: Potential before the first step.
        beta, threshold, kind, parameter, subtract, held: As there.
        steps: Number of steps.
    """
    samples, rows, pixels, channels = bytes_.shape
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
            history = bytes_[i, y].ctypes.data
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
                    history + n,
                    total + 4 * n,
                    other + 4 * n,
                    trace + 4 * n,
                )
                given = lanes, places, stride, numbers, kind, steps
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


@inlined
def _ones(byte):
    """Return the number of ones in a byte, as vectors can."""
    pairs = np.uint8(byte - (byte >> 1 & 0x55))
    fours = np.uint8((pairs & 0x33) + (pairs >> 2 & 0x33))
    return np.uint8((fours + (fours >> 4)) & 0x0F)


@compiled(_READ_BYTES, returns=types.int64)
def count_spikes(bytes_):
    """Return the number of all spikes."""
    places, found = bytes_.reshape(-1), np.int64(0)
    for k in range(len(places)):
        found += _ones(places[k])
    return found


@compiled(_READ_BYTES, _write(4), _INTEGER)
def mean_spikes(bytes_, means, steps):
    """Compute the mean over time of neurons' spikes.

    Args:
        bytes_: The spikes.
        means: Receives the means.
        steps: Number of steps.
    """
    places, found = bytes_.reshape(-1), means.reshape(-1)
    count = np.float32(steps)
    for k in range(len(places)):
        found[k] = np.float32(_ones(places[k])) / count
