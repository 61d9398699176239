"""From a NIR graph to a keras_snn model."""

import os

from keras_snn import checks, optional
from keras_snn.export.nir import conventions
from keras_snn.export.nir.building import Builder
from keras_snn.layers import MembraneReadout, SpikeCountReadout
from keras_snn.layers.readouts import Readout
from keras_snn.running import Model

READOUTS = {"membrane": MembraneReadout, "spike_count": SpikeCountReadout}


def from_nir(
    graph,
    readout=None,
    *,
    source=None,
    dt=None,
    reset="zero",
    learning_rule="collapsed",
):
    """Return a NIR graph as a trainable model.

    The model takes spike trains, `(batch, time, ...)` with any number of
    steps, and runs one Euler step of NIR's neurons at each:

        u(t) = beta * reset(u(t-1)) + gain * I(t),   beta = 1 - dt / tau,
        gain = r * dt / tau,   a spike where u(t) > v_threshold

    which are `keras_snn.layers.LIF` neurons with threshold
    `v_threshold / gain`. Axes are Keras': what NIR calls (channels, height,
    width) is (height, width, channels), and weights behind a flatten are
    reordered to match.

    Args:
        graph: A `nir.NIRGraph`, or the path of a file.
        readout: What ends the model: `"membrane"`, `"spike_count"`, a layer
            of `keras_snn.layers`, or None, with which it returns the sequence
            that the graph gives. A graph that ends in a leaky integrator ends
            in a `MembraneReadout` by itself.
        source: The program whose neurons the file means: `"norse"`,
            `"sinabs"`, `"snntorch"`, `"spikingjelly"`, or None for the
            equations above. A file written by `to_nir` says it itself.
        dt: Length of a time step in the unit of `tau`. Defaults to that of
            the source: 1e-4, 1e-3 for Norse, and 1 for sinabs.
        reset: `"zero"` or `"subtract"`. NIR has no word for the second, and
            some programs write such neurons without it.
        learning_rule: How the neurons learn; see `keras_snn.layers.LIF`.

    Returns:
        A `keras_snn.Model` whose layers are named as the nodes.

    Raises:
        ValueError: If the file is missing, damaged or no NIR graph, or the
            graph has nodes or parameters that no layer here has; the message
            names them.
        ImportError: If the package `nir` is missing.

    Example:

    >>> model = keras_snn.export.from_nir("lenet.nir", "membrane")
    >>> model.compile("adam", keras_snn.losses.SummedSquaredError())
    """
    nir = optional.require("nir", "nir")
    graph = _load(nir, graph)
    if source is None:
        source = _written_for(graph)
    convention = conventions.get("source", source)
    dt = convention.dt if dt is None else checks.real_number("dt", dt)
    builder = Builder(nir, graph, convention, dt, reset, learning_rule)
    return _finish(builder.run(), readout)


def _load(nir, graph):
    """Return a graph, from a file if it is a path."""
    if isinstance(graph, (str, os.PathLike)):
        graph = _read_file(nir, graph)
    if not isinstance(graph, nir.NIRGraph):
        raise ValueError(
            "from_nir() expects a nir.NIRGraph or the path of a NIR file. "
            f"Received: {type(graph).__name__}."
        )
    graph.validate_structure()
    return graph


def _read_file(nir, path):
    if not os.path.isfile(path):
        raise ValueError(f"There is no NIR file at {str(path)!r}.")
    try:
        # Some programs write types that do not fit each other; shapes are
        # checked here, layer by layer.
        return nir.read(path, type_check=False)
    except Exception as error:
        # A damaged file can fail anywhere between HDF5 and a node's fields.
        raise ValueError(
            f"{str(path)!r} is no NIR file, or a damaged one: {error!r}. NIR "
            "files are HDF5 files written by nir.write; write it again."
        ) from error


def _written_for(graph):
    """Return the target that `to_nir` wrote a graph for, else None."""
    metadata = graph.metadata or {}
    if metadata.get("written_by") != "keras_snn":
        return None
    name = metadata["convention"]
    return None if name == "keras_snn" else name


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
