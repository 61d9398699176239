"""Batch normalisation, folded into the weights next to it."""

import dataclasses

import keras
import numpy as np

from keras_snn.conversion.plan import fresh_layer, read
from keras_snn.layers import Affine

L = keras.layers
DEPTHWISE = (L.DepthwiseConv1D, L.DepthwiseConv2D)
TRANSPOSED = (L.Conv1DTranspose, L.Conv2DTranspose, L.Conv3DTranspose)


def folded(ann, what="convert"):
    """Return the graph of a network, ready for conversion.

    Args:
        ann: The network.
        what: Name of the public function that asks, for messages.

    Raises:
        ValueError: Naming all layers that cannot be converted.
    """
    graph = read(ann, what)
    fold(graph)
    graph.raise_problems()
    return graph


def fold(graph):
    """Take dropout and all affine maps of channels out of a graph, exactly.

    A normalisation in use is `y = a * x + c` in each channel, with
    `a = gamma / sqrt(variance + epsilon)` and `c = beta - a * mean`; so are
    scalings by constants. Such a map goes into the convolution or dense layer
    before it,

        W <- W * a (output channels),   b <- a * b + c,

    also past an average pooling between them, whose means scale and shift
    as what they are of, or past a max pooling if all `a > 0`; or else into
    the one after it, also past poolings, padding and flattening,

        W <- W * a (input channels),   b <- b + W * c,

    where `W * c` is what the layer makes of frames of the constant `c`. A
    layer that pads with zeros makes less of it at borders; then this bias is
    one of each position, an `Affine` behind the layer. What fits neither
    (before a ReLU, a merge, or several layers) stays: an `Affine` with scale
    and bias of its own. An axis other than the last is noted in
    `graph.problems`.
    """
    for op in list(graph.ops):
        if op.role == "identity":
            graph.remove(op)
    before = graph.before()
    maps = {}
    for op in graph.ops:
        if op.role in AFFINE and op not in before:
            found, problem = _map_of(op)
            if problem:
                graph.refuse(op, problem)
            else:
                maps[op] = found
    for put in (_into_layer_before, _into_layer_after, _to_stay):
        for op, (a, c) in list(maps.items()):
            if put(graph, op, a, c):
                del maps[op]


# Roles of layers that are `a * x + c` in each channel.
AFFINE = ("normalization", "scaling")


def _map_of(op):
    """Return `((a, c), None)` of a layer, or `(None, problem)`."""
    layer, channels = op.layer, op.shape[-1:]
    if op.role == "normalization":
        if layer.axis not in (-1, len(op.shape)):
            return None, f"axis={layer.axis}; only the last axis is known"
        return affine(layer), None
    found = [_numbers(x) for x in _scale_and_offset(layer)]
    if any(x.shape[-1:] != (x.size,) and x.size > 1 for x in found):
        return None, "inside the network one number, or one a channel, is known"
    return [np.broadcast_to(x.ravel(), channels) for x in found], None


def _scale_and_offset(layer):
    """Return the numbers of a Rescaling or an adapted Normalization."""
    if isinstance(layer, L.Rescaling):
        return layer.scale, layer.offset
    mean = _numbers(layer.mean)
    deviation = np.sqrt(_numbers(layer.variance))
    deviation = np.maximum(deviation, keras.config.epsilon())
    if layer.invert:
        return deviation, mean
    return 1.0 / deviation, -mean / deviation


def _numbers(value):
    return np.asarray(keras.ops.convert_to_numpy(value), "float64")


def affine(norm):
    """Return `(a, c)` of a normalisation in inference, one a channel."""
    mean, variance, gamma, beta = (
        None if w is None else keras.ops.convert_to_numpy(w).astype("float64")
        for w in (
            norm.moving_mean,
            norm.moving_variance,
            norm.gamma,
            norm.beta,
        )
    )
    a = 1.0 / np.sqrt(variance + norm.epsilon)
    if gamma is not None:
        a = a * gamma
    return a, (0.0 if beta is None else beta) - a * mean


def _into_layer_before(graph, op, a, c):
    """Fold a map backward; return whether it fits there."""
    before = _synapses_before(graph, op, a)
    if before is not None:
        into_outputs(before, a, c)
        graph.remove(op)
    return before is not None


def _into_layer_after(graph, op, a, c):
    """Fold a map forward; return whether it fits there."""
    between, after = _synapses_after(graph, op, a)
    if after is None:
        return False
    factor, frame = a, np.broadcast_to(c, op.shape)
    for x in between:
        frame = _made_of(x, frame)
        if isinstance(x.layer, L.Flatten):
            factor = np.broadcast_to(a, x.inputs[0].shape).ravel()
    bias = _made_of(after, frame)
    _scale_inputs(after, factor)
    if np.ptp(bias.reshape(-1, bias.shape[-1]), axis=0).max() > 0:
        _bias_behind(graph, after, bias)
    else:
        bias = bias.reshape(-1, bias.shape[-1])[0]
        after.weights["bias"] = after.weights.get("bias", 0.0) + bias
    graph.remove(op)
    return True


def _to_stay(graph, op, a, c):
    """Let a map be a layer of its own."""
    op.layer, op.role = Affine(name=op.name), "synapses"
    op.weights = {"kernel": a, "bias": c}
    return True


def _bias_behind(graph, op, bias):
    layer = Affine(use_scale=False, per_position=True)
    weights = {"bias": bias}
    graph.insert(op, "synapses", f"{op.name}_bias", layer, weights)


def _synapses_before(graph, op, a):
    """Return the weights whose output only a map takes, or None."""
    while graph.consumers(op.inputs[0]) == [op]:
        (op,) = op.inputs
        if _is_synapses(op):
            return op
        if op.role != "average" and not _keeps_order(op, a):
            return None
    return None


# Wiring that keeps channels what they are.
PER_CHANNEL = (
    L.ZeroPadding1D,
    L.ZeroPadding2D,
    L.ZeroPadding3D,
    L.Cropping1D,
    L.Cropping2D,
    L.Cropping3D,
    L.UpSampling1D,
    L.UpSampling2D,
    L.UpSampling3D,
    L.Flatten,
)


def _synapses_after(graph, op, a):
    """Return `(between, weights)` that alone take a map, or `([], None)`."""
    between = []
    while graph.output is not op and len(graph.consumers(op)) == 1:
        (op,) = graph.consumers(op)
        flat = any(isinstance(x.layer, L.Flatten) for x in between)
        if _is_synapses(op) and (not flat or "kernel" in op.weights):
            return between, op
        known = op.role == "average" or _keeps_order(op, a)
        if flat or not (known or type(op.layer) in PER_CHANNEL):
            break
        between.append(op)
    return [], None


def _keeps_order(op, a):
    """Return whether a pooling of maxima takes a map as what it is of."""
    return op.role == "maximum" and bool(np.all(a > 0))


def _made_of(op, frame):
    """Return what an operation without its bias makes of one frame."""
    if op.weights is not None:
        weights = {k: w for k, w in op.weights.items() if k != "bias"}
        op = dataclasses.replace(op, weights=weights)
    layer = fresh_layer(op)
    layer.dtype_policy = "float32"
    made = layer(np.float32(frame)[None])
    return keras.ops.convert_to_numpy(made)[0].astype("float64")


def _is_synapses(op):
    # The axes of the kernel of an EinsumDense may mean anything, and a bias
    # alone has no kernel.
    return (
        op.role == "synapses"
        and not isinstance(op.layer, L.EinsumDense)
        and not op.weights.keys() <= {"bias"}
    )


def into_outputs(op, a, c):
    """Have an operation's weights give `a * y + c` instead of `y`."""
    weights = op.weights
    if isinstance(op.layer, DEPTHWISE):
        factor = a.reshape(weights["kernel"].shape[-2:])
    elif isinstance(op.layer, TRANSPOSED):
        factor = a[:, None]
    else:
        factor = a
    last = "pointwise_kernel" if "pointwise_kernel" in weights else "kernel"
    weights[last] = weights[last] * factor
    weights["bias"] = weights.get("bias", 0.0) * a + c


def _scale_inputs(op, a):
    """Have an operation's weights take `y` for `a * y`, bias apart."""
    layer, weights = op.layer, op.weights
    first = "depthwise_kernel" if "depthwise_kernel" in weights else "kernel"
    kernel = weights[first]
    if isinstance(layer, TRANSPOSED) or isinstance(layer, Affine):
        weights[first] = kernel * a
        return
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, DEPTHWISE) or groups == 1:
        weights[first] = kernel * a[:, None]
        return
    *window, inputs, outputs = kernel.shape
    split = kernel.reshape(*window, inputs, groups, outputs // groups)
    factor = a.reshape(groups, inputs).T[..., None]
    weights[first] = (split * factor).reshape(kernel.shape)
