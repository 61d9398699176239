"""Which layers the conversion knows, and why not the others."""

import keras

from keras_snn.network import Handlers, kinds, weights

L = keras.layers

# What becomes of each operation in the spiking network; filled in `spiking`.
CONVERT = Handlers("converted")
# Gone before that: folded, left out, or before the encoder.
WITHOUT_SPIKES = ("normalization", "identity", "scaling", "preprocessing")
LAMBDA = (
    "the code of a Lambda cannot be read. It is known only before the first "
    "layer with weights and at the output. Use layers, e.g. "
    "keras.layers.Rescaling"
)

KNOWN = (
    "Known are Conv1D/2D/3D and their transposes, DepthwiseConv1D/2D, "
    "SeparableConv1D/2D, Dense, EinsumDense, standardized layers, "
    "BatchNormalization, Rescaling, Normalization, ReLU, QCFS, average and "
    "max pooling, global too, Add, Average, Subtract, Concatenate, Flatten, "
    "Reshape, Permute, RepeatVector, padding, cropping, upsampling, dropout, "
    "augmentation (left out), what prepares images at the input, any "
    "activation of the output, and the functions of keras.ops that mean one "
    "of these."
)


def problem(layer):
    """Return why a layer cannot be converted, or None."""
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
