"""The file of `keras_snn_runtime`, which needs neither TensorFlow nor Keras."""

from __future__ import annotations

from typing import Any

import keras

from keras_snn import atomic, event_driven
from keras_snn.export import requirements
from keras_snn.typing import Path


def runtime(
    model: keras.Model,
    path: Path | None = None,
    weights: str = "float32",
    overwrite: bool = False,
) -> Any:
    """Write a network for `keras_snn_runtime`: NumPy and Numba, no TensorFlow.

    Elsewhere, `keras_snn_runtime.load(path)` has `predict`, `spike_rates` and
    `stream`, event by event. It takes the layers that the event-driven engine
    knows (see `keras_snn.event_driven`), between one input and one readout.
    Normalizations and average poolings are folded into the weights before them.

    Args:
        model: A functional model.
        path: The file to write, ending in `.npz`. None (default) writes none.
        weights: `"float32"` (default), or `"int8"` for a file of a quarter of
            the size: see `keras_snn.event_driven.compile`.
        overwrite: Whether a file at `path` may be replaced.

    Returns:
        The `keras_snn_runtime.Network`, for streams that run event by event
        beside the model.

    Raises:
        ValueError: If the model has a layer that the engine does not know,
            several inputs or outputs, or layers behind its readout; or for a
            `path` of another ending.
        FileExistsError: If `path` exists and `overwrite` is False.

    Example:

    >>> keras_snn.export.runtime(model, "net.npz")
    >>> stream = keras_snn.export.runtime(model).stream()  # without a file

    Where NumPy and Numba are installed:

    >>> network = keras_snn_runtime.load("net.npz")
    >>> network.predict(images)                    # (samples, classes)
    """
    if path is not None:
        file = atomic.target(path, overwrite, ".npz")
    requirements.float32_only(model, "The runtime")
    network = event_driven.compile(model, weights)
    if path is not None:
        from keras_snn_runtime import files

        names = "name", "time_steps", "encoder", "operations", "divides"
        description = {name: getattr(network, name) for name in names}
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write(file, description, network.arrays)
    return network
