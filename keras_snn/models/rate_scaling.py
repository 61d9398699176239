"""Initial weights that make every layer fire."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from keras_snn import checks
from keras_snn.models.spike_rates import spiking_activity
from keras_snn.network import scaling

TOLERANCE = 1.25
MOST_TRIES = 16


def scale_to_rate(
    model: keras.Model, x: Any, rate: float = 0.1, batch_size: int = 64
) -> dict[str, float]:
    """Scale the weights of an untrained network until its layers fire.

    In a deep spiking network with few time steps the last layers may be
    silent, and a silent neuron never learns. Going forward, this multiplies
    the kernels before each spiking layer by one number, found by bisection,
    so that its neurons spike at the given mean rate. Layers without weights
    before them (pooling neurons) are left as they are. Kernels that lead to
    several spiking layers are scaled for the first of them, and layers whose
    kernels cannot be scaled are left, with a warning that names them.

    Args:
        model: A functional, Sequential or nested model with spiking layers;
            changed in place.
        x: NumPy array of inputs, some dozens of samples.
        rate: Mean spikes a neuron and step, in (0, 0.5].
        batch_size: Samples run at once.

    Returns:
        Dict from the names of the scaled spiking layers to the factors that
        their kernels were multiplied by.

    Raises:
        ValueError: If `rate` is out of range, the model has no spiking
            layer, or a layer cannot reach the rate. The weights are then
            those from before.

    Example:

    >>> model = keras_snn.models.VGG9(time_steps=15, width=0.25)
    >>> keras_snn.models.scale_to_rate(model, x_train[:64])
    """
    rate = checks.number("rate", rate, "(0, 0.5]", "spikes a neuron and step")
    activity = spiking_activity(model, "scale_to_rate")
    x = checks.samples(x, "scale_to_rate()")
    batch_size = checks.batch_size(batch_size)
    before = [(v, keras.ops.convert_to_numpy(v)) for v in model.weights]
    try:
        factors, left = _scale_all(activity, x, rate, batch_size)
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise
    if left:
        warnings.warn(
            "scale_to_rate() left layers as they are, or scaled only some of "
            "the kernels before them:\n- " + "\n- ".join(left),
            stacklevel=2,
        )
    return factors


def _scale_all(activity, x, rate, batch_size):
    """Return the factors by name, and what was left and why, a list."""
    factors, left = {}, []
    for name, found in scaling.of_neurons(activity.network_read).items():
        if found.variables:
            factors[name] = _scale(
                found.variables, activity, name, x, rate, batch_size
            )
        if found.reasons:
            left.append(f"'{name}': {'; '.join(found.reasons)}")
    return factors, left


def _scale(variables, activity, name, x, rate, batch_size):
    """Multiply `variables` until the layer `name` fires at `rate`."""
    initial = [keras.ops.convert_to_numpy(v) for v in variables]
    low, high, factor = None, None, 1.0
    for _ in range(MOST_TRIES):
        rates = activity.counts(x, batch_size).rates()
        now = float(np.mean(rates[name]))
        if rate / TOLERANCE <= now <= rate * TOLERANCE:
            return factor
        if now < rate:
            low = factor
            factor = 2 * factor if high is None else (low * high) ** 0.5
        else:
            high = factor
            factor = factor / 2 if low is None else (low * high) ** 0.5
        for v, value in zip(variables, initial):
            v.assign(value * factor)
    raise ValueError(
        f"Layer '{name}' does not reach a rate of {rate} (last: {now:.4f} with "
        f"its kernels times {factor:.3g}). Check that the input is scaled and "
        "not blank, use more time steps, or ask for another rate."
    )
