"""The file of `keras_snn_runtime`, which needs neither TensorFlow nor Keras."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from typing import Any

import keras

from keras_snn import conversion, event_driven, optional
from keras_snn.export import requirements
from keras_snn.layers import (
    LatencyEncoder,
    PoissonEncoder,
    RateEncoder,
    RepeatEncoder,
)
from keras_snn.network import read
from keras_snn.typing import Path

ENCODERS = {
    RepeatEncoder: "repeat",
    PoissonEncoder: "poisson",
    RateEncoder: "rate",
    LatencyEncoder: "latency",
}


def runtime(model: keras.Model, path: Path | None = None) -> Any:
    """Write a network for `keras_snn_runtime`: NumPy and Numba, no TensorFlow.

    Elsewhere, `keras_snn_runtime.load(path)` has `predict`, `spike_rates` and
    `stream`, event by event. It takes the layers that the event-driven engine
    knows (see `keras_snn.event_driven`), between one input and one readout.
    Normalizations are folded into the weights before them.

    Args:
        model: A functional model.
        path: The file to write, e.g. `"net.npz"`. None (default) writes none
            and returns the `keras_snn_runtime.Network`, for streams that run
            event by event beside the model.

    Raises:
        ValueError: If the model has a layer that the engine does not know,
            several inputs or outputs, or layers behind its readout.

    Example:

    >>> keras_snn.export.runtime(model, "net.npz")
    >>> stream = keras_snn.export.runtime(model).stream()  # without a file

    Where NumPy and Numba are installed:

    >>> network = keras_snn_runtime.load("net.npz")
    >>> network.predict(images)                    # (samples, classes)
    """
    optional.require("numba", "numba")
    import keras_snn_runtime
    from keras_snn_runtime import files

    if path is None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "net.npz")
            runtime(model, path)
            return keras_snn_runtime.load(path)
    requirements.float32_only(model, "The runtime")
    network = _folded(read(model, "runtime"))
    source, readout = _ends(network)
    try:
        program = event_driven.Program(network, training=False)
    except event_driven.Unknown as unknown:
        raise ValueError(
            f"'{model.name}' does not run event by event: {unknown}. "
            "keras_snn.export.saved_model writes any network."
        ) from None
    names = {name: f"weight{i}" for i, name in enumerate(program.weights)}
    keys = {x.key: i for i, x in enumerate(program.operations)}
    arrays = {
        names[name]: keras.ops.convert_to_numpy(value())
        for name, value in program.weights.items()
    }
    layer = source.node.layer
    encoder = ENCODERS.get(type(layer))
    files.write(
        path,
        {
            "name": model.name,
            "time_steps": source.shape[1],
            "encoder": encoder
            and {"name": encoder, "max_rate": getattr(layer, "max_rate", 1.0)},
            "operations": [_plain(x, keys, names) for x in program.operations],
            "divides": readout.normalize,
        },
        arrays,
    )


def _folded(network):
    """Return a network without normalizations where that is possible."""
    try:
        return read(conversion.fold(network.model))
    except ValueError:
        return network


def _ends(network):
    """Return the one source and the one readout of a network."""
    name = network.model.name
    if network.no_loop is not None:
        raise ValueError(
            f"'{name}' does not run step by step: {network.no_loop}."
        )
    before = [
        x
        for x in network.before
        if not x.is_input and type(x.layer) not in ENCODERS
    ]
    others = [x.layer.name for x in (*before, *network.after)]
    if others:
        raise ValueError(
            f"The runtime takes networks from an encoder to a readout. '{name}'"
            f" has {', '.join(others)} before or behind them: leave those to "
            "the program around it."
        )
    if len(network.sources) != 1 or len(network.outputs) != 1:
        raise ValueError(
            "The runtime takes networks of one input and one output. Received: "
            f"'{name}' with {len(network.sources)} and {len(network.outputs)}."
        )
    return network.sources[0], network.outputs[0].node.layer


def _plain(operation, keys, names):
    """Return an operation with plain keys and names."""
    changes = {}
    for field in dataclasses.fields(operation):
        value = getattr(operation, field.name)
        if field.name in ("key", "source"):
            changes[field.name] = keys[value]
        elif field.name == "sources":
            changes[field.name] = tuple(keys[x] for x in value)
        elif field.name in ("kernel", "bias", "beta", "threshold"):
            changes[field.name] = names.get(value, value)
        elif field.name == "weights":
            changes[field.name] = tuple((k, names[v]) for k, v in value)
        elif field.name in ("factor", "surrogate"):
            changes[field.name] = None  # of learning
    return dataclasses.replace(operation, **changes)
