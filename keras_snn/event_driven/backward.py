"""The exact rule's backward pass, event by event, as one operation.

What a neuron is credited with, D(t), matters where an input of it spikes:
there it adds to the weight's gradient, and there alone the input asks what
its spike is worth. So the work goes with the spikes, as it does forward.
Windows of eight steps go backwards through time, and each of them through the
layers from the last to the first.
"""

import math
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_snn.event_driven import backward_kernels as kernels
from keras_snn.event_driven.backward_kernels import LANES
from keras_snn.event_driven.engine import read_weights, threads
from keras_snn_runtime import samples
from keras_snn_runtime.operations import (
    NO_BIAS,
    WINDOW,
    Convolution,
    Integration,
    Mask,
    Neurons,
    Pooling,
    Product,
    Reshape,
    Source,
    Sum,
    aligned,
    as_frame,
)

# Samples that a thread takes at a time: they share a pass through weights.
TOGETHER = 4
# Bytes of credit that stay in the cache while each channel's events read them.
NEAR = 2**20


def knows(program):
    """Return whether the backward pass knows all of a program.

    What layers with weights take has to be listed without computing it again:
    spikes, whose history is kept, or what comes from outside of the loop.
    """
    return all(
        type(x) in _LAYERS
        and getattr(x, "kind", "average") == "average"
        and (not hasattr(x, "kernel") or _origin(program, x.source))
        for x in program.operations
    )


def _origin(program, key):
    """Return neurons or source, and mask or None, that give `key`; or None."""
    made, mask = {x.key: x for x in program.operations}, None
    while type(made[key]) in (Reshape, Mask):
        if type(made[key]) is Mask:
            if mask is not None:
                return None
            mask = key
        key = made[key].source
    return (made[key], mask) if type(made[key]) in (Neurons, Source) else None


def connect(program, results, sources, known, time_steps):
    """Return readouts' results, differentiable by the exact rule.

    Args:
        program: The network's `lowering.Program`, which `knows`.
        results: Dict from the readouts' keys to what they give.
        sources: Dict from keys to sequences, axes (batch, time, ...).
        known: Dict of tensors from `(key, name)`: of neurons the `"history"`
            that `engine.run` keeps and the `"factor"`, axes (batch, ...), of
            dropout the `"mask"`.
        time_steps: T, an integer.

    Returns:
        Dict like `results`.
    """
    import tensorflow as tf

    weights = read_weights(program)
    sources = {key: ops.cast(x, "float32") for key, x in sources.items()}
    inputs = {**sources, **known, **weights}
    readouts = [(key, "credit") for key in results]

    def gradients(wanted, upstream):
        names = [*inputs, *readouts]

        def call(*arrays):
            found = _run(program, dict(zip(names, arrays)), wanted, time_steps)
            return [found[name] for name in wanted]

        arrays = tf.numpy_function(
            call,
            [*inputs.values(), *upstream],
            [tf.float32] * len(wanted),
            stateful=False,
        )
        arrays = arrays if isinstance(arrays, (list, tuple)) else [arrays]
        for x, name in zip(arrays, wanted):
            x.set_shape(inputs[name].shape)
        return list(arrays)

    @ops.custom_gradient
    def connected(*tensors):
        def grad(*args, upstream=None):
            upstream = keras.tree.flatten(args or upstream)
            # Nobody may ask for the sources', and a graph then drops it.
            found = gradients(list(sources), upstream)
            found += gradients(list(weights), upstream) if weights else []
            return found

        return tuple(results.values()), grad

    found = connected(*sources.values(), *weights.values())
    return dict(zip(results, found))


def _run(program, inputs, wanted, time_steps):
    """Return the gradients of `wanted`, a dict of arrays by name."""
    batch = len(inputs[program.sources[0]])
    together = max(min(-(-batch // threads()), TOGETHER), 1)
    firsts = range(0, batch, together)
    workers = max(min(threads(), len(firsts)), 1)
    inputs = {**inputs, **_laid_out(program, inputs)}
    outputs = {
        key: np.empty_like(inputs[key])
        for key in program.sources
        if key in wanted
    }

    def work(worker):
        space = Workspace(program, inputs, outputs, time_steps, together)
        # Which samples a thread sums does not depend on its speed.
        for first in firsts[worker::workers]:
            space.run(first, min(together, batch - first))
        return space.changes

    found = samples.in_threads(work, [(x,) for x in range(workers)], threads())
    for name in found[0]:
        total = sum(changes[name] for changes in found)
        shape = inputs[name].shape
        outputs[name] = total[..., : shape[-1]].reshape(shape)
    return outputs


def _laid_out(program, inputs):
    """Return kernels, axes (y, x, channel, output), outputs in whole vectors.

    By `(name, "padded")`.
    """
    found = {}
    for operation in program.operations:
        if hasattr(operation, "kernel"):
            name = operation.kernel
            kernel = inputs[name].reshape(
                *[1] * (4 - inputs[name].ndim), *inputs[name].shape
            )
            padded = aligned((*kernel.shape[:3], _whole(kernel.shape[3])))
            padded[..., : kernel.shape[3]] = kernel
            padded[..., kernel.shape[3] :] = 0
            found[name, "padded"] = padded
    return found


def _whole(outputs):
    return -(-outputs // LANES) * LANES


class Window(NamedTuple):
    """Some samples and up to eight of their steps.

    Attributes:
        first, samples: The first sample, and their number.
        number: Number of the window.
        steps: Its number of steps.
    """

    first: int
    samples: int
    number: int
    steps: int

    @property
    def frames(self):
        return self.samples * self.steps

    @property
    def rows(self):
        """Which samples they are."""
        return slice(self.first, self.first + self.samples)


class Workspace:
    """The arrays of one thread, and what it does to them.

    Args:
        program: The network's `Program`.
        inputs: Dict of arrays: see `connect`, and `_laid_out`.
        outputs: Dict of the sources' gradients by key, which are written.
        time_steps: T.
        samples: Most samples that run side by side.

    Attributes:
        changes: Dict of the weights' gradients by name, kernels' padded.
        carries: Arrays that are zero after the last step.
        work: Functions of a `Window`, called for one after the other, last
            layer first.
    """

    def __init__(self, program, inputs, outputs, time_steps, samples):
        self.program = program
        self.inputs, self.outputs = inputs, outputs
        self.time_steps, self.samples = time_steps, samples
        self.shapes = program.shapes
        self.changes, self.carries, self.work = {}, [], []
        self._same = {
            x.key: x.source
            for x in program.operations
            if type(x) is Reshape
        }
        self._gradients = {}
        for operation in reversed(program.operations):
            _LAYERS[type(operation)](self, operation)

    def run(self, first, samples):
        """Take some samples through all windows, from the last one."""
        for carry in self.carries:
            carry.fill(0)
        for start in reversed(range(0, self.time_steps, WINDOW)):
            steps = min(WINDOW, self.time_steps - start)
            window = Window(first, samples, start // WINDOW, steps)
            for function in self.work:
                function(window)

    def size(self, key):
        return math.prod(self.shapes[key])

    def gradient(self, key):
        """Return `window -> array` of the gradient of `key`'s frames."""
        memory, _ = self._memory(key)
        size = self.size(key)
        return lambda window: memory[: window.frames * size].reshape(-1, size)

    def adds_to(self, key):
        """Return whether somebody has written the gradient of `key` before."""
        entry = self._memory(key)
        before, entry[1] = entry[1], True
        return before

    def _memory(self, key):
        while key in self._same:
            key = self._same[key]
        if key not in self._gradients:
            memory = aligned((self.samples * WINDOW * self.size(key),))
            memory.fill(0)
            self._gradients[key] = [memory, False]
        return self._gradients[key]

    def of_samples(self, name, window):
        """Return an input with axes (batch, ...), flat."""
        return self.inputs[name][window.rows].reshape(window.samples, -1)

    def of_steps(self, key, window):
        """Return a window of a sequence, axes (frame, place)."""
        start = window.number * WINDOW
        steps = slice(start, start + window.steps)
        found = self.inputs[key][window.rows, steps]
        return np.ascontiguousarray(found).reshape(window.frames, -1)

    def spikes(self, key, window):
        """Return the bytes of neurons, axes (sample, neuron)."""
        history = self.inputs[key, "history"][window.number, window.rows]
        return history.reshape(window.samples, -1)


def _source(space, operation):
    if operation.key not in space.outputs:
        return
    gradient = space.gradient(operation.key)
    given = space.outputs[operation.key]

    def step(window):
        start = window.number * WINDOW
        to = given[window.rows, start : start + window.steps]
        to[...] = gradient(window).reshape(to.shape)

    space.work.append(step)


def _reshape(space, operation):
    """Do nothing: both are one array."""


def _integration(space, operation):
    gradient = space.gradient(operation.source)
    add = space.adds_to(operation.source)
    normalize = space.program.readouts[operation.key].normalize
    share = np.float32(1 / space.time_steps if normalize else 1)

    def step(window):
        credit = space.of_samples((operation.key, "credit"), window)
        credit = (credit * share).repeat(window.steps, axis=0)
        _give(gradient(window), credit, add)

    space.work.append(step)


def _give(gradient, credit, add):
    if add:
        gradient += credit
    else:
        gradient[...] = credit


def _sum(space, operation):
    own = space.gradient(operation.key)
    for source in operation.sources:
        gradient, add = space.gradient(source), space.adds_to(source)
        space.work.append(
            lambda window, gradient=gradient, add=add: _give(
                gradient(window), own(window), add
            )
        )


def _mask(space, operation):
    own, gradient = (
        space.gradient(x) for x in (operation.key, operation.source)
    )
    add = space.adds_to(operation.source)

    def step(window):
        mask = space.of_samples((operation.key, "mask"), window)
        mask = mask.repeat(window.steps, axis=0)
        _give(gradient(window), own(window) * mask, add)

    space.work.append(step)


def _pooling(space, operation):
    own, gradient = (
        space.gradient(x) for x in (operation.key, operation.source)
    )
    add = space.adds_to(operation.source)
    height, width, channels = as_frame(space.shapes[operation.source])
    out_width = as_frame(operation.shape)[1]
    numbers = height, width, out_width, channels

    def step(window):
        kernels.spread(
            own(window),
            gradient(window),
            window.frames,
            *numbers,
            *operation.size,
            *operation.strides,
            add,
        )

    space.work.append(step)


def _neurons(space, operation):
    own, gradient = (
        space.gradient(x) for x in (operation.key, operation.source)
    )
    add = space.adds_to(operation.source)
    size = space.size(operation.key)
    carry = np.zeros((space.samples, size), "float32")
    space.carries.append(carry)
    other = np.empty(
        (space.samples * WINDOW if add else 0, size), "float32"
    )

    def step(window):
        credits = other[: window.frames] if add else gradient(window)
        kernels.credit_spikes(
            space.spikes(operation.key, window),
            space.of_samples((operation.key, "factor"), window),
            own(window),
            carry,
            credits,
            window.steps,
        )
        if add:
            _give(gradient(window), credits, add)

    space.work.append(step)


class _Synapses:
    """The backward pass of a layer with weights."""

    def __init__(self, space, operation):
        self.space, self.operation = space, operation
        self.origin, mask = _origin(space.program, operation.source)
        self.mask = (mask, "mask") if mask is not None else None
        self.weights = space.inputs[operation.kernel, "padded"]
        self.changes = space.changes.setdefault(
            operation.kernel, np.zeros_like(self.weights)
        )
        self.credit = space.gradient(operation.key)
        self.gradient = space.gradient(operation.source)
        self.wanted = (
            type(self.origin) is Neurons or self.origin.key in space.outputs
        )
        self.add = space.adds_to(operation.source)
        self._make_room()
        space.work.append(self.step)
        if operation.bias != NO_BIAS:
            self.bias = space.changes.setdefault(
                operation.bias,
                np.zeros(self.outputs, "float32"),
            )
            space.work.append(self.step_of_bias)

    def _make_room(self):
        operation, space = self.operation, self.space
        rows, columns, self.channels, whole = self.weights.shape
        height, width = 1, 1
        if type(operation) is Convolution:
            height, width, _ = as_frame(space.shapes[operation.source])
        self.width = width
        *self.out, self.outputs = as_frame(operation.shape)
        padded = height + rows - 1, width + columns - 1
        # The kernel's last row meets the first one of the padded credit.
        before = getattr(operation, "before", (0, 0))
        self.placing = (
            *getattr(operation, "strides", (1, 1)),
            rows - 1 - before[0],
            columns - 1 - before[1],
        )
        most = space.samples * WINDOW
        frame = math.prod(padded) * whole * 4
        self.together = max(min(NEAR // frame, most), 1)
        self.padded = aligned((self.together, *padded, whole))
        self.padded.fill(0)
        places = self.channels, self.together * height * width
        self.rows, self.spots = (np.empty(places, "int32") for _ in range(2))
        self.values = np.ones(places, "float32")
        self.counts = np.empty(self.channels, "int64")
        self.partial = aligned((places[1], LANES))
        self.fired = np.empty(space.size(operation.source), "uint8")

    def step(self, window):
        credit, gradient = self.credit(window), self.gradient(window)
        gradient = gradient.reshape(-1, self.channels)
        lister = self._lister(window)
        for first in range(0, window.frames, self.together):
            last = min(first + self.together, window.frames)
            lister(first, last)
            kernels.pad_credit(
                credit, first, last, *self.out, *self.placing, self.padded
            )
            kernels.credit_events(
                self.rows,
                self.spots,
                self.values,
                self.counts,
                self.weights,
                self.changes,
                self.padded,
                self.partial,
                gradient,
                self.wanted,
                self.add,
            )

    def _lister(self, window):
        """Return the function `(first, last)` that lists some frames."""
        space, grid = self.space, self.padded.shape[1:3]
        places = self.width, grid[1], math.prod(grid)
        lists = self.rows, self.spots, self.values, self.counts
        if type(self.origin) is Neurons:
            spikes = space.spikes(self.origin.key, window)
            masks = np.empty((0, 0), "float32")
            if self.mask:
                masks = space.of_samples(self.mask, window)
            return lambda first, last: kernels.list_spikes(
                spikes,
                masks,
                first,
                last,
                window.steps,
                *places,
                self.fired,
                *lists,
            )
        frames = space.of_steps(self.origin.key, window)
        if self.mask:
            mask = space.of_samples(self.mask, window)
            frames = frames * mask.repeat(window.steps, axis=0)
        return lambda first, last: kernels.list_values(
            frames, first, last, *places, self.wanted, *lists
        )

    def step_of_bias(self, window):
        credit = self.credit(window).reshape(-1, self.outputs)
        self.bias += credit.sum(axis=0)


# What the backward pass does with each operation of the engine.
_LAYERS = {
    Source: _source,
    Reshape: _reshape,
    Integration: _integration,
    Sum: _sum,
    Mask: _mask,
    Pooling: _pooling,
    Neurons: _neurons,
    Convolution: _Synapses,
    Product: _Synapses,
}
