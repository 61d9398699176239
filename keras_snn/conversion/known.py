"""Which layers the conversion knows, and why not the others."""

import keras

from keras_snn.network import Handlers, kinds, weights

L = keras.layers

# What becomes of each operation in the spiking network; filled in `spiking`.
CONVERT = Handlers("converted")
CONVERT.refuse(
    "maximum",
    reason="only MaxPooling2D is known. Use it, or global average pooling",
)
# Gone before that: folded, left out, or before the encoder.
WITHOUT_SPIKES = ("normalization", "identity", "scaling")

KNOWN = (
    "Known are Conv1D/2D/3D and their transposes, DepthwiseConv1D/2D, "
    "SeparableConv1D/2D, Dense, EinsumDense, standardized layers, "
    "BatchNormalization, ReLU, QCFS, average, global average and 2D max "
    "pooling, Add, Average, Subtract, Concatenate, Flatten, Reshape, Permute, "
    "RepeatVector, padding, cropping, upsampling, dropout, Rescaling and "
    "Normalization of the input, and any activation of the output."
)


def problem(layer):
    """Return why a layer (or function) cannot be converted, or None."""
    if not isinstance(layer, L.Layer):
        return (
            "it is a function of keras.ops. Use a layer, e.g. keras.layers.Add"
        )
    if isinstance(layer, keras.Model):
        return (
            "its layers cannot be read. Build it in the functional API, and "
            "call it on inputs of its own shape and dtype"
        )
    role = kinds.of(layer).role
    if role not in WITHOUT_SPIKES and (reason := CONVERT.reason(layer)):
        return reason
    if getattr(layer, "data_format", None) == "channels_first":
        return 'data_format="channels_first". Use "channels_last"'
    return weights.problem(layer) if role == "synapses" else None
