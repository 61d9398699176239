"""How often each layer's neurons fire."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_snn import checks
from keras_snn.network import read
from keras_snn.running.activity import Activity


def spike_rates(
    model: keras.Model, x: Any, batch_size: int = 64
) -> dict[str, Any]:
    """Return each spiking layer's mean rate, in spikes a neuron and step.

    Random encoders draw what they would draw next; their seeds are put back.

    Args:
        model: A functional, Sequential or nested model with spiking layers,
            e.g. `LIF`.
        x: NumPy array of inputs, `(samples, ...)`; for several inputs a list
            or dict of arrays.
        batch_size: Samples run at once.

    Returns:
        Dict from layer names, in forward order, to floats in [0, 1]. A layer
        that is called more than once has one entry a call, the second named
        `"<layer>_call2"`. Masked steps are not counted.

    Raises:
        ValueError: If the model has no spiking layer or cannot be read, or
            `x` is no array of samples.
    """
    activity = spiking_activity(model, "spike_rates")
    x = checks.samples(x, "spike_rates()")
    rates = activity.counts(x, checks.batch_size(batch_size)).rates()
    return {name: float(np.mean(r)) for name, r in rates.items()}


def spiking_activity(model, what):
    """Return the `Activity` of a model's spiking layers.

    Args:
        model: The model.
        what: Name of the public function that asks, for messages.
    """
    network = read(model, what)
    if not network.neurons:
        raise ValueError(
            f"{what}() expects a functional model with spiking layers, e.g. "
            f"keras_snn.layers.LIF or IF. '{model.name}' has none."
        )
    return Activity(network)
