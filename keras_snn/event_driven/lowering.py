"""From the layers of a network to the operations of the engine."""

import contextlib
import functools

import keras
import numpy as np
from keras import ops

from keras_snn.layers import (
    IF,
    LIF,
    Affine,
    MaxRatePooling1D,
    MaxRatePooling2D,
    MembraneReadout,
    RepeatEncoder,
    SpikeCountReadout,
    StandardizedConv2D,
    StandardizedDense,
    ThresholdBatchNormalization,
    TimeConstantDropout,
    TimeFold,
)
from keras_snn.layers.time_layer import counts_or_draws
from keras_snn.network import Handlers, kinds
from keras_snn.neurons import surrogates
from keras_snn_runtime import operations
from keras_snn_runtime.operations import NO_BIAS

L = keras.layers

# As `kernels.credit_by_rate` numbers them.
SURROGATES = (
    surrogates.Arctan,
    surrogates.FastSigmoid,
    surrogates.Sigmoid,
    surrogates.Triangle,
    surrogates.Boxcar,
)

# What the engine does with a layer of the loop, and with a layer that sees
# one frame.
NODES = Handlers("run event by event")
FRAMES = Handlers("run event by event")


class Unknown(Exception):
    """What the engine does not know; the text says which layer or tensor.

    Attributes:
        node: The node that cannot be lowered.
    """

    node = None


class Program:
    """The operations of a network's loop over time.

    Args:
        network: A `Network` that runs as one loop, or a `segments.Segment`
            of it.
        training: Whether dropout applies.
        held: Keys of the values that are the same at every step. None finds
            the sources that are.
        results: `Value`s whose sequences are wanted.

    Attributes:
        operations: List of `operations`, in forward order.
        weights: Dict from names to functions that return what they read.
        neurons: Dict from keys to the layers of spiking neurons.
        readouts: Dict from keys to the readouts.
        counters: Dict from keys to the poolings that count spikes.
        masks: Dict from keys to dropout layers that draw a mask.
        nodes: Dict from keys to the nodes of their operations.
        shapes: Dict from keys to shapes of one sample at one step, and from
            `(key, "state")` to those of states of another shape.
        sources: Keys of the sequences that the loop starts from.
        held: Those of them that are the same at every step.
        results: Keys of the values whose sequences are kept.
        held_results: Those of them that are the same at every step.
        leaky: Keys of the neurons whose rule asks for a leaky trace.
        learning_reason: Why it cannot take part in learning, or None.

    Raises:
        Unknown: If a layer is not known.
    """

    def __init__(self, network, training, held=None, results=()):
        self.operations = []
        self.weights, self.masks, self.shapes = {}, {}, {}
        self.nodes = {}
        self.neurons, self.readouts, self.counters = {}, {}, {}
        self.sources = [x.key for x in network.sources]
        held = held_sources(network) if held is None else held
        self.held = held.intersection(self.sources)
        self.results = [x.key for x in results]
        self.held_results = held.intersection(self.results)
        # Why it cannot be what learning wants to know, or None.
        self.learning_reason = None
        # Keys of neurons of which a leaky trace is kept.
        self.leaky = set()
        # Key of the frame and zeros before each axis, by key of the padded one.
        self.padded = {}
        self.training = training
        for x in network.sources:
            taker = next(n for n in network.loop if x in n.inputs)
            with _named(taker):
                self.add(operations.Source(x.key, _frame(taker, x)))
        for node in network.loop:
            with _named(node):
                self._lower(node)
        for x in results:
            with _named(x.node):
                self._record(x)

    def add(self, operation):
        """Append an operation."""
        self.operations.append(operation)
        self.shapes[operation.key] = operation.shape

    def _lower(self, node):
        layer = node.layer
        _check_dtype(layer)
        handler = NODES.of(layer)
        if handler is None:
            raise _unknown(layer)
        _frame(node, node.inputs[0])
        _frame(node, node.output)
        first = len(self.operations)
        handler(self, node)
        self.nodes.update((x.key, node) for x in self.operations[first:])

    def _record(self, value):
        if value.key in self.padded:
            layer = value.node.layer
            raise _unknown(layer, "pads what a layer reads through Keras")
        key = (value.key, "sequence")
        self.add(operations.Record(value.key, key, value.frame))

    def unpadded(self, layer, key):
        """Return `key`, which is no frame with zeros around it."""
        if key in self.padded:
            raise _unknown(layer, "sees zero padding, and is no convolution")
        return key

    def source(self, node):
        """Return the key of a node's first input, without padding."""
        return self.unpadded(node.layer, node.inputs[0].key)

    def kernel_and_bias(self, layer, name="kernel"):
        """Return the names of a layer's kernel, or of one of two, and bias."""
        if layer.activation not in (None, keras.activations.linear):
            raise _unknown(layer, "has an activation")
        adapted = getattr(layer, "lora_enabled", False)
        if layer.quantization_mode is not None or adapted:
            raise _unknown(layer, "is quantized or adapted")
        bias = NO_BIAS if layer.bias is None else self.weight(layer, "bias")
        return self.weight(layer, name), bias

    def weight(self, layer, name):
        """Return the name of a layer's weight."""
        key = f"{id(layer)} {name}"
        # Read at every run: a standardized kernel is made of others.
        self.weights[key] = functools.partial(getattr, layer, name)
        return key


def held_sources(network):
    """Return the keys of the sources that are the same at every step."""
    return {
        x.key for x in network.sources if type(x.node.layer) is RepeatEncoder
    }


@contextlib.contextmanager
def _named(node):
    """Say of what is `Unknown` in this scope that it is a node."""
    try:
        yield
    except Unknown as unknown:
        unknown.node = node
        raise


@NODES.register(L.Add)
def _add(program, node):
    if len({x.frame for x in node.inputs}) > 1:
        raise _unknown(node.layer, "adds frames of different shapes")
    keys = tuple(program.unpadded(node.layer, x.key) for x in node.inputs)
    program.add(operations.Sum(keys, node.key, node.output.frame))


@NODES.register(L.Concatenate)
def _concatenate(program, node):
    keys = tuple(program.unpadded(node.layer, x.key) for x in node.inputs)
    shape, axis = node.output.frame, node.layer.axis
    program.add(operations.Concatenation(keys, node.key, shape, axis))


@NODES.register(MaxRatePooling1D, MaxRatePooling2D)
def _max_rate_pooling(program, node):
    layer, before = node.layer, node.inputs[0].frame
    _check_within(layer, before, node.output.frame)
    program.counters[node.key] = layer
    program.shapes[node.key, "state"] = before
    program.learning_reason = (
        f"'{layer.name}' ({type(layer).__name__}) runs event by event in "
        "inference alone"
    )
    program.add(
        operations.MaxRatePooling(
            program.source(node),
            node.key,
            node.output.frame,
            _two(layer.pool_size, 1),
            _two(layer.strides, 1),
        )
    )


@NODES.register(LIF, IF)
def _neurons(program, node):
    layer, shape = node.layer, node.output.frame
    program.neurons[node.key] = layer
    beta, threshold, factor = layer.beta, layer.threshold, layer.factor
    if np.ndim(beta) or np.ndim(threshold) or layer.trained_numbers:
        beta, threshold = (
            _of_each(program, layer, x, shape) for x in ("beta", "threshold")
        )
        factor = None
        program.learning_reason = (
            f"'{layer.name}' ({type(layer).__name__}) has a decay or threshold "
            "for each neuron, which runs event by event in inference alone"
        )
    if factor == operations.LEAK_CORRECTED:
        program.leaky.add(node.key)
    program.add(
        operations.Neurons(
            program.source(node),
            node.key,
            shape,
            beta,
            threshold,
            layer.reset == "subtract",
            layer.initial_potential,
            factor,
            surrogate_of(layer),
        )
    )


def _of_each(program, layer, name, shape):
    """Return the name of a weight: a number of each neuron of a layer."""
    key = f"{id(layer)} {name} of {shape}"

    def read():
        return ops.broadcast_to(
            ops.convert_to_tensor(getattr(layer, name), "float32"), shape
        )

    program.weights[key] = read
    return key


def surrogate_of(layer):
    """Return number and parameter of a rate rule's surrogate, or None."""
    if layer.rule != "rate":
        return None
    surrogate = layer.learning_rule.surrogate
    if type(surrogate) not in SURROGATES:
        raise _unknown(layer, f"learns by rate with {surrogate!r}")
    value = getattr(surrogate, surrogate.parameter)
    return SURROGATES.index(type(surrogate)), value


@NODES.register(MembraneReadout, SpikeCountReadout)
def _readout(program, node):
    program.readouts[node.key] = node.layer
    beta = getattr(node.layer, "beta", 1.0)
    source = program.source(node)
    program.add(
        operations.Integration(source, node.key, node.inputs[0].frame, beta)
    )


@NODES.register(TimeConstantDropout)
def _dropout(program, node):
    source, shape = program.source(node), node.output.frame
    if program.training and node.layer.rate:
        program.masks[node.key] = node.layer
        program.add(operations.Mask(source, node.key, shape))
    else:
        program.add(operations.Reshape(source, node.key, shape))


@NODES.register(TimeFold)
def _fold(program, node):
    layer = node.layer.layer
    _check_dtype(layer)
    if getattr(layer, "data_format", None) == "channels_first":
        raise _unknown(layer, "has its channels first")
    handler = FRAMES.of(layer)
    if handler is None:
        raise _unknown(layer)
    handler(program, layer, node)


@NODES.register("identity")
def _identity_over_time(program, node):
    _identity(program, node.layer, node)


@FRAMES.register("identity")
def _identity(program, layer, node):
    if program.training and counts_or_draws(layer):
        raise _unknown(layer, "draws random numbers at every step")
    _reshape(program, layer, node)


@FRAMES.register(L.ZeroPadding1D, L.ZeroPadding2D)
def _padding(program, layer, node):
    zeros = _two([first for first, _ in np.atleast_2d(layer.padding)], 0)
    program.padded[node.key] = program.source(node), zeros


@FRAMES.register(L.Flatten, L.Reshape)
def _reshape(program, layer, node):
    program.add(
        operations.Reshape(program.source(node), node.key, node.output.frame)
    )


@FRAMES.register(L.Dense, StandardizedDense)
def _dense(program, layer, node):
    source, after = program.source(node), node.output.frame
    weights = program.kernel_and_bias(layer)
    if len(node.inputs[0].frame) == 1:
        program.add(operations.Product(source, node.key, after, *weights))
        return
    program.add(
        operations.Convolution(
            source, node.key, after, *weights, (1, 1), (0, 0)
        )
    )


@FRAMES.register(L.Conv1D, L.Conv2D, StandardizedConv2D)
def _convolution(program, layer, node):
    if layer.groups != 1:
        raise _unknown(layer, "has groups")
    _slide(operations.Convolution, program, layer, node)


@FRAMES.register(L.DepthwiseConv1D, L.DepthwiseConv2D)
def _depthwise(program, layer, node):
    _slide(operations.Depthwise, program, layer, node)


def _slide(operation, program, layer, node):
    """Add a convolution of one kernel, of the given type."""
    source, zeros = _windows(program, layer, node)
    program.add(
        operation(
            source,
            node.key,
            node.output.frame,
            *program.kernel_and_bias(layer),
            _two(layer.strides, 1),
            zeros,
        )
    )


@FRAMES.register(L.SeparableConv1D, L.SeparableConv2D)
def _separable(program, layer, node):
    source, zeros = _windows(program, layer, node)
    depthwise, _ = program.kernel_and_bias(layer, "depthwise_kernel")
    pointwise = program.kernel_and_bias(layer, "pointwise_kernel")
    *sizes, _ = after = node.output.frame
    channels = layer.pointwise_kernel.shape[-2]
    between, strides = (node.key, "depthwise"), _two(layer.strides, 1)
    for operation in (
        operations.Depthwise(
            *(source, between, (*sizes, channels)),
            *(depthwise, NO_BIAS, strides, zeros),
        ),
        operations.Convolution(
            between, node.key, after, *pointwise, (1, 1), (0, 0)
        ),
    ):
        program.add(operation)


def _windows(program, layer, node):
    """Return the key of what a convolution reads, and the zeros before it."""
    if any(x != 1 for x in layer.dilation_rate):
        raise _unknown(layer, "has dilation")
    source, zeros = node.inputs[0].key, (0, 0)
    before, after = node.inputs[0].frame, node.output.frame
    if layer.padding == "valid":
        source, zeros = program.padded.get(source, (source, zeros))
    else:
        zeros, _ = _zeros(layer, layer.kernel_size, before, after)
    return program.unpadded(layer, source), zeros


@FRAMES.register(
    L.AveragePooling1D, L.AveragePooling2D, L.MaxPooling1D, L.MaxPooling2D
)
def _pooling(program, layer, node):
    _check_within(layer, node.inputs[0].frame, node.output.frame)
    _pool(program, layer, node, layer.pool_size, layer.strides)


@FRAMES.register(
    L.GlobalAveragePooling1D,
    L.GlobalAveragePooling2D,
    L.GlobalMaxPooling1D,
    L.GlobalMaxPooling2D,
)
def _global_pooling(program, layer, node):
    _pool(program, layer, node, node.inputs[0].frame[:-1], (1,))


def _pool(program, layer, node, sizes, strides):
    how = "maximum" if kinds.of(layer).role == "maximum" else "average"
    program.add(
        operations.Pooling(
            program.source(node),
            node.key,
            node.output.frame,
            how,
            _two(sizes, 1),
            _two(strides, 1),
        )
    )


@FRAMES.register(L.BatchNormalization, ThresholdBatchNormalization)
def _normalization(program, layer, node):
    """Add a batch normalization by its moving averages."""
    shape = node.output.frame
    if program.training and layer.trainable:
        raise _unknown(layer, "takes statistics while training")
    if layer.axis not in (-1, len(shape)):
        raise _unknown(layer, "does not normalize the last axis")
    names = {}
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        if getattr(layer, name) is not None:
            names[name] = program.weight(layer, name)
    program.add(
        operations.Normalization(
            program.source(node),
            node.key,
            shape,
            tuple(names.items()),
            layer.epsilon,
        )
    )


@FRAMES.register(Affine)
def _affine(program, layer, node):
    if program.training and layer.trainable:
        raise _unknown(layer, "trains a scale or a bias of its own")
    channels = node.output.frame[-1]
    scale = layer.kernel if layer.use_scale else np.ones(channels, "float32")
    _scale_and_shift(program, layer, node, scale, layer.bias)


@FRAMES.register(L.Rescaling)
def _rescaling(program, layer, node):
    channels = node.output.frame[-1:]
    numbers = [np.float32(x) for x in (layer.scale, layer.offset)]
    if any(x.ndim > 1 for x in numbers):
        raise _unknown(layer, "scales by more than a number a channel")
    numbers = [np.broadcast_to(x, channels) for x in numbers]
    _scale_and_shift(program, layer, node, *numbers)


def _scale_and_shift(program, layer, node, scale, shift):
    """Add `scale * input + shift` as a normalization by mean 0, variance 1."""
    channels = node.output.frame[-1]
    values = {
        "gamma": scale,
        "beta": shift,
        "moving_mean": np.zeros(channels, "float32"),
        "moving_variance": np.ones(channels, "float32"),
    }
    names = {name: f"{id(layer)} {name}" for name in values}
    for name, value in values.items():
        program.weights[names[name]] = functools.partial(_given, value)
    program.add(
        operations.Normalization(
            program.source(node),
            node.key,
            node.output.frame,
            tuple(names.items()),
            0.0,
        )
    )


def _given(value):
    return value


def _check_within(layer, before, after):
    if _zeros(layer, layer.pool_size, before, after)[1]:
        raise _unknown(layer, "pools beyond the edge")


def _unknown(layer, reason="has no event-driven form"):
    return Unknown(f"'{layer.name}' ({type(layer).__name__}) {reason}")


def _check_dtype(layer):
    if layer.compute_dtype != "float32":
        raise _unknown(layer, f"computes in {layer.compute_dtype}")


def _frame(node, value):
    """Return the shape of one sample of a node's value at one step."""
    shape = value.frame
    if None in shape or not 1 <= len(shape) <= 3:
        raise _unknown(node.stages[0], f"has frames of shape {shape}")
    return shape


def _two(numbers, fill):
    """Return a pair for the axes (row, pixel)."""
    return (*[fill] * (2 - len(numbers)), *numbers)


def _zeros(layer, sizes, before, after):
    """Return the zeros before both axes, and whether there are any at all."""
    if layer.padding not in ("same", "valid"):
        raise _unknown(layer, f"has padding {layer.padding!r}")
    missing = missing_places(layer.padding, sizes, layer.strides, before, after)
    return _two([x // 2 for x in missing], 0), any(missing)


def missing_places(padding, sizes, strides, before, after):
    """Return how many zeros windows see beside a frame, along each axis.

    Half of them, rounded down, are before it.

    Args:
        padding: `"same"` or `"valid"`.
        sizes, strides: Of the windows.
        before, after: Sizes of the frame, and of what comes of it.
    """
    if padding == "valid":
        return [0] * len(sizes)
    return [
        max((out - 1) * stride + size - width, 0)
        for width, out, size, stride in zip(before, after, sizes, strides)
    ]
