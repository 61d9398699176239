"""Keras layers from the nodes of a NIR graph."""

import dataclasses
import math

import keras
import numpy as np

from keras_snn.export.nir import graphs, kernels, linear_nodes, neuron_nodes
from keras_snn.layers import Delay, TimeFold

L = keras.layers


@dataclasses.dataclass
class Value:
    """A symbolic sequence, and what NIR's value is of it.

    Attributes:
        x: Tensor (batch, time, ...).
        scale: What NIR's value is larger by.
        image: For the flat vector of an image, the image's shape.
        read_out: Whether it is a readout's result, without time.
        largest: The most that one input or spike adds to it.
        integrator: For a leaky integrator that has still to become a readout
            or the synapses of neurons, its `neuron_nodes.Integrator`.
    """

    x: object
    scale: float = 1.0
    image: tuple | None = None
    read_out: bool = False
    largest: float = 1.0
    integrator: object = None

    @property
    def frame(self):
        return tuple(self.x.shape[2:])


class Builder:
    """Builds layers node by node.

    Attributes:
        wiring: `graphs.Wiring` of the graph.
        seen: List of `neuron_nodes.Seen`, of all neurons that were built.
    """

    def __init__(self, nir, graph, convention, dt, reset, learning_rule):
        self.nir, self.convention = nir, convention
        self.wiring = graphs.wiring(
            nir, graph, convention.input_through_feedback
        )
        self.nodes, self.sources = self.wiring.nodes, self.wiring.sources
        self.dt = convention.step_of(self.wiring.neurons) if dt is None else dt
        self.reset, self.learning_rule = reset, learning_rule
        self.values, self.names, self.seen = {}, set(), []

    def run(self):
        """Return `(inputs, outputs, whether the outputs are read out)`."""
        order = self._order()
        readers = _readers(self.nir)
        unknown = [
            f"- '{name}' ({type(self.nodes[name]).__name__}): "
            f"{_reason(self.nir, self.nodes[name])}."
            for name in order
            if type(self.nodes[name]) not in readers
        ]
        if unknown:
            known = ", ".join(sorted(x.__name__ for x in readers))
            raise ValueError(
                "from_nir() has no layers for these nodes:\n"
                + "\n".join(unknown)
                + f"\nKnown are {known}."
            )
        for name in order:
            node = self.nodes[name]
            self.values[name] = readers[type(node)](self, name, node)
        start, end = self._ends()
        value = self.values[end]
        if value.scale != 1.0:
            raise self.error(end, "it is fed by a sum pooling directly")
        return self.values[start].x, value.x, value.read_out

    def _order(self):
        self._ends()
        order = self.wiring.order()
        loose = [
            x
            for x in order
            if not self.sources[x]
            and not isinstance(self.nodes[x], self.nir.Input)
        ]
        if loose:
            raise ValueError(
                "from_nir() expects every node but the input to have one "
                f"before it. Without: {', '.join(map(repr, loose))}."
            )
        return order

    def _ends(self):
        """Return the names of the input and the output."""
        return [
            graphs.only(self.nodes, kind, "from_nir() expects a graph")
            for kind in (self.nir.Input, self.nir.Output)
        ]

    def error(self, name, reason):
        kind = type(self.nodes[name]).__name__
        return ValueError(
            f"'{name}' ({kind}) cannot be read from NIR: {reason}."
        )

    def name(self, name):
        """Return a name for a layer, unique, without slashes."""
        base = unique = name.replace("/", "_")
        number = 1
        while unique in self.names:
            number += 1
            unique = f"{base}_{number}"
        self.names.add(unique)
        return unique

    def input_of(self, name):
        """Return the sum of all values that lead to a node."""
        values = [self.values[x] for x in self.sources[name]]
        if len(values) == 1:
            return values[0]
        if any(x.integrator for x in values):
            raise self.error(name, neuron_nodes.ONLY_READOUT)
        kinds = {(x.scale, x.image, x.frame) for x in values}
        if len(kinds) > 1:
            frames = ", ".join(str(x.frame) for x in values)
            raise self.error(
                name,
                f"it adds values of different shapes ({frames}, channels "
                "last), sizes or orders",
            )
        total = L.Add(name=self.name(f"{name}_add"))([x.x for x in values])
        largest = max(x.largest for x in values)
        return dataclasses.replace(values[0], x=total, largest=largest)

    def plain_input_of(self, name):
        """Return a node's input, which is no leaky integrator."""
        value = self.input_of(name)
        if value.integrator:
            raise self.error(name, neuron_nodes.ONLY_READOUT)
        return value

    def fold(self, layer, value, **changes):
        """Return the value of a layer at every step."""
        x = TimeFold(layer)(value.x)
        return dataclasses.replace(value, x=x, **changes)

    def input(self, name, node):
        shape = [int(n) for n in np.ravel(node.input_type["input"])]
        rank = _rank(self.nir, self.wiring.takers(name))
        if rank is not None and len(shape) == rank + 1:
            # Norse and snnTorch write the batch axis of their sample.
            shape = shape[1:]
        if rank not in (None, len(shape)) or len(shape) not in (1, 2, 3):
            raise self.error(
                name,
                f"its shape is {shape}; known are (features), (channels, "
                "length) and (channels, height, width)",
            )
        frame = (*shape[1:], shape[0])
        return Value(keras.Input((None, *frame), name=self.name(name)))

    def output(self, name, node):
        value = self.input_of(name)
        if value.integrator:
            return neuron_nodes.readout(self, value)
        return value

    def linear(self, name, node):
        value = self.plain_input_of(name)
        value = self._padded(name, node, value)
        layer = linear_nodes.layer(self, name, node, value)
        sizes = [np.abs(w).max() for w in layer.get_weights() if w.size]
        return self.fold(
            layer,
            value,
            scale=1.0,
            image=None,
            largest=value.largest * max(map(float, sizes), default=1.0),
        )

    def _padded(self, name, node, value):
        """Return a value with the zeros around it that a node asks for."""
        padding = linear_nodes.zeros_around(self, name, node, value)
        if not any(padding):
            return value
        kind = {1: L.ZeroPadding1D, 2: L.ZeroPadding2D}[len(padding)]
        size = padding if len(padding) > 1 else padding[0]
        # That of one axis knows no other format.
        format = {"data_format": "channels_last"} if len(padding) > 1 else {}
        layer = kind(size, name=self.name(f"{name}_pad"), **format)
        return self.fold(layer, value)

    def scale(self, name, node):
        value = self.plain_input_of(name)
        scale = self.values_of(name, node, "scale", value)
        return self.fold(
            linear_nodes.rescaling(scale, name=self.name(name)),
            value,
            largest=value.largest * float(np.max(np.abs(scale))),
        )

    def delay(self, name, node):
        value = self.plain_input_of(name)
        steps = self.values_of(name, node, "delay", value) / self.dt
        whole = np.round(steps)
        if np.any(whole < 0) or not np.allclose(steps, whole, 1e-3, 1e-3):
            raise self.error(
                name,
                f"its `delay` is {np.min(steps):g} to {np.max(steps):g} steps "
                f"of dt={self.dt}; known are whole numbers of steps. Pass the "
                "`dt` of its simulation",
            )
        steps = whole.astype(int) if np.ndim(whole) else int(whole)
        layer = Delay(steps, name=self.name(name))
        return dataclasses.replace(value, x=layer(value.x))

    def pool(self, name, node):
        value = self.plain_input_of(name)
        if len(value.frame) != 3:
            raise self.error(name, f"its input has frames {value.frame}")
        size, stride = (
            linear_nodes.sizes(x, 2) for x in (node.kernel_size, node.stride)
        )
        value = self._padded(name, node, value)
        layer = L.AveragePooling2D(
            size,
            stride,
            data_format="channels_last",
            name=self.name(name),
        )
        scale = value.scale
        if isinstance(node, self.nir.SumPool2d):
            scale *= math.prod(size)
        return self.fold(layer, value, scale=scale)

    def flatten(self, name, node):
        value = self.plain_input_of(name)
        rank = len(value.frame)
        start, end = int(node.start_dim), int(node.end_dim)
        # Some programs count a batch axis; the linear map behind it tells
        # by its weight whether all axes are meant.
        if start not in (0, 1, -rank) or end not in (-1, rank - 1, rank):
            raise self.error(
                name, f"it flattens axes {start} to {end} of {rank}, not all"
            )
        if rank == 1:
            return value
        image = value.frame
        if self.convention.flattens_channels_last:
            image = None
        layer = L.Flatten("channels_last", name=self.name(name))
        return self.fold(layer, value, image=image)

    def values_of(self, name, node, parameter, value):
        """Return a parameter: a float, or an array of the frame's shape."""
        x = np.asarray(getattr(node, parameter), "float64")
        if x.size and np.all(x == x.flat[0]):
            return float(x.flat[0])
        shape = (value.frame[-1], *value.frame[:-1])
        try:
            fits = x.size == math.prod(shape)
            if x.ndim != len(shape) and not fits:
                # Of one axis it may be that of the channels or of the columns.
                raise ValueError(x.shape)
            x = x.reshape(shape) if fits else np.broadcast_to(x, shape)
        except ValueError as error:
            raise self.error(
                name,
                f"its `{parameter}` of shape {x.shape} does not fit frames of "
                f"shape {value.frame}, channels last",
            ) from error
        return kernels.values_to_channels_last(x, value.image)


def _readers(nir):
    """Return, per type of node, the function that reads it."""
    return {
        nir.Input: Builder.input,
        nir.Output: Builder.output,
        nir.Affine: Builder.linear,
        nir.Linear: Builder.linear,
        nir.Conv1d: Builder.linear,
        nir.Conv2d: Builder.linear,
        nir.Scale: Builder.scale,
        nir.Delay: Builder.delay,
        nir.AvgPool2d: Builder.pool,
        nir.SumPool2d: Builder.pool,
        nir.Flatten: Builder.flatten,
        nir.IF: neuron_nodes.neuron,
        nir.LIF: neuron_nodes.neuron,
        nir.CubaLIF: neuron_nodes.neuron,
        nir.Threshold: neuron_nodes.threshold,
        nir.I: neuron_nodes.integrator,
        nir.LI: neuron_nodes.integrator,
    }


def _reason(nir, node):
    """Return why there is no layer for a node."""
    if isinstance(node, nir.CubaLI):
        return "its current has a time constant of its own"
    if node is None:
        return "the program that wrote it had no word for its layer"
    return "no layer does the same"


def _rank(nir, takers):
    """Return how many axes a frame has that goes into such nodes."""
    ranks = {
        nir.Conv2d: 3,
        nir.AvgPool2d: 3,
        nir.SumPool2d: 3,
        nir.Conv1d: 2,
        nir.Linear: 1,
        nir.Affine: 1,
    }
    known = [ranks[type(x)] for x in takers if type(x) in ranks]
    values = ("v_threshold", "r", "scale", "threshold", "delay")
    for node in takers:
        found = [np.ndim(getattr(node, x)) for x in values if hasattr(node, x)]
        known += [n for n in found if n]
    return known[0] if known else None
