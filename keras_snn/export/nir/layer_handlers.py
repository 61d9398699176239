"""What NIR has for each kind of layer.

A handler takes the `primitives.Primitives` being made, a layer, and the
signals that the layer takes; it returns the signal behind it.
"""

import dataclasses

import keras
import numpy as np

from keras_snn.conversion import folding
from keras_snn.export.nir import kernels
from keras_snn.layers import Delay, StandardizedConv2D, StandardizedDense
from keras_snn.network import Handlers, kinds, weights

L = keras.layers

NODES = Handlers("written as NIR")
KNOWN = (
    "Known are convolutions (Conv1D, Conv2D, DepthwiseConv2D), Dense, "
    "AveragePooling2D, GlobalAveragePooling2D, Flatten, zero padding before a "
    "convolution, BatchNormalization after one, Rescaling without offset, "
    "Add, Delay, dropout, and LIF, IF, PLIF, SynapticLIF and RecurrentLIF with "
    "reset='zero'."
)
CHANNELS_LAST = "only channels_last is known"
NODES.refuse(
    L.MaxPooling2D,
    L.GlobalMaxPooling2D,
    reason="NIR has average and sum pooling, no maximum",
)
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


@NODES.register(L.ZeroPadding1D, L.ZeroPadding2D)
def _pad(primitives, layer, signal):
    if signal.padding or layer.data_format != "channels_last":
        primitives.refuse(layer, "only one padding, channels last, is known")
    padding = layer.padding
    if np.ndim(padding) == 1:
        padding = (padding,)
    return dataclasses.replace(signal, padding=padding)


@NODES.register(
    L.Conv1D,
    L.Conv2D,
    L.DepthwiseConv1D,
    L.DepthwiseConv2D,
    StandardizedConv2D,
)
def _convolution(primitives, layer, signal):
    rank = len(signal.shape) - 1
    outer = signal.padding or ((0, 0),) * rank
    size = _padded(signal.shape, outer)
    shape = layer.compute_output_shape((None, *size))[1:]
    reason = _unknown_convolution(primitives.convention, layer)
    if reason:
        primitives.refuse(layer, reason)
        return primitives.add("convolution", layer, signal, shape)
    kernel, bias, groups = _kernel_and_bias(layer, signal.shape[-1])
    strides, dilation = (
        np.broadcast_to(x, (rank,)).tolist()
        for x in (layer.strides, layer.dilation_rate)
    )
    weight = kernels.to_channels_first(kernel)
    if groups != 1 and not primitives.convention.groups:
        weight, groups = kernels.ungrouped(weight, groups), 1
    inner = ((0, 0),) * rank
    if layer.padding == "same":
        inner = [
            kernels.same_padding(*axis)
            for axis in zip(size, kernel.shape, strides, dilation)
        ]
    return primitives.add(
        "convolution",
        layer,
        signal,
        shape,
        weight=weight,
        bias=bias,
        padding=tuple((a + c, b + d) for (a, b), (c, d) in zip(inner, outer)),
        strides=tuple(strides),
        dilation=tuple(dilation),
        groups=groups,
    )


def _padded(shape, padding):
    *sizes, channels = shape
    return *(n + a + b for n, (a, b) in zip(sizes, padding)), channels


def _unknown_convolution(convention, layer):
    """Return why a convolution cannot be written, or None."""
    if layer.data_format != "channels_last":
        return CHANNELS_LAST
    if layer.rank == 1 and (reason := convention.refusals.get("Conv1d")):
        return reason
    if layer.padding not in ("same", "valid"):
        return f'its padding is "{layer.padding}"'
    return _unknown_weights(layer)


def _unknown_weights(layer):
    """Return why a layer is more than weights that are known, or None."""
    if kinds.activation(layer) != "linear":
        return f"its activation is {kinds.activation(layer)}"
    return weights.problem(layer)


def _kernel_and_bias(layer, channels=None):
    """Return the effective kernel, bias and number of groups.

    The bias is None if there is none.
    """
    found = weights.effective(layer)
    found = {name: w.astype("float32") for name, w in found.items()}
    kernel, groups = found["kernel"], getattr(layer, "groups", 1)
    if hasattr(layer, "depth_multiplier"):
        # (..., channels, multiplier): one group a channel.
        kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
        groups = channels
    return kernel, found.get("bias"), groups


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
    kernel, bias, _ = _kernel_and_bias(layer)
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
    if len(signal.shape) not in (2, 3):
        primitives.refuse(
            layer, f"its input has frames of shape {signal.shape}"
        )
    return _vector(primitives, layer, signal)


def _vector(primitives, layer, signal, name=None):
    shape = (int(np.prod(signal.shape)),)
    return primitives.add(
        "flatten", layer, signal, shape, name, image=signal.shape
    )


@NODES.register(L.Rescaling)
def _scale(primitives, layer, signal):
    signal = primitives.unpadded(layer, signal)
    if np.any(layer.offset):
        primitives.refuse(
            layer, f"offset={layer.offset}: NIR's Scale only multiplies"
        )
    if reason := primitives.convention.refusals.get("Scale"):
        primitives.refuse(layer, reason)
    scale = np.broadcast_to(np.asarray(layer.scale, "float32"), signal.shape)
    image = signal.sources[0].image
    return primitives.add(
        "scale", layer, signal, signal.shape, weight=scale, image=image
    )


@NODES.register(Delay)
def _delay(primitives, layer, signal):
    signal = primitives.unpadded(layer, signal)
    program = primitives.convention.name
    if program != "keras_snn":
        primitives.refuse(layer, f"the importer of {program} knows no Delay")
    image = signal.sources[0].image
    return primitives.add("delay", layer, signal, signal.shape, image=image)
