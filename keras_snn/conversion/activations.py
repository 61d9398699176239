"""What the activations of an ordinary network compute."""

import keras

from keras_snn.conversion.qcfs import QCFS
from keras_snn.network import kinds

L = keras.layers

# Largest outputs of Keras' functions, and of those of other libraries.
CEILINGS = {keras.activations.relu: None, keras.activations.relu6: 6.0}
RELUS = {
    (library, name): ceiling
    for library in ("keras", "tensorflow", "jax")
    for name, ceiling in (("relu", None), ("relu6", 6.0))
}


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
    if function in CEILINGS or is_foreign_relu(layer):
        return "relu"
    kind = kinds.of(function)
    if kind.role == "activation" and kind.refusal is None:
        return name_of(function)
    name = getattr(function, "__name__", None) or type(function).__name__
    # A function of a user's that is called so may be anything.
    return f"{function.__module__}.relu" if name == "relu" else name


def is_foreign_relu(layer):
    """Return whether a layer applies a ReLU of another library.

    Such as `Activation(tf.nn.relu)` or `Lambda(tf.nn.relu)`.
    """
    return _foreign(layer) in RELUS


def relu_of(layer):
    """Return Keras' ReLU for a layer of which `is_foreign_relu` holds."""
    return L.ReLU(max_value=RELUS[_foreign(layer)], name=layer.name)


def _foreign(layer):
    """Return library and name of the function that a layer applies."""
    function = None
    if type(layer) is L.Activation:
        function = layer.activation
    elif type(layer) is L.Lambda and not layer.arguments:
        function = layer.function
    if function is None or function in CEILINGS:
        return None
    module = getattr(function, "__module__", None) or ""
    return module.split(".")[0], getattr(function, "__name__", None)


def ceiling(layer):
    """Return the largest output of a ReLU, or None."""
    if isinstance(layer, L.ReLU):
        return layer.max_value
    function = getattr(layer, "activation", None)
    if isinstance(function, L.ReLU):
        return function.max_value
    return CEILINGS.get(function)
