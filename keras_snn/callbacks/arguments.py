"""Checks of what a user gives to a callback."""

import numbers

import keras
import numpy as np

from keras_snn.neurons import checks


def samples(x):
    """Return `x` as one NumPy array of samples, or a structure of them."""
    several = isinstance(x, (list, tuple, dict))
    leaves = keras.tree.flatten(x) if several else [x]
    shapes = [getattr(leaf, "shape", None) for leaf in leaves]
    counts = {shape[0] if shape else None for shape in shapes}
    if len(counts) != 1 or not all(counts):
        got = [
            type(leaf).__name__ if shape is None else f"shape {tuple(shape)}"
            for leaf, shape in zip(leaves[:3], shapes)
        ]
        raise ValueError(
            "`x` of SpikeRateMonitor must be a NumPy array of samples, batch "
            "axis first, e.g. x_test[:64] (of a tf.data.Dataset of (x, y): "
            "next(iter(dataset))[0].numpy()). Received: "
            f"{type(x).__name__} ({', '.join(got) or 'empty'})."
        )
    return keras.tree.map_structure(np.asarray, x) if several else np.asarray(x)


def whole_number(name, value, least):
    """Return `value` as an int that is at least `least`."""
    is_int = isinstance(value, numbers.Integral)
    if not is_int or isinstance(value, bool) or value < least:
        raise ValueError(
            f"`{name}` of SpikeRateMonitor must be an integer, at least "
            f"{least}. Received: {name}={value!r}."
        )
    return int(value)


def rate(name, value):
    """Return `value` as a float in (0, 1)."""
    value = checks.real_number(name, value)
    if not 0.0 < value < 1.0:
        raise ValueError(
            f"`{name}` of SpikeRateMonitor must lie in (0, 1), in spikes a "
            f"neuron and step. Received: {name}={value}."
        )
    return value
