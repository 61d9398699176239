"""Thresholds from data: what the largest activation of each layer is."""

import numpy as np

from keras_snn import checks
from keras_snn.conversion import activations, plain

BINS = 1 << 16


def check_data(graph, data):
    """Return calibration data as a float array of the network's inputs."""
    data = checks.array("calibration_data", data)
    expected = graph.input.shape
    if data.ndim == 0 or not len(data) or data.shape[1:] != expected:
        raise ValueError(
            "`calibration_data` must be an array of inputs of "
            f"'{graph.name}', shape (samples, "
            f"{', '.join(map(str, expected))}), e.g. x_train[:512]. "
            f"Received: shape {data.shape}."
        )
    if graph.before() and np.issubdtype(data.dtype, np.integer):
        # Pixels that the network itself scales.
        data = data.astype("float32")
    if not np.issubdtype(data.dtype, np.floating):
        raise ValueError(
            "`calibration_data` must be floating point, scaled as in the "
            f"network's training. Received: dtype {data.dtype}."
        )
    if not np.isfinite(data).all():
        raise ValueError(
            "`calibration_data` must be finite. Received: NaN or infinity."
        )
    return data


def max_thresholds(model, ops, data, batch_size):
    """Return each activation's largest value.

    Args:
        model: The network with the activations as its outputs.
        ops: The activations' operations.
        data: Array of inputs.
        batch_size: Samples run at once.
    """
    largest = np.zeros(len(ops))
    for values in _activations(model, data, batch_size, "Largest values"):
        largest = np.maximum(largest, [np.max(v) for v in values])
    for op, value in zip(ops, largest):
        check_active(op, value)
    return dict(zip(ops, map(float, largest)))


def percentile_thresholds(model, ops, data, percentile, batch_size):
    """Return a percentile of each activation's positive values.

    Two passes over the data, the first for the maxima, the second for
    histograms of 65536 bins up to them; no activations are kept.
    """
    largest = max_thresholds(model, ops, data, batch_size)
    counts = np.zeros((len(ops), BINS), "int64")
    for values in _activations(model, data, batch_size, "Percentiles"):
        for op, row, v in zip(ops, counts, values):
            v = v[v > 0]
            index = (v * (BINS / largest[op])).astype("int32")
            row += np.bincount(np.minimum(index, BINS - 1), minlength=BINS)
    found = {}
    for op, row in zip(ops, counts):
        total = np.cumsum(row)
        index = np.searchsorted(total, percentile / 100.0 * total[-1])
        found[op] = largest[op] * min(index + 1, BINS) / BINS
    return found


def _activations(model, data, batch_size, doing):
    """Yield, batch by batch, a list of each layer's activations, flat."""
    for _, outputs in plain.predict_batches(model, data, batch_size, doing):
        yield [np.ravel(y).astype("float32") for y in outputs]


def check_active(op, value):
    """Raise a `ValueError` unless a layer's largest activation is positive."""
    if not np.isfinite(value) or value <= 0.0:
        what = "is never active" if value == 0.0 else f"reaches {value}"
        raise ValueError(
            f"'{op.name}' {what} on the calibration data, so no threshold "
            "follows from it. Check that the network is trained, and that the "
            "data are scaled as in its training; or give more data."
        )


def limited(thresholds):
    """Return thresholds no higher than the ceilings of the activations."""
    ceilings = {op: activations.ceiling(op.layer) for op in thresholds}
    return {
        op: value if ceilings[op] is None else min(value, float(ceilings[op]))
        for op, value in thresholds.items()
    }
