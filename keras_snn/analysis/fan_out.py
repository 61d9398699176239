"""How many synapses leave each position of a layer's input."""

import keras
import numpy as np

CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
POOLINGS = (
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
)
GLOBAL_POOLINGS = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
)
# Synapses of one fixed weight, which any weight behind it can absorb.
WITHOUT_WEIGHTS = (*POOLINGS, *GLOBAL_POOLINGS)
SYNAPTIC = (keras.layers.Dense, *CONVOLUTIONS, *WITHOUT_WEIGHTS)


def fan_out(layer, shape):
    """Return the number of synapses from each position of the input.

        fan_out[i] = number of outputs that depend on input i

    A spike at position i costs `fan_out[i]` operations, fewer at borders and
    between strides than in the middle.

    Args:
        layer: A layer of one of the types `SYNAPTIC`.
        shape: Shape of one input frame, without batch and time.

    Returns:
        Integer NumPy array of shape `shape`.
    """
    if type(layer) is keras.layers.Dense:
        return np.full(shape, layer.units, "int64")
    if isinstance(layer, GLOBAL_POOLINGS):
        return np.ones(shape, "int64")
    channels_first = layer.data_format == "channels_first"
    spatial = shape[1:] if channels_first else shape[:-1]
    # A kernel is a box, so what leaves a position is a product over axes.
    counts = np.ones((), "int64")
    for axis, size in enumerate(spatial):
        counts = np.multiply.outer(counts, _along_axis(layer, axis, size))
    counts = counts * _channels_reached(layer)
    axis = 0 if channels_first else -1
    return np.broadcast_to(np.expand_dims(counts, axis), shape)


def _channels_reached(layer):
    """Return how many output channels one input channel reaches."""
    if isinstance(layer, POOLINGS):
        return 1
    if hasattr(layer, "depth_multiplier"):
        return layer.depth_multiplier
    return layer.filters // getattr(layer, "groups", 1)


def _along_axis(layer, axis, size):
    """Return the outputs that each position reaches along one axis.

    Found by sending an impulse from every position through the layer's
    one-dimensional counterpart, so that padding and strides are Keras' own.
    """
    options = {
        "padding": layer.padding,
        "strides": _at(layer.strides, axis),
        "data_format": "channels_last",
        "dtype": "float32",
    }
    if isinstance(layer, POOLINGS):
        line = keras.layers.AveragePooling1D(
            _at(layer.pool_size, axis), **options
        )
    else:
        kind = keras.layers.Conv1D
        if type(layer).__name__.endswith("Transpose"):
            kind = keras.layers.Conv1DTranspose
            padding = getattr(layer, "output_padding", None)
            if padding is not None:
                options["output_padding"] = _at(padding, axis)
        line = kind(
            1,
            _at(layer.kernel_size, axis),
            dilation_rate=_at(layer.dilation_rate, axis),
            kernel_initializer="ones",
            use_bias=False,
            **options,
        )
    impulses = np.eye(size, dtype="float32")[:, :, None]
    reached = keras.ops.convert_to_numpy(line(impulses))
    return np.count_nonzero(reached, axis=(1, 2))


def _at(value, axis):
    """Return a layer's setting along one axis, given as a number or tuple."""
    return value[axis] if isinstance(value, (tuple, list)) else value
