"""From a NIR graph to a keras_snn model."""

from __future__ import annotations

import contextlib
import os
import warnings
from typing import Any

import numpy as np

from keras_snn import checks, optional
from keras_snn.export.nir import files, graphs, neuron_nodes, programs
from keras_snn.export.nir.building import Builder
from keras_snn.layers import MembraneReadout, SpikeCountReadout
from keras_snn.layers.readouts import Readout
from keras_snn.running import Model
from keras_snn.typing import LearningRule, Path, Reset

READOUTS = {"membrane": MembraneReadout, "spike_count": SpikeCountReadout}
# So many unit inputs for one spike are no neuron of a network that works.
IMPLAUSIBLE = 1000.0


def from_nir(
    graph: Any,
    readout: Any = None,
    *,
    source: Path | None = None,
    dt: float | None = None,
    reset: Reset | None = None,
    learning_rule: LearningRule | None = None,
) -> Model:
    """Return a NIR graph as a trainable model.

    The model takes spike trains, `(batch, time, ...)` with any number of
    steps, and runs one Euler step of NIR's neurons at each:

        i(t) = alpha * i(t-1) + w_in * dt / tau_syn * I(t)      (CubaLIF)
        u(t) = beta * reset(u(t-1)) + r * dt / tau * i(t)
        alpha = 1 - dt / tau_syn,   beta = 1 - dt / tau
        a spike where u(t) > v_threshold

    which are `keras_snn.layers.LIF`, `IF`, `SynapticLIF` and, where spikes
    come back to the neurons, `RecurrentLIF`, with the threshold divided by
    the gain. Neurons of a layer may differ: its numbers are arrays. Axes are
    Keras': what NIR calls (channels, height, width) is (height, width,
    channels), and weights behind a flatten are reordered to match.

    Programs mean different equations by the same numbers. A file written by
    `to_nir` says whose it has, and the numbers of Rockpool and Spyx show it;
    otherwise name the program as `source`. See `docs/nir.md`.

    Args:
        graph: A `nir.NIRGraph`, or the path of a file.
        readout: What ends the model: `"membrane"`, `"spike_count"`, a layer
            of `keras_snn.layers`, or None, with which it returns the sequence
            that the graph gives. A graph that ends in a leaky integrator ends
            in a `MembraneReadout` by itself.
        source: The program whose neurons the file means: `"norse"`,
            `"rockpool"`, `"sinabs"`, `"snntorch"`, `"spikingjelly"`,
            `"spyx"`, or None for what the file shows, else the equations
            above.
        dt: Length of a time step in the unit of `tau`. Defaults to that of
            the source: what the file shows for Norse, Rockpool and Spyx, 1
            for sinabs, else 1e-4.
        reset: `"zero"` or `"subtract"`. NIR has no word for the second, and
            some programs write such neurons without it. None is
            `"subtract"` for Rockpool and Spyx, which have no other, and for
            neurons that `to_nir` wrote so; else `"zero"`.
        learning_rule: How the neurons learn, if not by their layer's default;
            see `keras_snn.layers.LIF`.

    Returns:
        A `keras_snn.Model` whose layers are named as the nodes.

    Warns:
        UserWarning: If neurons need a thousand of their largest inputs or
            more to fire, which numbers of another program do.

    Raises:
        ValueError: If the file is missing, damaged, no NIR graph or of a
            version of NIR that is not known, or the graph has nodes or
            parameters that no layer here has; the message names them.
        ImportError: If the package `nir` is missing.

    Example:

    >>> model = keras_snn.export.from_nir("lenet.nir", "membrane")
    >>> model.compile("adam", keras_snn.losses.SummedSquaredError())
    """
    nir = optional.require("nir", "nir")
    options = source, dt, reset, learning_rule
    if not isinstance(graph, (str, os.PathLike)):
        ends, silent = _built(nir, graph, *options)
    else:
        with files.naming(graph):
            ends, silent = _built(nir, files.read(nir, graph), *options)
    if silent:
        warnings.warn(silent, stacklevel=2)
    return _finish(ends, readout)


def _built(nir, graph, source, dt, reset, learning_rule):
    """Return the ends of a graph's layers, and what is to be warned of."""
    if not isinstance(graph, nir.NIRGraph):
        raise ValueError(
            "from_nir() expects a nir.NIRGraph or the path of a NIR file. "
            f"Received: {type(graph).__name__}."
        )
    graph.validate_structure()
    convention = programs.source(source or _written_for(graph))
    dt = None if dt is None else checks.real_number("dt", dt)
    reset = reset if reset is None else checks.reset_mode(reset)
    if convention.name == "keras_snn" and not _is_ours(graph) and dt is None:
        neurons = graphs.wiring(nir, graph, True).neurons
        convention = programs.recognised(neurons) or convention
    builder = Builder(nir, graph, convention, dt, reset, learning_rule)
    return builder.run(), _silent(builder)


def _is_ours(graph):
    """Return whether `to_nir` wrote a graph."""
    return (graph.metadata or {}).get("written_by") == "keras_snn"


def _written_for(graph):
    """Return the target that `to_nir` wrote a graph for, else None."""
    if not _is_ours(graph):
        return None
    name = graph.metadata["convention"]
    return None if name == "keras_snn" else name


def _silent(builder):
    """Return a warning of neurons that hardly anything makes fire, or None."""
    needed = {
        x.name: neuron_nodes.inputs_to_fire(x, builder.convention, builder.dt)
        for x in builder.seen
    }
    silent = [x for x in builder.seen if needed[x.name] >= IMPLAUSIBLE]
    if not silent:
        return None
    first = silent[0].name
    names = ", ".join(repr(x.name) for x in silent[:5])
    names += f" and {len(silent) - 5} others" if len(silent) > 5 else ""
    return (
        f"These neurons will hardly fire: {names}. '{first}' needs "
        f"{needed[first]:.3g} of its largest inputs to fire once, by the "
        f"equations of {builder.convention.name} at steps of "
        f"dt={builder.dt:g}. The numbers of the file seem to be another "
        "program's, or of another time step. Pass the program that wrote it "
        f"as `source`{_more_likely(builder, silent[0])}, or the `dt` of its "
        "simulation."
    )


def _more_likely(builder, seen):
    """Return by which programs neurons would fire, as text."""
    found = []
    for name, convention in programs.CONVENTIONS.items():
        if not name or not convention.may_have_written(builder.wiring.neurons):
            continue
        with contextlib.suppress(ValueError), np.errstate(all="ignore"):
            dt = convention.step_of(builder.wiring.neurons)
            needed = neuron_nodes.inputs_to_fire(seen, convention, dt)
            decay = np.min(neuron_nodes.decay(seen, convention, dt))
            if 0.0 < needed < IMPLAUSIBLE and decay > 0.0:
                found.append(f'"{name}": {needed:.3g}')
    return f" (inputs needed by {', '.join(found)})" if found else ""


def _finish(ends, readout):
    inputs, outputs, read_out = ends
    layer = _readout(readout)
    if layer is not None:
        if read_out:
            raise ValueError(
                "The graph ends in a leaky integrator, which is a "
                f"MembraneReadout already. Received: readout={readout!r}. "
                "Leave it out."
            )
        outputs = layer(outputs)
    return Model(inputs, outputs)


def _readout(readout):
    if readout is None or isinstance(readout, Readout):
        return readout
    if not isinstance(readout, str) or readout not in READOUTS:
        known = ", ".join(f'"{name}"' for name in READOUTS)
        raise ValueError(
            f"`readout` must be {known}, a readout layer, e.g. "
            "keras_snn.layers.MembraneReadout(0.95), or None. "
            f"Received: readout={readout!r}."
        )
    return READOUTS[readout](name="readout")
