"""Keras models as networks of layers: read here, and nowhere else."""

from keras_snn.network.copying import copied
from keras_snn.network.handlers import Handlers
from keras_snn.network.reading import Network, Node, Value, read, readable

__all__ = [
    "Handlers",
    "Network",
    "Node",
    "Value",
    "copied",
    "read",
    "readable",
]
