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
from keras_snn.event_driven.engine import (
    as_operation,
    read_weights,
    threads,
)
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
NEAR = 2**19


def backward_reason(program):
    """Return why the backward pass does not run event by event, or None.

    What layers with weights take has to be listed without computing it again:
    spikes, whose history is kept, or what comes from outside of the loop.
    """
    for x in program.operations:
        reason = None
        if type(x) not in _LAYERS or getattr(x, "kind", "average") != "average":
            reason = "has no event-driven backward pass"
        elif hasattr(x, "kernel") and not _origin(program, x.source):
            reason = "takes neither spikes nor a source directly"
        if reason:
            layer = program.nodes[x.key].stages[0]
            return (
                f"'{layer.name}' ({type(layer).__name__}) {reason}. The "
                "forward pass runs event by event"
            )
    return None


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


def connect_backward(program, results, sources, known, time_steps):
    """Return readouts' results, differentiable by the exact rule.

    Args:
        program: The network's `lowering.Program`; see `backward_reason`.
        results: Dict from the readouts' keys to what they give.
        sources: Dict from keys to sequences, axes (batch, time, ...).
        known: Dict of tensors from `(key, name)`: of neurons the `"history"`
            that `engine.run` keeps and the `"factor"`, axes (batch, ...), of
            dropout the `"mask"`.
        time_steps: T, an integer.

    Returns:
        Dict like `results`.
    """
    weights = read_weights(program)
    sources = {key: ops.cast(x, "float32") for key, x in sources.items()}
    inputs = {**sources, **known, **weights}
    readouts = [(key, "credit") for key in results]

    def gradients(wanted, upstream):
        names = [*inputs, *readouts]

        def call(*arrays):
            found = _run(program, dict(zip(names, arrays)), wanted, time_steps)
            return [found[name] for name in wanted]

        outputs = [("float32", inputs[name].shape) for name in wanted]
        return as_operation(call, [*inputs.values(), *upstream], outputs)

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
        # Which samples a thread sums does not depend on its speed. What
        # nobody reads may be no number.
        with np.errstate(all="ignore"):
            for first in firsts[worker::workers]:
                space.run(first, min(together, batch - first))
        # Its functions refer to it: without them its arrays are free at once.
        space.work.clear()
        return space.changes

    found = samples.in_threads(work, [(x,) for x in range(workers)], threads())
    for name, total in found[0].items():
        for changes in found[1:]:
            total += changes[name]
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

    @property
    def span(self):
        """Which steps they are."""
        start = self.number * WINDOW
        return slice(start, start + self.steps)


class Workspace:
    """The arrays of one thread, and what it does to them.

    Args:
        program: The network's `Program`.
        inputs: Dict of arrays: see `connect_backward`, and `_laid_out`.
        outputs: Dict of the sources' gradients by key, which are written.
        time_steps: T.
        samples: Most samples that run side by side.

    Attributes:
        changes: Dict of the weights' gradients by name, kernels' padded.
        carries: Arrays that are zero after the last step.
        work: Functions of a `Window`, called one after the other, those of
            the last layer first.
    """

    def __init__(self, program, inputs, outputs, time_steps, samples):
        self.program = program
        self.inputs, self.outputs = inputs, outputs
        self.time_steps, self.samples = time_steps, samples
        self.changes, self.carries, self.work = {}, [], []
        self._gradients, self._free, self._rooms = {}, [], {}
        self._same = {
            x.key: x.source for x in program.operations if type(x) is Reshape
        }
        for operation in reversed(program.operations):
            _LAYERS[type(operation)](self, operation)
            self._forget(operation.key)

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
        """Return how many numbers a frame of `key` has."""
        return math.prod(self.program.shapes[key])

    def gradient(self, key):
        """Return `window -> array`, what was written to the gradient of `key`.

        Axes (frame, place). Of what neurons and dropout get, only the places
        of their spikes are.
        """
        found, written = self._frames(key)
        if not written:
            self.work.append(lambda window: found(window).fill(0))
        return found

    def to_gradient(self, key):
        """Return `window -> array` to write to, and whether to add to it."""
        return self._frames(key)

    def write(self, key, credit):
        """Have the results of `credit`, a function of a window, written."""
        gradient, add = self.to_gradient(key)

        def step(window):
            if add:
                to = gradient(window)
                np.add(to, credit(window), to)
            else:
                gradient(window)[...] = credit(window)

        self.work.append(step)

    def _frames(self, key):
        size, key = self.size(key), self._root(key)
        written = key in self._gradients
        if not written:
            self._gradients[key] = self._memory(size)
        memory = self._gradients[key]
        return (
            lambda window: memory[: window.frames * size].reshape(-1, size)
        ), written

    def _root(self, key):
        while key in self._same:
            key = self._same[key]
        return key

    def _memory(self, size):
        """Return memory for frames that no later layer needs any more."""
        least = self.samples * WINDOW * size
        fits = [x for x in self._free if len(x) >= least]
        if not fits:
            return aligned((least,))
        found = min(fits, key=len)
        self._free = [x for x in self._free if x is not found]
        return found

    def _forget(self, key):
        # As another shape it is still to be read.
        if key not in self._same and key in self._gradients:
            self._free.append(self._gradients[key])

    def room(self, name, shape, dtype="float32"):
        """Return an array for the time of one call, whatever is in it."""
        size = math.prod(shape)
        if len(self._rooms.get(name, ())) < size:
            self._rooms[name] = aligned((size,), dtype)
        return self._rooms[name][:size].reshape(shape)

    def of_samples(self, name, window):
        """Return an input with axes (batch, ...), flat."""
        return self.inputs[name][window.rows].reshape(window.samples, -1)

    def of_frames(self, name, window):
        """Return an input with axes (batch, ...) for each frame."""
        return self.of_samples(name, window).repeat(window.steps, axis=0)

    def of_steps(self, key, window):
        """Return a window of a sequence, axes (frame, place)."""
        found = self.inputs[key][window.rows, window.span]
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
        to = given[window.rows, window.span]
        to[...] = gradient(window).reshape(to.shape)

    space.work.append(step)


def _reshape(space, operation):
    """Do nothing: both are one array."""


def _integration(space, operation):
    normalize = space.program.readouts[operation.key].normalize
    share = np.float32(1 / space.time_steps if normalize else 1)

    def credit(window):
        return share * space.of_frames((operation.key, "credit"), window)

    space.write(operation.source, credit)


def _sum(space, operation):
    credit = space.gradient(operation.key)
    for source in operation.sources:
        space.write(source, credit)


def _mask(space, operation):
    own = space.gradient(operation.key)

    def credit(window):
        mask = space.of_frames((operation.key, "mask"), window)
        # Nobody has written where it is zero.
        return np.where(mask != 0, mask * own(window), np.float32(0))

    space.write(operation.source, credit)


def _pooling(space, operation):
    own = space.gradient(operation.key)
    gradient, add = space.to_gradient(operation.source)
    height, width, channels = as_frame(space.program.shapes[operation.source])
    out_width = as_frame(operation.shape)[1]

    def step(window):
        kernels.spread(
            own(window),
            gradient(window),
            window.frames,
            height,
            width,
            out_width,
            channels,
            *operation.size,
            *operation.strides,
            add,
        )

    space.work.append(step)


def _neurons(space, operation):
    own = space.gradient(operation.key)
    gradient, add = space.to_gradient(operation.source)
    carry = np.empty((space.samples, space.size(operation.key)), "float32")
    space.carries.append(carry)

    def step(window):
        kernels.credit_spikes(
            space.spikes(operation.key, window),
            space.of_samples((operation.key, "factor"), window),
            own(window),
            carry,
            gradient(window),
            window.steps,
            add,
        )

    space.work.append(step)


class _Synapses:
    """The backward pass of a layer with weights."""

    def __init__(self, space, operation):
        self.space, self.operation = space, operation
        self.credit = space.gradient(operation.key)
        self.origin, mask = _origin(space.program, operation.source)
        self.mask = (mask, "mask") if mask is not None else None
        self.wanted = (
            type(self.origin) is Neurons or self.origin.key in space.outputs
        )
        self.gradient, self.add = space.to_gradient(operation.source)
        self.weights = space.inputs[operation.kernel, "padded"]
        self.changes = self._changes_of(operation.kernel, self.weights.shape)
        self._measure()
        space.work.append(self.step)
        if operation.bias != NO_BIAS:
            self.bias = self._changes_of(operation.bias, (self.outputs,))
            space.work.append(self.step_of_bias)

    def _changes_of(self, name, shape):
        # One layer may stand at several places.
        changes = self.space.changes
        if name not in changes:
            changes[name] = np.zeros(shape, "float32")
        return changes[name]

    def _measure(self):
        """Set sizes: of frames, of the padded credit, of lists."""
        operation, space = self.operation, self.space
        rows, columns, self.channels, whole = self.weights.shape
        height = self.width = 1
        if type(operation) is Convolution:
            shape = space.program.shapes[operation.source]
            height, self.width, _ = as_frame(shape)
        *self.out, self.outputs = as_frame(operation.shape)
        self.grid = height + rows - 1, self.width + columns - 1
        top, left = getattr(operation, "before", (0, 0))
        # The kernel's last row meets the first one of the padded credit.
        self.placing = (
            *getattr(operation, "strides", (1, 1)),
            rows - 1 - top,
            columns - 1 - left,
        )
        size = 4 * math.prod(self.grid) * whole
        self.together = min(max(NEAR // size, 1), space.samples * WINDOW)
        self.padded = self.together, *self.grid, whole
        self.places = self.channels, self.together * height * self.width

    def step(self, window):
        room = self.space.room
        padded = room("padded", self.padded)
        padded.fill(0)
        rows, spots = (room(x, self.places, "int32") for x in ("rows", "spots"))
        values = room("values", self.places)
        # Those of spikes are not written.
        values.fill(1)
        counts = room("counts", (self.channels,), "int64")
        lists = rows, spots, values, counts
        list_events = self._lister(window, lists)
        credit, gradient = self.credit(window), self.gradient(window)
        for first in range(0, window.frames, self.together):
            last = min(first + self.together, window.frames)
            list_events(first, last)
            kernels.pad_credit(
                credit, first, last, *self.out, *self.placing, padded
            )
            kernels.credit_events(
                *lists,
                self.weights,
                self.changes,
                padded,
                room("partial", (self.places[1], LANES)),
                gradient.reshape(-1, self.channels),
                self.wanted,
                self.add,
            )

    def _lister(self, window, lists):
        """Return the function `(first, last)` that lists some frames."""
        space = self.space
        places = self.width, self.grid[1], math.prod(self.grid)
        if type(self.origin) is Neurons:
            spikes = space.spikes(self.origin.key, window)
            masks = np.empty((0, 0), "float32")
            if self.mask:
                masks = space.of_samples(self.mask, window)
            # The last pixel's channels are read in a whole vector.
            fired = space.room("fired", (spikes.shape[1] + 31,), "uint8")
            return lambda first, last: kernels.list_spikes(
                spikes, masks, first, last, window.steps, *places, fired, *lists
            )
        frames = space.of_steps(self.origin.key, window)
        if self.mask:
            frames = frames * space.of_frames(self.mask, window)
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
