"""How often each layer's neurons fire."""

import keras
import numpy as np
from keras import ops

from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.models import time_first
from keras_snn.models.spiking_model import Model


class _RateProbe(keras.Model):
    """Mean spikes of each layer, by sample, as one more model output."""

    def __init__(self, model):
        super().__init__(name="rate_probe")
        self.model = model
        self.names = [
            x.name for x in model.layers if isinstance(x, SpikingLayer)
        ]
        if model._plan is None:
            outputs = [model.get_layer(name).output for name in self.names]
            self.sequences = keras.Model(model.input, outputs)

    def call(self, inputs):
        if self.model._plan is None:
            trains = keras.tree.flatten(self.sequences(inputs))
            return dict(zip(self.names, map(_mean_by_sample, trains)))
        statistics, time_steps = time_first.count_spikes(
            self.model._plan,
            self.model,
            self.model._standardize_inputs(inputs),
        )
        time_steps = ops.cast(time_steps, "float32")
        return {
            name: _mean_by_sample(counters[0]) / time_steps
            for name, counters in statistics.items()
        }


def _mean_by_sample(x):
    axes = tuple(range(1, len(x.shape)))
    return ops.mean(ops.cast(x, "float32"), axis=axes, keepdims=True)


def rate_probe(model):
    """Return a model from inputs to each spiking layer's rate by sample."""
    if not isinstance(model, Model):
        model = Model(model.input, model.output)
    if not any(isinstance(layer, SpikingLayer) for layer in model.layers):
        raise ValueError(
            "Expected a functional model with spiking layers, e.g. "
            f"keras_snn.layers.LIF or IF. '{model.name}' has none."
        )
    return _RateProbe(model)


def spike_rates(model, x, batch_size=64):
    """Return each spiking layer's mean rate, in spikes a neuron and step.

    Args:
        model: A functional model with spiking layers, e.g. `LIF`.
        x: NumPy array of inputs, `(samples, ...)`.
        batch_size: Samples run at once.

    Returns:
        Dict from layer names, in forward order, to floats in [0, 1].

    Raises:
        ValueError: If the model has no spiking layer.
    """
    probe = rate_probe(model)
    rates = probe.predict(x, batch_size=batch_size, verbose=0)
    return {name: float(np.mean(rates[name])) for name in probe.names}
