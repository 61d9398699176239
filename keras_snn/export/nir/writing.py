"""From a keras_snn model to a NIR graph."""

from __future__ import annotations

import io
import os
import pathlib
import warnings
from typing import Any

import keras
import numpy as np

from keras_snn import atomic, optional
from keras_snn.export.nir import (
    branches,
    primitives,
    programs,
    written_nodes,
)
from keras_snn.typing import Path

SINABS_ADVICE = (
    "sinabs.from_nir makes neurons that fire several times a step and are "
    "reset by subtraction, whatever the file says. For the spikes of this "
    "model, set after the import, on every module `layer` of type "
    "sinabs.layers.LIFSqueeze: layer.spike_fn = sinabs.activation.SingleSpike"
)
SINABS_RESET = "; layer.reset_fn = sinabs.activation.MembraneReset()"


def to_nir(
    model: keras.Model, path: Path | None = None, target: str | None = None
) -> Any:
    """Return a model as a NIR graph, and write it to a file.

    NIR is a file format for spiking networks that other simulators and
    neuromorphic chips read. It describes neurons by a differential equation,

        tau dv/dt = -v + r I,   a spike where v > v_threshold, then v = 0,

    of which `keras_snn.layers.LIF` is one Euler step with
    `tau = dt / (1 - beta)`, `r = tau / dt`, `dt = 1e-4` seconds;
    `SynapticLIF` is a `CubaLIF`, `RecurrentLIF` a graph in the graph. Programs
    discretise it differently; with `target` the parameters are those with
    which that program's importer gives this model's spikes, step by step. See
    `docs/nir.md` for what maps to what.

    The graph begins with the spike train: encoders stay outside. Axes are
    NIR's, (channels, height, width); weights behind a `Flatten` are reordered
    to match. It ends with what the model returns. Of readouts, a
    `MembraneReadout` becomes a leaky integrator with `target=None`; no
    target's importer knows it, and there the graph ends with the currents or
    spikes that the readout receives. What follows a readout stays outside.

    Args:
        model: A functional or Sequential model, perhaps with such models in
            it, of one spike train and one output.
        path: File to write, by convention `*.nir`; None writes none.
        target: `"norse"`, `"sinabs"`, `"snntorch"` or `"spikingjelly"`, or
            None for NIR's equations as they are.

    Returns:
        A `nir.NIRGraph`, whose nodes are named as the layers; the second
        call of a layer is `"name_call2"`.

    Raises:
        ValueError: If the model has layers that NIR or the target's importer
            cannot express, naming each with the reason, or for an unknown
            target.
        FileExistsError: If there is a file at `path`.
        ImportError: If the package `nir` is missing.

    Example:

    >>> keras_snn.export.to_nir(model, "lenet.nir", target="snntorch")

    References:
        - [Pedersen et al., 2024](https://doi.org/10.1038/s41467-024-52259-9)
    """
    nir = optional.require("nir", "nir")
    convention = programs.target(target)
    if path is not None and os.path.exists(path):
        raise FileExistsError(
            f"to_nir() does not overwrite files. Received: path={path!r}, "
            "which exists. Delete it, or choose another path."
        )
    graph = _graph(nir, model, convention)
    if target == "sinabs":
        warnings.warn(_sinabs_advice(graph), stacklevel=2)
    if path is not None:
        # In memory first: HDF5 may crash where a disk is full.
        content = io.BytesIO()
        nir.write(content, graph)
        with atomic.written(pathlib.Path(path)) as draft:
            draft.write_bytes(content.getvalue())
    return graph


def _sinabs_advice(graph):
    """Return what has to be set for the spikes of a model."""
    neurons = {x: n for x, n in graph.nodes.items() if hasattr(n, "v_reset")}
    soft = [x for x, n in neurons.items() if n.metadata]
    if len(soft) == len(neurons):
        return f"{SINABS_ADVICE}."
    but = f", but not on {', '.join(map(repr, soft))}" if soft else ""
    return f"{SINABS_ADVICE}{SINABS_RESET}{but}."


def _graph(nir, model, convention):
    found = primitives.read(model, convention)
    if not convention.leaky_integrators or not all(
        primitives.is_membrane(x.layer) for x in found if x.kind == "readout"
    ):
        found = [x for x in found if x.kind != "readout"]
    if convention.in_depth_order:
        found = branches.joined(found)
    scales = _scales(found, convention)
    nodes = {x.name: _node(nir, x, scales, convention) for x in found}
    last = _last(found)
    end = _unused("output", nodes)
    nodes[end] = nir.Output(
        {"output": np.array(written_nodes.nir_shape(last.shape))}
    )
    edges = [(x.name, y.name) for x in found for y in found if x in y.inputs]
    edges.append((last.name, end))
    if convention.in_depth_order:
        _check_order(model, edges, found[0].name, convention)
    # NIR takes the channels of one group for all.
    grouped = any(x.groups != 1 for x in found)
    return nir.NIRGraph(
        nodes,
        edges,
        metadata=_metadata(convention),
        type_check=not convention.by_channel and not grouped,
    )


def _metadata(convention):
    return {"written_by": "keras_snn", "convention": convention.name}


def _last(found):
    """Return the operation whose output no other one takes."""
    taken = {y for x in found for y in x.inputs}
    return next(x for x in reversed(found) if x not in taken)


def _unused(name, nodes):
    while name in nodes:
        name += "_"
    return name


def _scales(found, convention):
    """Return, per operation, by what its written output is larger.

    A program without average pooling gets sum pooling; neurons and weights
    behind it take the factor back, their threshold times it or the weight
    divided by it.
    """
    scales = {}
    for x in found:
        scale = _input_scale(x, scales, convention)
        if x.kind == "pool":
            scales[x] = scale
            if not convention.averages:
                scales[x] *= np.prod(_pool_size(x)[0])
        elif x.kind in ("flatten", "delay"):
            scales[x] = scale
        else:
            scales[x] = 1
    last = _last(found)
    if scales[last] != 1:
        raise ValueError(
            f"'{last.name}' ends the network with an average, and "
            f"{convention.name} reads only sum pooling. Let neurons follow."
        )
    return scales


def _input_scale(x, scales, convention):
    different = {scales[y] for y in x.inputs}
    if len(different) > 1:
        raise ValueError(
            f"'{x.name}' adds pooled and other values, and {convention.name} "
            "reads only sum pooling, which makes them different in size. Put "
            "neurons behind the pooling."
        )
    return different.pop() if different else 1


def _node(nir, x, scales, convention):
    """Return an operation as a NIR node."""
    scale = scales[x.inputs[0]] if x.inputs else 1
    if x.kind == "input":
        return nir.Input({"input": np.array(written_nodes.nir_shape(x.shape))})
    if x.kind == "pool":
        size, stride = _pool_size(x)
        kind = nir.AvgPool2d if convention.averages else nir.SumPool2d
        return kind(np.array(size), np.array(stride), np.array((0, 0)))
    if x.kind == "delay":
        return written_nodes.delay(nir, x, convention)
    if x.kind == "flatten":
        # Counted from the end, the axes are the same with a batch axis,
        # which some importers count and others do not.
        shape = np.array(written_nodes.nir_shape(x.inputs[0].shape))
        return nir.Flatten({"input": shape}, start_dim=-len(shape), end_dim=-1)
    if x.kind == "readout":
        return written_nodes.readout(nir, x, convention)
    if x.kind.startswith("neuron"):
        return written_nodes.neurons(nir, x, scale, convention)
    return written_nodes.linear(nir, x, scale, convention)


def _pool_size(x):
    """Return `(size, stride)` of a pooling, each a pair."""
    if hasattr(x.layer, "pool_size"):
        return tuple(x.layer.pool_size), tuple(x.layer.strides)
    return x.inputs[0].shape[:2], x.inputs[0].shape[:2]


def _check_order(model, edges, first, convention):
    """Refuse a graph whose nodes would run before their inputs.

    `nirtorch.load` runs nodes in the order of a depth-first walk; a node
    that it reaches before one of its inputs gets that input one step late.
    """
    order, stack = {}, [first]
    while stack:
        name = stack.pop()
        if name not in order:
            order[name] = len(order)
            stack += [y for x, y in reversed(edges) if x == name]
    for x, y in edges:
        if order[x] > order[y]:
            raise ValueError(
                f"'{model.name}' cannot be written for {convention.name}: its "
                f"importer would run '{y}' before '{x}' and give it the "
                f"output of '{x}' one step late. Known are sums of a path "
                "and the spikes it starts from, and residual blocks of two "
                "convolutions of odd size beside one of size 1."
            )
