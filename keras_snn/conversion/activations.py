"""What the activations of an ordinary network compute."""

import keras

from keras_snn.conversion.qcfs import QCFS
from keras_snn.network import kinds

L = keras.layers


def name_of(layer):
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
    kind = kinds.of(function)
    if kind.role == "activation" and kind.refusal is None:
        return name_of(function)
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
