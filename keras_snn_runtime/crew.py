"""Threads that help one thread with each large product of one sample.

The one thread walks through the operations. A product is published as a job of
some parts; whoever is free takes the next part. Nobody waits for a helper that
is not there: who published a job takes all parts that no other takes, and
waits for those alone that others have begun.

A box of 64-bit numbers is all that threads share: a ticket, which counts jobs
in its upper half and parts taken in its lower one; the address of the job's
numbers; and how many parts are done.
"""

import contextlib

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from keras_snn_runtime.kernels import (
    INT64,
    _add_spikes,
    _finish,
    _pointer,
    _widest,
    compiled,
    inlined,
)

# Most threads of one sample, the first one included.
MOST = 4
# Outputs of a dense layer in a part, and parts of a convolution.
LANES, BANDS = 64, 8

_TICKET, _JOB, _DONE = 0, 8, 16  # in bytes
_NONE = 0xFFFFFFFF  # no parts are left
_NUMBERS = 21  # of a job
_CONVOLUTION, _PRODUCT = 0, 1


@intrinsic
def _load(typing, address):
    """Read the number at an address, as others see it."""

    def emit(context, builder, signature, arguments):
        place = _pointer(builder, *arguments, INT64)
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(types.int64), emit


@intrinsic
def _store(typing, address, value):
    """Write a number to an address, for others to see."""

    def emit(context, builder, signature, arguments):
        address, value = arguments
        place = _pointer(builder, address, INT64)
        builder.store_atomic(value, place, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def _increase(typing, address):
    """Add 1 to the number at an address."""

    def emit(context, builder, signature, arguments):
        place = _pointer(builder, *arguments, INT64)
        builder.atomic_rmw("add", place, INT64(1), "seq_cst")
        return context.get_dummy_value()

    return types.void(types.int64), emit


@intrinsic
def _increase_if(typing, address, value):
    """Add 1 to the number at an address if it is `value`; say whether."""

    def emit(context, builder, signature, arguments):
        address, value = arguments
        place = _pointer(builder, address, INT64)
        more = builder.add(value, INT64(1))
        found = builder.cmpxchg(place, value, more, "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(types.int64, types.int64), emit


@intrinsic
def _as_pointer(typing, address):
    def emit(context, builder, signature, arguments):
        return _pointer(builder, *arguments, ir.IntType(8))

    return types.voidptr(types.int64), emit


@inlined
def _integers(address, count):
    return carray(_as_pointer(address), (count,), np.int64)


@inlined
def _floats(address, rows, columns):
    return carray(_as_pointer(address), (rows, columns), np.float32)


@inlined
def _numbers(address, first, last):
    """Return numbers `first` to `last` at an address; none for no address."""
    count = last - first if address else 0
    return carray(_as_pointer(address + 4 * first), (count,), np.float32)


@inlined
def _convolve_band(job, part):
    """Compute some rows of what `kernels.convolve` computes, the same way."""
    index_address, value_address, starts_address = job[2], job[3], job[4]
    weights, scales_address, bias_address = job[5], job[6], job[7]
    out_address, height, width, rows = job[8], job[9], job[10], job[11]
    columns, channels, outputs = job[12], job[13], job[14]
    out_height, out_width = job[15], job[16]
    sy, sx, top, left = job[17], job[18], job[19], job[20]
    first = part * out_height // job[1]
    last = (part + 1) * out_height // job[1]
    unit, size = value_address == 0, 1 if scales_address else 4
    stride = size * outputs
    starts = _integers(starts_address, height * (width + 1))
    begin = out_address + 4 * first * out_width * outputs
    out = _floats(begin, (last - first) * out_width, outputs)
    out[:] = 0
    for dy in range(rows):
        n = 0
        while n < outputs:
            lanes = _widest(outputs - n, size, unit)
            corner = weights + dy * columns * channels * stride + size * n
            for y in range(first, last):
                row = y * sy + dy - top
                if row < 0 or row >= height:
                    continue
                of_row = row * (width + 1)
                if not starts[of_row + width]:
                    continue
                places = 4 * row * width * channels
                target = out_address + 4 * (y * out_width * outputs + n)
                for x in range(out_width):
                    start = x * sx - left
                    a = min(max(start, 0), width)
                    b = max(min(start + columns, width), 0)
                    _add_spikes(
                        size,
                        unit,
                        lanes,
                        target + 4 * x * outputs,
                        corner - start * channels * stride,
                        stride,
                        index_address + places,
                        value_address + places,
                        starts[of_row + a],
                        starts[of_row + b],
                    )
            n += lanes
    scales = _numbers(scales_address, 0, outputs)
    _finish(unit, out, scales, _numbers(bias_address, 0, outputs))


@inlined
def _multiply_lanes(job, part):
    """Compute some outputs of what `kernels.multiply` computes."""
    index_address, value_address, starts_address = job[2], job[3], job[4]
    weights, scales_address, bias_address = job[5], job[6], job[7]
    out_address, rows, pixels = job[8], job[9], job[10]
    places, outputs = job[11], job[12]
    first = part * LANES
    last = min(first + LANES, outputs)
    unit, size = value_address == 0, 1 if scales_address else 4
    starts = _integers(starts_address, rows * (pixels + 1))
    out = _floats(out_address + 4 * first, 1, last - first)
    out[:] = 0
    n = first
    while n < last:
        lanes = _widest(last - n, size, unit)
        for y in range(rows):
            _add_spikes(
                size,
                unit,
                lanes,
                out_address + 4 * n,
                weights + size * (y * places * outputs + n),
                size * outputs,
                index_address + 4 * y * places,
                value_address + 4 * y * places,
                0,
                starts[y * (pixels + 1) + pixels],
            )
        n += lanes
    scales = _numbers(scales_address, first, last)
    _finish(unit, out, scales, _numbers(bias_address, first, last))


@inlined
def _take_parts(box, ticket):
    """Take parts of the published job until none are left."""
    number = ticket >> 32
    while ticket >> 32 == number and ticket & _NONE != _NONE:
        job = _integers(_load(box + _JOB), _NUMBERS)
        part = ticket & _NONE
        if part >= job[1]:
            return
        # Succeeds only as long as the job is the same.
        if _increase_if(box + _TICKET, ticket):
            if job[0] == _CONVOLUTION:
                _convolve_band(job, part)
            else:
                _multiply_lanes(job, part)
            _increase(box + _DONE)
        ticket = _load(box + _TICKET)


@compiled(types.int64)
def serve(box):
    """Help with jobs until the box is closed."""
    ticket = _load(box + _TICKET)
    while ticket >= 0:
        _take_parts(box, ticket)
        seen = _load(box + _TICKET)
        while seen == ticket:
            seen = _load(box + _TICKET)
        ticket = seen


@compiled(types.int64, types.int64)
def share(box, job):
    """Publish a job; return when it is done."""
    parts = _integers(job, _NUMBERS)[1]
    following = (_load(box + _TICKET) >> 32) + 1
    # No part of the last job can be taken from here on.
    _store(box + _TICKET, following << 32 | _NONE)
    _store(box + _JOB, job)
    _store(box + _DONE, 0)
    following += 1
    _store(box + _TICKET, following << 32)
    _take_parts(box, following << 32)
    while _load(box + _DONE) < parts:
        pass


class Crew:
    """What one thread shares with its helpers.

    Attributes:
        jobs: List of the jobs that it can publish, arrays of numbers.
    """

    # Dense products of a layer from which on it is shared.
    LEAST = 200_000

    def __init__(self):
        self._box = np.array([_NONE, 0, 0], "int64")
        self.jobs = []

    @contextlib.contextmanager
    def helped(self, pool, helpers):
        """Have threads of a pool help within this context."""
        box = self._box.ctypes.data
        others = [pool.submit(serve, box) for _ in range(helpers)]
        try:
            yield
        finally:
            self._box[0] = -1
            for other in others:
                # One that has not begun is not waited for.
                if not other.cancel():
                    other.result()

    def convolution(self, spikes, weights, out, strides, before):
        """Return a function that computes what `kernels.convolve` does.

        Args:
            spikes: Arrays of the spikes of the input.
            weights: Kernel, scales and biases, as there.
            out, strides, before: As there.
        """
        starts = spikes[2]
        rows, columns, channels, outputs = weights[0].shape
        _, out_height, out_width, _ = out.shape
        numbers = (
            *(starts.shape[1], starts.shape[2] - 1, rows, columns),
            *(channels, outputs, out_height, out_width, *strides, *before),
        )
        parts = min(out_height, BANDS)
        arrays = *spikes, *weights, out
        return self._published(_CONVOLUTION, parts, arrays, numbers)

    def product(self, spikes, weights, out):
        """Return a function that computes what `kernels.multiply` does."""
        starts = spikes[2]
        rows, pixels = starts.shape[1], starts.shape[2] - 1
        outputs = out.shape[-1]
        numbers = rows, pixels, len(weights[0]) // rows, outputs
        arrays = *spikes, *weights, out
        parts = -(-outputs // LANES)
        return self._published(_PRODUCT, parts, arrays, numbers)

    def _published(self, kind, parts, arrays, numbers):
        dtype = "int8" if arrays[4].size else "float32"
        for x, expected in zip(arrays[3:], (dtype, *["float32"] * 3)):
            # Read by its address alone.
            if x.dtype != expected or not x.flags.c_contiguous:
                raise TypeError(
                    f"Products take contiguous {expected} numbers. Received: "
                    f"{x.dtype} of shape {x.shape}."
                )
        job = np.zeros(_NUMBERS, "int64")
        addresses = [x.ctypes.data if x.size else 0 for x in arrays]
        job[: 9 + len(numbers)] = kind, parts, *addresses, *numbers
        self.jobs.append(job)
        box, address = self._box.ctypes.data, job.ctypes.data

        def run(samples):
            share(box, address)

        run.arrays = arrays  # which only addresses tell of
        return run
