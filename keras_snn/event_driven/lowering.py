"""From the layers of a network to the operations of the engine."""

import keras
import numpy as np

from keras_snn.event_driven import operations
from keras_snn.event_driven.operations import NO_BIAS
from keras_snn.layers import (
    IF,
    LIF,
    MembraneReadout,
    SpikeCountReadout,
    TimeConstantDropout,
    TimeFold,
)

PADDINGS = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D)
CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D)
POOLINGS = {
    keras.layers.AveragePooling1D: "average",
    keras.layers.AveragePooling2D: "average",
    keras.layers.MaxPooling1D: "maximum",
    keras.layers.MaxPooling2D: "maximum",
}
GLOBAL_POOLINGS = {
    keras.layers.GlobalAveragePooling1D: "average",
    keras.layers.GlobalAveragePooling2D: "average",
    keras.layers.GlobalMaxPooling1D: "maximum",
    keras.layers.GlobalMaxPooling2D: "maximum",
}


class Unknown(Exception):
    """What the engine does not know; the text says which layer or tensor."""


class Program:
    """The operations of a network's loop over time.

    Args:
        plan: The model's `keras_snn.models.plan.Plan`.
        training: Whether dropout applies.

    Attributes:
        operations: List of `operations`, in forward order.
        weights: Dict from names to Keras variables that they read.
        neurons: Dict from keys to the layers of spiking neurons.
        readouts: Dict from keys to the readouts.
        masks: Dict from keys to dropout layers that draw a mask.
        shapes: Dict from keys to shapes of one sample at one step.
        sources: Keys of the sequences that the loop starts from.

    Raises:
        Unknown: If a layer is not known.
    """

    def __init__(self, plan, training):
        self.operations = []
        self.weights, self.masks, self.shapes = {}, {}, {}
        self.neurons, self.readouts = {}, {}
        self.sources = list(plan.sources)
        # Key of the frame and zeros before each axis, by key of the padded one.
        self._padded = {}
        self._training = training
        for key, x in plan.sources.items():
            self._add(operations.Source(key, _shape_of(x)))
        for node in plan.loop:
            self._lower(node)

    def _add(self, operation):
        self.operations.append(operation)
        self.shapes[operation.key] = operation.shape

    def _lower(self, node):
        layer = node.operation
        _check_dtype(layer)
        inputs, output = node.input_tensors, node.output_tensors[0]
        key, shape = id(output), _shape_of(inputs[0])
        kind = type(layer)
        if kind is keras.layers.Add:
            if len({_shape_of(x) for x in inputs}) > 1:
                raise _unknown(layer, "adds frames of different shapes")
            keys = tuple(self._unpadded(layer, id(x)) for x in inputs)
            self._add(operations.Sum(keys, key, shape))
            return
        if kind is TimeFold:
            self._fold(
                layer.layer, id(inputs[0]), key, shape, _shape_of(output)
            )
            return
        source = self._unpadded(layer, id(inputs[0]))
        if kind in (LIF, IF):
            self.neurons[key] = layer
            self._add(
                operations.Neurons(
                    source,
                    key,
                    shape,
                    layer.beta,
                    layer.threshold,
                    layer.reset == "subtract",
                    layer.initial_potential,
                    layer.factor,
                )
            )
        elif kind in (MembraneReadout, SpikeCountReadout):
            self.readouts[key] = layer
            beta = getattr(layer, "beta", 1.0)
            self._add(operations.Integration(source, key, shape, beta))
        elif kind is TimeConstantDropout:
            if self._training and layer.rate:
                self.masks[key] = layer
                self._add(operations.Mask(source, key, shape))
            else:
                self._add(operations.Reshape(source, key, shape))
        else:
            raise _unknown(layer)

    def _unpadded(self, layer, key):
        """Return `key`, which is no frame with zeros around it."""
        if key in self._padded:
            raise _unknown(layer, "sees zero padding, and is no convolution")
        return key

    def _fold(self, layer, source, key, before, after):
        """Add the operation of a layer that sees one frame.

        Args:
            layer: The layer.
            source: Key of its input.
            key: Key of its output.
            before: Shape of its input for one sample.
            after: Shape of its output for one sample.
        """
        _check_dtype(layer)
        if getattr(layer, "data_format", None) == "channels_first":
            raise _unknown(layer, "has its channels first")
        kind = type(layer)
        zeros = (0, 0)
        if kind in PADDINGS:
            zeros = [first for first, _ in np.atleast_2d(layer.padding)]
            zeros = _two(zeros, 0)
            self._padded[key] = self._unpadded(layer, source), zeros
            return
        if kind in CONVOLUTIONS and layer.padding == "valid":
            source, zeros = self._padded.get(source, (source, zeros))
        source = self._unpadded(layer, source)
        if kind in (keras.layers.Flatten, keras.layers.Reshape):
            self._add(operations.Reshape(source, key, after))
        elif kind is keras.layers.Dense:
            weights = self._weights(layer)
            if len(before) == 1:
                self._add(operations.Product(source, key, after, *weights))
                return
            self._add(
                operations.Convolution(
                    source, key, after, *weights, (1, 1), (0, 0)
                )
            )
        elif kind in CONVOLUTIONS:
            if layer.groups != 1 or any(x != 1 for x in layer.dilation_rate):
                raise _unknown(layer, "has groups or dilation")
            if layer.padding != "valid":
                sizes = layer.kernel_size
                zeros, _ = _zeros(layer, sizes, before, after)
            self._add(
                operations.Convolution(
                    source,
                    key,
                    after,
                    *self._weights(layer),
                    _two(layer.strides, 1),
                    zeros,
                )
            )
        elif kind in POOLINGS:
            if _zeros(layer, layer.pool_size, before, after)[1]:
                raise _unknown(layer, "pools beyond the edge")
            windows = _two(layer.pool_size, 1), _two(layer.strides, 1)
            how = POOLINGS[kind]
            self._add(operations.Pooling(source, key, after, how, *windows))
        elif kind in GLOBAL_POOLINGS:
            windows = _two(before[:-1], 1), (1, 1)
            how = GLOBAL_POOLINGS[kind]
            self._add(operations.Pooling(source, key, after, how, *windows))
        elif kind is keras.layers.BatchNormalization:
            self._normalize(layer, source, key, after)
        else:
            raise _unknown(layer)

    def _weights(self, layer):
        """Return the names of a layer's kernel and bias."""
        if layer.activation not in (None, keras.activations.linear):
            raise _unknown(layer, "has an activation")
        if layer.quantization_mode is not None or layer.lora_enabled:
            raise _unknown(layer, "is quantized or adapted")
        kernel, bias = f"{id(layer)} kernel", NO_BIAS
        self.weights[kernel] = layer.kernel
        if layer.bias is not None:
            bias = f"{id(layer)} bias"
            self.weights[bias] = layer.bias
        return kernel, bias

    def _normalize(self, layer, source, key, shape):
        """Add a batch normalization by its moving averages."""
        if self._training and layer.trainable:
            raise _unknown(layer, "takes statistics while training")
        if layer.axis not in (-1, len(shape)):
            raise _unknown(layer, "does not normalize the last axis")
        names = {}
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            variable = getattr(layer, name)
            if variable is not None:
                names[name] = f"{id(layer)} {name}"
                self.weights[names[name]] = variable
        self._add(
            operations.Normalization(
                source, key, shape, tuple(names.items()), layer.epsilon
            )
        )


def _unknown(layer, reason="has no event-driven form"):
    return Unknown(f"'{layer.name}' ({type(layer).__name__}) {reason}")


def _check_dtype(layer):
    if layer.compute_dtype != "float32":
        raise _unknown(layer, f"computes in {layer.compute_dtype}")


def _shape_of(x):
    """Return the shape of one sample at one step."""
    shape = tuple(x.shape[2:])
    if None in shape or not 1 <= len(shape) <= 3:
        raise Unknown(f"'{x.name}' has frames of shape {shape}")
    return shape


def _two(numbers, fill):
    """Return a pair for the axes (row, pixel)."""
    return (*[fill] * (2 - len(numbers)), *numbers)


def _zeros(layer, sizes, before, after):
    """Return the zeros before both axes, and whether there are any at all."""
    if layer.padding not in ("same", "valid"):
        raise _unknown(layer, f"has padding {layer.padding!r}")
    missing = [
        max((out - 1) * stride + size - width, 0)
        for width, out, size, stride in zip(before, after, sizes, layer.strides)
    ]
    if layer.padding == "valid":
        missing = [0] * len(missing)
    return _two([x // 2 for x in missing], 0), any(missing)
