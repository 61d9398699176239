"""Initial weights that make every layer fire."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from keras_snn import checks
from keras_snn.models.spike_rates import spiking_activity
from keras_snn.network import kinds, parts, weights

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
    factors, scaled, left = {}, {}, []
    for node in activity.network_read.neurons:
        variables, reasons = _variables_before(node)
        fresh = [v for v in variables if id(v) not in scaled]
        if not fresh:
            others = {scaled[id(v)] for v in variables}
            reasons += [
                f"its kernels were scaled for '{name}' already"
                for name in sorted(others)
            ]
        else:
            factors[node.name] = _scale(
                fresh, activity, node.name, x, rate, batch_size
            )
            scaled.update((id(v), node.name) for v in fresh)
        if reasons:
            left.append(f"'{node.name}': {'; '.join(reasons)}")
    return factors, left


def _variables_before(neuron):
    """Return the variables that scale what a spiking layer receives.

    Args:
        neuron: The spiking layer's node.

    Returns:
        `(variables, reasons)`: variables between it and the spiking layers
        before it, and why others there cannot be scaled.
    """
    found, reasons = {}, []
    for node in parts.between(neuron, end=parts.normalizes):
        if parts.normalizes(node):
            reasons.append(
                f"'{node.name}' normalizes, and takes away what kernels before "
                "it are scaled by"
            )
            continue
        for layer in node.stages:
            variables, reason = _variables_of(layer)
            found.update((id(v), v) for v in variables)
            if reason:
                reasons.append(f"'{layer.name}': {reason}")
    return list(found.values()), reasons


def _variables_of(layer):
    """Return `(variables, reason)` of one layer that sees frames."""
    if not isinstance(layer, keras.Layer) or not layer.weights:
        return [], None
    role = kinds.of(layer).role
    if role == "synapses" or hasattr(layer, "effective_weights"):
        variables, reason = weights.scalable(layer)
        return variables or [], reason
    if role in ("scaling", "activation"):
        return [], None
    return [], f"a {type(layer).__name__} is not known to be linear"


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
