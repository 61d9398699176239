"""All steps of a layer of a network as one operation of a TensorFlow graph.

A convolution of spikes alone; or with the neurons behind it, and a
normalization over batch and time between them: its statistics are those of the
currents of all samples, which are computed before neurons take the first step.
"""

import dataclasses
import itertools
import math

import keras
import numpy as np
from keras import ops

from keras_snn.event_driven import layer_kernels as kernels
from keras_snn.event_driven import memory
from keras_snn.event_driven.engine import threads
from keras_snn_runtime import samples
from keras_snn_runtime.operations import aligned

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
        time_steps: T, at most 8.
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
        convolution: The `Convolution`; None where currents are given, the same
            at every step.
        epsilon: Of the normalization; None where there is none.
        beta, threshold, subtract, initial_potential: Of the neurons.
        surrogate: Number and parameter of the rate rule's; None counts what
            the collapsed rule wants.
        leaky: Whether that wants a leaky trace.
        time_steps: T, at most 8.
    """

    shape: tuple
    convolution: Convolution | None
    epsilon: float | None
    beta: float
    threshold: float
    subtract: bool
    initial_potential: float
    surrogate: tuple | None
    leaky: bool
    time_steps: int

    @property
    def held(self):
        """Whether currents are given, the same at every step."""
        return self.convolution is None


def convolve(convolution, x, weights):
    """Return the currents of all steps, a list of a tensor (batch, ...) each.

    Args:
        convolution: The `Convolution`.
        x: Bytes of the spikes that it sees, (batch, ...).
        weights: Its kernel, and its bias, which may be empty.
    """
    import tensorflow as tf

    frames = tf.numpy_function(
        lambda x, *weights: _Sharing(convolution, x, weights).frames(),
        [x, *(ops.cast(w, "float32") for w in weights)],
        [tf.float32] * convolution.time_steps,
        stateful=False,
    )
    # Outside of a graph a list of one comes back as its element.
    frames = frames if isinstance(frames, (list, tuple)) else [frames]
    for y in frames:
        y.set_shape((x.shape[0], *convolution.shape))
    return list(frames)


def run_layer(layer, x, weights, normalization):
    """Take all samples through a layer.

    Args:
        layer: The `Layer`.
        x: Bytes of the spikes that its convolution sees, (batch, ...); or
            currents that are the same at every step.
        weights: Kernel of the convolution, and its bias, which may be empty;
            nothing where currents are given.
        normalization: Its scale gamma and its shift beta, of each channel; or
            nothing.

    Returns:
        Tuple: bytes of the neurons' spikes; a list of their `Sums`, or of what
        an `Outcome` has by the rate rule; and a list of the currents' mean
        over time `z`, their mean `m`, their variance `v` and the variance of
        `z`, of each channel, or of nothing without a normalization.
    """
    import tensorflow as tf

    floats = [ops.cast(w, "float32") for w in (*weights, *normalization)]
    of_neurons = 3 + layer.leaky
    others = of_neurons - 1 + (4 if normalization else 0)
    found = tf.numpy_function(
        lambda x, *numbers: _Neurons(layer, x, numbers).run(),
        [x, *floats],
        [tf.uint8, *[tf.float32] * others],
        stateful=False,
    )
    for n, y in enumerate(found):
        of_each = n <= of_neurons
        y.set_shape((x.shape[0], *layer.shape) if of_each else layer.shape[-1:])
    byte, *sums = found[:of_neurons]
    return byte, sums, found[of_neurons:]


def connect(layer, mean, normalization, outcome, statistics):
    """Return what neurons give, differentiable to what they see.

    Through the normalization before them, as `running.normalization` does.

    Args:
        layer: The `Layer`.
        mean: Mean over time of what is normalized, whose value is not read.
        normalization: gamma and beta, of each channel.
        outcome: `means.Outcome` of the neurons.
        statistics: As `run_layer` returns them.
    """
    value, derivative = outcome

    @ops.custom_gradient
    def connected(mean, gamma, beta):
        def grad(*args, upstream=None):
            (upstream,) = args or (upstream,)
            return _credit(layer, upstream, derivative, statistics, gamma)

        return value, grad

    return connected(mean, *normalization)


def _credit(layer, upstream, derivative, statistics, gamma):
    """Return the derivatives of `connect`."""
    import tensorflow as tf

    found = tf.numpy_function(
        lambda *arrays: _credit_arrays(layer, *arrays),
        [upstream, derivative, gamma, *statistics],
        [tf.float32] * 3,
        stateful=False,
    )
    for x, y in zip((upstream, gamma, gamma), found):
        y.set_shape(x.shape)
    return found


def _credit_arrays(layer, upstream, derivative, gamma, z, m, v, var_z):
    """Do what `_credit` does, with arrays."""
    credits_ = memory.array(z.shape)

    def add(part, sums):
        given = (x[part] for x in (upstream, derivative, z))
        kernels.sum_credit(*given, m, credits_[part], sums)

    credit, along = _sums_of_parts(len(z), (2, len(gamma)), lambda: add)
    count = np.float64(max(z[..., 0].size, 1))
    with np.errstate(all="ignore"):
        # Where a channel is constant, so is its normalization.
        kappa = v / np.maximum(var_z, np.float32(keras.config.epsilon()))
        square = 1 / (kappa * var_z + np.float32(layer.epsilon))
        scale = gamma * np.sqrt(square)
        shift, slope = -credit / count, -kappa * square * along / count
        along = along * np.sqrt(square)
    each = [x.astype("float32") for x in (scale, shift, slope)]

    def spread(parts):
        for part in parts:
            kernels.spread_credit(credits_[part], z[part], m, *each)

    _share(len(z), spread)
    return [credits_, along.astype("float32"), credit.astype("float32")]


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
        x: Array of bytes, or of currents.
        weights: Arrays: its kernel and its bias.
    """

    def __init__(self, convolution, x, weights):
        self.convolution, self.x, self.weights = convolution, x, weights
        self.steps = 1 if convolution is None else convolution.time_steps

    def frames(self):
        """Return the currents of each step, a list of arrays."""
        batch, shape = len(self.x), self.convolution.shape
        frames = [memory.array((batch, *shape)) for _ in range(self.steps)]

        def work(parts):
            room, lists = self.room(TOGETHER), self.lists()
            by_step = room.reshape(TOGETHER, self.steps, *shape)
            for part in parts:
                self.currents(part, lists, room)
                for t, frame in enumerate(frames):
                    frame[part] = by_step[: part.stop - part.start, t]

        self.share(work)
        return frames

    def room(self, count):
        """Return room for the currents of some samples."""
        return aligned((count * self.steps, *self.convolution.shape))

    def lists(self):
        """Return room for the spikes that some samples see."""
        if self.convolution is None:
            return None
        _, rows, pixels, channels = self.x.shape
        frames = TOGETHER * self.steps
        return (
            np.empty((frames, rows, pixels * channels), "int32"),
            np.empty((frames, rows, pixels + 1), "int64"),
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

    def share(self, work):
        _share(len(self.x), work)


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
        self.byte = memory.array(self.shape, "uint8")
        self.sums = [memory.array(self.shape) for _ in range(2 + layer.leaky)]

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

        self.share(work)
        return [self.byte, *self.sums]

    def _run_normalized(self):
        if self.layer.held:
            return self._normalize(self.x)
        frames = len(self.x) * self.steps
        return self._normalize(memory.array((frames, *self.layer.shape)))

    def _normalize(self, currents):
        means = memory.array(self.shape)
        gamma, beta = self.normalization

        def part_of_currents(part):
            first, last = part.start * self.steps, part.stop * self.steps
            return currents[first:last]

        def adder():
            lists = self.lists()

            def add(part, sums):
                some = self.currents(part, lists, part_of_currents(part))
                kernels.sum_currents(some, means[part], sums, self.steps)

            return add

        totals = _sums_of_parts(len(means), (3, len(gamma)), adder)
        places = means[..., 0].size
        # What is no number is passed on, without a warning.
        with np.errstate(all="ignore"):
            m, v, var_z = _statistics(totals, self.steps, places)
            scale = gamma / np.sqrt(v + np.float32(self.layer.epsilon))
            shift = beta - m * scale

        def fire(parts):
            for part in parts:
                self._fire(part, part_of_currents(part), scale, shift)

        self.share(fire)
        return [self.byte, *self.sums, means, m, v, var_z]

    def _fire(self, part, currents, scale, shift):
        layer = self.layer
        sums = [x[part] for x in self.sums]
        if not layer.leaky:
            sums.append(_NOTHING)
        kind, parameter = layer.surrogate or (-1, 0.0)
        kernels.fire_scaled(
            *(currents, scale, shift, self.byte[part], *sums),
            np.float32(layer.beta),
            np.float32(layer.threshold),
            np.float32(layer.initial_potential),
            *(kind, np.float32(parameter), layer.subtract),
            *(layer.held, layer.time_steps),
        )


def _statistics(totals, steps, places):
    """Return the mean and both variances of `layer_kernels.sum_currents`."""
    total, square, square_z = totals / max(places, 1)
    mean = total / steps
    found = mean, square / steps - mean**2, square_z - mean**2
    m, *variances = (x.astype("float32") for x in found)
    return m, *(np.maximum(x, np.float32(0)) for x in variances)
