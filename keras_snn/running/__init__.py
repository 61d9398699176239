"""How networks are executed: step by step, in windows, in streams."""

from keras_snn.running.live import Stream
from keras_snn.running.model import Model
from keras_snn.running.stateful import StatefulModel, stateful
from keras_snn.running.streaming import StepModel, streaming

__all__ = [
    "Model",
    "StatefulModel",
    "StepModel",
    "Stream",
    "stateful",
    "streaming",
]
