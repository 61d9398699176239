"""Trained spiking networks, run by NumPy and Numba alone.

`keras_snn.export.runtime(model, "net.npz")` writes a file; here it runs, event
by event, without TensorFlow or Keras:

>>> import keras_snn_runtime
>>> network = keras_snn_runtime.load("net.npz")
>>> scores = network.predict(images)
>>> stream = network.stream()
>>> for x, y, channel in camera:  # the events of a millisecond
...     scores = stream.step_events(x, y, channel)

What a network calls is compiled the first time, in ten to twenty seconds, and
kept on disk.
"""

from keras_snn_runtime.network import Network, Stream, load

__all__ = ["Network", "Stream", "load"]
