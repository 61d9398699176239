"""A trained network as a list of operations that can be rewritten."""

import dataclasses

import keras
import numpy as np

from keras_snn.conversion import kinds
from keras_snn.conversion.qcfs import QCFS
from keras_snn.network.reading import _nodes_of as nodes_of

# Names that the spiking network's own layers have.
RESERVED = {"input", "encoder", "readout", "readout_scale"}
WEIGHTS = ("kernel", "depthwise_kernel", "pointwise_kernel", "bias")


@dataclasses.dataclass(eq=False)
class Op:
    """One operation.

    Attributes:
        kind: A key of `kinds.KINDS`, or "input" or "unknown".
        name: Unique name.
        layer: The Keras layer it was read from, None for the input.
        inputs: List of the operations whose outputs it takes.
        shape: Shape of its output, without batch.
        weights: For linear operations, dict from names to NumPy arrays.
    """

    kind: str
    name: str
    layer: object
    inputs: list
    shape: tuple
    weights: dict = None

    @property
    def function(self):
        """What an activation computes; None for other kinds."""
        if self.kind != "activation":
            return None
        return kinds.activation_name(self.layer)

    @property
    def fires(self):
        """Whether this activation becomes spiking neurons."""
        return self.function in ("relu", "qcfs")


class Graph:
    """Operations in the order in which they run."""

    def __init__(self, name):
        self.name = name
        self.ops, self.output = [], None
        self.problems = {}

    @property
    def input(self):
        return self.ops[0]

    def consumers(self, op):
        return [x for x in self.ops if op in x.inputs]

    def add(self, kind, name, layer, inputs, shape, weights=None):
        names = {op.name for op in self.ops}
        if kind != "input":
            names |= RESERVED
        unique, number = name, 1
        while unique in names:
            number += 1
            unique = f"{name}_{number}"
        self.ops.append(Op(kind, unique, layer, inputs, shape, weights))
        return self.ops[-1]

    def remove(self, op):
        """Take out an operation of one input."""
        (before,) = op.inputs
        for consumer in self.consumers(op):
            consumer.inputs = [
                before if x is op else x for x in consumer.inputs
            ]
        if self.output is op:
            self.output = before
        self.ops.remove(op)

    def refuse(self, op, reason):
        self.problems.setdefault(op, reason)

    def raise_problems(self):
        """Raise one `ValueError` that names all refused operations."""
        if not self.problems:
            return
        lines = [
            f"- '{op.name}' ({type(op.layer).__name__}): {reason}."
            for op, reason in self.problems.items()
        ]
        raise ValueError(
            f"'{self.name}' has {len(lines)} layer(s) that cannot be "
            "converted:\n"
            + "\n".join(lines)
            + f"\nKnown are {kinds.SUPPORTED}."
        )

    def head(self):
        """Return `(op, tail)`: the last operation on spikes or currents, and
        the activations after it, which work on the network's output."""
        op, tail = self.output, []
        while op.kind in ("activation", "drop"):
            tail.insert(0, op)
            op = op.inputs[0]
            if len(self.consumers(op)) > 1:
                break
        return op, [x for x in tail if x.kind == "activation"]

    def before(self):
        """Return the scalings of the input, which precede the encoder."""
        op, found = self.input, []
        while len(self.consumers(op)) == 1:
            (op,) = self.consumers(op)
            if op.kind != "scale":
                break
            found.append(op)
        return found

    def neurons(self):
        """Return the activations that become spiking neurons."""
        _, tail = self.head()
        return [op for op in self.ops if op.fires and op not in tail]


def read(ann):
    """Return the `Graph` of a functional Keras model.

    Layers that cannot be converted are noted in `Graph.problems`.

    Raises:
        ValueError: If `ann` is no functional or Sequential model with one
            input and one output.
    """
    functional = _functional(ann)
    graph = Graph(ann.name)
    for what in ("inputs", "outputs"):
        count = len(getattr(functional, what))
        if count != 1:
            raise ValueError(
                f"convert() expects a network with one input and one output. "
                f"'{ann.name}' has {count} {what}. Convert a keras.Model("
                "input, output) of the part that you need."
            )
    (x,) = functional.inputs
    if None in x.shape[1:]:
        raise ValueError(
            "convert() expects a network whose input shape is known. "
            f"'{ann.name}' has {tuple(x.shape)}. Build it with a fixed shape."
        )
    op = graph.add("input", "input", None, [], tuple(x.shape[1:]))
    (graph.output,) = _read_nodes(graph, functional, [op])
    _check_places(graph)
    return graph


def _functional(ann):
    if isinstance(ann, keras.Sequential) and ann.built:
        ann = ann._functional
    if not isinstance(ann, keras.Model) or not hasattr(ann, "_nodes_by_depth"):
        what = (
            "has no input shape yet"
            if isinstance(ann, keras.Sequential)
            else (f"is a {type(ann).__name__}")
        )
        raise ValueError(
            "convert() expects a functional keras.Model, or a keras.Sequential "
            f"that starts with keras.Input(shape). The network received {what}."
        )
    return ann


def _read_nodes(graph, model, inputs):
    """Append a model's operations; return those of its outputs."""
    found = {id(x): op for x, op in zip(model.inputs, inputs)}
    for node in nodes_of(model):
        if node.is_input:
            continue
        sources = [found[id(x)] for x in node.input_tensors]
        ops = _read_layer(graph, node, sources)
        found.update(zip(map(id, node.outputs), ops))
    return [found[id(x)] for x in model.outputs]


def _read_layer(graph, node, sources):
    layer = node.operation
    if isinstance(layer, (keras.Sequential, keras.Model)):
        inner = layer
        if isinstance(layer, keras.Sequential):
            inner = layer._functional
        if hasattr(inner, "_nodes_by_depth"):
            return _read_nodes(graph, inner, sources)
    shape = tuple(node.outputs[0].shape[1:])
    kind, reason = kinds.kind_of(layer)
    weights = _weights(layer) if kind == "linear" else None
    name = layer.name
    if isinstance(getattr(layer, "activation", None), QCFS) and not weights:
        # Activation(QCFS()): what counts is what it wraps.
        layer = layer.activation
    op = graph.add(kind or "unknown", name, layer, sources, shape, weights)
    if reason:
        graph.refuse(op, reason)
    activation = getattr(layer, "activation", None)
    if kind == "linear" and activation is not keras.activations.linear:
        op = _read_activation(graph, op, activation)
    return [op] * len(node.outputs)


def _read_activation(graph, op, activation):
    """Append the activation argument of a layer as an operation."""
    if not isinstance(activation, (QCFS, keras.layers.ReLU)):
        activation = keras.layers.Activation(activation)
    name = f"{op.name}_{kinds.activation_name(activation)}"
    return graph.add("activation", name, activation, [op], op.shape)


def _weights(layer):
    found = {name: getattr(layer, name, None) for name in WEIGHTS}
    return {
        name: keras.ops.convert_to_numpy(w).astype("float64")
        for name, w in found.items()
        if w is not None
    }


def _check_places(graph):
    """Note operations that are known, but not at this place."""
    _, tail = graph.head()
    before = graph.before()
    for op in graph.ops:
        if op.kind == "merge" and len({len(x.shape) for x in op.inputs}) > 1:
            graph.refuse(op, "its inputs have different numbers of axes")
        if op.kind == "scale" and op not in before:
            graph.refuse(op, "it is known only directly after the input")
        if op.kind != "activation" or op.fires or op in tail:
            continue
        if op.function == "linear":
            op.kind = "drop"
            continue
        graph.refuse(
            op,
            f"activation {op.function} inside the network; spike rates are "
            "those of ReLU. Use ReLU and train again",
        )


def frame_shape(op):
    """Return the shape of an operation's (first) input, batch first."""
    return (None, *op.inputs[0].shape)


def fresh_layer(op, input_scale=1.0):
    """Return a new layer of `op`, without activation, with its weights.

    Args:
        op: An operation of any kind that has a layer.
        input_scale: Number that the kernel is multiplied by.
    """
    config = {**op.layer.get_config(), "name": op.name}
    if op.kind == "linear":
        config["activation"] = "linear"
        config["use_bias"] = "bias" in op.weights
    layer = type(op.layer).from_config(config)
    if op.kind != "linear":
        return _with_weights_of(op.layer, layer, op)
    layer.build(frame_shape(op))
    weights = dict(op.weights)
    first = "depthwise_kernel" if "depthwise_kernel" in weights else "kernel"
    weights[first] = weights[first] * input_scale
    for name, value in weights.items():
        getattr(layer, name).assign(np.asarray(value, "float32"))
    return layer


def _with_weights_of(source, layer, op):
    if source.weights:
        layer.build(frame_shape(op))
        layer.set_weights(source.get_weights())
    if isinstance(layer, keras.layers.Normalization):
        # It works with constants that it derives from its weights.
        layer.finalize_state()
    return layer
