"""NIR's linear maps as layers of Keras."""

import keras
import numpy as np

from keras_snn.export.nir import kernels

L = keras.layers
CONVOLUTIONS = {1: L.Conv1D, 2: L.Conv2D}


def layer(builder, name, node, value):
    """Return a layer with a node's weights, for one frame.

    Args:
        builder: The `building.Builder`.
        name: The node's name.
        node: A `Linear`, `Affine`, `Conv1d` or `Conv2d`.
        value: The `building.Value` that it takes, padded as far as
            `zeros_around` says.
    """
    weight = np.asarray(node.weight, "float32")
    make = _convolution if hasattr(node, "stride") else _dense
    layer, kernel = make(builder, name, node, weight, value)
    layer.build((None, *value.frame))
    weights = [kernel * np.float32(value.scale)]
    if layer.use_bias:
        weights.append(np.asarray(node.bias, "float32"))
    layer.set_weights(weights)
    return layer


def _dense(builder, name, node, weight, value):
    (features, *rest) = value.frame
    if weight.ndim != 2 or rest or weight.shape[1] != features:
        raise builder.error(
            name,
            f"its weight of shape {weight.shape} does not fit frames of "
            f"shape {value.frame}",
        )
    kernel = weight.T
    if value.image:
        kernel = kernel[np.argsort(kernels.order_of(value.image))]
    layer = L.Dense(
        weight.shape[0], use_bias=_has_bias(node), name=builder.name(name)
    )
    return layer, kernel


def _convolution(builder, name, node, weight, value):
    rank, groups = weight.ndim - 2, _groups(node)
    channels = weight.shape[1] * groups
    if len(value.frame) != rank + 1 or value.frame[-1] != channels:
        raise builder.error(
            name,
            f"its weight of shape {weight.shape} in {groups} group(s) does "
            f"not fit frames of shape {value.frame}, channels last",
        )
    padding = _padding(node, weight)
    layer = CONVOLUTIONS[rank](
        weight.shape[0],
        weight.shape[2:],
        strides=sizes(node.stride, rank),
        dilation_rate=sizes(node.dilation, rank),
        groups=groups,
        padding="same" if _is_same(node, weight) and any(padding) else "valid",
        use_bias=_has_bias(node),
        data_format="channels_last",
        name=builder.name(name),
    )
    return layer, kernels.to_channels_last(weight)


def zeros_around(builder, name, node, value):
    """Return the zeros that have to be put around a frame, by axis."""
    if not hasattr(node, "padding"):
        return ()
    weight = getattr(node, "weight", None)
    if weight is None:
        padding = sizes(node.padding, 2)
    elif _is_same(node, weight):
        return ()
    else:
        padding = _padding(node, weight)
    if any(n != int(n) for n in padding):
        raise builder.error(name, "its even kernel pads unevenly")
    if builder.convention.pads_by_total and weight is None and any(padding):
        raise builder.error(
            name,
            f"its `padding` {padding} stands for sums of fewer values at the "
            "border",
        )
    return tuple(map(int, padding))


def _padding(node, weight):
    """Return the zeros at both ends of each axis, perhaps a half."""
    padding, rank = node.padding, np.ndim(weight) - 2
    if isinstance(padding, (str, bytes)):
        text = padding.decode() if isinstance(padding, bytes) else padding
        padding = [n / 2 if text == "same" else 0 for n in _reach(node, weight)]
    return [float(n) for n in np.broadcast_to(padding, (rank,))]


def _is_same(node, weight):
    """Return whether a convolution is one of Keras' `padding="same"`."""
    padding = _padding(node, weight)
    return sizes(node.stride, len(padding)) == (1,) * len(padding) and (
        padding == [n / 2 for n in _reach(node, weight)]
    )


def _reach(node, weight):
    """Return how far a kernel reaches from its first entry, by axis."""
    shape = np.shape(weight)[2:]
    dilation = sizes(node.dilation, len(shape))
    return [(k - 1) * d for k, d in zip(shape, dilation)]


def rescaling(scale, name=None):
    """Return a layer that multiplies by a number, or by one a neuron."""
    scale = np.asarray(scale, "float32")
    rows = scale.reshape(-1, scale.shape[-1]) if scale.ndim else scale
    if scale.ndim and np.all(rows == rows[0]):
        scale = rows[0]
    return L.Rescaling(scale.tolist(), name=name)


def sizes(value, rank):
    """Return a number, or one an axis, as a tuple."""
    return tuple(int(n) for n in np.broadcast_to(value, (rank,)))


def _groups(node):
    return int(np.ravel(node.groups)[0])


def _has_bias(node):
    bias = getattr(node, "bias", None)
    return bias is not None and bool(np.any(np.asarray(bias)))


def feedback(builder, name, back, value, more=0.0):
    """Return the layer through which the spikes of neurons come back.

    Args:
        builder: The `building.Builder`.
        name: Name of the neurons' node.
        back: Name of the linear node that the spikes go through, or None.
        value: The `building.Value` that drives the neurons.
        more: What a spike brings its own neuron besides, a float, or an
            array.

    Raises:
        ValueError: If it gives something else than one current a neuron.
    """
    node = builder.nodes.get(back)
    if node is None or hasattr(node, "scale"):
        own = 0.0
        if node is not None:
            own = builder.values_of(back, node, "scale", value)
        return rescaling(own + more)
    spikes = type(value)(value.x, image=value.image)
    if any(zeros_around(builder, back, node, spikes)):
        raise builder.error(back, "its padding is not that of `same`")
    found = layer(builder, back, node, spikes)
    shape = found.compute_output_shape((None, *value.frame))[1:]
    if tuple(shape) != value.frame:
        raise builder.error(
            back,
            f"it leads spikes of shape {value.frame} back as currents of "
            f"shape {tuple(shape)}, channels last",
        )
    found.set_weights(
        _to_neurons(builder, back, found.get_weights(), value, more)
    )
    return found


def _to_neurons(builder, back, weights, value, more):
    """Return the weights of a feedback in the order of neurons."""
    kernel, *bias = weights
    if value.image and kernel.ndim == 2:
        order = np.argsort(kernels.order_of(value.image))
        kernel, bias = kernel[:, order], [b[order] for b in bias]
    if np.any(more):
        channels = kernel.shape[-1]
        rows = np.broadcast_to(more, (*np.shape(more)[:-1], channels))
        rows = rows.reshape(-1, channels)
        if np.any(rows != rows[0]):
            raise builder.error(
                back, "its neurons' thresholds differ within a channel"
            )
        middle = tuple(n // 2 for n in kernel.shape[:-2])
        kernel[middle] += np.diag(rows[0]).astype("float32")
    return [kernel, *bias]
