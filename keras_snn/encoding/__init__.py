"""How an image becomes a spike train, as pure functions.

Every function takes values with axes (batch, ...) and returns a float tensor
of the same dtype with axes (batch, time, ...). The sign of a value is the
sign of its spikes.
"""

from keras_snn.encoding.encoders import latency, poisson, rate, repeat
from keras_snn.encoding.random_seeds import ReplicaSeedGenerator

__all__ = ["ReplicaSeedGenerator", "latency", "poisson", "rate", "repeat"]
