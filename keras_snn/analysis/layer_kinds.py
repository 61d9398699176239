"""What kinds of layers there are, by what they do to activations."""

import math

import keras
import numpy as np

from keras_snn.layers import (
    ThresholdBatchNormalization,
    TimeConstantDropout,
    TimeFold,
)

# Layers that only lead activations elsewhere.
WIRING = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
)
# Layers that do nothing at inference.
IDENTITIES = (
    keras.layers.Identity,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
    keras.layers.ActivityRegularization,
    TimeConstantDropout,
)
# What folds into the synapses before it but for a bias.
NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    ThresholdBatchNormalization,
)
# Layers without synapses whose output is looked at where it matters.
WITHOUT_SYNAPSES = (
    *NORMALIZATIONS,
    keras.layers.Concatenate,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.Softmax,
    keras.layers.Rescaling,
    keras.layers.Normalization,
)
WITHOUT_OPERATIONS = (*WIRING, *IDENTITIES, *WITHOUT_SYNAPSES)
MERGES = (keras.layers.Add, keras.layers.Average, keras.layers.Subtract)


def stages(layer):
    """Return the layers of a TimeFold or (nested) Sequential, or the layer."""
    if isinstance(layer, TimeFold):
        layer = layer.layer
    if isinstance(layer, keras.Sequential):
        return [stage for x in layer.layers for stage in stages(x)]
    return [layer]


def is_wiring(layer):
    """Return whether `layer` leads activations elsewhere and no more."""
    return all(
        type(stage) in (*WIRING, *IDENTITIES) and not interpolates(stage)
        for stage in stages(layer)
    )


def interpolates(layer):
    """Return whether `layer` mixes neighbours, as UpSampling2D may."""
    return getattr(layer, "interpolation", "nearest") != "nearest"


def places(frame, wiring):
    """Return where each position behind `wiring` comes from.

    Args:
        frame: Shape of one frame.
        wiring: List of layers, first to last.

    Returns:
        Integer array of the shape of a frame behind the wiring. Positions of
        the frame are numbered from 1 in flat order; 0 is padding.
    """
    # Integers, which Keras does not cast to a policy's low precision.
    numbers = np.arange(1, math.prod(frame) + 1, dtype="int32")
    x = keras.ops.convert_to_tensor(numbers.reshape(1, *frame))
    for layer in wiring:
        if type(layer) in WIRING:
            x = layer(x)
    return keras.ops.convert_to_numpy(x)[0]
