"""Callbacks for `model.fit` that watch spikes.

>>> monitor = keras_snn.callbacks.SpikeRateMonitor(x_test[:64])
>>> tensorboard = keras.callbacks.TensorBoard("logs")
>>> model.fit(x_train, y_train, callbacks=[monitor, tensorboard])
"""

from keras_snn.callbacks.spike_rate_monitor import SpikeRateMonitor

__all__ = ["SpikeRateMonitor"]
