"""Keras layers from the nodes of a NIR graph."""

import graphlib
import math

import keras
import numpy as np

from keras_snn.export.nir import conventions, kernels
from keras_snn.layers import IF, LIF, MembraneReadout, TimeFold

L = keras.layers


class _Value:
    """A symbolic sequence, and what NIR's value is of it.

    Attributes:
        x: Tensor (batch, time, ...).
        scale: What NIR's value is larger by.
        image: For the flat vector of an image, the image's shape.
        read_out: Whether it is a readout's result, without time.
    """

    def __init__(self, x, scale=1.0, image=None, read_out=False):
        self.x, self.scale, self.image = x, scale, image
        self.read_out = read_out

    @property
    def frame(self):
        return tuple(self.x.shape[2:])


class Builder:
    """Builds layers node by node."""

    def __init__(self, nir, graph, convention, dt, reset, learning_rule):
        self.nir, self.graph = nir, graph
        self.convention, self.dt = convention, dt
        self.options = {"reset": reset, "learning_rule": learning_rule}
        self.sources = {name: [] for name in graph.nodes}
        for source, name in graph.edges:
            self.sources[name].append(source)
        self.values, self.names = {}, set()

    def run(self):
        """Return `(inputs, outputs, whether the outputs are read out)`."""
        order = self._order()
        readers = _readers(self.nir)
        unknown = [
            f"- '{name}' ({type(self.graph.nodes[name]).__name__}): "
            f"{_reason(self.nir, self.graph.nodes[name])}."
            for name in order
            if type(self.graph.nodes[name]) not in readers
        ]
        if unknown:
            known = ", ".join(sorted(x.__name__ for x in readers))
            raise ValueError(
                "from_nir() has no layers for these nodes:\n"
                + "\n".join(unknown)
                + f"\nKnown are {known}."
            )
        for name in order:
            node = self.graph.nodes[name]
            self.values[name] = readers[type(node)](self, name, node)
        start, end = (self._only(x) for x in (self.nir.Input, self.nir.Output))
        value = self.values[end]
        if value.scale != 1.0:
            raise self._error(end, "it is fed by a sum pooling directly")
        return self.values[start].x, value.x, value.read_out

    def _order(self):
        for kind in (self.nir.Input, self.nir.Output):
            self._only(kind)
        try:
            order = list(
                graphlib.TopologicalSorter(self.sources).static_order()
            )
        except graphlib.CycleError as error:
            raise ValueError(
                "from_nir() reads graphs without recurrence. Received a cycle "
                f"of nodes: {' -> '.join(error.args[1])}."
            ) from error
        loose = [
            x
            for x in order
            if not self.sources[x]
            and not isinstance(self.graph.nodes[x], self.nir.Input)
        ]
        if loose:
            raise ValueError(
                "from_nir() expects every node but the input to have one "
                f"before it. Without: {', '.join(map(repr, loose))}."
            )
        return order

    def _only(self, kind):
        names = [x for x, n in self.graph.nodes.items() if isinstance(n, kind)]
        if len(names) != 1:
            raise ValueError(
                f"from_nir() expects a graph with one {kind.__name__} node. "
                f"Received: {len(names)}."
            )
        return names[0]

    def _error(self, name, reason):
        kind = type(self.graph.nodes[name]).__name__
        return ValueError(
            f"'{name}' ({kind}) cannot be read from NIR: {reason}."
        )

    def _name(self, name):
        """Return a name for a layer, unique, without slashes."""
        base = unique = name.replace("/", "_")
        number = 1
        while unique in self.names:
            number += 1
            unique = f"{base}_{number}"
        self.names.add(unique)
        return unique

    def _input_of(self, name):
        """Return the sum of all values that lead to a node."""
        values = [self.values[x] for x in self.sources[name]]
        if any(x.read_out for x in values) and (
            len(values) > 1
            or not isinstance(self.graph.nodes[name], self.nir.Output)
        ):
            raise self._error(
                name, "it follows a leaky integrator, which only a readout is"
            )
        if len(values) == 1:
            return values[0]
        kinds = {(x.scale, x.image, x.frame) for x in values}
        if len(kinds) > 1:
            frames = ", ".join(str(x.frame) for x in values)
            raise self._error(
                name,
                f"it adds values of different shapes ({frames}, channels "
                "last), sizes or orders",
            )
        total = L.Add(name=self._name(f"{name}_add"))([x.x for x in values])
        return _Value(total, values[0].scale, values[0].image)

    def _fold(self, name, layer, value, **attributes):
        """Return the value of a layer at every step."""
        return _Value(TimeFold(layer)(value.x), **attributes)

    def input(self, name, node):
        shape = [int(n) for n in np.ravel(node.input_type["input"])]
        takers = {
            type(self.graph.nodes[y]) for x, y in self.graph.edges if x == name
        }
        rank = _rank(self.nir, takers)
        if rank is not None and len(shape) == rank + 1:
            # Norse and snnTorch write the batch axis of their sample.
            shape = shape[1:]
        if rank not in (None, len(shape)) or len(shape) not in (1, 3):
            raise self._error(
                name,
                f"its shape is {shape}; known are (features) and (channels, "
                "height, width)",
            )
        frame = (*shape[1:], shape[0])
        return _Value(keras.Input((None, *frame), name=self._name(name)))

    def output(self, name, node):
        return self._input_of(name)

    def dense(self, name, node):
        value = self._input_of(name)
        weight = np.asarray(node.weight, "float32")
        (features, *rest) = value.frame
        if weight.ndim != 2 or rest or weight.shape[1] != features:
            raise self._error(
                name,
                f"its weight of shape {weight.shape} does not fit frames of "
                f"shape {value.frame}",
            )
        kernel = weight.T * np.float32(value.scale)
        if value.image:
            kernel = kernel[np.argsort(kernels.order_of(value.image))]
        bias = getattr(node, "bias", None)
        layer = L.Dense(
            weight.shape[0], use_bias=_any(bias), name=self._name(name)
        )
        return self._linear(name, layer, value, kernel, bias)

    def convolution(self, name, node):
        value = self._input_of(name)
        weight = np.asarray(node.weight, "float32")
        if int(np.ravel(node.groups)[0]) != 1:
            raise self._error(name, "it is a grouped convolution")
        if len(value.frame) != 3 or value.frame[-1] != weight.shape[1]:
            raise self._error(
                name,
                f"its weight of shape {weight.shape} does not fit frames of "
                f"shape {value.frame}, channels last",
            )
        stride, dilation = _pair(node.stride), _pair(node.dilation)
        reach = [(k - 1) * d for k, d in zip(weight.shape[2:], dilation)]
        padding = node.padding
        if isinstance(padding, (str, bytes)):
            text = padding.decode() if isinstance(padding, bytes) else padding
            padding = [n / 2 if text == "same" else 0 for n in reach]
        padding = [float(n) for n in np.broadcast_to(padding, (2,))]
        same = stride == (1, 1) and padding == [n / 2 for n in reach]
        if not same:
            value = self._padded(name, value, padding)
        layer = L.Conv2D(
            weight.shape[0],
            weight.shape[2:],
            strides=stride,
            dilation_rate=dilation,
            padding="same" if same and any(padding) else "valid",
            use_bias=_any(node.bias),
            name=self._name(name),
        )
        kernel = kernels.to_channels_last(weight) * np.float32(value.scale)
        return self._linear(name, layer, value, kernel, node.bias)

    def _padded(self, name, value, padding):
        if not any(padding):
            return value
        if any(n != int(n) for n in padding):
            raise self._error(name, "its even kernel pads unevenly")
        layer = L.ZeroPadding2D(
            tuple(map(int, padding)), name=self._name(f"{name}_pad")
        )
        return self._fold(name, layer, value, scale=value.scale)

    def _linear(self, name, layer, value, kernel, bias):
        layer.build((None, *value.frame))
        weights = [kernel]
        if layer.use_bias:
            weights.append(np.asarray(bias, "float32"))
        layer.set_weights(weights)
        return self._fold(name, layer, value)

    def pool(self, name, node):
        value = self._input_of(name)
        if len(value.frame) != 3:
            raise self._error(name, f"its input has frames {value.frame}")
        size, stride = _pair(node.kernel_size), _pair(node.stride)
        value = self._padded(
            name, value, [float(n) for n in _pair(node.padding)]
        )
        layer = L.AveragePooling2D(size, stride, name=self._name(name))
        scale = value.scale
        if isinstance(node, self.nir.SumPool2d):
            scale *= math.prod(size)
        return self._fold(name, layer, value, scale=scale)

    def flatten(self, name, node):
        value = self._input_of(name)
        rank = len(value.frame)
        start, end = int(node.start_dim), int(node.end_dim)
        # Some programs count a batch axis; the linear map behind it tells
        # by its weight whether all axes are meant.
        if start not in (0, 1, -rank) or end not in (-1, rank - 1, rank):
            raise self._error(
                name, f"it flattens axes {start} to {end} of {rank}, not all"
            )
        if rank == 1:
            return value
        layer = L.Flatten(name=self._name(name))
        return self._fold(
            name, layer, value, scale=value.scale, image=value.frame
        )

    def neuron(self, name, node):
        value = self._input_of(name)
        beta, gain = self._decay_and_gain(name, node)
        rest = self._uniform(name, node, "v_reset")
        if hasattr(node, "v_leak"):
            leak = self._uniform(name, node, "v_leak")
            if leak != rest:
                raise self._error(
                    name,
                    f"it leaks to {leak} and is reset to {rest}; known are "
                    "neurons that are reset to rest",
                )
        threshold = self._uniform(name, node, "v_threshold") - rest
        gain *= value.scale
        if not gain > 0.0 or not threshold > 0.0:
            raise self._error(
                name,
                f"its gain {gain} and its threshold above rest {threshold} "
                "are not both positive",
            )
        threshold = self.convention.threshold(threshold, gain)
        options = {"threshold": threshold, "name": self._name(name)}
        options |= self.options
        layer = IF(**options) if beta == 1.0 else LIF(beta, **options)
        return _Value(layer(value.x), image=value.image)

    def integrator(self, name, node):
        value = self._input_of(name)
        if hasattr(node, "v_leak") and self._uniform(name, node, "v_leak"):
            raise self._error(name, "it leaks to another potential than 0")
        beta, gain = self._decay_and_gain(name, node)
        x = MembraneReadout(beta, name=self._name(name))(value.x)
        gain = conventions.shortest(gain * value.scale)
        if gain != 1.0:
            x = L.Rescaling(gain, name=self._name(f"{name}_gain"))(x)
        return _Value(x, read_out=True)

    def _decay_and_gain(self, name, node):
        parameters = {"r": self._uniform(name, node, "r")}
        if hasattr(node, "tau"):
            parameters["tau"] = self._uniform(name, node, "tau")
        beta, gain = self.convention.decay_and_gain(self.dt, **parameters)
        beta = conventions.shortest(beta)
        if not 0.0 < beta <= 1.0:
            raise self._error(
                name,
                f"tau={parameters.get('tau')} at steps of dt={self.dt} is a "
                f"decay of {beta} a step, outside (0, 1]. Pass the `dt` of "
                "the program that wrote it, or its name as `source`",
            )
        return beta, gain

    def _uniform(self, name, node, parameter):
        """Return the one value of a parameter."""
        values = np.unique(np.asarray(getattr(node, parameter), "float64"))
        if len(values) != 1:
            raise self._error(
                name,
                f"`{parameter}` is not the same for all of its neurons, from "
                f"{values.min()} to {values.max()}; a layer here has one",
            )
        return float(values[0])


def _readers(nir):
    """Return, per type of node, the method that reads it."""
    return {
        nir.Input: Builder.input,
        nir.Output: Builder.output,
        nir.Affine: Builder.dense,
        nir.Linear: Builder.dense,
        nir.Conv2d: Builder.convolution,
        nir.AvgPool2d: Builder.pool,
        nir.SumPool2d: Builder.pool,
        nir.Flatten: Builder.flatten,
        nir.IF: Builder.neuron,
        nir.LIF: Builder.neuron,
        nir.I: Builder.integrator,
        nir.LI: Builder.integrator,
    }


def _reason(nir, node):
    """Return why there is no layer for a node."""
    if isinstance(node, nir.NIRGraph):
        return "it is a graph in a graph, as recurrent layers are written"
    if isinstance(node, (nir.CubaLIF, nir.CubaLI)):
        return "its current has a time constant of its own"
    if node is None:
        return "the program that wrote it had no word for its layer"
    return "no layer does the same"


def _rank(nir, kinds):
    """Return how many axes a frame has that goes into such nodes."""
    if kinds & {nir.Conv2d, nir.AvgPool2d, nir.SumPool2d}:
        return 3
    return 1 if kinds & {nir.Linear, nir.Affine} else None


def _pair(value):
    return tuple(int(n) for n in np.broadcast_to(value, (2,)))


def _any(bias):
    return bias is not None and bool(np.any(bias))
