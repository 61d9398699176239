"""Threads that help one thread with the large operations of one sample.

The one thread walks through the operations. A large one is published as a job
of some parts; whoever is free takes the next part. Nobody waits for a helper
that is not there: who published a job takes all parts that no other takes, and
waits for those alone that others have begun.

A box of 64-bit numbers is all that threads share: a ticket, which counts jobs
in its upper half and parts taken in its lower one; how many parts there are;
the address of the job's numbers; and how many parts are done.

Helpers stay for some time after a job, without Python's lock, since it takes
them longer to wake up and get that lock than a sample may take.
"""

import concurrent.futures
import contextlib
import ctypes
import os
import threading
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

from keras_snn_runtime.kernels import (
    INT64,
    _add_spikes,
    _finish,
    _fire_rows,
    _widest,
    compiled,
    inlined,
    pointer,
)

# Most threads of one sample, the first one included.
MOST = 4
# Outputs of a product in a part, and parts, of some rows, of what has no more.
LANES, BANDS = 64, 8

# Turns of waiting after which the processor is left to others, after which one
# sleeps, and after which a helper leaves: some microseconds, somewhat less than
# a millisecond, and a tenth of a second.
PATIENCE, AWAKE, LINGER = 5000, 7000, 8000

# In bytes. What those who are done write lies beyond a line of the cache that
# those who wait read.
_TICKET, _PARTS, _JOB, _DONE = 0, 8, 16, 128
_NONE = 0xFFFFFFFF  # no parts are left
_NUMBERS = 22  # of a job
_CONVOLUTION, _PRODUCT, _NEURONS = range(3)


@intrinsic
def _load(typing, address):
    """Read the number at an address, as others see it."""

    def emit(context, builder, signature, arguments):
        place = pointer(builder, *arguments, INT64)
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(types.int64), emit


@intrinsic
def _store(typing, address, value):
    """Write a number to an address, for others to see."""

    def emit(context, builder, signature, arguments):
        address, value = arguments
        place = pointer(builder, address, INT64)
        builder.store_atomic(value, place, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def _increase(typing, address):
    """Add 1 to the number at an address."""

    def emit(context, builder, signature, arguments):
        place = pointer(builder, *arguments, INT64)
        builder.atomic_rmw("add", place, INT64(1), "seq_cst")
        return context.get_dummy_value()

    return types.void(types.int64), emit


@intrinsic
def _increase_if(typing, address, value):
    """Add 1 to the number at an address if it is `value`; say whether."""

    def emit(context, builder, signature, arguments):
        address, value = arguments
        place = pointer(builder, address, INT64)
        more = builder.add(value, INT64(1))
        found = builder.cmpxchg(place, value, more, "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(types.int64, types.int64), emit


_yield: Any
_sleep: Any
if os.name == "posix":
    _yield = types.ExternalFunction("sched_yield", types.intc())
    _sleep = types.ExternalFunction("usleep", types.intc(types.uintc))
else:
    _yield = njit(lambda: 0, nogil=True)
    _sleep = njit(lambda _: 0, nogil=True)


@inlined
def _waited(turns):
    """Wait for a turn, and return how many there were."""
    # The one that is waited for may have no processor.
    if turns >= AWAKE:
        _sleep(types.uintc(50))
    elif turns >= PATIENCE:
        _yield()
    return turns + 1


@intrinsic
def _as_pointer(typing, address):
    def emit(context, builder, signature, arguments):
        return pointer(builder, *arguments, ir.IntType(8))

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
    """Compute some of what `kernels.convolve` computes, the same way.

    That is some outputs of some rows: with all outputs of few rows, each thread
    would read all weights.
    """
    index_address, value_address, starts_address = job[2], job[3], job[4]
    weights, scales_address, bias_address = job[5], job[6], job[7]
    out_address, height, width, rows = job[8], job[9], job[10], job[11]
    columns, channels, outputs = job[12], job[13], job[14]
    out_height, out_width = job[15], job[16]
    sy, sx, top, left = job[17], job[18], job[19], job[20]
    bands = job[21]
    band, begin = part % bands, part // bands * LANES
    end = min(begin + LANES, outputs)
    first = band * out_height // bands
    last = (band + 1) * out_height // bands
    unit, size = value_address == 0, 1 if scales_address else 4
    stride = size * outputs
    starts = _integers(starts_address, height * (width + 1))
    address = out_address + 4 * (first * out_width * outputs + begin)
    pixels = (last - first) * out_width
    for pixel in range(pixels):
        _numbers(address + 4 * pixel * outputs, 0, end - begin)[:] = 0
    for dy in range(rows):
        n = begin
        while n < end:
            lanes = _widest(end - n, size, unit)
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
                    a = starts[of_row + min(max(start, 0), width)]
                    b = max(min(start + columns, width), 0)
                    b = starts[of_row + b]
                    if a == b:
                        continue
                    _add_spikes(
                        size,
                        unit,
                        lanes,
                        target + 4 * x * outputs,
                        corner - start * channels * stride,
                        stride,
                        index_address + places,
                        value_address + places,
                        a,
                        b,
                    )
            n += lanes
    scales = _numbers(scales_address, begin, end)
    bias = _numbers(bias_address, begin, end)
    for pixel in range(pixels):
        out = _floats(address + 4 * pixel * outputs, 1, end - begin)
        _finish(unit, out, scales, bias)


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
def _fire_band(job, part):
    """Advance some rows of the neurons that `kernels.fire` advances."""
    rows, pixels, channels, subtract = job[8], job[9], job[10], job[11]
    first = part * rows // job[1]
    size, shape = pixels * channels, (rows, pixels, channels)
    numbers = carray(_as_pointer(job[12]), (2,), np.float32)
    _fire_rows(
        carray(_as_pointer(job[2]), shape, np.float32),
        carray(_as_pointer(job[3]), shape, np.float32),
        carray(_as_pointer(job[4]), shape, np.uint8),
        carray(_as_pointer(job[5] + first * size), (size,), np.uint8),
        carray(_as_pointer(job[6]), (rows, size), np.int32),
        carray(_as_pointer(job[7]), (rows, pixels + 1), np.int64),
        numbers[0],
        numbers[1],
        subtract != 0,
        first,
        (part + 1) * rows // job[1],
    )


@inlined
def _take_parts(box, ticket):
    """Take parts of the published job until none are left."""
    number = ticket >> 32
    while ticket >> 32 == number and ticket & _NONE != _NONE:
        part = ticket & _NONE
        if part >= _load(box + _PARTS):
            return
        # Succeeds only as long as the job is the same, which then stays till
        # the part is done.
        if _increase_if(box + _TICKET, ticket):
            job = _integers(_load(box + _JOB), _NUMBERS)
            if job[0] == _CONVOLUTION:
                _convolve_band(job, part)
            elif job[0] == _PRODUCT:
                _multiply_lanes(job, part)
            else:
                _fire_band(job, part)
            _increase(box + _DONE)
        ticket = _load(box + _TICKET)


@compiled(types.int64)
def serve(box):
    """Help with jobs until none has come for some time."""
    ticket, turns = _load(box + _TICKET), 0
    _take_parts(box, ticket)
    while turns < LINGER:
        seen = _load(box + _TICKET)
        if seen == ticket:
            turns = _waited(turns)
        else:
            ticket, turns = seen, 0
            _take_parts(box, ticket)


@compiled(types.int64, types.int64)
def share(box, job):
    """Publish a job; return when it is done."""
    parts = _integers(job, _NUMBERS)[1]
    following = (_load(box + _TICKET) >> 32) + 1
    # No part of the last job can be taken from here on.
    _store(box + _TICKET, following << 32 | _NONE)
    _store(box + _PARTS, parts)
    _store(box + _JOB, job)
    _store(box + _DONE, 0)
    following += 1
    _store(box + _TICKET, following << 32)
    _take_parts(box, following << 32)
    turns = 0
    while _load(box + _DONE) < parts:
        turns = min(_waited(turns), PATIENCE)


def _new_box():
    box = np.zeros(_DONE // 8 + 1, "int64")
    box[0] = _NONE
    return box


def _others():
    """Return the processors that this thread may use, but is not using."""
    if not hasattr(os, "sched_setaffinity"):
        return set()
    return os.sched_getaffinity(0) - {ctypes.CDLL(None).sched_getcpu()}


def _help(box, processors):
    if processors:
        # Else the system may put a helper where the one is that it helps.
        os.sched_setaffinity(0, processors)
    serve(box.ctypes.data)


class Team:
    """The helpers of this process, which one thread at a time may have."""

    def __init__(self):
        self.box, self.lock = _new_box(), threading.Lock()
        self._pool = concurrent.futures.ThreadPoolExecutor(
            MOST - 1, thread_name_prefix="keras_snn_crew"
        )
        self._helping = []

    def call(self, helpers):
        """See to it that so many help, or are about to."""
        self._helping = [x for x in self._helping if not x.done()]
        for _ in range(helpers - len(self._helping)):
            self._helping.append(self._pool.submit(_help, self.box, _others()))


_team = Team()


def _begin_again():
    global _team
    _team = Team()


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork.
    os.register_at_fork(after_in_child=_begin_again)


class Crew:
    """What one thread shares with its helpers.

    Attributes:
        jobs: List of the jobs that it can publish, arrays of numbers.
    """

    # Products of a layer, or what takes as long, from which on it is shared.
    LEAST = 200_000

    def __init__(self):
        # Where nobody looks for jobs.
        self._own = self._box = _new_box()
        self.jobs = []

    @contextlib.contextmanager
    def helped(self, helpers):
        """Have so many threads help within this context, if they are free."""
        team = _team
        if not team.lock.acquire(blocking=False):
            yield
            return
        try:
            team.call(helpers)
            self._box = team.box
            yield
        finally:
            self._box = self._own
            team.lock.release()

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
        blocks = -(-outputs // LANES)
        bands = min(out_height, max(BANDS // blocks, 1))
        arrays = _checked(*spikes, *weights, out)
        parts = blocks * bands
        return self._published(_CONVOLUTION, parts, arrays, (*numbers, bands))

    def product(self, spikes, weights, out):
        """Return a function that computes what `kernels.multiply` does."""
        starts = spikes[2]
        rows, pixels = starts.shape[1], starts.shape[2] - 1
        outputs = out.shape[-1]
        numbers = rows, pixels, len(weights[0]) // rows, outputs
        arrays = _checked(*spikes, *weights, out)
        parts = -(-outputs // LANES)
        return self._published(_PRODUCT, parts, arrays, numbers)

    def neurons(self, arrays, beta, threshold, subtract):
        """Return a function that does what `kernels.fire` does.

        Args:
            arrays: Currents, potentials, bytes, room for the spikes of all
                rows, indices and starts.
            beta, threshold, subtract: As there.
        """
        numbers = np.array([beta, threshold], "float32")
        _, rows, pixels, channels = arrays[0].shape
        shape = rows, pixels, channels, subtract, numbers.ctypes.data
        run = self._published(_NEURONS, min(rows, BANDS), arrays, shape)
        run.numbers = numbers
        return run

    def _published(self, kind, parts, arrays, numbers):
        job = np.zeros(_NUMBERS, "int64")
        addresses = [x.ctypes.data if x.size else 0 for x in arrays]
        given = kind, parts, *addresses, *numbers
        job[: len(given)] = given
        self.jobs.append(job)
        address = job.ctypes.data

        def run(samples):
            share(self._box.ctypes.data, address)

        run.arrays = arrays  # which only addresses tell of
        return run


def _checked(*arrays):
    """Return the arrays of a product, which are read by their addresses."""
    dtype = "int8" if arrays[4].size else "float32"
    for x, expected in zip(arrays[3:], (dtype, *["float32"] * 3)):
        if x.dtype != expected or not x.flags.c_contiguous:
            raise TypeError(
                f"Products take contiguous {expected} numbers. Received: "
                f"{x.dtype} of shape {x.shape}."
            )
    return arrays
