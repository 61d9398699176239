"""What NIR has for each kind of layer.

A handler takes the `primitives.Primitives` being made, a layer, and the
signals that the layer takes; it returns the signal behind it.
"""

import dataclasses

import keras
import numpy as np

from keras_snn.conversion import folding
from keras_snn.export.nir import kernels
from keras_snn.layers import IF, LIF, StandardizedConv2D, StandardizedDense
from keras_snn.network import Handlers, kinds, weights

L = keras.layers

NODES = Handlers("written as NIR")
KNOWN = (
    "Known are convolutions (Conv2D), Dense, AveragePooling2D, "
    "GlobalAveragePooling2D, Flatten, ZeroPadding2D before a convolution, "
    "BatchNormalization after one, Add, dropout, and LIF and IF with "
    "reset='zero'."
)
NO_PADDING = ((0, 0), (0, 0))
CHANNELS_LAST = "only channels_last is known"
GROUPED = (
    "grouped convolutions are refused by most readers of NIR, and its own "
    "type check takes their input for one channel"
)
NODES.refuse(
    L.MaxPooling2D,
    L.GlobalMaxPooling2D,
    reason="NIR has average and sum pooling, no maximum",
)
NODES.refuse(L.DepthwiseConv2D, reason=GROUPED)
NODES.refuse(L.Average, reason="NIR only adds; use Add and half the weights")
NODES.refuse(L.Subtract, reason="NIR only adds; use Add and negative weights")
NODES.refuse(L.Concatenate, reason="NIR joins by adding only")
NODES.refuse(
    "synapses",
    "average",
    "maximum",
    "wiring",
    "scaling",
    "activation",
    "merge",
    "join",
    "unknown",
    reason="no node of NIR is known for it",
)


@NODES.register("identity")
def _pass(primitives, layer, signal):
    return signal


@NODES.register(L.Add)
def _add(primitives, layer, *signals):
    reason = "it adds an image padded with zeros"
    sources = [source for x in signals for source in x.sources]
    if len(set(sources)) < len(sources):
        primitives.refuse(layer, "it adds one output to itself")
    if len({x.shape for x in sources}) > 1:
        primitives.refuse(layer, "it adds frames of different shapes")
    if len({x.image for x in sources}) > 1:
        primitives.refuse(
            layer,
            "it adds a flattened image, which NIR orders by channels, to a "
            "vector in another order",
        )
    first, *_ = [primitives.unpadded(layer, x, reason) for x in signals]
    sources = tuple(dict.fromkeys(sources))
    return dataclasses.replace(first, sources=sources, shared=False)


@NODES.register(L.ZeroPadding2D)
def _pad(primitives, layer, signal):
    if signal.padding or layer.data_format != "channels_last":
        primitives.refuse(layer, "only one padding, channels last, is known")
    return dataclasses.replace(signal, padding=layer.padding)


@NODES.register(L.Conv2D, StandardizedConv2D)
def _convolution(primitives, layer, signal):
    outer = signal.padding or NO_PADDING
    size = _padded(signal.shape, outer)
    shape = layer.compute_output_shape((None, *size))[1:]
    reason = _unknown_convolution(layer)
    if reason:
        primitives.refuse(layer, reason)
        return primitives.add("convolution", layer, signal, shape)
    inner = NO_PADDING
    if layer.padding == "same":
        inner = [
            kernels.same_padding(*axis)
            for axis in zip(
                size, layer.kernel_size, layer.strides, layer.dilation_rate
            )
        ]
    kernel, bias = _kernel_and_bias(layer)
    return primitives.add(
        "convolution",
        layer,
        signal,
        shape,
        weight=kernels.to_channels_first(kernel),
        bias=bias,
        padding=tuple((a + c, b + d) for (a, b), (c, d) in zip(inner, outer)),
    )


def _padded(shape, padding):
    (top, bottom), (left, right) = padding
    height, width, channels = shape
    return height + top + bottom, width + left + right, channels


def _unknown_convolution(layer):
    """Return why a Conv2D cannot be written, or None."""
    if layer.data_format != "channels_last":
        return CHANNELS_LAST
    if layer.groups != 1:
        return GROUPED
    if layer.padding not in ("same", "valid"):
        return f'its padding is "{layer.padding}"'
    return _unknown_weights(layer)


def _unknown_weights(layer):
    """Return why a layer is more than weights that are known, or None."""
    if kinds.activation(layer) != "linear":
        return f"its activation is {kinds.activation(layer)}"
    return weights.problem(layer)


def _kernel_and_bias(layer):
    """Return the effective kernel and bias, the bias None if there is none."""
    found = weights.effective(layer)
    found = {name: w.astype("float32") for name, w in found.items()}
    return found["kernel"], found.get("bias")


@NODES.register(L.Dense, StandardizedDense)
def _dense(primitives, layer, signal):
    signal = primitives.unpadded(layer, signal)
    shape = (*signal.shape[:-1], layer.units)
    reason = _unknown_weights(layer)
    if len(shape) > 1:
        reason = (
            f"its input has frames of shape {signal.shape}; NIR's linear maps "
            "take vectors. Put TimeFold(Flatten()) before it"
        )
    if reason:
        primitives.refuse(layer, reason)
        return primitives.add("dense", layer, signal, shape)
    kernel, bias = _kernel_and_bias(layer)
    image = signal.sources[0].image
    if image:
        kernel = kernel[kernels.order_of(image)]
    weight = np.ascontiguousarray(kernel.T)
    return primitives.add(
        "dense", layer, signal, shape, weight=weight, bias=bias
    )


@NODES.register("normalization")
def _fold(primitives, layer, signal):
    """Take a normalization into the weights before it.

    Means over a pooling's windows scale and shift as what is in there does.
    """
    signal = primitives.unpadded(layer, signal)
    (source, *others) = signal.sources
    while source.kind == "pool" and not others:
        (source, *others) = source.inputs
    # The axes of its own input, which has time outside of a TimeFold.
    last = len(source.shape) + (layer is primitives.node.layer)
    if others or signal.shared or source.kind not in ("convolution", "dense"):
        primitives.refuse(
            layer,
            "no convolution or dense layer stands directly before it, or "
            "before an average pooling, whose output goes nowhere else, so it "
            "cannot be folded",
        )
    elif layer.axis not in (-1, last):
        primitives.refuse(
            layer, f"axis={layer.axis}; only the last axis is known"
        )
    elif source.weight is not None:
        factor, shift = folding.affine(layer)
        bias = 0.0 if source.bias is None else source.bias
        axes = (1,) * (source.weight.ndim - 1)
        weight = source.weight * factor.reshape(-1, *axes)
        source.weight = weight.astype("float32")
        source.bias = (bias * factor + shift).astype("float32")
    return signal


@NODES.register(L.AveragePooling2D)
def _pool(primitives, layer, signal):
    signal = primitives.unpadded(layer, signal)
    shape = layer.compute_output_shape((None, *signal.shape))[1:]
    if layer.data_format != "channels_last":
        primitives.refuse(layer, CHANNELS_LAST)
    if layer.padding != "valid" and any(
        n % size or size != step
        for n, size, step in zip(signal.shape, layer.pool_size, layer.strides)
    ):
        primitives.refuse(
            layer,
            'with padding="same" it averages over fewer values at the border, '
            "which NIR does not",
        )
    return primitives.add("pool", layer, signal, shape)


@NODES.register(L.GlobalAveragePooling2D)
def _pool_all(primitives, layer, signal):
    signal = primitives.unpadded(layer, signal)
    if layer.data_format != "channels_last":
        primitives.refuse(layer, CHANNELS_LAST)
    shape = (1, 1, signal.shape[-1])
    signal = primitives.add("pool", layer, signal, shape)
    if layer.keepdims:
        return signal
    name = f"{primitives.name_of(layer)}_flatten"
    return _vector(primitives, layer, signal, name)


@NODES.register(L.Flatten)
def _flatten(primitives, layer, signal):
    signal = primitives.unpadded(layer, signal)
    if len(signal.shape) == 1:
        return signal
    if len(signal.shape) != 3:
        primitives.refuse(
            layer, f"its input has frames of shape {signal.shape}"
        )
    return _vector(primitives, layer, signal)


def _vector(primitives, layer, signal, name=None):
    shape = (int(np.prod(signal.shape)),)
    return primitives.add(
        "flatten", layer, signal, shape, name, image=signal.shape
    )


@NODES.register(LIF, IF)
def _neurons(primitives, layer, signal):
    signal = primitives.unpadded(layer, signal)
    if layer.reset != "zero":
        primitives.refuse(
            layer,
            f'reset="{layer.reset}": a NIR neuron is reset to a potential. '
            'Train with reset="zero"',
        )
    if layer.initial_potential != 0.0:
        primitives.refuse(
            layer,
            f"initial_potential={layer.initial_potential}: a NIR neuron "
            "starts at rest",
        )
    image = signal.sources[0].image
    return primitives.add("neuron", layer, signal, signal.shape, image=image)
