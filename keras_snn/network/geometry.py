"""How many synapses leave each position of a layer's input.

Each function takes a layer and the shape of one input frame, without batch
and time, and returns an integer array of that shape:

    fan_out[i] = number of outputs that depend on input i

A spike at position i costs `fan_out[i]` operations, fewer at borders and
between strides than in the middle.
"""

import keras
import numpy as np


def dense(layer, shape):
    """A dense layer: all outputs."""
    return np.full(shape, layer.units, "int64")


def one_to_one(layer, shape):
    """One synapse a position, or none where a layer only adds a bias."""
    return np.full(shape, int(layer.use_scale), "int64")


def global_pooling(layer, shape):
    """Pooling of whole frames: one output a channel."""
    return np.ones(shape, "int64")


def convolution(layer, shape):
    """A convolution of any kind.

    A separable one counts as the single convolution that it is equal to.
    """
    return _windows(layer, shape, layer.kernel_size, _channels_reached(layer))


def separate_operations(layer, shape):
    """Return the operations of a separable convolution of real values.

    None for other layers, which do one a synapse.
    """
    if not hasattr(layer, "pointwise_initializer"):
        return None
    windows = convolution(layer, shape).sum(dtype="int64") // layer.filters
    *places, _ = _channels_last(layer, layer.compute_output_shape((1, *shape)))
    *_, channels = _channels_last(layer, (1, *shape))
    within = layer.depth_multiplier
    mixed = int(np.prod(places)) * channels * within * layer.filters
    return int(windows) * within + mixed


def _channels_last(layer, shape):
    """Return the shape of a frame, given that of a batch of one."""
    _, *shape = shape
    if layer.data_format == "channels_first":
        return [*shape[1:], shape[0]]
    return shape


def pooling(layer, shape):
    """Average pooling: the windows that a position lies in."""
    return _windows(layer, shape, layer.pool_size, 1)


def _windows(layer, shape, sizes, channels):
    """Return the outputs that each position reaches through windows."""
    channels_first = layer.data_format == "channels_first"
    spatial = shape[1:] if channels_first else shape[:-1]
    # A window is a box, so what leaves a position is a product over axes.
    counts = np.ones((), "int64")
    for axis, size in enumerate(spatial):
        line = _along_axis(layer, axis, size, _at(sizes, axis))
        counts = np.multiply.outer(counts, line)
    axis = 0 if channels_first else -1
    return np.broadcast_to(np.expand_dims(counts * channels, axis), shape)


def _channels_reached(layer):
    """Return how many output channels one input channel reaches."""
    if hasattr(layer, "filters"):
        return layer.filters // getattr(layer, "groups", 1)
    return layer.depth_multiplier


def _along_axis(layer, axis, size, window):
    """Return the outputs that each position reaches along one axis.

    Found by sending an impulse from every position through the layer's
    one-dimensional counterpart, so that padding and strides are Keras' own.
    """
    options = {
        "strides": _at(layer.strides, axis),
        "padding": layer.padding,
        "dilation_rate": _at(getattr(layer, "dilation_rate", 1), axis),
        "kernel_initializer": "ones",
        "use_bias": False,
        "data_format": "channels_last",
        "dtype": "float32",
    }
    kind = keras.layers.Conv1D
    if type(layer).__name__.endswith("Transpose"):
        kind = keras.layers.Conv1DTranspose
        padding = getattr(layer, "output_padding", None)
        if padding is not None:
            options["output_padding"] = _at(padding, axis)
    impulses = np.eye(size, dtype="float32")[:, :, None]
    reached = kind(1, window, **options)(impulses)
    return np.count_nonzero(keras.ops.convert_to_numpy(reached), axis=(1, 2))


def _at(value, axis):
    """Return a layer's setting along one axis, given as a number or tuple."""
    return value[axis] if isinstance(value, (tuple, list)) else value
