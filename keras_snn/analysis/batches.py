"""Models and data that the analysis functions take."""

import keras
import numpy as np

from keras_snn import checks, progress
from keras_snn.network import read

# What goes on in the public functions that run through batches.
DOING = {
    "latency_curve": "Accuracy at every step",
    "profile": "Counting operations",
    "record": "Recording spikes",
}


def network_of(model, function):
    """Return the `Network` of a model with one input.

    Args:
        model: What the user gave.
        function: Name of the public function, for the error message.

    Raises:
        ValueError: If it cannot be read, has several inputs, or masks.
    """
    network = read(model, function)
    if len(network.inputs) != 1:
        raise ValueError(
            f"{function}() expects a functional model with one input, e.g. of "
            f"keras_snn.models. '{model.name}' has {len(network.inputs)} "
            "inputs."
        )
    for node in network.nodes:
        if any(x.masked for x in node.inputs):
            raise ValueError(
                f"{function}() expects sequences whose steps all exist. "
                f"'{node.name}' of '{model.name}' takes a sequence with a "
                "mask. Build the network without masks for it, and pass "
                "sequences of one length; keras_snn.models.spike_rates knows "
                "masks."
            )
    return network


def batches(model, data, batch_size, function, verbose=0):
    """Yield `(x, y)` of every batch, y None where `data` has no labels.

    Args:
        model: Functional model with one input.
        data: NumPy array of inputs; a pair of arrays `(x, y)`; or an iterable
            of batches (a list, `tf.data.Dataset`, `PyDataset`), each `x` or
            `(x, y)`.
        batch_size: Samples run at once, where `data` is an array.
        function: Name of the public function, for error messages.
        verbose: 1 shows a progress bar, 0 does not.

    Raises:
        ValueError: If `data` is empty, or a batch does not fit the model.
    """
    checks.batch_size(batch_size)
    if getattr(verbose, "ndim", 0) or verbose not in (0, 1):
        raise ValueError(
            "`verbose` must be 1, a progress bar, or 0, silence. Received: "
            f"verbose={verbose!r}."
        )
    samples, bar = 0, None
    found = _pairs(data, batch_size, function)
    if not verbose:
        found = progress.display().track(
            found, DOING[function], _batches_in(data, batch_size)
        )
    for x, y in found:
        _check_shape(model, x, function)
        if verbose and bar is None:
            bar = keras.utils.Progbar(_samples_in(data), unit_name="sample")
        yield x, y
        samples += len(x)
        if bar is not None:
            bar.update(samples)
    if bar is not None and bar.target is None:
        bar.update(samples, finalize=True)
    if not samples:
        raise ValueError(
            f"{function}() expects at least one sample. Received: none."
        )


def _batches_in(data, batch_size):
    """Return the number of batches if `data` tells, else None."""
    samples = _samples_in(data)
    if samples is not None:
        return -(-samples // batch_size)
    if hasattr(data, "shape"):
        return None
    try:
        return len(data)
    except TypeError:  # a generator, or a tf.data.Dataset that cannot tell
        return None


def _samples_in(data):
    """Return the number of samples if `data` tells, else None."""
    if isinstance(data, tuple):
        data = data[0]
    return len(data) if getattr(data, "shape", ()) else None


def _pairs(data, batch_size, function):
    if isinstance(data, tuple) and len(data) == 2:
        x, y = data
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            yield np.asarray(x[part]), np.asarray(y[part])
    elif isinstance(data, keras.utils.PyDataset):
        for index in range(len(data)):
            yield _split(data[index])
    elif len(getattr(data, "shape", ())):
        for start in range(0, len(data), batch_size):
            yield np.asarray(data[start : start + batch_size]), None
    elif _holds_batches(data):
        for batch in data:
            yield _split(batch)
    else:
        raise ValueError(
            f"{function}() expects a NumPy array of inputs, a pair (x, y) of "
            "arrays, or batches: a list, a tf.data.Dataset or a PyDataset. "
            f"Received: {type(data).__name__}."
        )


def _holds_batches(data):
    is_array = hasattr(data, "shape")
    other = isinstance(data, (str, bytes, dict))
    return hasattr(data, "__iter__") and not is_array and not other


def _split(batch):
    if isinstance(batch, (tuple, list)) and batch:
        y = np.asarray(batch[1]) if len(batch) > 1 else None
        return np.asarray(batch[0]), y
    return np.asarray(batch), None


def _check_shape(model, x, function):
    expected = tuple(model.inputs[0].shape)
    fits = len(x.shape) == len(expected) and all(
        n in (None, m) for n, m in zip(expected[1:], x.shape[1:])
    )
    if not fits:
        raise ValueError(
            f"{function}() expects inputs of shape {expected} for "
            f"'{model.name}', the batch axis first. Received: shape "
            f"{tuple(x.shape)}. A single sample needs a batch axis, "
            "x[None]; a list is a list of batches."
        )


def check_array(x, function):
    """Return `x` if it is an array, else raise a `ValueError`."""
    if not len(getattr(x, "shape", ())):
        raise ValueError(
            f"{function}() expects NumPy arrays, the batch axis first. "
            f"Received: {type(x).__name__}."
        )
    return x
