"""What the exact rule's backward pass does to some frames, by Numba.

Frames are those of some samples at some steps, one after the other, flat.
The input of a layer with weights is listed by channel: `rows[c, e]` is where
the kernel's corner lies on the padded credit for event e of channel c,
`spots[c, e]` the event's pixel, `values[c, e]` its value, and `counts[c]` the
number of events.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from keras_snn_runtime.compiler import compiled, inlined_variant
from keras_snn_runtime.kernels import bits_before
from keras_snn_runtime.vectors import (
    AVX512,
    FLOAT,
    INT32,
    INT64,
    all_lanes,
    lowest_bit,
    nonzero_bytes,
    pointer,
)

# Neighbouring outputs of a vector, and vectors that are summed at once: as
# many as the processor has registers for.
LANES = 16
VECTORS = 4 if AVX512 else 2

_VECTOR = ir.VectorType(FLOAT, LANES)
_INTEGER = types.intp


def _array(dtype, ndim, readonly=False):
    return types.Array(dtype, ndim, "C", readonly=readonly)


_LIST = _array(types.int32, 2)
_NUMBERS = _array(types.float32, 2)
_COUNTS = _array(types.int64, 1)
_GIVEN = _array(types.float32, 2, readonly=True)
_BYTES = _array(types.uint8, 2, readonly=True)


def _multiply_add(builder, a, b, c):
    # May become one instruction, rounded once.
    product = builder.fmul(a, b, flags=("contract",))
    return builder.fadd(c, product, flags=("contract",))


def _credit_row(vectors, wanted):
    """Return the function that credits one row of weights.

    Args:
        vectors: Vectors of neighbouring outputs.
        wanted: Whether the inputs are credited, too.
    """

    @intrinsic
    def credit_row(
        typing, weights, changes, credit, stride, rows, values, partial, count
    ):
        """Pass the credit of some outputs on to one row of their weights.

            changes[:] += sum_e values[e] * credit[rows[e], :]
            partial[e, :] += weights[:] * credit[rows[e], :]

        where the last sums over vectors. Takes addresses; `stride` is the
        number of bytes of a row of `credit`.
        """

        def emit(context, builder, signature, arguments):
            weights, changes, credit, stride, rows, values, partial, count = (
                arguments
            )
            size = 4 * LANES

            def at(address, j):
                place = builder.add(address, INT64(j * size))
                return pointer(builder, place, _VECTOR)

            kernel = [
                builder.load(at(weights, j), align=4)
                for j in range(vectors if wanted else 0)
            ]
            before = builder.block
            head, body, done = (
                builder.append_basic_block(x) for x in ("head", "body", "done")
            )
            builder.branch(head)

            builder.position_at_end(head)
            event = builder.phi(INT64)
            totals = [builder.phi(_VECTOR) for _ in range(vectors)]
            event.add_incoming(INT64(0), before)
            for total in totals:
                total.add_incoming(ir.Constant(_VECTOR, None), before)
            more = builder.icmp_signed("<", event, count)
            builder.cbranch(more, body, done)

            builder.position_at_end(body)
            offset = builder.shl(event, INT64(2))
            row, value = (
                builder.load(
                    pointer(builder, builder.add(address, offset), kind),
                    align=4,
                )
                for address, kind in ((rows, INT32), (values, FLOAT))
            )
            value = all_lanes(builder, value, LANES)
            start = builder.mul(builder.sext(row, INT64), stride)
            start = builder.add(credit, start)
            found = [
                builder.load(at(start, j), align=4) for j in range(vectors)
            ]
            after = [
                _multiply_add(builder, value, x, total)
                for x, total in zip(found, totals)
            ]
            if wanted:
                place = builder.mul(event, INT64(size))
                target = at(builder.add(partial, place), 0)
                dot = builder.load(target, align=4)
                for x, w in zip(found, kernel):
                    dot = _multiply_add(builder, x, w, dot)
                builder.store(dot, target, align=4)
            event.add_incoming(builder.add(event, INT64(1)), body)
            for total, x in zip(totals, after):
                total.add_incoming(x, body)
            builder.branch(head)

            builder.position_at_end(done)
            # Events of some frames are summed first: shorter sums, which
            # are rounded less.
            for j, total in enumerate(totals):
                old = builder.load(at(changes, j), align=4)
                builder.store(builder.fadd(old, total), at(changes, j), align=4)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8), emit

    return credit_row


@intrinsic
def _sum_of(typing, address):
    """Return the sum of the vector at an address."""

    def emit(context, builder, signature, arguments):
        vector = builder.load(pointer(builder, *arguments, _VECTOR), align=4)
        lanes = LANES
        while lanes > 1:
            lanes //= 2
            low, high = (
                builder.shuffle_vector(
                    vector,
                    ir.Constant(vector.type, ir.Undefined),
                    ir.Constant(
                        ir.VectorType(INT32, lanes),
                        [INT32(first + k) for k in range(lanes)],
                    ),
                )
                for first in (0, lanes)
            )
            vector = builder.fadd(low, high)
        return builder.extract_element(vector, INT32(0))

    return types.float32(types.intp), emit


def _crediting(wanted):
    """Return `_credit_row` for 4, 2 or 1 vectors."""
    four, two, one = (_credit_row(x, wanted) for x in (4, 2, 1))

    @inlined_variant(wanted)
    def credit(
        vectors, weights, changes, credit, stride, rows, values, partial, count
    ):
        if vectors == 4:
            four(weights, changes, credit, stride, rows, values, partial, count)
        elif vectors == 2:
            two(weights, changes, credit, stride, rows, values, partial, count)
        else:
            one(weights, changes, credit, stride, rows, values, partial, count)

    return credit


_credit_both, _credit_weights = _crediting(True), _crediting(False)


@compiled(
    *[_LIST] * 2,
    _NUMBERS,
    _COUNTS,
    _array(types.float32, 4, readonly=True),
    *[_array(types.float32, 4)] * 2,
    *[_NUMBERS] * 2,
    *[types.boolean] * 2,
)
def credit_events(
    rows,
    spots,
    values,
    counts,
    weights,
    changes,
    credit,
    partial,
    gradient,
    wanted,
    add,
):
    """Take the credit of a convolution's outputs to its weights and inputs.

        dW[dy, dx, c, :] += sum_{y, x: s != 0} s[y, x, c] * D[y-dy, x-dx, :]
        G[y, x, c] = sum_{dy, dx} w[dy, dx, c, :] . D[y-dy, x-dx, :]

    the latter where there are events.

    Args:
        rows, spots, values, counts: Listed events of the input.
        weights: Kernel, axes (y, x, channel, output); outputs are a multiple
            of `LANES`.
        changes: `dW`; updated.
        credit: `D` on the grid of the inputs and padded, axes (frame, y, x,
            output).
        partial: Room for a vector an event.
        gradient: Receives `G`, axes (pixel, channel).
        wanted: Whether `G` is.
        add: Whether to add to what is there.
    """
    height, width, channels, outputs = weights.shape
    columns = credit.shape[2]
    base, stride = credit.ctypes.data, 4 * outputs
    partial_at = partial.ctypes.data
    for c in range(channels):
        count = counts[c]
        if count == 0:
            continue
        rows_at, values_at = rows[c].ctypes.data, values[c].ctypes.data
        if wanted:
            partial[:count] = 0
        for dy in range(height):
            for dx in range(width):
                corner = (height - 1 - dy) * columns + width - 1 - dx
                n = 0
                while n < outputs:
                    vectors = VECTORS
                    while vectors * LANES > outputs - n:
                        vectors //= 2
                    arguments = (
                        weights[dy, dx, c].ctypes.data + 4 * n,
                        changes[dy, dx, c].ctypes.data + 4 * n,
                        base + corner * stride + 4 * n,
                        stride,
                        rows_at,
                        values_at,
                        partial_at,
                        count,
                    )
                    if wanted:
                        _credit_both(vectors, *arguments)
                    else:
                        _credit_weights(vectors, *arguments)
                    n += vectors * LANES
        if wanted:
            for e in range(count):
                total = _sum_of(partial_at + 4 * LANES * e)
                if add:
                    total += gradient[spots[c, e], c]
                gradient[spots[c, e], c] = total


@compiled(
    _BYTES,
    _GIVEN,
    *[_INTEGER] * 6,
    _array(types.uint8, 1),
    *[_LIST] * 2,
    _NUMBERS,
    _COUNTS,
)
def list_spikes(
    bytes_,
    masks,
    first,
    last,
    steps,
    width,
    padded_width,
    padded_size,
    fired,
    rows,
    spots,
    values,
    counts,
):
    """List the spikes of some frames, by channel.

    Args:
        bytes_: Spikes of a window, one byte a neuron, the newest lowest; axes
            (sample, neuron).
        masks: What they are multiplied by, axes (sample, neuron); or nothing,
            and `values` stays as it is.
        first, last: Frames, which are listed up to, not including, the last.
        steps: Frames of a sample.
        width: Pixels of a row.
        padded_width, padded_size: Pixels of a row, and of a frame, of the
            padded credit.
        fired: Room for the spikes of a frame and 31 bytes.
        rows, spots, values, counts: Receive the spikes.
    """
    channels = len(counts)
    size = bytes_.shape[1]
    pixels = size // channels
    masked = masks.size > 0
    address = fired.ctypes.data
    counts[:] = 0
    for frame in range(first, last):
        i, age = frame // steps, np.uint8(steps - 1 - frame % steps)
        history = bytes_[i]
        for k in range(size):
            fired[k] = (history[k] >> age) & np.uint8(1)
        for pixel in range(pixels):
            row = (frame - first) * padded_size
            row += pixel // width * padded_width + pixel % width
            spot, base = frame * pixels + pixel, pixel * channels
            for start in range(0, channels, 32):
                bits = nonzero_bytes(address + base + start)
                bits = bits_before(bits, start, channels)
                while bits:
                    c = start + lowest_bit(bits)
                    e = counts[c]
                    rows[c, e], spots[c, e] = row, spot
                    kept = True
                    if masked:
                        values[c, e] = masks[i, base + c]
                        kept = masks[i, base + c] != 0
                    counts[c] = e + kept
                    bits &= bits - np.uint32(1)


@compiled(
    _GIVEN,
    *[_INTEGER] * 5,
    types.boolean,
    *[_LIST] * 2,
    _NUMBERS,
    _COUNTS,
)
def list_values(
    frames,
    first,
    last,
    width,
    padded_width,
    padded_size,
    every,
    rows,
    spots,
    values,
    counts,
):
    """List what is not zero in some frames, by channel; or all, if `every`.

    Args:
        frames: Axes (frame, place).
        first, last, width, padded_width, padded_size: As in `list_spikes`.
        every: Whether to list zeros, too.
        rows, spots, values, counts: Receive the values.
    """
    channels = len(counts)
    pixels = frames.shape[1] // channels
    counts[:] = 0
    for frame in range(first, last):
        for pixel in range(pixels):
            row = (frame - first) * padded_size
            row += pixel // width * padded_width + pixel % width
            for c in range(channels):
                value = frames[frame, pixel * channels + c]
                if every or value != 0:
                    e = counts[c]
                    rows[c, e], spots[c, e] = row, frame * pixels + pixel
                    values[c, e] = value
                    counts[c] = e + 1


@compiled(
    _NUMBERS,
    *[_INTEGER] * 6,
    *[_INTEGER] * 2,
    _array(types.float32, 4),
)
def pad_credit(credits, first, last, height, width, sy, sx, top, left, padded):
    """Lay the credit of some frames out on the grid of the inputs.

    Args:
        credits: Axes (frame, place).
        first, last: Frames, as in `list_spikes`.
        height, width: Of the credit.
        sy, sx: Strides of the convolution.
        top, left: Zeros before each column and each row; may be negative.
        padded: Receives it, axes (frame, y, x, output); zeros elsewhere.
    """
    _, rows, columns, _ = padded.shape
    outputs = credits.shape[1] // (height * width)
    for frame in range(first, last):
        for y in range(height):
            row = top + y * sy
            if row < 0 or row >= rows:
                continue
            for x in range(width):
                column = left + x * sx
                if column < 0 or column >= columns:
                    continue
                start = (y * width + x) * outputs
                to = padded[frame - first, row, column]
                for n in range(outputs):
                    to[n] = credits[frame, start + n]


@compiled(_BYTES, _GIVEN, *[_NUMBERS] * 3, _INTEGER, types.boolean)
def credit_spikes(bytes_, factors, gradient, carries, credits, steps, add):
    """Credit each step with the neuron's next spike.

        c(t) = factor * G(t) where s(t) else c(t+1);   D(t) = c(t)

    Args:
        bytes_: Spikes of a window, as in `list_spikes`.
        factors: Of the neurons, axes (sample, neuron).
        gradient: `G`, axes (frame, neuron); read where there are spikes.
        carries: `c` after these steps, axes (sample, neuron); becomes that
            of the first.
        credits: Receives `D`, axes (frame, neuron).
        steps: Frames of a sample.
        add: Whether to add to what is there.
    """
    samples, size = bytes_.shape
    for i in range(samples):
        history, factor, carry = bytes_[i], factors[i], carries[i]
        for age in range(steps):
            frame = i * steps + steps - 1 - age
            g, credit = gradient[frame], credits[frame]
            for k in range(size):
                spike = (history[k] >> np.uint8(age)) & np.uint8(1)
                c = factor[k] * g[k] if spike else carry[k]
                carry[k] = c
                credit[k] = credit[k] + c if add else c


@compiled(*[_NUMBERS] * 2, *[_INTEGER] * 9, types.boolean)
def spread(
    credits,
    gradient,
    frames,
    height,
    width,
    out_width,
    channels,
    sizes_y,
    sizes_x,
    sy,
    sx,
    add,
):
    """Spread the credit of averages over what they are of.

    Args:
        credits: Axes (frame, place).
        gradient: Receives it, axes (frame, place).
        frames: Number of frames.
        height, width: Of a frame of `gradient`.
        out_width: Width of a frame of `credits`.
        channels: Of both.
        sizes_y, sizes_x: Of a window.
        sy, sx: Strides.
        add: Whether to add to what is there.
    """
    share = np.float32(1) / np.float32(sizes_y * sizes_x)
    pixels = credits.shape[1] // channels
    for frame in range(frames):
        credit, to = credits[frame], gradient[frame]
        if not add:
            for k in range(height * width * channels):
                to[k] = 0
        for pixel in range(pixels):
            y, x = pixel // out_width * sy, pixel % out_width * sx
            for dy in range(sizes_y):
                for dx in range(sizes_x):
                    start = ((y + dy) * width + x + dx) * channels
                    for c in range(channels):
                        value = share * credit[pixel * channels + c]
                        to[start + c] += value
