"""What each Keras layer is to the conversion, or why it has no place in it."""

import keras

from keras_snn.conversion.qcfs import QCFS

L = keras.layers

LINEAR = (
    L.Conv1D,
    L.Conv2D,
    L.Conv3D,
    L.Conv2DTranspose,
    L.DepthwiseConv1D,
    L.DepthwiseConv2D,
    L.SeparableConv2D,
    L.Dense,
)
KINDS = {
    "linear": LINEAR,
    "norm": (L.BatchNormalization,),
    "activation": (L.Activation, L.ReLU, L.Softmax, QCFS),
    "average": (
        L.AveragePooling1D,
        L.AveragePooling2D,
        L.AveragePooling3D,
        L.GlobalAveragePooling1D,
        L.GlobalAveragePooling2D,
        L.GlobalAveragePooling3D,
    ),
    "max": (L.MaxPooling2D,),
    "merge": (L.Add, L.Average, L.Subtract, L.Concatenate),
    "shape": (
        L.Flatten,
        L.Reshape,
        L.Permute,
        L.ZeroPadding1D,
        L.ZeroPadding2D,
        L.Cropping1D,
        L.Cropping2D,
        L.UpSampling1D,
        L.UpSampling2D,
    ),
    "drop": (
        L.Dropout,
        L.SpatialDropout1D,
        L.SpatialDropout2D,
        L.AlphaDropout,
        L.GaussianDropout,
        L.GaussianNoise,
        L.ActivityRegularization,
        L.Identity,
    ),
    "scale": (L.Rescaling, L.Normalization),
}
KIND_OF = {layer: kind for kind, group in KINDS.items() for layer in group}

SIGNED = "its negative outputs have no spike rate. Use ReLU and train again"
ADVICE = {
    **dict.fromkeys((L.LeakyReLU, L.PReLU, L.ELU), SIGNED),
    **dict.fromkeys(
        (L.LSTM, L.GRU, L.SimpleRNN, L.ConvLSTM2D, L.Bidirectional),
        "recurrent layers use the time axis that spikes need",
    ),
    **dict.fromkeys(
        (L.LayerNormalization, L.GroupNormalization, L.UnitNormalization),
        "it divides by a statistic of each sample, which weights cannot hold. "
        "Use BatchNormalization",
    ),
    **dict.fromkeys(
        (L.Multiply, L.Dot, L.Maximum, L.Minimum),
        "it is not linear in the spike rates. Use Add or Concatenate",
    ),
    **dict.fromkeys(
        (L.GlobalMaxPooling1D, L.GlobalMaxPooling2D, L.MaxPooling1D),
        "only MaxPooling2D is known. Use it, or global average pooling",
    ),
    **dict.fromkeys(
        (L.MultiHeadAttention, L.Attention),
        "attention multiplies activations, which spike rates do not do",
    ),
}
SUPPORTED = (
    "Conv1D/2D/3D, DepthwiseConv1D/2D, SeparableConv2D, Conv2DTranspose, "
    "Dense, BatchNormalization, ReLU, QCFS, average, global average and 2D max "
    "pooling, Add, Average, Subtract, Concatenate, Flatten, Reshape, Permute, "
    "padding, cropping, upsampling, dropout, Rescaling and Normalization of "
    "the input, and any activation of the output"
)


def kind_of(layer):
    """Return `(kind, None)`, or `(None, reason)` for an unknown layer."""
    kind = KIND_OF.get(type(layer))
    if not isinstance(layer, L.Layer):
        return None, (
            "it is a function of keras.ops. Use a layer, e.g. keras.layers.Add"
        )
    if kind is None:
        reason = ADVICE.get(type(layer), "no spiking counterpart is known")
        return None, reason
    if getattr(layer, "data_format", None) == "channels_first":
        return None, 'data_format="channels_first". Use "channels_last"'
    return kind, None


def activation_name(layer):
    """Return what an activation computes: "relu", "qcfs", "linear", ..."""
    if isinstance(layer, QCFS):
        return "qcfs"
    if isinstance(layer, L.Softmax):
        return "softmax"
    if isinstance(layer, L.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return "relu" if plain else "ReLU with a slope or threshold"
    function = layer.activation
    if function in (keras.activations.relu, keras.activations.relu6):
        return "relu"
    if isinstance(function, L.Layer):
        kind = KIND_OF.get(type(function))
        if kind == "activation":
            return activation_name(function)
    name = getattr(function, "__name__", None)
    return name or type(function).__name__


def ceiling(layer):
    """Return the largest output of a ReLU, or None."""
    if isinstance(layer, L.ReLU):
        return layer.max_value
    function = getattr(layer, "activation", None)
    if isinstance(function, L.ReLU):
        return function.max_value
    return 6.0 if function is keras.activations.relu6 else None
