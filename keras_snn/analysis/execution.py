"""Where the layers of a network run, and how long each takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_snn import event_driven
from keras_snn.analysis import tables
from keras_snn.analysis.batches import network_of
from keras_snn.models import spike_rates
from keras_snn.running import Model, segments, time_first

MOST_SAMPLES = 8


@dataclasses.dataclass(frozen=True)
class LayerExecution:
    """How one layer runs.

    Attributes:
        name: The layer's name; of a second call `"<layer>_call2"`.
        kind: Its type; that of the layer inside a TimeFold.
        mode: `"event by event"`; `"once"`, event by event and at the first
            step only, as its input is the same at all; or `"dense"`, through
            Keras.
        rate: Spikes a neuron and step, None where nothing spikes.
        seconds: Time of one sample through all steps; None where the whole
            network is dense.
        reason: Why it is dense, or None.
    """

    name: str
    kind: str
    mode: str
    rate: float | None
    seconds: float | None
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class ExecutionReport:
    """What `execution_report` found.

    Attributes:
        model_name: The model's name.
        samples: Number of samples that ran side by side.
        reason: Why the whole network runs densely, or None. Where some
            layers do, their rows say why.
        layers: List of `LayerExecution`, in forward order.
    """

    model_name: str
    samples: int
    reason: str | None
    layers: list

    @property
    def seconds(self) -> float | None:
        """Time of one sample in all layers, None where all are dense."""
        if self.reason is not None:
            return None
        return sum(layer.seconds for layer in self.layers)

    def summary(self, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print the layers.

        Args:
            print_fn: Function to print with. Defaults to the terminal.
        """
        tables.execution(self, print_fn)


def execution_report(model: keras.Model, x: Any) -> ExecutionReport:
    """Say of each layer how `predict` runs it, how often it fires, how long.

    The times are of the event-driven engine in one thread, medians of five
    passes; waiting for Keras and other threads is not in them. A layer that
    the engine does not know runs through Keras between the others; its time
    is that of its own graph, in all threads of TensorFlow. The time of a
    layer that reads spikes goes with their number: one that takes long at a
    high rate may be faster densely (see `keras_snn.event_driven.disable`), or
    with fewer spikes (see `keras_snn.regularizers.SpikeRate`).

    Args:
        model: A `keras_snn.Model` with one input; of others it says that they
            run densely.
        x: NumPy array of inputs `(samples, ...)`; the first eight run. Pass
            one for the time of an image alone.

    Returns:
        An `ExecutionReport`.

    Raises:
        ValueError: If the model cannot be read, or `x` has no sample.

    Example:

    >>> keras_snn.analysis.execution_report(model, x_test[:1]).summary()
    """
    network = network_of(model, "execution_report")
    x = np.asarray(x)[:MOST_SAMPLES]
    if not len(x):
        raise ValueError(
            "execution_report() expects at least one sample. Received: none."
        )
    reason, split = _way(model)
    rates = spike_rates(model, x) if network.neurons else {}
    spent, held = {}, set()
    if reason is None:
        values = network.run(
            network.start(keras.ops.convert_to_tensor(x)),
            lambda node, values: node(values, False),
            network.before,
        )
        measure = _whole if split is None else _in_segments
        spent, held = measure(network, values, split)
    rows = []
    for node in network.loop:
        why = reason if split is None else split.reasons.get(node)
        mode = "dense" if why else "event by event"
        if why is None and node.key in held:
            mode = "once"
        # What only says how another layer reads has no time of its own.
        seconds = None if reason else spent.get(node.key, 0.0) / len(x)
        kind = type(node.stages[0]).__name__
        rate = rates.get(node.name)
        rows.append(LayerExecution(node.name, kind, mode, rate, seconds, why))
    return ExecutionReport(model.name, len(x), reason, rows)


def _way(model):
    """Return why all of a model runs densely, or None, and its split."""
    if not isinstance(model, Model):
        return "only a keras_snn.Model runs event by event", None
    split = model.event_driven_split()
    return None if split else model.dense_reason(), split


def _whole(network, values, split):
    """Return seconds by key, and the keys computed once, of the engine."""
    program = event_driven.Program(network, training=False)
    return event_driven.seconds(
        program, {k: values[k] for k in program.sources}
    )


def _in_segments(network, values, split):
    """Return the same where some layers run through Keras."""
    loop = time_first.TimeLoop(network, values, False)
    sequences = segments.sequences(loop, split)
    spent = segments.seconds(loop, split, sequences)
    once = set()
    for segment in split.segments:
        program = segment.program
        if program is None:
            continue
        sources = {k: sequences[k] for k in program.sources}
        found, held = event_driven.seconds(program, sources)
        spent.update(found)
        once |= held
    return spent, once
