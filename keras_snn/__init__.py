"""Deep spiking networks for Keras, trained by spike-based backpropagation."""

from keras_snn import (
    datasets,
    encoding,
    layers,
    losses,
    models,
    neurons,
    surrogates,
)
from keras_snn.models import Model, streaming

__version__ = "0.1.0"

__all__ = [
    "Model",
    "datasets",
    "encoding",
    "layers",
    "losses",
    "models",
    "neurons",
    "streaming",
    "surrogates",
]
