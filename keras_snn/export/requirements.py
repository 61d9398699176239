"""What the formats ask of a model."""

import keras

from keras_snn.network import read
from keras_snn.network.reading import sublayers


def tensorflow_only(what):
    """Raise a `ValueError` on other backends.

    Args:
        what: What is written, for the message, e.g. `"A SavedModel"`.
    """
    backend = keras.config.backend()
    if backend != "tensorflow":
        raise ValueError(
            f"{what} is written by TensorFlow. Received: the backend is "
            f"'{backend}'. Save the model as a .keras file and export it in a "
            "process started with KERAS_BACKEND=tensorflow."
        )


def float32_only(model, what):
    """Raise a `ValueError` if a layer computes in another type."""
    for layer in sublayers(model):
        is_input = isinstance(layer, keras.layers.InputLayer)
        if layer.compute_dtype != "float32" and not is_input:
            raise ValueError(
                f"{what} takes models that compute in float32. "
                f"Received: '{layer.name}' computes in {layer.compute_dtype}. "
                'Build the model again with the dtype policy "float32" and '
                "give it the weights: copy.set_weights(model.get_weights())."
            )


def advice(model):
    """Return what helps where a format lacks an operation."""
    reason = read(model).no_loop
    if reason is None:
        return "Leave out the layer, or export a SavedModel."
    return (
        f"It runs layer by layer, since {reason}: a fixed number of time "
        "steps and LIF(..., unroll=True) may help; a SavedModel works."
    )
