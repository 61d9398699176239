"""Threads that help one thread with the large operations of one sample.

The one thread walks through the operations. A large one is published as a job
of some parts; whoever is free takes the next part. Nobody waits for a helper
that is not there: who published a job takes all parts that no other takes, and
waits for those alone that others have begun.

A box of 64-bit numbers is all that threads share: a ticket, which counts jobs
in its upper half and parts taken in its lower one; how many parts there are;
the address of the job's numbers; and how many parts are done.

The one thread takes the first parts and its helpers the last ones, so that
each mostly finds what it needs in its own cache: the same rows of the layer
before, or the same weights for the rows that follow.

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

from keras_snn_runtime.compiler import Callback, compiled, inlined
from keras_snn_runtime.kernels import (
    average_part,
    convolve_part,
    fire_rows,
    fire_rows_of_steps,
    multiply_part,
)
from keras_snn_runtime.vectors import INT64, pointer

# Most threads of one sample, the first one included.
MOST = 4
# Outputs of a product in a part, and parts, of some rows, of what has pixels.
LANES, BANDS = 64, 16
# Bytes of weights that do not stay in the cache.
LARGE = 2**20

# Turns of waiting after which the processor is left to others, after which one
# sleeps, and after which a helper leaves: some microseconds, somewhat less than
# a millisecond, and a tenth of a second.
PATIENCE, AWAKE, LINGER = 5000, 7000, 8000

# In bytes. What those who are done write lies beyond a line of the cache that
# those who wait read.
_TICKET, _PARTS, _JOB, _DONE = 0, 8, 16, 128
_FIRST, _LAST = 1, 1 << 16  # what a ticket counts parts taken by
_NONE = 0xFFFFFFFF  # no parts are left
# Numbers of a job, which of them lead to sums, and which to the next job.
_NUMBERS, _SUMS, _THEN = 24, 8, 23
# Of a function that does a part of a job: address of the job, which part of
# how many, and the number of samples.
_PART = types.void(*[types.int64] * 4)


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
def _replace(typing, address, value, by):
    """Replace the number at an address if it is `value`; say whether."""

    def emit(context, builder, signature, arguments):
        address, value, by = arguments
        place = pointer(builder, address, INT64)
        found = builder.cmpxchg(place, value, by, "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(types.int64, types.int64, types.int64), emit


_yield: Any
_sleep: Any
if os.name == "posix":
    _yield = types.ExternalFunction("sched_yield", types.intc())
    _sleep = types.ExternalFunction("usleep", types.intc(types.uintc))
else:
    _yield = njit(lambda: 0, nogil=True)
    _sleep = njit(lambda _: 0, nogil=True)


@intrinsic
def _call(typing, function, job, part, parts, samples):
    """Call the function at an address, which does a part of a job."""

    def emit(context, builder, signature, arguments):
        function, *given = arguments
        kind = ir.FunctionType(ir.VoidType(), [INT64] * len(given))
        builder.call(pointer(builder, function, kind), given)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


def _part(function):
    return Callback(function, _PART)


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
def _numbers(address, first, count):
    """Return numbers from `first` on at an address; none for no address."""
    count = count if address else 0
    return carray(_as_pointer(address + 4 * first), (count,), np.float32)


@inlined
def _listed(job, samples, rows, pixels, places):
    """Return the spikes of a job, as arrays."""
    shape = samples, rows, places
    values = shape if job[4] else (0, 0, 0)
    return (
        carray(_as_pointer(job[3]), shape, np.int32),
        carray(_as_pointer(job[4]), values, np.float32),
        carray(_as_pointer(job[5]), (samples, rows, pixels + 1), np.int64),
    )


@inlined
def _convolve(job, part, parts, samples, itemtype):
    """Compute some rows of what `kernels.convolve` computes."""
    height, width, out_height, out_width = job[10], job[11], job[16], job[17]
    rows, columns, channels, outputs = job[12], job[13], job[14], job[15]
    frames = samples, out_height, out_width, outputs
    kernel = rows, columns, channels, outputs
    spikes = _listed(job, samples, height, width, width * channels)
    for first in range(0, samples, job[22]):
        convolve_part(
            *spikes,
            carray(_as_pointer(job[6]), kernel, itemtype),
            _numbers(job[7], 0, outputs),
            _numbers(job[8], 0, outputs),
            carray(_as_pointer(job[9]), frames, np.float32),
            job[18],
            job[19],
            job[20],
            job[21],
            (part * out_height // parts, (part + 1) * out_height // parts),
            (first, min(first + job[22], samples)),
        )


@_part
def _convolve_float32(address, part, parts, samples):
    job = _integers(address, _NUMBERS)
    _convolve(job, part, parts, samples, np.float32)


@_part
def _convolve_int8(address, part, parts, samples):
    job = _integers(address, _NUMBERS)
    _convolve(job, part, parts, samples, np.int8)


@inlined
def _multiply(job, part, samples, itemtype, size):
    """Compute some outputs of what `kernels.multiply` computes."""
    rows, pixels, places, outputs = job[10], job[11], job[12], job[13]
    first = part * LANES
    count = min(LANES, outputs - first)
    # Rows of weights and of outputs begin at the first of these.
    weights = _as_pointer(job[6] + size * first)
    multiply_part(
        *_listed(job, samples, rows, pixels, places),
        carray(weights, (rows * places, outputs), itemtype),
        _numbers(job[7], first, count),
        _numbers(job[8], first, count),
        carray(_as_pointer(job[9] + 4 * first), (samples, outputs), np.float32),
        count,
        samples,
    )


@_part
def _multiply_float32(address, part, parts, samples):
    job = _integers(address, _NUMBERS)
    _multiply(job, part, samples, np.float32, 4)


@_part
def _multiply_int8(address, part, parts, samples):
    job = _integers(address, _NUMBERS)
    _multiply(job, part, samples, np.int8, 1)


@_part
def _fire(address, part, parts, samples):
    """Advance some rows of the neurons that `kernels.fire` advances."""
    job = _integers(address, _NUMBERS)
    rows, pixels, channels, subtract = job[9], job[10], job[11], job[12]
    first = part * rows // parts
    size, shape = pixels * channels, (rows, pixels, channels)
    numbers = carray(_as_pointer(job[13]), (2,), np.float32)
    fire_rows(
        carray(_as_pointer(job[3]), shape, np.float32),
        carray(_as_pointer(job[4]), shape, np.float32),
        carray(_as_pointer(job[5]), shape, np.uint8),
        carray(_as_pointer(job[6] + first * size), (size,), np.uint8),
        carray(_as_pointer(job[7]), (rows, size), np.int32),
        carray(_as_pointer(job[8]), (rows, pixels + 1), np.int64),
        numbers[0],
        numbers[1],
        subtract != 0,
        first,
        (part + 1) * rows // parts,
    )


@_part
def _average(address, part, parts, samples):
    """Compute some rows of what `kernels.average_spikes` computes."""
    job = _integers(address, _NUMBERS)
    rows, pixels, channels = job[7], job[8], job[9]
    out_rows, out_pixels = job[10], job[11]
    average_part(
        *_listed(job, samples, rows, pixels, pixels * channels),
        carray(
            _as_pointer(job[6]),
            (samples, out_rows, out_pixels, channels),
            np.float32,
        ),
        job[12],
        job[13],
        job[14],
        job[15],
        samples,
        part * out_rows // parts,
        (part + 1) * out_rows // parts,
    )


@inlined
def _frames(address, count, shape):
    """Return frames at an address; none for no address."""
    count = count if address else 0
    return carray(_as_pointer(address), (count, *shape), np.float32)


@_part
def _fire_steps(address, part, parts, frames):
    """Take steps of some rows of neurons, as `kernels.fire_steps` does."""
    job = _integers(address, _NUMBERS)
    before, samples = _load(job[18]), _load(job[18] + 8)
    steps = frames // samples
    subtract, held, kind = job[11] != 0, job[12] != 0, job[13]
    rows, pixels, channels = job[14], job[15], job[16]
    first = part * rows // parts
    size, shape = pixels * channels, (rows, pixels, channels)
    numbers = carray(_as_pointer(job[17]), (3,), np.float32)
    fire_rows_of_steps(
        _frames(job[3], samples if held else frames, shape),
        _frames(job[4], samples, shape),
        carray(_as_pointer(job[5]), (frames, rows, size), np.int32),
        carray(_as_pointer(job[6]), (frames, rows, pixels + 1), np.int64),
        carray(_as_pointer(job[7]), (samples,), np.bool_),
        (
            _frames(job[_SUMS], samples, shape),
            _frames(job[_SUMS + 1], samples, shape),
            _frames(job[_SUMS + 2], samples, shape),
        ),
        (numbers[0], numbers[1]),
        (kind, numbers[2]),
        subtract,
        held,
        before,
        samples,
        steps,
        (first, (part + 1) * rows // parts),
    )


@inlined
def _take_parts(box, ticket, helping):
    """Take parts of the published job until none are left."""
    number = ticket >> 32
    while ticket >> 32 == number:
        parts = _load(box + _PARTS)
        first, last = ticket & 0xFFFF, ticket >> 16 & 0xFFFF
        if first + last >= parts:
            return
        part = parts - 1 - last if helping else first
        # Succeeds only as long as the job is the same, which then stays till
        # the part is done.
        taken = ticket + (_LAST if helping else _FIRST)
        if _replace(box + _TICKET, ticket, taken):
            address = _load(box + _JOB)
            job = _integers(address, _NUMBERS)
            _call(job[0], address, part, parts, job[2])
            if job[_THEN]:
                # Of the same rows.
                function = _load(job[_THEN])
                _call(function, job[_THEN], part, parts, job[2])
            _increase(box + _DONE)
        ticket = _load(box + _TICKET)


@compiled(types.int64)
def serve(box):
    """Help with jobs until none has come for some time."""
    ticket, turns = -1, 0
    while turns < LINGER:
        seen = _load(box + _TICKET)
        if seen == ticket:
            turns = _waited(turns)
        else:
            ticket, turns = seen, 0
            _take_parts(box, ticket, True)


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
    _take_parts(box, following << 32, False)
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

    Args:
        threads: Most threads, that one included.

    Attributes:
        jobs: List of the `Job`s that it can publish.
        now: Array of the numbers of steps before those of `neurons_of_steps`,
            and of samples.
    """

    # Products of a layer, or what takes as long, from which on it is shared.
    LEAST = 200_000

    def __init__(self, threads):
        self.threads = min(threads, MOST)
        # Where nobody looks for jobs.
        self._own = _new_box()
        self._use(self._own)
        self.jobs, self.now = [], np.zeros(2, "int64")

    def _use(self, box):
        self._box, self.address = box, box.ctypes.data

    @contextlib.contextmanager
    def helped(self):
        """Have the other threads help within this context, if they are free."""
        team = _team
        if not team.lock.acquire(blocking=False):
            yield
            return
        try:
            team.call(self.threads - 1)
            self._use(team.box)
            yield
        finally:
            self._use(self._own)
            team.lock.release()

    def convolution(self, spikes, weights, out, strides, before, together):
        """Return a function that computes what `kernels.convolve` does.

        Args:
            spikes: Arrays of the spikes of the input.
            weights: Kernel, scales and biases, as there.
            out, strides, before, together: As there.
        """
        starts = spikes[2]
        rows, columns, channels, outputs = weights[0].shape
        _, out_height, out_width, _ = out.shape
        numbers = (
            *(starts.shape[1], starts.shape[2] - 1, rows, columns),
            *(channels, outputs, out_height, out_width, *strides, *before),
            together,
        )
        # Each part reads all weights.
        bands = BANDS if weights[0].nbytes <= LARGE else self.threads
        arrays = _checked(*spikes, *weights, out)
        parts = min(out_height, bands)
        function = _convolve_int8 if weights[1].size else _convolve_float32
        job = self._job(function, parts, arrays, numbers)
        job.out = out
        return job

    def average(self, spikes, out, *windows):
        """Return a function that does what `kernels.average_spikes` does."""
        starts = spikes[2]
        _, rows, pixels, channels = out.shape
        numbers = (
            *(starts.shape[1], starts.shape[2] - 1, channels, rows, pixels),
            *windows,
        )
        job = self._job(_average, min(rows, BANDS), (*spikes, out), numbers)
        job.out = out
        return job

    def ending(self, out):
        """Return the last job if it gives the rows of `out`."""
        last = self.jobs[-1].out if self.jobs else None
        same = last is not None and (
            (last.shape, last.ctypes.data) == (out.shape, out.ctypes.data)
        )
        return self.jobs[-1] if same else None

    def product(self, spikes, weights, out):
        """Return a function that computes what `kernels.multiply` does."""
        starts = spikes[2]
        rows, pixels = starts.shape[1], starts.shape[2] - 1
        outputs = out.shape[-1]
        numbers = rows, pixels, len(weights[0]) // rows, outputs
        arrays = _checked(*spikes, *weights, out)
        parts = -(-outputs // LANES)
        function = _multiply_int8 if weights[1].size else _multiply_float32
        return self._job(function, parts, arrays, numbers)

    def neurons(self, arrays, beta, threshold, subtract):
        """Return a function that does what `kernels.fire` does.

        Args:
            arrays: Currents, potentials, bytes, room for the spikes of all
                rows, indices and starts.
            beta, threshold, subtract: As there.
        """
        numbers = np.array([beta, threshold], "float32")
        _, *shape = arrays[0].shape
        given = *shape, subtract, numbers.ctypes.data
        job = self._job(_fire, min(shape[0], BANDS), arrays, given)
        job.kept.append(numbers)
        return job

    def neurons_of_steps(
        self, arrays, sums, beta, threshold, kind, parameter, subtract, held
    ):
        """Return a function that does what `kernels.fire_steps` does.

        Args:
            arrays: Currents, potentials, indices, starts, and whether
                potentials were lost.
            sums: The three arrays of sums.
            beta, threshold, kind, parameter, subtract, held: As there.
        """
        numbers = np.array([beta, threshold, parameter], "float32")
        _, *shape = arrays[0].shape
        given = (
            *(subtract, held, kind, *shape),
            *(numbers.ctypes.data, self.now.ctypes.data),
        )
        parts = min(shape[0], BANDS)
        job = self._job(_fire_steps, parts, (*arrays, *sums), given)
        job.kept += numbers, self.now
        return job

    def _job(self, *given):
        self.jobs.append(Job(self, *given))
        return self.jobs[-1]


class Job:
    """An operation in parts, which is published when it is called.

    Args:
        crew: The `Crew`.
        function, parts: What does a part, and how many there are.
        arrays: List of arrays, of which it gets the addresses.
        numbers: List of integers.

    Attributes:
        kept: List of what it has the addresses of.
        sums: What `keep` was given.
        out: Array that its parts write rows of, or None.
    """

    def __init__(self, crew, function, parts, arrays, numbers):
        self._crew, self.kept, self.out = crew, [*arrays], None
        self.sums = ()
        given = function.address, parts, 1, *map(_address, arrays), *numbers
        self.numbers = np.zeros(_NUMBERS, "int64")
        self.numbers[: len(given)] = given
        self.address = self.numbers.ctypes.data

    def __call__(self, samples):
        self.numbers[2] = samples
        share(self._crew.address, self.address)

    def keep(self, sums):
        """Let `Crew.neurons_of_steps` keep other sums than before."""
        self.numbers[_SUMS : _SUMS + 3] = list(map(_address, sums))
        self.sums = sums

    def then(self, neurons):
        """Let each part go on with the neurons of its rows.

        Args:
            neurons: Job of `Crew.neurons_of_steps`.
        """
        self.numbers[_THEN] = neurons.address
        self.kept.append(neurons)


def _address(x):
    """Return where an array is, or 0 if there are no numbers in it."""
    return x.ctypes.data if x.size else 0


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
