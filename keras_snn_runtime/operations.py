"""The operations of a network on a few samples, step by step.

Each is a description, which may be shared; `build` binds it to the arrays of
one `Workspace`, in which a thread runs some samples, then the next ones.
"""

import dataclasses
import functools
import math

import numpy as np

from keras_snn_runtime import kernels

# Steps whose spikes fit into a byte.
WINDOW = 8

# Steps after which an answer may be sure: in pairs they share what is read of
# large weights.
PAIR = 2

# Bytes of weights that are soon in the cache again for each sample. With more,
# samples share one pass through them.
SMALL = 2**18

# Products of a spike train that take as long as a neuron.
NEURON = 10

# What is kept of each neuron's spikes: sums, or what the collapsed rule makes
# of them.
STATISTICS = {"sums": ("total", "t_last"), "credit": ("rate", "derivative")}

LEAK_CORRECTED = "leak_corrected"

# Names of an array without any numbers among the weights.
NO_BIAS, NO_SCALES = "no bias", "no scales"


# Of a workspace's functions.
LISTS = "begin", "sources", "once", "step", "record", "window", "end"

# Bytes of a line of the cache. What begins with one is read and written in
# half the time. TensorFlow takes arrays at such addresses without a copy.
ALIGNMENT = 64


def aligned(shape, dtype="float32"):
    """Return an uninitialized array that starts at a line of the cache."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, "uint8")
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def as_frame(shape):
    """Return the axes (row, pixel, channel) of frames of any rank."""
    *others, channels = shape
    pixels = others.pop() if others else 1
    return math.prod(others), pixels, channels


class Spikes:
    """Listed spikes of frames.

    Args:
        frames: Number of frames.
        shape: Axes of a frame.
        unit: Whether all have the value 1.

    Attributes:
        shape: Rows, pixels and channels of a frame.
    """

    def __init__(self, frames, shape, unit=False):
        self.shape = rows, pixels, channels = as_frame(shape)
        places = (frames, rows, pixels * channels)
        self.indices = np.empty(places, "int32")
        self.values = np.empty((0, 0, 0) if unit else places, "float32")
        self.starts = np.zeros((frames, rows, pixels + 1), "int64")

    @property
    def arrays(self):
        return self.indices, self.values, self.starts


class Workspace:
    """The arrays of one thread, and what it does to them.

    Args:
        inputs: Dict of sequences with axes (sample, time, ...) and masks with
            axes (sample, ...) by key, of weights by name, and of the state to
            start from by `(key, "state")`, where it is not the initial one.
        outputs: Dict of arrays with axes (sample, ...) to write to.
        statistics: Key of `STATISTICS`, or None.
        time_steps: T.
        samples: Samples that run side by side.
        steps: Steps that an operation takes before the next one does.
        held: Keys of sources that are the same at every step.
        crew: The `Crew` that takes large operations, or None. Step by step it
            takes those of one sample.
        changed: Set of the keys of sources and neurons whose values are others
            than at the last step, kept by the caller and by neurons. What
            follows from others alone is not computed again. None computes it.

    Attributes:
        frames: Number of frames side by side.
        states: Dict of the arrays of potentials, and of readouts, by key.
        begin: Functions of `(first, samples)`, called before the first step
            of samples `first`, `first + 1`, ...
        sources: Functions of `(first, samples, t)`, called at each step.
        once: Functions of the number of samples, called at the first step:
            what depends on held sources alone.
        step: Functions of the number of samples, called after those.
        record: Functions of `(first, samples, t)`, called after each step.
        window: Functions of `(first, samples, t)`, called after eight steps
            and after the last step.
        end: Functions of `(first, samples)`, called after the last step.
    """

    def __init__(
        self,
        inputs,
        outputs,
        statistics,
        time_steps,
        samples,
        held=(),
        crew=None,
        changed=None,
        steps=1,
    ):
        self.crew, self.changed = crew, changed
        nothing = np.empty(0, "float32")
        self.inputs = {**inputs, NO_BIAS: nothing, NO_SCALES: nothing}
        self.outputs = outputs
        self.statistics = statistics
        self.time_steps = time_steps
        self.samples, self.frames = samples, samples * steps
        self.held = set(held)
        self.states = {}
        self.begin, self.sources = [], []
        self.once, self.step = [], []
        self.record, self.window, self.end = [], [], []
        # Which of the samples met a number that is none. No spike passes it
        # on, since nothing is above a threshold that it is compared with.
        self.lost = np.zeros(samples, bool)
        self._frames, self._spikes, self._shapes = {}, {}, {}
        self._reshaped, self._origins = {}, {}

    def follows(self, key, *sources):
        """Note that `key` depends on nothing but `sources`."""
        if self.held.issuperset(sources):
            self.held.add(key)
        origins = [self._origins.get(x, {x}) for x in sources]
        self._origins[key] = set().union(*origins)

    def new_frame(self, key, shape):
        """Return the array that the operation giving `key` writes to."""
        self._shapes[key] = shape
        self._frames[key] = self.array(shape)
        return self._frames[key]

    def array(self, shape, dtype="float32"):
        """Return zeros for all frames."""
        return self._zeros(self.frames, shape, dtype)

    def array_of_samples(self, shape, dtype="float32"):
        """Return zeros for a frame of each sample."""
        return self._zeros(self.samples, shape, dtype)

    def _zeros(self, count, shape, dtype):
        frames = aligned((count, *as_frame(shape)), dtype)
        frames.fill(0)
        return frames

    def new_spikes(self, key, shape, unit=False):
        """Return the `Spikes` that the operation giving `key` writes to."""
        return self.keep_spikes(key, shape, Spikes(self.frames, shape, unit))

    def keep_spikes(self, key, shape, spikes):
        """Let `key` be some `Spikes`, and return them."""
        self._shapes[key], self._spikes[key] = shape, spikes
        return spikes

    def new_state(self, key, shape, initial):
        """Return the array of a state, written out where it is wanted.

        Args:
            key: Of the operation.
            shape: Axes of a frame.
            initial: What it is filled with, unless there is an input of it.
        """
        state = self.states[key] = self.array_of_samples(shape)
        given = self.inputs.get((key, "state"))
        wanted = self.outputs.get((key, "state"))

        def begin(first, samples):
            if given is None:
                state.fill(initial)
                return
            start = given[first : first + samples]
            state[:samples] = start.reshape(state[:samples].shape)

        def end(first, samples):
            kept = wanted[first : first + samples]
            kept[...] = state[:samples].reshape(kept.shape)

        self.begin.append(begin)
        if wanted is not None:
            self.end.append(end)
        return state

    def build(self, operation):
        """Add what an operation does, after those before it."""
        operation.build(self)

    def reshape(self, source, key, shape):
        """Let `key` be another shape of `source`."""
        self.follows(key, source)
        self._reshaped[key] = source
        self._shapes[key] = shape

    def frame(self, key):
        """Return `key` as an array, written from spikes if need be."""
        if key in self._reshaped:
            frame = self.frame(self._reshaped[key])
            return frame.reshape(-1, *as_frame(self._shapes[key]))
        if key not in self._frames:
            spikes = self._spikes[key]
            frame = self.new_frame(key, self._shapes[key])
            self.call(key, kernels.fill_frames, *spikes.arrays, frame)
        return self._frames[key]

    def is_listed(self, key):
        """Return whether there are `Spikes` of `key`, without a frame."""
        source = self._reshaped.get(key)
        if source is None:
            return key in self._spikes
        same = self._shapes[source] == self._shapes[key]
        return same and self.is_listed(source)

    def spikes(self, key):
        """Return `key` as `Spikes`, listed from an array if need be."""
        source = self._reshaped.get(key)
        if source and self._shapes[source] == self._shapes[key]:
            return self.spikes(source)
        if key not in self._spikes:
            frame = self.frame(key)
            spikes = self.new_spikes(key, self._shapes[key])
            self.call(key, kernels.list_spikes, frame, *spikes.arrays)
        return self._spikes[key]

    def flat_spikes(self, key):
        """Return `Spikes` of the values of `key`, whatever their shape."""
        while key in self._reshaped:
            key = self._reshaped[key]
        return self.spikes(key)

    def call(self, key, function, *arguments):
        """Call `function(*arguments, samples)` whenever `key` changes."""
        function = functools.partial(function, *arguments)
        if self.changed is not None:
            origins = self._origins.get(key, {key})
            function = _where_changed(function, origins, self.changed)
        (self.once if key in self.held else self.step).append(function)

    def advance(self, function, *arguments):
        """Call `function(*arguments, samples)` at every step."""
        self.step.append(functools.partial(function, *arguments))

    def weights(self, operation):
        """Return the kernel, its scales and the biases of an operation."""
        names = operation.kernel, operation.scales, operation.bias
        return [self.inputs[name] for name in names]

    def shares(self, products):
        """Return whether what takes as long as products is worth help."""
        return self.crew is not None and products >= self.crew.LEAST

    def close(self):
        """Forget all functions, which refer to this: its arrays are free."""
        for name in LISTS:
            getattr(self, name).clear()
        if self.crew is not None:
            self.crew.jobs.clear()

    def run(self, first, samples, sure=None):
        """Take samples `first`, `first + 1`, ... through all steps.

        Args:
            first, samples: Which.
            sure: Function of the number of steps, called after every second
                one, that returns whether these are enough. None takes all.
        """
        self.lost[:] = False
        for function in self.begin:
            function(first, samples)
        for t in range(self.time_steps):
            self.take_step(first, samples, t)
            if sure is not None and t % PAIR == PAIR - 1 and sure(t + 1):
                break
        for function in self.end:
            function(first, samples)

    def steps_of(self, frames):
        """Return how many frames of a sample are among so many."""
        return 1

    def take_step(self, first, samples, t):
        """Take step `t`, from 0."""
        for function in self.sources:
            function(first, samples, t)
        if t == 0:
            for function in self.once:
                function(samples)
        for function in self.step:
            function(samples)
        for function in self.record:
            function(first, samples, t)
        if (t + 1) % WINDOW == 0 or t + 1 == self.time_steps:
            for function in self.window:
                function(first, samples, t)


def _where_changed(function, origins, changed):
    """Call a function at first, and then if any of its origins changed."""
    computed = False

    def step(samples):
        nonlocal computed
        if not computed or not changed.isdisjoint(origins):
            function(samples)
            computed = True

    return step


@dataclasses.dataclass(frozen=True)
class Source:
    """A sequence that is known before the first step."""

    key: int
    shape: tuple

    def build(self, space):
        sequence = space.inputs[self.key]
        sequence = sequence.reshape(*sequence.shape[:2], *as_frame(self.shape))
        frames = space.new_frame(self.key, self.shape)

        held = self.key in space.held

        def read(first, samples, t):
            if not (held and t):
                frames[:samples] = sequence[first : first + samples, t]

        space.sources.append(read)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution, or a dense layer along the last axis."""

    source: int
    key: int
    shape: tuple
    kernel: str
    bias: str
    strides: tuple
    before: tuple
    scales: str = NO_SCALES

    def build(self, space):
        space.follows(self.key, self.source)
        kernel, *others = space.weights(self)
        kernel = kernel.reshape(*[1] * (4 - kernel.ndim), *kernel.shape)
        spikes = space.spikes(self.source).arrays
        weights = kernel, *others
        out = space.new_frame(self.key, self.shape)
        together = space.frames if kernel.nbytes > SMALL else 1
        if space.shares(out[0, ..., 0].size * kernel.size):
            convolve = space.crew.convolution(
                spikes, weights, out, self.strides, self.before, together
            )
            space.call(self.key, convolve)
            return
        space.call(
            self.key,
            kernels.convolve,
            *spikes,
            *weights,
            out,
            *self.strides,
            *self.before,
            together,
        )


@dataclasses.dataclass(frozen=True)
class Depthwise:
    """A convolution of each channel by itself, with kernels of its own."""

    source: int
    key: int
    shape: tuple
    kernel: str
    bias: str
    strides: tuple
    before: tuple

    def build(self, space):
        space.follows(self.key, self.source)
        kernel, bias = space.inputs[self.kernel], space.inputs[self.bias]
        *sizes, channels, multiplier = kernel.shape
        frame = space.frame(self.source)
        if multiplier > 1:
            frame = self._repeated(space, frame, multiplier)
        space.call(
            self.key,
            kernels.convolve_depthwise,
            frame,
            kernel.reshape(*[1] * (2 - len(sizes)), *sizes, -1),
            bias,
            space.new_frame(self.key, self.shape),
            *self.strides,
            *self.before,
        )

    def _repeated(self, space, frame, multiplier):
        """Return the frame with each channel several times."""
        *sizes, channels = frame.shape[1:]
        wide = space.array((*sizes, channels * multiplier))
        each = wide[: len(frame)].reshape(*frame.shape, multiplier)
        space.call(self.key, lambda samples: np.copyto(each, frame[..., None]))
        return wide


@dataclasses.dataclass(frozen=True)
class Product:
    """A dense layer that sees the whole, flat frame."""

    source: int
    key: int
    shape: tuple
    kernel: str
    bias: str
    scales: str = NO_SCALES

    def build(self, space):
        space.follows(self.key, self.source)
        spikes = space.flat_spikes(self.source).arrays
        weights = space.weights(self)
        out = space.new_frame(self.key, self.shape)
        if space.shares(weights[0].size):
            multiply = space.crew.product(spikes, weights, out)
            space.call(self.key, multiply)
            return
        space.call(self.key, kernels.multiply, *spikes, *weights, out)


@dataclasses.dataclass(frozen=True)
class Pooling:
    """Average or maximum of windows within the frame."""

    source: int
    key: int
    shape: tuple
    kind: str
    size: tuple
    strides: tuple

    def build(self, space):
        space.follows(self.key, self.source)
        windows = *self.size, *self.strides
        if self.kind == "average" and space.is_listed(self.source):
            spikes = space.spikes(self.source).arrays
            out = space.new_frame(self.key, self.shape)
            if space.shares(out.size):
                average = space.crew.average(spikes, out, *windows)
                space.call(self.key, average)
            else:
                average = kernels.average_spikes
                space.call(self.key, average, *spikes, out, *windows)
            return
        frame = space.frame(self.source)
        out = space.new_frame(self.key, self.shape)
        kernel = getattr(kernels, self.kind)
        space.call(self.key, kernel, frame, out, *windows)


@dataclasses.dataclass(frozen=True)
class MaxRatePooling:
    """What the input of each window that has fired most fires."""

    source: int
    key: int
    shape: tuple
    size: tuple
    strides: tuple

    def build(self, space):
        frame = space.frame(self.source)
        counts = space.new_state(self.key, frame.shape[1:], 0)
        peaks = space.array(self.shape)
        out = space.new_frame(self.key, self.shape)
        if space.changed is not None:
            space.changed.add(self.key)

        def end(first, samples):
            sums = counts[:samples].sum(axis=(1, 2, 3))
            space.lost[:samples] |= np.isnan(sums)

        space.end.append(end)
        space.advance(
            kernels.count_maximum,
            frame,
            counts,
            peaks,
            out,
            *self.size,
            *self.strides,
        )


@dataclasses.dataclass(frozen=True)
class Reshape:
    """The same values in another shape."""

    source: int
    key: int
    shape: tuple

    def build(self, space):
        space.reshape(self.source, self.key, self.shape)


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Batch normalization by given statistics: `scale * input + shift`."""

    source: int
    key: int
    shape: tuple
    weights: tuple
    epsilon: float

    def scale_and_shift(self, arrays):
        """Return both, float32; `arrays` is a dict of weights by name."""
        named = {name: arrays[key] for name, key in self.weights}
        scale = 1 / np.sqrt(named["moving_variance"] + self.epsilon)
        scale = (scale * named.get("gamma", 1.0)).astype("float32")
        shift = named.get("beta", 0.0) - named["moving_mean"] * scale
        return scale, shift.astype("float32")

    def build(self, space):
        scale, shift = self.scale_and_shift(space.inputs)
        space.follows(self.key, self.source)
        frame = space.frame(self.source)
        out = space.new_frame(self.key, self.shape)

        def step(samples):
            np.multiply(frame[:samples], scale, out[:samples])
            np.add(out[:samples], shift, out[:samples])

        space.call(self.key, step)


@dataclasses.dataclass(frozen=True)
class Sum:
    """The sum of frames, of equal shapes."""

    sources: tuple
    key: int
    shape: tuple

    def build(self, space):
        space.follows(self.key, *self.sources)
        first, second, *others = [space.frame(key) for key in self.sources]
        out = space.new_frame(self.key, self.shape)

        def step(samples):
            np.add(first, second, out)
            for other in others:
                np.add(out, other, out)

        space.call(self.key, step)


@dataclasses.dataclass(frozen=True)
class Concatenation:
    """Frames side by side, along an axis counted from the end."""

    sources: tuple
    key: int
    shape: tuple
    axis: int

    def build(self, space):
        space.follows(self.key, *self.sources)
        if all(map(space.is_listed, self.sources)):
            self._join_spikes(space)
            return
        frames = [space.frame(key) for key in self.sources]
        out = space.new_frame(self.key, self.shape)
        space.call(
            self.key,
            lambda samples: np.concatenate(frames, self.axis, out=out),
        )

    def _join_spikes(self, space):
        first, *others = [space.spikes(key) for key in self.sources]
        for other in others:
            shape = list(first.shape)
            shape[self.axis] += other.shape[self.axis]
            unit = not (first.values.size or other.values.size)
            both = Spikes(space.frames, shape, unit)
            space.call(
                self.key,
                kernels.join_spikes,
                *first.arrays,
                *other.arrays,
                *both.arrays,
                first.shape[2],
                other.shape[2],
                4 + self.axis,
            )
            first = both
        space.keep_spikes(self.key, self.shape, first)


@dataclasses.dataclass(frozen=True)
class Neurons:
    """Leaky integrate-and-fire neurons.

    `beta` and `threshold` are numbers; or both are names of weights, of the
    shape of a frame. Such neurons keep no leaky trace, and give no credit.
    """

    source: int
    key: int
    shape: tuple
    beta: float | str
    threshold: float | str
    subtract: bool
    initial_potential: float
    factor: float | str | None
    # Number and parameter of the surrogate of the rate rule; None for others.
    surrogate: tuple | None = None

    def build(self, space):
        v = space.new_state(self.key, self.shape, self.initial_potential)
        byte = space.array(self.shape, "uint8")
        spikes = space.new_spikes(self.key, self.shape, unit=True)
        sums = self.sums(space)
        if sums and self.is_by_rate(space):
            self._credit_by_rate(space, v, sums)
        arrays = space.frame(self.source), v, byte
        lists = spikes.indices, spikes.starts
        numbers = (
            self.number("beta", space.inputs),
            self.number("threshold", space.inputs),
            self.subtract,
        )
        if not self.differ and space.shares(NEURON * v.size):
            fired = np.empty(v.size, "uint8")
            fire = space.crew.neurons((*arrays, fired, *lists), *numbers)
            space.advance(fire)
        else:
            fired = np.empty(v[0, 0].size, "uint8")
            fire = kernels.fire_each if self.differ else kernels.fire
            space.advance(fire, *arrays, fired, *lists, *numbers)
        watch = functools.partial(kernels.watch, byte, v, space.lost)
        if space.changed is None:
            space.end.append(lambda first, samples: watch(samples))
        else:
            space.advance(self._tell_changes, watch, space.changed)
        if sums and not self.is_by_rate(space):
            self._count(space, byte, sums)

    def _tell_changes(self, watch, changed, samples):
        tell = changed.add if watch(samples) else changed.discard
        tell(self.key)

    @property
    def differ(self):
        """Whether each neuron has numbers of its own."""
        return isinstance(self.beta, str)

    def number(self, name, arrays):
        """Return `beta` or `threshold`: a float32, or axes of one frame.

        Args:
            name: Which.
            arrays: Dict of weights by name.
        """
        value = getattr(self, name)
        if not self.differ:
            return np.float32(value)
        return arrays[value].reshape(as_frame(self.shape))

    def is_by_rate(self, space):
        """Return whether the sums kept are those of the rate rule."""
        return space.statistics == "credit" and self.surrogate is not None

    def sums(self, space):
        """Return a function of `(first, samples)`, or None without statistics.

        It gives three arrays, as `kernels.fire_steps` takes them, that are to
        be zeros before the first step. After the last one they become what is
        kept of these samples.
        """
        if not space.statistics:
            return None
        by_rate = self.is_by_rate(space)
        kept = [
            self._output(space, name) for name in STATISTICS[space.statistics]
        ]
        if by_rate:
            own = [space.array_of_samples(self.shape) for _ in range(3)]
            total, slopes, _ = own

            def end(first, samples):
                rows = slice(first, first + samples)
                for result, x in zip(kept, (total, slopes)):
                    np.divide(x[:samples], space.time_steps, result[rows])

            space.end.append(end)
            return lambda first, samples: [x[:samples] for x in own]
        local = np.empty((0, 0, 0, 0), "float32")
        trace = self._output(space, "trace")
        if self.factor == LEAK_CORRECTED and trace is None:
            local = space.array_of_samples(self.shape)

        def sums(first, samples):
            rows = slice(first, first + samples)
            traces = local[:samples] if trace is None else trace[rows]
            return [*(x[rows] for x in kept), traces]

        if space.statistics == "credit":
            space.end.append(self._credit(space.time_steps, sums))
        return sums

    def _begin_sums(self, space, sums):
        def begin(first, samples):
            for x in sums(first, samples):
                x.fill(0)

        space.begin.append(begin)

    def _credit_by_rate(self, space, potentials, sums):
        self._begin_sums(space, sums)
        total, slopes, eligibility = sums(0, space.samples)
        space.advance(
            kernels.credit_by_rate,
            space.frame(self.source),
            potentials,
            eligibility,
            slopes,
            total,
            np.float32(self.beta),
            np.float32(self.threshold),
            self.subtract,
            self.surrogate[0],
            np.float32(self.surrogate[1]),
        )

    def _count(self, space, byte, sums):
        """Add up spikes, window by window."""
        self._begin_sums(space, sums)
        history = space.outputs.get((self.key, "history"))
        beta = 1.0 if self.differ else self.beta
        decays = np.float32(beta) ** np.arange(WINDOW, dtype="float32")

        def window(first, samples, t):
            if history is not None:
                kept = history[t // WINDOW, first : first + samples]
                kept[...] = byte[:samples].reshape(kept.shape)
            kernels.absorb(
                byte,
                *sums(first, samples),
                decays,
                np.float32(beta ** (t % WINDOW + 1)),
                np.float32(t + 1),
                samples,
            )

        space.window.append(window)

    def _output(self, space, name):
        """Return an output as frames, or None if nobody asks for it."""
        x = space.outputs.get((self.key, name))
        return x if x is None else x.reshape(-1, *as_frame(self.shape))

    def _credit(self, time_steps, sums):
        numbers = np.array(
            [
                time_steps,
                self.factor if isinstance(self.factor, float) else 1.0,
                math.log(self.beta),
                self.threshold,
            ],
            "float32",
        )
        return lambda first, samples: kernels.credit(
            *sums(first, samples), *numbers, samples
        )


@dataclasses.dataclass(frozen=True)
class Mask:
    """Dropout with one mask a sample."""

    source: int
    key: int
    shape: tuple

    def build(self, space):
        masks = space.inputs[self.key]
        mask = space.array_of_samples(self.shape)
        spikes = space.spikes(self.source)
        masked = space.new_spikes(self.key, self.shape)
        arrays = *spikes.arrays, mask, *masked.arrays
        held = self.source in space.held

        def begin(first, samples):
            drawn = masks[first : first + samples]
            mask[:samples] = drawn.reshape(mask[:samples].shape)

        space.begin.append(begin)
        space.advance(
            lambda frames: kernels.mask_spikes(
                *arrays, held, space.steps_of(frames), frames
            )
        )


@dataclasses.dataclass(frozen=True)
class Integration:
    """A readout's state: `beta * (state + input)` at every step."""

    source: int
    key: int
    shape: tuple
    beta: float

    def build(self, space):
        frame = space.frame(self.source)
        state = space.new_state(self.key, self.shape, 0)
        results = space.outputs[self.key, "state"]
        arrays = frame, state, np.float32(self.beta)
        held = self.source in space.held

        def step(frames):
            steps = space.steps_of(frames)
            kernels.integrate(*arrays, held, frames // steps, steps)

        def end(first, samples):
            results[first : first + samples][space.lost[:samples]] = np.nan

        space.advance(step)
        space.end.append(end)


@dataclasses.dataclass(frozen=True)
class Record:
    """All steps of a frame, written to the output `(source, "sequence")`.

    Of what is the same at every step there may be one.
    """

    source: int
    key: tuple
    shape: tuple

    def build(self, space):
        frame = space.frame(self.source)
        sequence = space.outputs[self.source, "sequence"]
        steps = sequence.shape[1]
        sequence = sequence.reshape(-1, steps, *frame.shape[1:])

        def record(first, samples, t):
            if t < steps:
                sequence[first : first + samples, t] = frame[:samples]

        def end(first, samples):
            sequence[first : first + samples][space.lost[:samples]] = np.nan

        space.record.append(record)
        space.end.append(end)
