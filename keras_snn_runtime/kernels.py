"""What the engine does to some samples at one step, compiled by Numba.

Frames have axes (sample, row, pixel, channel). Spikes are listed row by row:
`indices[sample, row]` are their places in the flat row, `values[sample, row]`
their values (no array at all if they are 1), and those of a pixel lie between
`starts[sample, row, pixel]` and the next start.

A sum runs over the spikes that an output sees, in the order of the weights'
axes, and adds rows of weights to `lanes` neighbouring outputs at once, in
vector registers:

    I[y, x, :] = sum_{dy, dx, c: s != 0} s[y+dy, x+dx, c] * w[dy, dx, c, :]
"""

import numpy as np
from numba import njit, types

from keras_snn_runtime.compiler import (
    compiled,
    compiled_for_weights,
    inlined,
    inlined_variant,
    inner,
)
from keras_snn_runtime.neuron_vectors import CREDIT, neuron_steps
from keras_snn_runtime.vectors import (
    AVX512,
    VECTOR,
    compress_places,
    compress_values,
    lowest_bit,
    nonzero_bytes,
    nonzero_floats,
    row_sums,
)

# Outputs that ones are added up for at once, in eight of the registers that
# AVX-512 has. Those of int8 rows are 256: their sums are in int16.
WIDEST_ONES = 128 if AVX512 else 64

# Neurons whose potentials and sums fit into the registers, too.
NEURONS = 32 if AVX512 else 16

# Rows of int8 that are added up in int16: 256 * 127 < 2^15.
MOST_ONES = 256

_INTEGER = types.intp
_NUMBER = types.float32


def _array(dtype, ndim, readonly=False):
    return types.Array(dtype, ndim, "C", readonly=readonly)


def _read(ndim):
    return _array(types.float32, ndim, readonly=True)


def _write(ndim):
    return _array(types.float32, ndim)


_INDICES, _STARTS = _array(types.int32, 3), _array(types.int64, 3)
_SPIKES = (_INDICES, _write(3), _STARTS)
_BYTES = _array(types.uint8, 4)


def _adder(unit, quantized):
    """Return `row_sums` for any number of outputs that `_widest` gives."""
    sum_64, sum_32, sum_16, sum_8, sum_4, sum_2, sum_1 = (
        row_sums(x, unit, quantized) for x in (64, 32, 16, 8, 4, 2, 1)
    )
    both_32, both_16, both_8, both_4, both_2 = (
        row_sums(x, unit, quantized, both=True) for x in (32, 16, 8, 4, 2)
    )

    @inlined_variant(unit, quantized)
    def add(width, out, weights, stride, indices, values, first, last):
        given = width, out, weights, stride, indices, values, first, last
        if width == 64:
            sum_64(*given)
        elif width > 32:
            both_32(*given)
        elif width == 32:
            sum_32(*given)
        elif width > 16:
            both_16(*given)
        elif width == 16:
            sum_16(*given)
        elif width > 8:
            both_8(*given)
        elif width == 8:
            sum_8(*given)
        elif width > 4:
            both_4(*given)
        elif width == 4:
            sum_4(*given)
        elif width > 2:
            both_2(*given)
        elif width == 2:
            sum_2(*given)
        else:
            sum_1(*given)

    if not unit or (WIDEST_ONES == 64 and not quantized):
        return add
    sum_256, sum_128 = (row_sums(x, unit, quantized) for x in (256, 128))
    both_128, both_64 = (
        row_sums(x, unit, quantized, both=True) for x in (128, 64)
    )

    @inlined_variant(unit, quantized)
    def add_wide(width, out, weights, stride, indices, values, first, last):
        given = width, out, weights, stride, indices, values, first, last
        if width <= 64:
            add(*given)
        elif width == 256:
            sum_256(*given)
        elif width > 128:
            both_128(*given)
        elif width == 128:
            sum_128(*given)
        else:
            both_64(*given)

    return add_wide


_add_values, _add_ones = _adder(False, False), _adder(True, False)
_add_quantized_values = _adder(False, True)
_add_quantized_ones = _adder(True, True)


@inlined
def _widest(channels, size, unit):
    """Return how many of the next `channels` outputs to sum at once."""
    if not unit:
        return min(64, channels)
    return min(256 if size == 1 else WIDEST_ONES, channels)


@njit(nogil=True, inline="always")
def _add_spikes(
    size, unit, lanes, out, weights, stride, indices, values, first, last
):
    """Add spikes `first` to `last` of a list, of value 1 if `unit`.

    The sum is in float32; of ones and weights of `size` 1, int8, in int32.
    """
    if size > 1:
        if unit:
            _add_ones(lanes, out, weights, stride, indices, values, first, last)
        else:
            _add_values(
                lanes, out, weights, stride, indices, values, first, last
            )
    elif unit:
        while first < last:
            end = min(first + MOST_ONES, last)
            _add_quantized_ones(
                lanes, out, weights, stride, indices, values, first, end
            )
            first = end
    else:
        _add_quantized_values(
            lanes, out, weights, stride, indices, values, first, last
        )


# Fewer values are not found as bits of a vector, but looked at one by one.
LEAST = 4


@inlined
def _fills_vector(place, end, size):
    """Return whether to look at places from `place` on all at once.

    Those of a pixel lie before `end`, those of its row before `size`.
    """
    return end - place >= LEAST and place + VECTOR <= size


@inlined
def bits_before(bits, place, end):
    """Return the bits of those places from `place` on that are before `end`."""
    if end - place < VECTOR:
        bits &= (np.uint32(1) << np.uint32(end - place)) - np.uint32(1)
    return bits


@inlined
def _compressed_places(bits, first, places):
    """List `first + j` for each bit j that is 1; return how many."""
    return compress_places(bits, first, places.ctypes.data)


@inlined
def _compressed_values(bits, given, values):
    """List `given[j]` for each bit j that is 1."""
    compress_values(bits, given.ctypes.data, values.ctypes.data)


@inlined
def _each_place(bits, first, places):
    """Do what `_compressed_places` does, with a branch an element."""
    found = 0
    while bits:
        places[found] = first + lowest_bit(bits)
        found += 1
        bits &= bits - np.uint32(1)
    return found


@inlined
def _each_value(bits, given, values):
    """Do what `_compressed_values` does."""
    found = 0
    while bits:
        values[found] = given[lowest_bit(bits)]
        found += 1
        bits &= bits - np.uint32(1)


_list_places = _compressed_places if AVX512 else _each_place
_list_values = _compressed_values if AVX512 else _each_value


@compiled(_read(4), *_SPIKES, _INTEGER)
def list_spikes(frames, indices, values, starts, samples):
    """List the values of frames that are not zero."""
    _, rows, pixels, channels = frames.shape
    size = pixels * channels
    for i in range(samples):
        for y in range(rows):
            row, places = frames[i, y].reshape(size), indices[i, y]
            address = row.ctypes.data
            found = 0
            for pixel in range(pixels):
                starts[i, y, pixel] = found
                k, end = pixel * channels, (pixel + 1) * channels
                while k < end:
                    if _fills_vector(k, end, size):
                        bits = nonzero_floats(address + 4 * k)
                        bits = bits_before(bits, k, end)
                        if bits:
                            _list_values(bits, row[k:], values[i, y, found:])
                            found += _list_places(bits, k, places[found:])
                        k += VECTOR
                    else:
                        # What is no spike is overwritten by the next.
                        places[found], values[i, y, found] = k, row[k]
                        found += row[k] != 0
                        k += 1
            starts[i, y, pixels] = found


@compiled(*_SPIKES, _write(4), _INTEGER)
def fill_frames(indices, values, starts, frames, samples):
    """Write listed spikes into frames."""
    _, rows, pixels, channels = frames.shape
    frames[:samples] = 0
    for i in range(samples):
        for y in range(rows):
            row = frames[i, y].reshape(pixels * channels)
            for event in range(starts[i, y, pixels]):
                value = values[i, y, event] if values.size else np.float32(1)
                row[indices[i, y, event]] = value


@compiled(*_SPIKES, _read(4), *_SPIKES, types.boolean, *[_INTEGER] * 2)
def mask_spikes(
    indices,
    values,
    starts,
    masks,
    to,
    to_values,
    to_starts,
    held,
    steps,
    frames,
):
    """List spikes times a mask, without those that become zero.

    Args:
        indices, values, starts: Spikes of frames.
        masks: Of each sample.
        to, to_values, to_starts: Receive spikes.
        held: Whether there is one list a sample, the same at every step.
        steps: Number of frames of a sample, which come one after the other.
        frames: Number of frames.
    """
    _, rows, pixels, channels = masks.shape
    for i in range(frames):
        sample = i // steps
        given = sample if held else i
        for y in range(rows):
            mask = masks[sample, y].reshape(pixels * channels)
            found = 0
            for pixel in range(pixels):
                to_starts[i, y, pixel] = found
                end = starts[given, y, pixel + 1]
                for event in range(starts[given, y, pixel], end):
                    index = indices[given, y, event]
                    value = mask[index]
                    if values.size:
                        value *= values[given, y, event]
                    to[i, y, found] = index
                    to_values[i, y, found] = value
                    found += value != 0
            to_starts[i, y, pixels] = found


@inlined
def _line(values, i, y):
    """Return the values of a row of spikes; none at all if they are 1."""
    return values[i, y] if values.size else values.reshape(values.size)


@inlined
def _append(indices, values, first, last, to, to_values, found, shift):
    """Append spikes `first` to `last` of a list to another of `found`."""
    for event in range(first, last):
        to[found] = indices[event] + shift
        if to_values.size:
            to_values[found] = values[event] if values.size else np.float32(1)
        found += 1
    return found


@compiled(*_SPIKES, *_SPIKES, *_SPIKES, *[_INTEGER] * 4)
def join_spikes(
    indices,
    values,
    starts,
    others,
    other_values,
    other_starts,
    to,
    to_values,
    to_starts,
    channels,
    other_channels,
    axis,
    samples,
):
    """List the spikes of two frames side by side.

    Args:
        indices, values, starts: Spikes of the first frame.
        others, other_values, other_starts: Those of the second.
        to, to_values, to_starts: Receive the spikes.
        channels, other_channels: Of both.
        axis: Along which they are joined: 1 for rows, 2 for pixels, 3 for
            channels.
        samples: Number of samples.
    """
    _, height, width = starts.shape
    width -= 1
    top = height if axis == 1 else 0
    left = width if axis == 2 else 0
    before = channels if axis == 3 else 0
    together = before + other_channels
    pixels = to_starts.shape[2] - 1
    for i in range(samples):
        for y in range(to_starts.shape[1]):
            row, other_row = min(y, height - 1), max(y - top, 0)
            line, other_line = indices[i, row], others[i, other_row]
            ones = _line(values, i, row)
            other_ones = _line(other_values, i, other_row)
            to_line, to_ones = to[i, y], _line(to_values, i, y)
            found = 0
            for x in range(pixels):
                to_starts[i, y, x] = found
                if y < height and x < width:
                    found = _append(
                        line,
                        ones,
                        starts[i, y, x],
                        starts[i, y, x + 1],
                        to_line,
                        to_ones,
                        found,
                        x * (together - channels),
                    )
                pixel = x - left
                if y >= top and pixel >= 0:
                    found = _append(
                        other_line,
                        other_ones,
                        other_starts[i, other_row, pixel],
                        other_starts[i, other_row, pixel + 1],
                        to_line,
                        to_ones,
                        found,
                        x * together - pixel * other_channels + before,
                    )
            to_starts[i, y, pixels] = found


@inlined
def _finish(unit, out, scales, bias):
    """Turn sums into currents, in place: `scales * sum + bias`.

    Args:
        unit: Whether all spikes have the value 1.
        out: Sums, axes (pixel, output): in int32 if they are of ones and int8
            weights.
        scales: One number an output for int8 weights, or none at all.
        bias: One number an output, or none at all.
    """
    if len(scales):
        counts = out.view(np.int32)
        for pixel in range(len(out)):
            for n in range(len(scales)):
                total = np.float32(counts[pixel, n]) if unit else out[pixel, n]
                out[pixel, n] = scales[n] * total
    if len(bias):
        for pixel in range(len(out)):
            for n in range(len(bias)):
                out[pixel, n] += bias[n]


@inlined
def convolve_part(
    indices,
    values,
    starts,
    weights,
    scales,
    bias,
    out,
    sy,
    sx,
    top,
    left,
    rows,
    samples,
):
    """Compute some of what `convolve` computes.

    Args:
        rows, samples: First and last of each.
        indices, values, starts, weights, scales, bias, out, sy, sx, top, left:
            As in `convolve`.
    """
    height, width = starts.shape[1], starts.shape[2] - 1
    kernel_rows, columns, channels, outputs = weights.shape
    out_width = out.shape[2]
    unit, size = values.size == 0, weights.itemsize
    stride = size * outputs
    for i in range(*samples):
        out[i, rows[0] : rows[1]] = 0
    for dy in range(kernel_rows):
        n = 0
        while n < outputs:
            lanes = _widest(outputs - n, size, unit)
            corner = weights[dy].ctypes.data + size * n
            for i in range(*samples):
                for y in range(*rows):
                    row = y * sy + dy - top
                    if row < 0 or row >= height:
                        continue
                    if not starts[i, row, width]:
                        continue
                    index_list = indices[i, row].ctypes.data
                    value_list = 0 if unit else values[i, row].ctypes.data
                    for x in range(out_width):
                        # The spikes of the pixels under a row of the kernel
                        # lie one after the other.
                        start = x * sx - left
                        begin = starts[i, row, min(max(start, 0), width)]
                        end = max(min(start + columns, width), 0)
                        end = starts[i, row, end]
                        if begin == end:
                            continue
                        _add_spikes(
                            size,
                            unit,
                            lanes,
                            out[i, y, x].ctypes.data + 4 * n,
                            corner - start * channels * stride,
                            stride,
                            index_list,
                            value_list,
                            begin,
                            end,
                        )
            n += lanes
    for i in range(*samples):
        for y in range(*rows):
            _finish(unit, out[i, y], scales, bias)


@compiled_for_weights(_SPIKES, 4, (*[_read(1)] * 2, _write(4), *[_INTEGER] * 6))
def convolve(
    indices,
    values,
    starts,
    weights,
    scales,
    bias,
    out,
    sy,
    sx,
    top,
    left,
    together,
    samples,
):
    """Compute the currents of a convolution.

    Args:
        indices, values, starts: Spikes of the input.
        weights: Kernel, axes (y, x, channel, output channel), float32 or int8.
        scales: What an int8 weight of each output channel is to be multiplied
            by; none at all for float32.
        bias: One number an output channel, or none at all.
        out: Receives the currents, axes (sample, y, x, output channel).
        sy, sx: Strides.
        top, left: Zeros before each column and each row.
        together: Samples that share one pass through the weights.
        samples: Number of samples.
    """
    for first in range(0, samples, together):
        convolve_part(
            indices,
            values,
            starts,
            weights,
            scales,
            bias,
            out,
            sy,
            sx,
            top,
            left,
            (0, out.shape[1]),
            (first, min(first + together, samples)),
        )


@inlined
def multiply_part(
    indices, values, starts, weights, scales, bias, out, outputs, samples
):
    """Compute the first of the outputs that `multiply` computes.

    Args:
        indices, values, starts, weights, samples: As there.
        scales, bias: As there, of these outputs.
        out: Receives the currents, axes (sample, output).
        outputs: Their number.
    """
    rows, pixels = starts.shape[1], starts.shape[2] - 1
    places = len(weights) // rows
    unit, size = values.size == 0, weights.itemsize
    out[:samples, :outputs] = 0
    n = 0
    while n < outputs:
        lanes = _widest(outputs - n, size, unit)
        for y in range(rows):
            for i in range(samples):
                _add_spikes(
                    size,
                    unit,
                    lanes,
                    out[i].ctypes.data + 4 * n,
                    weights[y * places].ctypes.data + size * n,
                    size * weights.shape[1],
                    indices[i, y].ctypes.data,
                    0 if unit else values[i, y].ctypes.data,
                    0,
                    starts[i, y, pixels],
                )
        n += lanes
    _finish(unit, out[:samples], scales, bias)


@compiled_for_weights(_SPIKES, 2, (*[_read(1)] * 2, _write(4), _INTEGER))
def multiply(indices, values, starts, weights, scales, bias, out, samples):
    """Compute the currents of a dense layer that sees whole frames.

    Args:
        indices, values, starts: Spikes of the input.
        weights: Matrix, axes (place in the flat frame, output), float32 or
            int8.
        scales: As in `convolve`.
        bias: One number an output, or none at all.
        out: Receives the currents, axes (sample, 1, 1, output).
        samples: Number of samples.
    """
    outputs = weights.shape[1]
    multiply_part(
        indices,
        values,
        starts,
        weights,
        scales,
        bias,
        out.reshape((len(out), outputs)),
        outputs,
        samples,
    )


@compiled(_read(4), _read(3), _read(1), _write(4), *[_INTEGER] * 5)
def convolve_depthwise(frames, weights, bias, out, sy, sx, top, left, samples):
    """Convolve each channel with a kernel of its own.

    Whole frames, since a spike meets but one weight at each place, and these
    are next to each other for neighbouring channels.

    Args:
        frames: Input.
        weights: Axes (y, x, channel).
        bias: One number a channel, or none at all.
        out: Receives the currents, axes (sample, y, x, channel).
        sy, sx, top, left, samples: As in `convolve`.
    """
    _, height, width, channels = frames.shape
    rows, columns, _ = weights.shape
    _, out_height, out_width, _ = out.shape
    out[:samples] = 0
    for i in range(samples):
        for y in range(out_height):
            for dy in range(rows):
                row = y * sy + dy - top
                if row < 0 or row >= height:
                    continue
                for x in range(out_width):
                    start = x * sx - left
                    end = min(columns, width - start)
                    for dx in range(max(0, -start), end):
                        pixel = frames[i, row, start + dx]
                        weight = weights[dy, dx]
                        for c in range(channels):
                            out[i, y, x, c] += pixel[c] * weight[c]
    pixels = samples * out_height * out_width
    _finish(False, out[:samples].reshape((pixels, channels)), bias[:0], bias)


@compiled(_read(4), _write(4), *[_INTEGER] * 5)
def average(frames, out, height, width, sy, sx, samples):
    """Average windows of frames, all of them within the frame."""
    size = np.float32(height * width)
    for i in range(samples):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                out[i, y, x] = 0
                for dy in range(height):
                    for dx in range(width):
                        pixel = frames[i, y * sy + dy, x * sx + dx]
                        for c in range(len(pixel)):
                            out[i, y, x, c] += pixel[c]
                for c in range(out.shape[3]):
                    out[i, y, x, c] /= size


@inlined
def average_part(
    indices, values, starts, out, height, width, sy, sx, samples, first, last
):
    """Compute rows `first` to `last` of what `average_spikes` computes."""
    _, _, out_width, channels = out.shape
    size = np.float32(height * width)
    for i in range(samples):
        for y in range(first, last):
            out[i, y] = 0
            for row in range(y * sy, y * sy + height):
                places, pixels = indices[i, row], starts[i, row]
                for x in range(out_width):
                    total = out[i, y, x]
                    for pixel in range(x * sx, x * sx + width):
                        corner = pixel * channels
                        for event in range(pixels[pixel], pixels[pixel + 1]):
                            value = np.float32(1)
                            if values.size:
                                value = values[i, row, event]
                            total[places[event] - corner] += value
            row_of_totals = out[i, y].reshape(out_width * channels)
            for k in range(len(row_of_totals)):
                row_of_totals[k] /= size


@compiled(*_SPIKES, _write(4), *[_INTEGER] * 5)
def average_spikes(
    indices, values, starts, out, height, width, sy, sx, samples
):
    """Do what `average` does, given the spikes of the frames."""
    rows = out.shape[1]
    average_part(
        indices, values, starts, out, height, width, sy, sx, samples, 0, rows
    )


@compiled(_read(4), _write(4), *[_INTEGER] * 5)
def maximum(frames, out, height, width, sy, sx, samples):
    """Take the maximum of windows of frames, all within the frame."""
    for i in range(samples):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                for c in range(out.shape[3]):
                    out[i, y, x, c] = frames[i, y * sy, x * sx, c]
                for dy in range(height):
                    for dx in range(width):
                        pixel = frames[i, y * sy + dy, x * sx + dx]
                        for c in range(len(pixel)):
                            out[i, y, x, c] = max(out[i, y, x, c], pixel[c])


@inlined
def list_fired(fired, channels, indices, starts):
    """List the spikes of a row.

    Args:
        fired: Which neurons fired, axis (pixel * channels).
        channels: Number of neurons of a pixel.
        indices, starts: Receive the spikes of the row.
    """
    size, address = len(fired), fired.ctypes.data
    found = 0
    for pixel in range(len(starts) - 1):
        starts[pixel] = found
        k, end = pixel * channels, (pixel + 1) * channels
        while k < end:
            if _fills_vector(k, end, size):
                bits = bits_before(nonzero_bytes(address + k), k, end)
                found += _list_places(bits, k, indices[found:])
                k += VECTOR
            else:
                indices[found] = k
                found += fired[k]
                k += 1
    starts[len(starts) - 1] = found


_maximum = inner(maximum)


@compiled(_read(4), *[_write(4)] * 3, *[_INTEGER] * 5)
def count_maximum(frames, counts, peaks, out, height, width, sy, sx, samples):
    """Add frames to counts, and give by how much each window's maximum rises.

    Args:
        frames: Input.
        counts: Updated.
        peaks: Room for the maxima before.
        out: Receives the differences.
        height, width: Of a window.
        sy, sx: Strides.
        samples: Number of samples.
    """
    _maximum(counts, peaks, height, width, sy, sx, samples)
    # Sums of whole arrays take Numba ten seconds.
    for i in range(samples):
        count, frame = counts[i].reshape(-1), frames[i].reshape(-1)
        for k in range(len(count)):
            count[k] += frame[k]
    _maximum(counts, out, height, width, sy, sx, samples)
    for i in range(samples):
        rise, peak = out[i].reshape(-1), peaks[i].reshape(-1)
        for k in range(len(rise)):
            rise[k] -= peak[k]


@inlined
def _fire_row(current, v, fired, beta, threshold, subtract):
    """Advance neurons one step; `fired` receives which of them fire."""
    zero, one = np.float32(0), np.float32(1)
    for k in range(len(v)):
        u = v[k] + current[k]
        spike = u > threshold
        if subtract:
            kept = u - (threshold if spike else zero)
        else:
            kept = u * (zero if spike else one)
        v[k] = beta * kept
        fired[k] = spike


@inlined
def fire_rows(
    currents,
    potentials,
    bytes_,
    fired,
    indices,
    starts,
    beta,
    threshold,
    subtract,
    first,
    last,
):
    """Advance rows `first` to `last` of one sample's neurons, as in `fire`."""
    _, pixels, channels = currents.shape
    size = pixels * channels
    for y in range(first, last):
        current = currents[y].reshape(size)
        v = potentials[y].reshape(size)
        history = bytes_[y].reshape(size)
        _fire_row(current, v, fired, beta, threshold, subtract)
        for k in range(size):
            history[k] = np.uint8(2 * history[k] + fired[k])
        list_fired(fired, channels, indices[y], starts[y])


@compiled(
    _read(4),
    _write(4),
    _BYTES,
    _array(types.uint8, 1),
    _INDICES,
    _STARTS,
    *[_NUMBER] * 2,
    types.boolean,
    _INTEGER,
)
def fire(
    currents,
    potentials,
    bytes_,
    fired,
    indices,
    starts,
    beta,
    threshold,
    subtract,
    samples,
):
    """Advance leaky integrate-and-fire neurons and list their spikes.

    Args:
        currents: Input currents.
        potentials: Updated.
        bytes_: The neurons' last eight spikes, the newest lowest; updated.
        fired: Room for the spikes of one row.
        indices, starts: Receive the spikes.
        beta: Decay per step.
        threshold: Firing threshold.
        subtract: Whether a spike subtracts the threshold; else it resets to
            zero.
        samples: Number of samples.
    """
    rows = currents.shape[1]
    for i in range(samples):
        fire_rows(
            currents[i],
            potentials[i],
            bytes_[i],
            fired,
            indices[i],
            starts[i],
            beta,
            threshold,
            subtract,
            0,
            rows,
        )


def any_neurons(made, sums):
    """Return what `made(lanes, sums)` gives, for `NEURONS`, 8 or 1."""
    many, some, one = (made(x, sums) for x in (NEURONS, 8, 1))

    @inlined_variant(made.__name__, sums)
    def take_steps(lanes, *given):
        if lanes == NEURONS:
            return many(*given)
        return some(*given) if lanes == 8 else one(*given)

    return take_steps


_without_sums, _with_sums, _with_traces, _with_credit = (
    any_neurons(neuron_steps, x) for x in (0, 2, 3, CREDIT)
)


@inlined
def most_neurons(count):
    """Return how many of the next `count` neurons to take at once."""
    if count >= NEURONS:
        return NEURONS
    return 8 if count >= 8 else 1


@inlined
def _take_steps(
    currents, stride, fired, v, sums, numbers, surrogate, subtract, before
):
    """Advance a row of neurons some steps.

    Args:
        currents: Of the first step.
        stride: Bytes to those of the next.
        fired: Receives which neurons fire, axes (step, neuron).
        v: Potentials, updated.
        sums: `totals`, `others` and `traces` of the row, updated, each of one
            sample or of none.
        numbers, surrogate, subtract, before: As in `fire_rows_of_steps`.

    Returns:
        Whether a potential is no number.
    """
    steps, size = fired.shape
    totals, others, traces = sums
    beta, threshold = numbers
    zero, one = np.float32(0), np.float32(1)
    strides = stride, size
    amount, factor = (threshold, one) if subtract else (zero, zero)
    kind, parameter = surrogate
    numbers = beta, threshold, amount, factor, parameter
    current, bytes_, state = currents.ctypes, fired.ctypes, v.ctypes
    missing, n = False, 0
    while n < size:
        lanes = most_neurons(size - n)
        places = (
            current.data + 4 * n,
            bytes_.data + n,
            state.data + 4 * n,
            totals.ctypes.data + 4 * n,
            others.ctypes.data + 4 * n,
            traces.ctypes.data + 4 * n,
        )
        given = lanes, places, strides, numbers, before, steps
        if kind >= 0:
            missing |= _with_credit(
                lanes, places, strides, numbers, kind, steps
            )
        elif traces.size:
            missing |= _with_traces(*given)
        elif totals.size:
            missing |= _with_sums(*given)
        else:
            missing |= _without_sums(*given)
        n += lanes
    return missing


@inlined
def fire_rows_of_steps(
    currents,
    potentials,
    indices,
    starts,
    lost,
    sums,
    numbers,
    surrogate,
    subtract,
    held,
    before,
    samples,
    steps,
    rows,
):
    """Advance some rows of neurons, as in `fire_steps`.

    Args:
        sums: `totals`, `others` and `traces` as there.
        numbers: `beta` and `threshold` as there.
        surrogate: `kind` and `parameter` as there.
        rows: First and last.
        currents, potentials, indices, starts, lost, subtract, held, before,
            samples, steps: As there.
    """
    size = currents.shape[2] * currents.shape[3]
    channels = currents.shape[3]
    totals, others, traces = sums
    fired = np.empty((steps, size), np.uint8)
    for i in range(samples):
        first, which = i if held else i * steps, slice(i, i + 1)
        for y in range(*rows):
            v = potentials[i, y].reshape(size)
            if before == 0 and totals.size:
                totals[i, y], others[i, y] = 0, 0
                if traces.size:
                    traces[i, y] = 0
            missing = _take_steps(
                currents[first, y],
                0 if held else currents[0].nbytes,
                fired,
                v,
                (totals[which, y], others[which, y], traces[which, y]),
                numbers,
                surrogate,
                subtract,
                before,
            )
            if missing:
                lost[i] = True
            for t in range(steps):
                frame = i * steps + t
                list_fired(
                    fired[t], channels, indices[frame, y], starts[frame, y]
                )


@compiled(
    _read(4),
    _write(4),
    _INDICES,
    _STARTS,
    _array(types.boolean, 1),
    *[_write(4)] * 3,
    *[_NUMBER] * 2,
    _INTEGER,
    _NUMBER,
    *[types.boolean] * 2,
    *[_INTEGER] * 3,
)
def fire_steps(
    currents,
    potentials,
    indices,
    starts,
    lost,
    totals,
    others,
    traces,
    beta,
    threshold,
    kind,
    parameter,
    subtract,
    held,
    before,
    samples,
    steps,
):
    """Do what `fire` does for some steps of some samples.

    Args:
        currents: Of steps 0, 1, ... of sample 0, then those of sample 1, ...
        potentials: Of each sample, updated.
        indices, starts: Receive the spikes, in the order of currents.
        lost: Receives True for samples with a potential that is no number.
        totals, others, traces: Sums of each sample, begun at step 0 and
            updated, or without any numbers. Without a surrogate: number of
            spikes, time of the last one, leaky traces, which may be without
            numbers. With one: number of spikes, derivatives, eligibilities.
        beta, threshold, subtract: As in `fire`.
        kind, parameter: As in `credit_by_rate`; without a surrogate it is
            number -1.
        held: Whether currents are one frame a sample, the same at every step.
        before: Number of steps before these.
        samples, steps: Numbers of samples and steps.
    """
    fire_rows_of_steps(
        currents,
        potentials,
        indices,
        starts,
        lost,
        (totals, others, traces),
        (beta, threshold),
        (kind, parameter),
        subtract,
        held,
        before,
        samples,
        steps,
        (0, currents.shape[1]),
    )


@compiled(
    _read(4),
    _write(4),
    _BYTES,
    _array(types.uint8, 1),
    _INDICES,
    _STARTS,
    *[_read(3)] * 2,
    types.boolean,
    _INTEGER,
)
def fire_each(
    currents,
    potentials,
    bytes_,
    fired,
    indices,
    starts,
    betas,
    thresholds,
    subtract,
    samples,
):
    """Do what `fire` does, with a decay and a threshold for each neuron.

    Args:
        betas, thresholds: Axes (row, pixel, channel).
        currents, potentials, bytes_, fired, indices, starts, subtract,
            samples: As in `fire`.
    """
    _, rows, pixels, channels = currents.shape
    size = pixels * channels
    one = np.float32(1)
    for i in range(samples):
        for y in range(rows):
            current = currents[i, y].reshape(size)
            v = potentials[i, y].reshape(size)
            history = bytes_[i, y].reshape(size)
            beta = betas[y].reshape(size)
            threshold = thresholds[y].reshape(size)
            for k in range(size):
                u = v[k] + current[k]
                spike = u > threshold[k]
                kept = u * (one - spike)
                if subtract:
                    kept = u - threshold[k] * spike
                v[k] = beta[k] * kept
                fired[k] = spike
                history[k] = (history[k] << np.uint8(1)) | np.uint8(spike)
            list_fired(fired, channels, indices[i, y], starts[i, y])


@compiled(_read(4), _write(4), _NUMBER, types.boolean, *[_INTEGER] * 2)
def integrate(currents, states, beta, held, samples, steps):
    """Take steps of readouts, `state = beta * (state + current)`.

    Args:
        currents, held: As in `fire_steps`.
        states: Of each sample, updated.
        beta: Decay per step.
        samples, steps: Numbers of samples and steps.
    """
    for i in range(samples):
        total = states[i].reshape(states[i].size)
        for t in range(steps):
            frame = i if held else i * steps + t
            current = currents[frame].reshape(total.size)
            for k in range(total.size):
                total[k] = beta * (total[k] + current[k])


@compiled(
    _BYTES,
    _write(4),
    _array(types.boolean, 1),
    _INTEGER,
    returns=types.boolean,
)
def watch(bytes_, potentials, lost, samples):
    """Look at what `fire` did.

    Args:
        bytes_, potentials: As in `fire`.
        lost: Receives True for samples with a potential that is no number.
        samples: Number of samples.

    Returns:
        Whether any neuron's newest spike differs from the one before.
    """
    different = np.uint8(0)
    for i in range(samples):
        size = bytes_[i].size
        spikes = bytes_[i].reshape(size)
        v = potentials[i].reshape(size)
        broken = np.uint32(0)
        for k in range(size):
            change = spikes[k] ^ (spikes[k] >> np.uint8(1))
            different = np.uint8(different | change)
        for k in range(size):
            broken = np.uint32(broken | np.uint32(v[k] != v[k]))
        if broken:
            lost[i] = True
    return different & np.uint8(1) != 0


@compiled(
    _BYTES,
    *[_write(4)] * 3,
    _array(types.float32, 1),
    *[_NUMBER] * 2,
    _INTEGER,
)
def absorb(bytes_, totals, t_lasts, traces, decays, decay, end, samples):
    """Add up the spikes of a window of at most eight steps; forget them.

        total += sum_k bit_k
        t_last = max(t_last, (end - k) * bit_k)
        trace = decay * trace + sum_k decays[k] * bit_k

    Args:
        bytes_: Each neuron's spikes, bit k that of step `end - k`.
        totals, t_lasts: Updated.
        traces: Updated, unless it is empty.
        decays: `beta**k`.
        decay: `beta` to the number of steps in the window.
        end: Number of the window's last step.
        samples: Number of samples.
    """
    for i in range(samples):
        size = bytes_[i].size
        spikes = bytes_[i].reshape(size)
        total = totals[i].reshape(size)
        t_last = t_lasts[i].reshape(size)
        for j in range(size):
            count, latest = total[j], t_last[j]
            for k in range(8):
                bit = np.float32((spikes[j] >> np.uint8(k)) & np.uint8(1))
                count += bit
                latest = max(latest, bit * (end - np.float32(k)))
            total[j], t_last[j] = count, latest
        if traces.size:
            trace = traces[i].reshape(size)
            for j in range(size):
                value = decay * trace[j]
                for k in range(8):
                    bit = np.float32((spikes[j] >> np.uint8(k)) & np.uint8(1))
                    value += decays[k] * bit
                trace[j] = value
        for j in range(size):
            spikes[j] = 0


@compiled(*[_write(4)] * 3, *[_NUMBER] * 4, _INTEGER)
def credit(
    totals, t_lasts, traces, time_steps, factor, leak, threshold, samples
):
    """Replace sums by what the collapsed rule makes of them.

        rate = total / T;   derivative = factor * t_last / T

    with the leak-corrected factor
    `([trace > 1e-3] + leak * trace / max(total, 1)) / threshold` if there
    are traces.

    Args:
        totals: Becomes the rates.
        t_lasts: Becomes the derivatives.
        traces: Leaky traces; empty for a constant factor.
        time_steps: T.
        factor: The constant factor.
        leak: `ln(beta)`.
        threshold: Firing threshold.
        samples: Number of samples.
    """
    one, least = np.float32(1), np.float32(1e-3)
    for i in range(samples):
        size = totals[i].size
        total, t_last = totals[i].reshape(size), t_lasts[i].reshape(size)
        if traces.size:
            trace = traces[i].reshape(size)
            for j in range(size):
                fired = np.float32(trace[j] > least)
                share = leak * trace[j] / max(total[j], one)
                corrected = (fired + share) / threshold
                t_last[j] = corrected * t_last[j] / time_steps
        else:
            for j in range(size):
                t_last[j] = factor * t_last[j] / time_steps
        for j in range(size):
            total[j] /= time_steps


@compiled(
    _read(4),
    _read(4),
    *[_write(4)] * 3,
    *[_NUMBER] * 2,
    types.boolean,
    _INTEGER,
    _NUMBER,
    _INTEGER,
)
def credit_by_rate(
    currents,
    potentials,
    eligibilities,
    derivatives,
    totals,
    beta,
    threshold,
    subtract,
    kind,
    parameter,
    samples,
):
    """Take a step of the rate rule, before `fire` takes that of the neurons.

        e(t) = 1 + beta k(t-1) e(t-1);   derivative += surrogate'(x(t)) e(t)

    See `neurons.rate.rate_step`.

    Args:
        currents: Input currents.
        potentials: Before them.
        eligibilities, derivatives, totals: Updated.
        beta: Decay per step.
        threshold: Firing threshold.
        subtract: How neurons are reset, as in `fire`.
        kind, parameter: Of the surrogate, see `SURROGATES`.
        samples: Number of samples.
    """
    _, rows, pixels, channels = currents.shape
    # Neurons go on from the potentials as they are.
    v = np.empty(pixels * channels, np.float32)
    fired = np.empty((1, len(v)), np.uint8)
    for i in range(samples):
        which = slice(i, i + 1)
        for y in range(rows):
            v[:] = potentials[i, y].reshape(len(v))
            _take_steps(
                currents[i, y],
                0,
                fired,
                v,
                (
                    totals[which, y],
                    derivatives[which, y],
                    eligibilities[which, y],
                ),
                (beta, threshold),
                (kind, parameter),
                subtract,
                0,
            )
