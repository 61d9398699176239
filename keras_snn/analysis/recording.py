"""Spike trains and membrane potentials of a network, as NumPy arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_snn.analysis.batches import batches, check_array, network_of
from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.neurons import dynamics
from keras_snn.running import tracing
from keras_snn.running.activity import Sequences


@dataclasses.dataclass(frozen=True)
class Recording:
    """What `record` saw; axes are always (batch, time, ...features).

    Attributes:
        spikes: Dict from names of spiking layers, encoders and spike train
            inputs to their outputs.
        potentials: Dict from names of spiking layers to `u(t)`: the potential
            after the input of step t and *before* the reset, so that it is
            above the threshold exactly where the layer spikes. Of an `ALIF`
            it is `u(t)` less what the threshold has risen by.
        outputs: Dict from names of readouts to their running result: at step
            t what the readout would return for the first t steps.
        thresholds: Dict from names of spiking layers to their thresholds,
            if they have them as an attribute.
    """

    spikes: dict
    potentials: dict
    outputs: dict
    thresholds: dict

    @property
    def time_steps(self) -> int:
        """Number of steps T."""
        trains = [*self.spikes.values(), *self.outputs.values()]
        return trains[0].shape[1]

    def rates(self) -> dict[str, float]:
        """Return each layer's mean, in spikes a neuron and step."""
        return {
            name: float(np.mean(np.abs(x), dtype="float64"))
            for name, x in self.spikes.items()
        }


def record(
    model: keras.Model, x: Any, layers: Any = None, batch_size: int = 64
) -> Recording:
    """Run a network and keep its spikes and membrane potentials.

        u(t) = v(t-1) + I(t),   v(t) = beta * reset(u(t), s(t))

    `u` is what is kept. All layers come from one pass, so they belong to one
    draw of a random encoder. Everything is held in memory: record a few
    samples, and use `keras_snn.analysis.profile` for many.

    Args:
        model: A functional model with one input.
        x: NumPy array of inputs, `(batch, ...)`.
        layers: Names of the spiking layers, encoders, inputs and readouts to
            keep; None keeps all.
        batch_size: Samples run at once.

    Returns:
        A `Recording`.

    Raises:
        ValueError: If the model has no spiking layer or masks, `layers` names
            one that it does not have, or `x` is empty or of another shape.

    Example:

    >>> recording = keras_snn.analysis.record(model, x_test[:8])
    >>> recording.potentials["block1_lif1"].shape   # (8, 25, 28, 28, 20)
    """
    network = network_of(model, "record")
    check_array(x, "record")
    nodes = _nodes_to_record(network, layers)
    wanted = {}
    for node in nodes.values():
        if isinstance(node.layer, (SpikingLayer, Readout)):
            wanted[node.inputs[0].key] = node.inputs[0]
        if not isinstance(node.layer, Readout):
            wanted[node.key] = node.output
    probe = Sequences(network, list(wanted.values()))
    parts = []
    for batch, _ in batches(model, x, batch_size, "record"):
        values = dict(zip(wanted, tracing.predict_on_batch(probe, batch)))
        parts.append(_read(nodes, values))
    spikes, potentials, outputs = (
        {name: np.concatenate([part[k][name] for part in parts]) for name in d}
        for k, d in enumerate(parts[0])
    )
    thresholds = {
        name: _plain(node.layer.threshold)
        for name, node in nodes.items()
        if isinstance(node.layer, SpikingLayer)
        and hasattr(node.layer, "threshold")
    }
    return Recording(spikes, potentials, outputs, thresholds)


def _plain(threshold):
    """Return a threshold as a number or an array, also where it is trained."""
    if isinstance(threshold, keras.Variable):
        threshold = keras.ops.convert_to_numpy(threshold)
        return threshold if threshold.ndim else float(threshold)
    return threshold


def _nodes_to_record(network, names):
    """Return the nodes to record by name, in forward order."""
    trains = set(network.trains())
    found = {
        node.name: node
        for node in network.nodes
        if node in trains or isinstance(node.layer, Readout)
    }
    if not network.neurons:
        raise ValueError(
            "record() expects a model with spiking layers, e.g. "
            f"keras_snn.layers.LIF or IF. '{network.name}' has none."
        )
    chosen = _chosen(found, names)
    return {name: node for name, node in found.items() if name in chosen}


def _chosen(found, names):
    """Return the names of the layers to record."""
    if names is None:
        return list(found)
    names = [names] if isinstance(names, str) else names
    names = list(names) if isinstance(names, (list, tuple, set)) else [names]
    unknown = [
        name for name in names if not isinstance(name, str) or name not in found
    ]
    if unknown or not names:
        raise ValueError(
            f"`layers` must name layers among {', '.join(found)}. Received: "
            f"{', '.join(map(repr, unknown)) or 'none'}."
        )
    return names


def _read(nodes, values):
    """Return `(spikes, potentials, outputs)` of one batch."""
    spikes, potentials, outputs = {}, {}, {}
    for name, node in nodes.items():
        layer = node.layer
        if isinstance(layer, Readout):
            outputs[name] = _running(layer, values[node.inputs[0].key])
            continue
        spikes[name] = values[node.key]
        if isinstance(layer, SpikingLayer):
            currents = values[node.inputs[0].key]
            if layer.lif is not None:
                potentials[name] = _potentials(layer, currents, spikes[name])
            elif layer.potential is not None:
                potentials[name] = _potentials_by_step(layer, currents)
    return spikes, potentials, outputs


def _potentials(layer, currents, spikes):
    """Return `u(t)` of a layer whose spikes are known."""
    currents, u = np.asarray(currents, "float32"), []
    v = np.full_like(currents[:, 0], layer.initial_potential)
    for t in range(currents.shape[1]):
        u.append(v + currents[:, t])
        v = dynamics.reset_and_leak(
            u[-1],
            np.asarray(spikes[:, t], "float32"),
            np.asarray(layer.beta, "float32"),
            np.asarray(layer.threshold, "float32"),
            layer.reset,
        )
    return np.stack(u, axis=1)


def _potentials_by_step(layer, currents):
    """Return `u(t)` of a layer with a state of its own kind."""
    state, u = layer.initial_state(currents[:, 0].shape), []
    for t in range(currents.shape[1]):
        potential = layer.potential(currents[:, t], state)
        u.append(keras.ops.convert_to_numpy(potential))
        _, state = layer.step(currents[:, t], state)
    return np.stack(u, axis=1)


def _running(layer, sequence):
    """Return a readout's result after each step."""
    state = layer.initial_state(sequence[:, 0].shape)
    results = []
    for t in range(sequence.shape[1]):
        _, state = layer.step(sequence[:, t], state)
        results.append(keras.ops.convert_to_numpy(layer.result(state, t + 1)))
    return np.stack(results, axis=1)
