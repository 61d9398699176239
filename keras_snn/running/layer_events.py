"""Layer by layer, but event by event within a layer.

The engine runs all steps of a convolution of spikes and of the neurons behind
it as one operation, together with a normalization between them that takes
statistics of all samples at all steps; or, where currents meet before neurons,
each convolution as one, and then the neurons. A dense layer is a convolution
of frames of one place. The backward pass is that of `layer_first`, on means
over time.
"""

import functools
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from keras.src.backend import AutocastScope

from keras_snn import event_driven
from keras_snn.event_driven.words import MOST_STEPS
from keras_snn.layers import (
    LIF,
    StandardizedConv2D,
    StandardizedDense,
    TimeFold,
)
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.network import kinds
from keras_snn.neurons.means import Outcome, Sums
from keras_snn.running import (
    compilation,
    normalization,
    pooled_convolution,
    processes,
    states,
)
from keras_snn.running.spike_history import Frames, Spikes


class Chain(NamedTuple):
    """What one operation of the engine does.

    Attributes:
        convolution: A layer, which may be dense.
        pooling: The one behind it, or None.
        normalization: The one behind these, or None.
        neurons: Node of the neurons behind them.
    """

    convolution: Any
    pooling: Any
    normalization: Any
    neurons: Any


class Currents(Frames):
    """Frames of currents that are one tensor until they are asked for.

    Args:
        array: Tensor, axes (sample * step, ...).
        steps: Number of steps.
        statistics: As `event_driven.convolve` returns them.
    """

    def __init__(self, array, steps, statistics):
        self.array, self.steps = array, steps
        self.statistics = statistics

    def __len__(self):
        return self.steps

    @functools.cached_property
    def _frames(self):
        shape = -1, self.steps, *self.array.shape[1:]
        return ops.unstack(ops.reshape(self.array, shape), self.steps, axis=1)


class Joined(Frames):
    """Frames that are sums of others, added up when they are asked for.

    Args:
        trains: List of `layer_first.Train`.
        frame_of: Function of one and a step's number that gives its frame.
    """

    def __init__(self, trains, frame_of):
        self.trains, self._frame_of = trains, frame_of

    def __len__(self):
        return len(self.trains[0].frames)

    @functools.cached_property
    def _frames(self):
        return [
            sum(self._frame_of(x, t) for x in self.trains)
            for t in range(len(self))
        ]


def few_enough(steps):
    """Return whether a neuron's spikes fit into a word.

    Args:
        steps: List of numbers of steps, None where unknown.
    """
    return None not in steps and max(steps) <= MOST_STEPS


def may_run(network, time_steps, training):
    """Return whether the engine may run layers of a network in training."""
    return (
        training
        and few_enough([time_steps])
        and processes.current() is None
        and compilation.event_driven_layers(network.model)
    )


def chain_from(node, position, train):
    """Return the `Chain` that begins with a stage of a node, or None.

    Args:
        node: A node of a network.
        position: Number of its stage.
        train: The plain `layer_first.Train` that the stage sees.
    """
    convolution, *stages = node.stages[position:]
    held = len(train.frames) == 1
    listed = isinstance(train.frames, Spikes)
    rank = len(train.mean.shape)
    if not (held or listed) or not _is_known_convolution(convolution, rank):
        return None
    pooling = found = None
    while True:
        for stage in stages:
            if found is not None:
                return None
            if _is_known_normalization(stage, rank):
                found = stage
            elif pooling is None and pooled_convolution.fit(
                convolution, stage, train.mean.shape
            ):
                pooling = stage
            else:
                return None
        takers = node.output.takers
        if len(takers) != 1:
            return None
        (node,) = takers
        if isinstance(node.layer, SpikingLayer):
            known = _are_known_neurons(node.layer)
            return Chain(convolution, pooling, found, node) if known else None
        if type(node.layer) is not TimeFold:
            return None
        stages = node.stages


def _is_known_convolution(layer, rank):
    """Return whether the engine knows a layer that sees frames of this rank.

    That counts the axis of samples.
    """
    if not kinds.is_linear(layer) or not _is_known_type(layer):
        return False
    if _is_dense(layer):
        return rank == 2
    return (
        type(layer) in (keras.layers.Conv2D, StandardizedConv2D)
        and layer.groups == 1
        and set(layer.dilation_rate) == {1}
        and layer.padding in ("same", "valid")
        and layer.data_format == "channels_last"
    )


def _is_known_type(layer):
    """Return whether a layer may run in float32.

    In bfloat16 compute the products of the backward pass alone.
    """
    return layer.compute_dtype in ("float32", "bfloat16")


def _is_dense(layer):
    return type(layer) in (keras.layers.Dense, StandardizedDense)


def _is_known_normalization(layer, rank):
    return (
        kinds.is_normalization(layer)
        and layer.trainable
        and layer.axis in (-1, rank - 1)
        and _is_known_type(layer)
    )


def _are_known_neurons(layer):
    if layer.lif is None or not _is_known_type(layer):
        return False
    if type(layer).collapsed is not LIF.collapsed:
        return False
    beta, threshold, _ = layer.lif
    if np.ndim(beta) or np.ndim(threshold):
        return False
    try:
        event_driven.surrogate_of(layer)
    except event_driven.Unknown:
        return False
    return True


def run(chain, train, time_steps, training):
    """Run a chain of layers.

    Args:
        chain: The `Chain`.
        train: What its convolution sees.
        time_steps: T.
        training: Whether normalizations take statistics.

    Returns:
        Tuple: the `Spikes` of its neurons, their mean over time,
        differentiable, and their mean rate.
    """
    convolution, pooling, normalizing, neurons = chain
    train = _in_float32(train)
    if _is_dense(convolution):
        train = _as_places(train)
    call = convolution
    if pooling is not None:
        call = pooled_convolution.layer(convolution, pooling)
    held = not isinstance(train.frames, Spikes)
    given, weights, numbers = {"held": held}, [], []
    shape = _shape(convolution, pooling, train)
    if held:
        seen = ops.stop_gradient(_float32(call(train.frames[0])))
    else:
        seen = train.frames.word
        weights = _weights(convolution, pooling)
        given["convolution"] = _convolution(convolution, pooling, train, shape)
    if normalizing is not None:
        numbers = normalization.scale_and_shift(normalizing, (-1,))
        given["epsilon"] = normalizing.epsilon
    layer = _neurons(neurons.layer, shape, time_steps, **given)
    word, rate, sums, statistics = event_driven.run_layer(
        layer, seen, weights, numbers
    )
    outcome = _outcome(neurons.layer, word, sums, time_steps)
    if held or normalizing is None:
        mean = _float32(call(train.mean))
    else:
        z = statistics[0]
        mean = _mean_currents(convolution, pooling, train, weights, z)
    if normalizing is None:
        mean = neurons.layer.collapsed(mean, outcome, None, training)
    else:
        _, m, v, _ = statistics
        normalization.move(normalizing, m, v)
        mean = event_driven.connect(
            mean, numbers, normalizing.epsilon, statistics, *outcome
        )
    if _is_dense(convolution):
        word, mean = (ops.squeeze(x, (1, 2)) for x in (word, mean))
    dtype = neurons.layer.compute_dtype
    return Spikes([(word, time_steps)], dtype), mean, rate


def _float32(x):
    return ops.cast(x, "float32")


def _in_float32(train):
    """Return a train whose mean is float32, as what credits it."""
    return train._replace(mean=_float32(train.mean))


def _as_places(train):
    """Return frames of one axis as frames of one row of one pixel."""
    mean = ops.expand_dims(train.mean, (1, 2))
    if isinstance(train.frames, Spikes):
        word = ops.expand_dims(train.frames.word, (1, 2))
        frames = Spikes([(word, len(train.frames))], "float32")
    else:
        frames = [ops.expand_dims(x, (1, 2)) for x in train.frames]
    return train._replace(frames=frames, mean=mean)


def _outcome(neurons, word, sums, time_steps):
    """Return the `Outcome` of neurons from what the engine gives."""
    if neurons.rule == "rate":
        # Not computed where nobody reads it, as before convolutions.
        found = event_driven.mean_spikes(word, time_steps), *sums
    else:
        state = states.CountingState([], None, Sums(*sums))
        found = states.outcome(neurons, state, time_steps)
    return Outcome(*map(ops.stop_gradient, found))


def normalize(layer, train):
    """Do what `normalization.normalize` does.

    Args:
        layer: A normalization.
        train: What it sees, whose frames are `Currents`.

    Returns:
        The pair and the mean; None if the engine does not know the layer.
    """
    if not _is_known_normalization(layer, len(train.mean.shape)):
        return None
    statistics = train.frames.statistics
    z, m, v, _ = statistics
    normalization.move(layer, m, v)
    numbers = normalization.scale_and_shift(layer, (-1,))
    scale, shift = normalization.affine_of(*numbers, m, v, layer.epsilon)
    mean = event_driven.connect(
        *(train.mean, numbers, layer.epsilon, statistics),
        z * scale + shift,
    )
    return (scale, shift), mean


def may_join(node, trains):
    """Return whether neurons alone read a sum, and the engine knows them.

    Args:
        node: A node of several inputs.
        trains: List of the `layer_first.Train` that it adds up.
    """
    shapes = {tuple(x.mean.shape) for x in trains}
    steps = {len(x.frames) for x in trains}
    return (
        type(node.layer) is keras.layers.Add
        and _is_known_type(node.layer)
        and len(shapes) == len(steps) == 1
        and len(shapes.pop()) == 4
        and any(isinstance(x.frames, Currents) for x in trains)
        and all(x.affine is None or _of_channels(*x.affine) for x in trains)
        and all(
            isinstance(x.layer, SpikingLayer) and _are_known_neurons(x.layer)
            for x in node.output.takers
        )
    )


def _of_channels(scale, shift):
    """Return whether a scale and a shift are numbers of each channel."""
    return all(n == 1 for x in (scale, shift) for n in x.shape[:-1])


def fire(neurons, train, time_steps, training):
    """Run neurons on sums of currents.

    Args:
        neurons: The layer.
        train: What it sees, whose frames are `Joined`.
        time_steps: T.
        training: Whether the network trains.

    Returns:
        As `run`.
    """
    given = _neurons(neurons, train.mean.shape, time_steps)
    channels = train.mean.shape[-1:]
    currents, scales, shifts = [], [], []
    for x in train.frames.trains:
        frames = x.frames
        if isinstance(frames, Currents):
            array = frames.array
        else:
            array = ops.stack([ops.cast(y, "float32") for y in frames], axis=1)
            array = ops.reshape(array, (-1, *array.shape[2:]))
        scale, shift = x.affine or (ops.ones(channels), ops.zeros(channels))
        currents.append(array)
        scales.append(ops.reshape(scale, channels))
        shifts.append(ops.reshape(shift, channels))
    word, rate, sums = event_driven.join(
        given, currents, scales, shifts, train.mean.shape[0]
    )
    outcome = _outcome(neurons, word, sums, time_steps)
    mean = neurons.collapsed(_float32(train.mean), outcome, None, training)
    return Spikes([(word, time_steps)], neurons.compute_dtype), mean, rate


def convolve(convolution, pooling, train):
    """Run a convolution at all steps.

    Args:
        convolution: A layer.
        pooling: The one behind it, which is to be one with it, or None.
        train: What it sees, plain.

    Returns:
        Tuple: the currents, and their mean over time, differentiable; None if
        the engine does not know the layer, or not what it sees.
    """
    rank = len(train.mean.shape)
    listed = isinstance(train.frames, Spikes)
    known = _is_known_convolution(convolution, rank)
    # Joins are of frames of pixels.
    if not (listed and known and rank == 4):
        return None
    train = _in_float32(train)
    shape = _shape(convolution, pooling, train)
    given = _convolution(convolution, pooling, train, shape)
    weights = _weights(convolution, pooling)
    array, statistics = event_driven.convolve(given, train.frames.word, weights)
    mean = _mean_currents(convolution, pooling, train, weights, statistics[0])
    return Currents(array, len(train.frames), statistics), mean


def _shape(convolution, pooling, train):
    """Return the shape of a convolution's currents, batch first."""
    shape = convolution.compute_output_shape(train.mean.shape)
    return shape if pooling is None else pooling.compute_output_shape(shape)


def _mean_currents(convolution, pooling, train, weights, z):
    """Return the mean currents `z`, differentiable.

    Args:
        convolution, pooling, train: As in `convolve`; it sees spikes.
        weights: As `_weights` returns them.
        z: Tensor.
    """

    def convolve(x, kernel, bias):
        x, kernel = (
            ops.cast(y, convolution.compute_dtype) for y in (x, kernel)
        )
        if _is_dense(convolution):
            y = ops.tensordot(x, ops.squeeze(kernel, (0, 1)), 1)
        else:
            strides = _strides(convolution, pooling)
            y = ops.conv(x, kernel, strides, convolution.padding)
        y = _float32(y)
        return y + bias if convolution.use_bias else y

    return event_driven.convolve_means(
        *(convolve, train.mean, train.frames.word, len(train.frames)),
        *(weights, z),
    )


def _weights(convolution, pooling):
    """Return the kernel, and the bias, which may be empty; float32."""
    # Unrounded, whatever the model computes in. Keras has no public name for
    # this scope.
    with AutocastScope(None):
        if pooling is None:
            kernel = _float32(convolution.kernel)
        else:
            kernel = pooled_convolution.kernel_of(convolution, pooling)
        used = convolution.use_bias
        bias = _float32(convolution.bias) if used else ops.zeros(0)
    if _is_dense(convolution):
        kernel = ops.expand_dims(kernel, (0, 1))
    return kernel, bias


def _strides(convolution, pooling):
    if _is_dense(convolution):
        return 1, 1
    return convolution.strides if pooling is None else tuple(pooling.pool_size)


def _convolution(convolution, pooling, train, shape):
    """Return the `event_driven.Convolution` of a layer, and of a pooling."""
    strides, before = _strides(convolution, pooling), (0, 0)
    if not _is_dense(convolution):
        kernel = convolution.kernel_size
        if pooling is not None:
            kernel = [k + p - 1 for k, p in zip(kernel, strides)]
        frames = train.mean.shape[1:3], shape[1:3]
        missing = event_driven.missing_places(
            convolution.padding, kernel, strides, *frames
        )
        before = tuple(n // 2 for n in missing)
    return event_driven.Convolution(
        tuple(shape[1:]), strides, before, len(train.frames)
    )


def _neurons(neurons, shape, time_steps, **given):
    """Return the `event_driven.Layer` of neurons, with what else is given."""
    beta, threshold, reset = neurons.lif
    return event_driven.Layer(
        shape=tuple(shape[1:]),
        beta=float(beta),
        threshold=float(threshold),
        subtract=reset == "subtract",
        initial_potential=neurons.initial_potential,
        surrogate=event_driven.surrogate_of(neurons),
        leaky=neurons.rule != "rate" and neurons.factor == "leak_corrected",
        time_steps=time_steps,
        **given,
    )
