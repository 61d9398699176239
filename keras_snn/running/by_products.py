"""What one-pass training knows of its spikes anyway: penalties, and silence.

The rate of each neuron comes out of the forward pass. Regularizers of rates
read it, and `fit` says when a layer does not fire.
"""

import warnings

import keras
import numpy as np
from keras import ops

from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.running import advice

# Updates after which `fit` looks.
UPDATES = 50
# Mean spikes a neuron and step, below which nothing behind a layer learns.
SILENT = 1e-4


def regularizes_rates(layer):
    """Return whether a layer has a regularizer that means over time suffice."""
    if not isinstance(layer, SpikingLayer):
        return False
    return getattr(layer.activity_regularizer, "counts_all_steps", False)


def rates_suffice(network):
    """Return whether means over time are all that its regularizers ask for."""
    return all(map(regularizes_rates, network.regularized))


class ByProducts:
    """What one forward pass has found of spikes."""

    def __init__(self):
        self.rates, self._means = {}, []

    def take(self, node, rate, mean):
        """Take a node of neurons.

        Args:
            node: The node.
            rate: Its mean rate.
            mean: Its spikes' mean over time, (batch, ...), differentiable.
        """
        self.rates[node.name] = rate
        self._means.append((node.layer, mean))

    def hand_on(self, network):
        """Add the penalties to the loss, and have the rates kept.

        Outside scopes that lend the layers other weights, and drop losses.
        """
        for layer, mean in self._means:
            penalize(layer, mean)
        network.model.rates_of_fit.keep(self.rates)


def penalize(layer, mean):
    """Add the penalty of a layer's rates, if it has one, to the loss.

    Args:
        layer: A spiking layer.
        mean: Its spikes' mean over time, (batch, ...).
    """
    if layer.activity_regularizer is not None:
        sequence = ops.expand_dims(mean, axis=1)
        layer.add_loss(layer.activity_regularizer.penalty(sequence))


class Rates:
    """The mean spike rates of a network's layers in the last update of `fit`.

    No weights of the model: they are in none of its files.
    """

    def __init__(self):
        self.names, self._value, self._on = [], None, False

    def start(self, names):
        """Have rates of the nodes with these names kept from now on."""
        if names != self.names:
            self.names, self._value = names, None
        self._on = bool(names)
        if self._on and self._value is None:
            self._value = self._empty()

    def stop(self):
        """Keep the rates of no call from now on; the latest are known."""
        self._on = False

    def _empty(self):
        nothing = np.full(len(self.names), np.nan, "float32")
        if keras.config.backend() != "tensorflow":
            return nothing
        import tensorflow as tf

        if tf.distribute.has_strategy():
            self._on = False
        return tf.Variable(nothing, trainable=False)

    def keep(self, rates):
        """Keep the rates of one update.

        Args:
            rates: Dict of scalar tensors by name, all of `names`.
        """
        if not self._on or set(rates) != set(self.names):
            return
        values = ops.stack([rates[name] for name in self.names])
        if keras.config.backend() == "jax":
            import jax

            jax.debug.callback(self._receive, values)
        elif keras.config.backend() == "tensorflow":
            self._value.assign(values)

    def _receive(self, values):
        self._value = np.asarray(values)

    def latest(self):
        """Return a dict of floats by name, NaN before the first update."""
        return dict(zip(self.names, map(float, np.asarray(self._value))))


class SilenceNotice(keras.callbacks.Callback):
    """Says which layers do not fire after the first updates of a `fit`."""

    def __init__(self, network, rates):
        super().__init__()
        self.network, self.rates = network, rates
        self.updates = 0

    def on_train_batch_end(self, batch, logs=None):
        before = self.updates
        self.updates += self.model.steps_per_execution
        if before < UPDATES <= self.updates:
            rates = self.rates.latest()
            silent = [name for name, x in rates.items() if x < SILENT]
            if silent:
                warnings.warn(self._text(silent), stacklevel=2)

    def _text(self, silent):
        named = ", ".join(f"'{name}'" for name in silent)
        advised = advice.by_layer(self.network, silent, "silent")
        texts = list(advised)
        if len(texts) > 1:
            texts = [
                f"{', '.join(map(repr, names))}: {text}"
                for text, names in advised.items()
            ]
        return (
            f"After {self.updates} updates {named} of '{self.network.name}' "
            f"{'fires' if len(silent) == 1 else 'fire'} less than {SILENT:g} "
            "spikes a neuron and step: what follows gets no input. "
            f"{' '.join(texts)}"
        )
