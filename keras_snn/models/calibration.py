"""Gains and biases of standardized layers, set once from first samples."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_snn import checks
from keras_snn.layers.standardized import Standardized
from keras_snn.network import kinds, read


def calibrate(model: keras.Model, x: Any) -> list[str]:
    """Set gain and bias of all standardized layers from some samples.

    Going forward, each `StandardizedConv2D` and `StandardizedDense` gets the
    gain and the bias that give its currents mean 0 and variance 1 in every
    channel, over samples, steps and places:

        gain <- gain / std,   bias <- (bias - mean) / std

    measured behind average poolings of the currents, as a normalization
    stands there. So a fresh network fires in all its layers, and nothing
    depends on a batch afterwards: it trains in batches of one, and runs in
    streams. The kernels stay. A layer that is called more than once is
    calibrated for its first call.

    Args:
        model: A functional, Sequential or nested model; changed in place.
        x: NumPy array of inputs, some dozens of samples; for several inputs
            a list or dict of arrays.

    Returns:
        List of the names of the calibrated layers, in forward order.

    Raises:
        ValueError: If the model has no standardized layer or cannot be read,
            or a channel's currents do not vary.

    Example:

    >>> model = keras_snn.models.VGG9(norm="weight")
    >>> keras_snn.models.calibrate(model, x_train[:64])

    References:
        - [Salimans and Kingma, 2016](https://arxiv.org/abs/1602.07868), the
          initialization from data
    """
    network = read(model, "calibrate")
    x = checks.samples(x, "calibrate()")
    done = {}

    def visit(node, values):
        for current in node.inputs:
            layer = _layer_before(node, current)
            if layer is not None and id(layer) not in done:
                done[id(layer)] = layer.name
                values[current.key] = _calibrate(layer, values[current.key])
        return node(values, training=False)

    network.run(network.start(x), visit, network.nodes)
    if not done:
        raise ValueError(
            "calibrate() sets gains and biases of StandardizedConv2D and "
            f"StandardizedDense layers. '{model.name}' has none: build it with "
            'norm="weight".'
        )
    return list(done.values())


def _layer_before(node, current):
    """Return the standardized layer whose currents a node takes, or None.

    Average poolings between them are passed; they take no currents for good.
    """
    if node.is_input or _averages(node):
        return None
    before = current.node
    while _averages(before):
        before = before.inputs[0].node
    last = before.stages[-1:]
    return last[0] if last and isinstance(last[0], Standardized) else None


def _averages(node):
    stages = [] if node.is_input else node.stages
    return bool(stages) and all(kinds.of(x).role == "average" for x in stages)


def _calibrate(layer, currents):
    """Calibrate a layer; return the currents that it gives now."""
    found = keras.ops.convert_to_numpy(currents).astype("float64")
    axes = tuple(range(found.ndim - 1))
    mean, std = found.mean(axes), found.std(axes)
    layer.calibrate(mean, std)
    found = ((found - mean) / std).astype("float32")
    return keras.ops.cast(np.asarray(found), currents.dtype)
