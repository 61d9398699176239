"""Spikes of a network in training, taken without a trace."""

import contextlib

import keras
import numpy as np

from keras_snn.models.spike_rates import spiking_activity
from keras_snn.network import kinds
from keras_snn.network.reading import check_shapes
from keras_snn.running import advice
from keras_snn.running.activity import Sequences, seeds_kept


class Probe:
    """Rates and spike trains of a model's spiking layers.

    Compiled at the first use and kept, so that one probe serves a whole
    training. Neither weights nor random seeds of the model change.

    Args:
        model: A functional model, built, with spiking layers, e.g. `LIF`.

    Attributes:
        names: Names of the spiking layers' calls, in forward order.
    """

    def __init__(self, model):
        self.model = model
        with _strategy_of(model):
            self._activity = spiking_activity(model, "SpikeRateMonitor")
            self._network = self._activity.network_read
            neurons = self._network.neurons
            self.names = [node.name for node in neurons]
            self._trains = Sequences(
                self._network, [node.output for node in neurons]
            )

    def check(self, x):
        """Raise a `ValueError` unless arrays `x` fit the model."""
        flat = keras.tree.flatten(x)
        listed = ", ".join(str(y.shape) for y in self._network.inputs)
        try:
            check_shapes(self._network.functional, flat, x)
        except ValueError as error:
            raise ValueError(
                f"`x` of SpikeRateMonitor must hold samples for the inputs of "
                f"'{self.model.name}', of shape {listed}, without labels and "
                f"with the batch axis first. {error}"
            ) from error
        self._network.check_pixels(x)

    def knows_statistics(self):
        """Return whether normalizations have averages of some batch.

        With those of none, spikes are not those of a training.
        """
        return all(
            np.any(keras.ops.convert_to_numpy(layer.moving_mean))
            for node in self._network.nodes
            for layer in node.stages
            if kinds.is_normalization(layer)
        )

    def advice(self, names, kind):
        """Return what helps layers; see `running.advice.by_layer`."""
        return advice.by_layer(self._network, names, kind)

    def rates(self, x, batch_size):
        """Return each layer's rates by neuron, averaged over samples.

        Args:
            x: Arrays as for the model's `predict`.
            batch_size: Samples run at once.

        Returns:
            Dict from layer names to float64 arrays of shape `features`, in
            spikes a step.
        """
        return self._activity.counts(x, batch_size).rates()

    def trains(self, x):
        """Return each layer's spikes, `(samples, time, ...features)`."""
        with seeds_kept(self._network):
            found = self._trains.predict(x, verbose=0)
        return dict(zip(self.names, map(np.asarray, found)))


def _strategy_of(model):
    """Return the scope of the model's `tf.distribute` strategy, if any."""
    if keras.config.backend() == "tensorflow":
        return model.distribute_strategy.scope()
    return contextlib.nullcontext()
