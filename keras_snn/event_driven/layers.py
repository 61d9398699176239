"""All steps of a layer of a network as one operation of a TensorFlow graph.

A convolution of spikes alone; or with the neurons behind it, and a
normalization over batch and time between them: its statistics are those of the
currents of all samples, which are computed before neurons take the first step.
"""

import dataclasses
import itertools

import keras
import numpy as np
from keras import ops

from keras_snn.event_driven import layer_kernels as kernels
from keras_snn.event_driven import memory
from keras_snn.event_driven.engine import as_operation, threads
from keras_snn.event_driven.words import word_for
from keras_snn_runtime import samples

# Samples that a thread takes at once, which share what is read of large
# weights.
TOGETHER = 8

_NOTHING = np.empty((0, 0, 0, 0), "float32")


@dataclasses.dataclass(frozen=True)
class Convolution:
    """What a convolution does, besides its weights.

    Attributes:
        shape: Shape of a frame of its currents, (rows, pixels, channels).
        strides, before: Its strides, and the zeros before each axis.
        time_steps: T, at most `words.MOST_STEPS`.
    """

    shape: tuple
    strides: tuple
    before: tuple
    time_steps: int


@dataclasses.dataclass(frozen=True)
class Layer:
    """What a layer does, besides its weights.

    Attributes:
        shape: Shape of a frame of its neurons, (rows, pixels, channels).
        beta, threshold, subtract, initial_potential: Of the neurons.
        surrogate: Number and parameter of the rate rule's; None counts what
            the collapsed rule wants.
        leaky: Whether that wants a leaky trace.
        time_steps: T, at most `words.MOST_STEPS`.
        convolution: The `Convolution`; None where currents are given.
        held: Whether these are the same at every step.
        epsilon: Of the normalization; None where there is none.
    """

    shape: tuple
    beta: float
    threshold: float
    subtract: bool
    initial_potential: float
    surrogate: tuple | None
    leaky: bool
    time_steps: int
    convolution: Convolution | None = None
    held: bool = False
    epsilon: float | None = None

    @property
    def sums(self):
        """Number of sums of each neuron that it keeps."""
        return 2 + self.leaky if self.surrogate is None else 1


def convolve(convolution, x, weights):
    """Return the currents of all steps.

    Args:
        convolution: The `Convolution`.
        x: Words of the spikes that it sees, (batch, ...).
        weights: Its kernel, and its bias, which may be empty.

    Returns:
        Tuple: the currents, axes (sample * step, ...); and their statistics,
        as `run_layer` returns them.
    """
    batch, shape = x.shape[0], convolution.shape
    frames = None if batch is None else batch * convolution.time_steps
    currents, *statistics = as_operation(
        lambda x, *weights: _Sharing(convolution, x, weights).summarized(),
        [x, *(ops.cast(w, "float32") for w in weights)],
        [("float32", (frames, *shape)), *_of_statistics(batch, shape)],
    )
    return currents, statistics


def run_layer(layer, x, weights, normalization):
    """Take all samples through a layer.

    Args:
        layer: The `Layer`.
        x: Words of the spikes that its convolution sees, (batch, ...); or
            currents that are the same at every step.
        weights: Kernel of the convolution, and its bias, which may be empty;
            nothing where currents are given.
        normalization: Its scale gamma and its shift beta, of each channel; or
            nothing.

    Returns:
        Tuple: words of the neurons' spikes; their mean rate; a list of their
        `Sums`, or of the derivative of an `Outcome` by the rate rule; and a
        list of the currents' mean over time `z`, their mean `m`, their
        variance `v` and the variance of `z`, of each channel, or of nothing
        without a normalization.
    """
    floats = [ops.cast(w, "float32") for w in (*weights, *normalization)]
    outputs = _of_neurons(layer, x.shape[0])
    if normalization:
        outputs += _of_statistics(x.shape[0], layer.shape)
    words, rate, *found = as_operation(
        lambda x, *numbers: _Neurons(layer, x, numbers).run(),
        [x, *floats],
        outputs,
    )
    return words, rate, found[: layer.sums], found[layer.sums :]


def _of_neurons(layer, batch):
    """Return types and shapes of what neurons give.

    Their spikes' words, the mean rate of all, and the sums of each.
    """
    shape = batch, *layer.shape
    sums = [("float32", shape)] * layer.sums
    return [(word_for(layer.time_steps), shape), ("float32", ()), *sums]


def _of_statistics(batch, shape):
    """Return types and shapes of the statistics of currents."""
    return [("float32", (batch, *shape)), *[("float32", shape[-1:])] * 3]


def join(layer, currents, scales, shifts, batch):
    """Take neurons through sums of currents.

    Args:
        layer: The `Layer`, without convolution and normalization.
        currents: List of tensors, axes (sample * step, ...).
        scales, shifts: Lists of a number a channel for each of them: the
            neurons get the sum of `scale * current + shift`.
        batch: Number of samples, or None.

    Returns:
        Tuple: words of the neurons' spikes, their mean rate, and sums, as
        `run_layer` returns them.
    """
    count = len(currents)
    words, rate, *sums = as_operation(
        lambda *x: _Joined(
            layer, x[:count], x[count : 2 * count], x[2 * count :]
        ).run(),
        [*currents, *scales, *shifts],
        _of_neurons(layer, batch),
    )
    return words, rate, sums


def mean_spikes(x, time_steps, after=()):
    """Return the mean over time of neurons' spikes.

    Args:
        x: Their words, (batch, ...).
        time_steps: T, at most `words.MOST_STEPS`.
        after: List of tensors before which it is not computed.
    """

    def compute(x, *after):
        found = memory.array(x.shape)

        def work(parts):
            for part in parts:
                kernels.mean_spikes(x[part], found[part], time_steps)

        _share(len(x), work)
        return [found]

    return as_operation(compute, [x, *after], [("float32", x.shape)])[0]


def convolve_means(convolve, mean, x, time_steps, weights, value):
    """Return `value`, the mean currents of a convolution, differentiable.

    The backward pass needs the spikes' mean over time. It is computed again
    there, from their words, and need not be kept until then.

    Args:
        convolve: Function of the mean and the weights that gives the currents.
        mean: The spikes' mean, whose value is not read.
        x: Words of the spikes, (batch, ...).
        time_steps: T, at most `words.MOST_STEPS`.
        weights: List of tensors.
        value: The mean currents.
    """
    import tensorflow as tf

    @ops.custom_gradient
    def convolved(mean, *weights):
        def grad(*args, upstream=None):
            (upstream,) = args or (upstream,)
            means = mean_spikes(x, time_steps, after=[upstream])
            found = [means, *weights]
            with tf.GradientTape() as tape:
                tape.watch(found)
                currents = convolve(*found)
            return tape.gradient(currents, found, upstream)

        return value, grad

    return convolved(mean, *weights)


def connect(mean, normalization, epsilon, statistics, value, derivative=None):
    """Return `value`, differentiable through a normalization.

    As `running.normalization` derives it.

    Args:
        mean: Mean over time of what is normalized, whose value is not read.
        normalization: gamma and beta, of each channel.
        epsilon: Of the normalization.
        statistics: As `run_layer` returns them.
        value: Of normalized currents, or what neurons make of them.
        derivative: Of these to normalized currents.
    """
    derivative = ops.zeros((0, 0, 0, 0)) if derivative is None else derivative

    @ops.custom_gradient
    def connected(mean, gamma, beta):
        def grad(*args, upstream=None):
            (upstream,) = args or (upstream,)
            return as_operation(
                lambda *arrays: _credit(*arrays, np.float32(epsilon)),
                [upstream, derivative, gamma, *statistics],
                [("float32", x.shape) for x in (upstream, gamma, beta)],
            )

        return value, grad

    return connected(mean, *normalization)


def _credit(upstream, derivative, gamma, z, m, v, var_z, epsilon):
    """Return the derivatives of `connect`, arrays."""
    credit_of_each = memory.array(z.shape)

    def add(part, sums):
        slope = derivative[part] if derivative.size else derivative
        kernels.sum_credit(
            *(upstream[part], slope, z[part], m),
            *(credit_of_each[part], sums),
        )

    credit, along = _sums_of_parts(len(z), (2, len(gamma)), lambda: add)
    count = max(z[..., 0].size, 1)
    # What is no number is passed on, without a warning.
    with np.errstate(all="ignore"):
        # Where a channel is constant, so is its normalization.
        kappa = v / np.maximum(var_z, np.float32(keras.config.epsilon()))
        inverse = 1 / np.sqrt(kappa * var_z + epsilon)
        slope = -kappa * inverse**2 * along / count
        found = gamma * inverse, -credit / count, slope, along * inverse, credit
        *numbers, of_gamma, of_beta = (x.astype("float32") for x in found)

    def spread(parts):
        for part in parts:
            kernels.spread_credit(credit_of_each[part], z[part], m, *numbers)

    _share(len(z), spread)
    return [credit_of_each, of_gamma, of_beta]


def _share(batch, work):
    """Call `work(parts)` in threads, each with parts of its own."""
    firsts = itertools.count(0, TOGETHER)

    def parts():
        while (first := next(firsts)) < batch:
            yield slice(first, min(first + TOGETHER, batch))

    workers = max(min(threads(), -(-batch // TOGETHER)), 1)
    samples.in_threads(work, [(parts(),) for _ in range(workers)], threads())


def _sums_of_parts(batch, shape, adder):
    """Return the sum of what each part adds, float64.

    Args:
        batch: Number of samples.
        shape: Of the sum.
        adder: Function that gives each thread its `add(part, sums)`.
    """
    # Added up in the order of parts, whichever thread takes them.
    totals = np.zeros((-(-batch // TOGETHER), *shape))

    def work(parts):
        add = adder()
        for part in parts:
            add(part, totals[part.start // TOGETHER])

    _share(batch, work)
    return totals.sum(0)


class _Sharing:
    """A batch of samples that threads share.

    Args:
        convolution: The `Convolution`, or None where `x` are currents.
        x: Array of words, or of currents.
        weights: Arrays: its kernel and its bias.
    """

    def __init__(self, convolution, x, weights):
        self.convolution, self.x, self.weights = convolution, x, weights
        self.steps = 1 if convolution is None else convolution.time_steps

    def summarized(self):
        """Return all currents and their statistics, a list of arrays."""
        frames = len(self.x) * self.steps
        currents = memory.array((frames, *self.convolution.shape))
        return [currents, *self.sums_into(currents)]

    def sums_into(self, currents):
        """Return the statistics of currents, which are written if not given."""
        shape = (len(self.x), *currents.shape[1:])
        means = memory.array(shape)

        def adder():
            lists = self.lists()

            def add(part, sums):
                room = self.part_of(currents, part)
                some = self.currents(part, lists, room)
                kernels.sum_currents(some, means[part], sums, self.steps)

            return add

        totals = _sums_of_parts(len(means), (3, shape[-1]), adder)
        places = means[..., 0].size
        # What is no number is passed on, without a warning.
        with np.errstate(all="ignore"):
            return [means, *_statistics(totals, self.steps, places)]

    def part_of(self, currents, part):
        return currents[part.start * self.steps : part.stop * self.steps]

    def room(self, count):
        """Return room for the currents of some samples."""
        return memory.array((count * self.steps, *self.convolution.shape))

    def lists(self):
        """Return room for the spikes that some samples see."""
        if self.convolution is None:
            return None
        _, rows, pixels, channels = self.x.shape
        frames = TOGETHER * self.steps
        return (
            memory.array((frames, rows, pixels * channels), "int32"),
            memory.array((frames, rows, pixels + 1), "int64"),
        )

    def currents(self, part, lists, room):
        """Return the currents of some samples, written into `room`."""
        x, convolution = self.x[part], self.convolution
        if convolution is None:
            return x
        kernels.convolve_steps(
            *(x, *lists, *self.weights, room),
            (*convolution.strides, *convolution.before),
            self.steps,
        )
        return room


class _Neurons(_Sharing):
    """A layer and the arrays that it is called with.

    Args:
        layer: The `Layer`.
        x, numbers: Arrays, see `run_layer`: the weights and the normalization.
    """

    def __init__(self, layer, x, numbers):
        weights, self.normalization = numbers, ()
        if layer.epsilon is not None:
            weights, self.normalization = numbers[:-2], numbers[-2:]
        super().__init__(layer.convolution, x, weights)
        self.layer = layer
        self.shape = len(x), *layer.shape
        self.words = memory.array(self.shape, word_for(layer.time_steps))
        self.counts = []
        self.sums = [memory.array(self.shape) for _ in range(layer.sums)]

    def run(self):
        """Return the list of arrays that `run_layer` returns as tensors."""
        if self.normalization:
            return self._run_normalized()
        channels = self.layer.shape[-1]
        scale, shift = np.ones(channels, "f"), np.zeros(channels, "f")

        def work(parts):
            # Neurons go on with what is in the cache.
            room = None if self.layer.held else self.room(TOGETHER)
            lists = self.lists()
            for part in parts:
                currents = self.currents(part, lists, room)
                self._fire(part, currents, scale, shift)

        _share(len(self.x), work)
        return self._found()

    def _found(self):
        most = max(self.words.size * self.layer.time_steps, 1)
        return [self.words, np.float32(sum(self.counts) / most), *self.sums]

    def _run_normalized(self):
        if self.layer.held:
            return self._normalize(self.x)
        frames = len(self.x) * self.steps
        return self._normalize(memory.array((frames, *self.layer.shape)))

    def _normalize(self, currents):
        statistics = self.sums_into(currents)
        gamma, beta = self.normalization
        _, m, v, _ = statistics
        with np.errstate(all="ignore"):
            scale = gamma / np.sqrt(v + np.float32(self.layer.epsilon))
            shift = beta - m * scale

        def fire(parts):
            for part in parts:
                self._fire(part, self.part_of(currents, part), scale, shift)

        _share(len(self.x), fire)
        return [*self._found(), *statistics]

    def _fire(self, part, currents, scale, shift):
        layer = self.layer
        sums = [x[part] for x in self.sums]
        if not layer.leaky:
            sums.append(_NOTHING)
        if layer.surrogate is not None:
            sums.insert(0, _NOTHING)
        kind, parameter = layer.surrogate or (-1, 0.0)
        kernels.fire_scaled(
            *(currents, scale, shift, self.words[part], *sums),
            np.float32(layer.beta),
            np.float32(layer.threshold),
            np.float32(layer.initial_potential),
            *(kind, np.float32(parameter), layer.subtract),
            *(layer.held, layer.time_steps),
        )
        self.counts.append(kernels.count_spikes(self.words[part]))


class _Joined(_Neurons):
    """Neurons that get sums of currents.

    Args:
        layer: The `Layer`.
        currents, scales, shifts: Lists of arrays, see `join`.
    """

    def __init__(self, layer, currents, scales, shifts):
        self.given = list(zip(currents, scales, shifts))
        batch = len(currents[0]) // layer.time_steps
        super().__init__(layer, range(batch), ())
        self.steps = layer.time_steps

    def room(self, count):
        return memory.array((count * self.steps, *self.layer.shape))

    def currents(self, part, lists, room):
        room = room[: len(self.x[part]) * self.steps]
        room[:] = 0
        for currents, scale, shift in self.given:
            some = self.part_of(currents, part)
            kernels.add_scaled(some, scale, shift, room)
        return room


def _statistics(totals, steps, places):
    """Return the mean and both variances of `layer_kernels.sum_currents`."""
    total, square, square_z = totals / max(places, 1)
    mean = total / steps
    found = mean, square / steps - mean**2, square_z - mean**2
    m, *variances = (x.astype("float32") for x in found)
    return m, *(np.maximum(x, np.float32(0)) for x in variances)
