"""Initial weights that make every layer fire."""

import keras
import numpy as np

from keras_snn import checks
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.models.spike_rates import rate_probe

TOLERANCE = 1.25
MOST_TRIES = 16


def scale_to_rate(model, x, rate=0.1, batch_size=64):
    """Scale the weights of an untrained network until its layers fire.

    In a deep spiking network with few time steps the last layers may be
    silent, and a silent neuron never learns. Going forward, this multiplies
    the kernels before each spiking layer by one number, found by bisection,
    so that its neurons spike at the given mean rate. Layers without weights
    before them (pooling neurons) are left as they are.

    Args:
        model: A functional model with spiking layers; changed in place.
        x: NumPy array of inputs, some dozens of samples.
        rate: Mean spikes a neuron and step, in (0, 0.5].
        batch_size: Samples run at once.

    Returns:
        Dict from the names of the scaled spiking layers to the factors that
        their kernels were multiplied by.

    Raises:
        ValueError: If `rate` is out of range, the model has no spiking
            layer, or a layer cannot reach the rate.

    Example:

    >>> model = keras_snn.models.VGG9(time_steps=15, width=0.25)
    >>> keras_snn.models.scale_to_rate(model, x_train[:64])
    """
    rate = checks.number("rate", rate, "(0, 0.5]", "spikes a neuron and step")
    probe = rate_probe(model)
    factors = {}
    for layer in model.layers:
        if not isinstance(layer, SpikingLayer):
            continue
        kernels = _kernels_before(layer)
        if kernels:
            factors[layer.name] = _scale(
                kernels, probe, layer.name, x, rate, batch_size
            )
    return factors


def _kernels_before(layer):
    """Return the kernels between a spiking layer and those before it."""
    kernels, tensors = [], list(layer._inbound_nodes[0].input_tensors)
    while tensors:
        node = tensors.pop()._keras_history
        before, index = node.operation, node.node_index
        is_layer = isinstance(before, keras.Layer)
        if not is_layer or isinstance(before, SpikingLayer):
            continue
        kernels += [v for v in before.trainable_variables if v.name == "kernel"]
        tensors += before._inbound_nodes[index].input_tensors
    return kernels


def _scale(kernels, probe, name, x, rate, batch_size):
    """Multiply `kernels` until layer `name` fires at `rate`."""
    initial = [keras.ops.convert_to_numpy(kernel) for kernel in kernels]
    low, high, factor = None, None, 1.0
    for _ in range(MOST_TRIES):
        outputs = probe.predict(x, batch_size=batch_size, verbose=0)
        now = float(np.mean(outputs[name]))
        if rate / TOLERANCE <= now <= rate * TOLERANCE:
            return factor
        if now < rate:
            low = factor
            factor = 2 * factor if high is None else (low * high) ** 0.5
        else:
            high = factor
            factor = factor / 2 if low is None else (low * high) ** 0.5
        for kernel, value in zip(kernels, initial):
            kernel.assign(value * factor)
    raise ValueError(
        f"Layer '{name}' does not reach a rate of {rate} (last: {now:.4f} with "
        f"its kernels times {factor:.3g}). Check that the input is scaled and "
        "not blank, use more time steps, or ask for another rate."
    )
