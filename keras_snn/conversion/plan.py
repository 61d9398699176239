"""A trained network as a list of operations that can be rewritten."""

import dataclasses

import keras
import numpy as np

from keras_snn.conversion import activations
from keras_snn.conversion.known import CONVERT, KNOWN, problem
from keras_snn.conversion.qcfs import QCFS
from keras_snn.network import kinds, reading, weights

# Names that the spiking network's own layers have.
RESERVED = {"input", "encoder", "readout", "readout_scale"}


@dataclasses.dataclass(eq=False)
class Op:
    """One operation.

    Attributes:
        role: What its layer does, a role of `network.kinds`; "input"; or
            "unknown" where it cannot be converted.
        name: Unique name.
        layer: The Keras layer it was read from, None for the input.
        inputs: List of the operations whose outputs it takes.
        shape: Shape of its output, without batch.
        weights: For synapses, dict from names to NumPy arrays.
    """

    role: str
    name: str
    layer: object
    inputs: list
    shape: tuple
    weights: dict = None

    @property
    def function(self):
        """What an activation computes; None for other roles."""
        if self.role != "activation":
            return None
        return activations.name_of(self.layer)

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

    def add(self, role, name, layer, inputs, shape, weights=None):
        names = {op.name for op in self.ops}
        if role != "input":
            names |= RESERVED
        unique, number = name, 1
        while unique in names:
            number += 1
            unique = f"{name}_{number}"
        self.ops.append(Op(role, unique, layer, inputs, shape, weights))
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
        if self.problems:
            raise CONVERT.error(self.name, self.problems.items(), KNOWN)

    def head(self):
        """Return `(op, tail)`: the last operation on spikes or currents, and
        the activations after it, which work on the network's output."""
        op, tail = self.output, []
        while op.role in ("activation", "identity"):
            tail.insert(0, op)
            op = op.inputs[0]
            if len(self.consumers(op)) > 1:
                break
        return op, [x for x in tail if x.role == "activation"]

    def before(self):
        """Return the scalings of the input, which precede the encoder."""
        op, found = self.input, []
        while len(self.consumers(op)) == 1:
            (op,) = self.consumers(op)
            if op.role != "scaling":
                break
            found.append(op)
        return found

    def neurons(self):
        """Return the activations that become spiking neurons."""
        _, tail = self.head()
        return [op for op in self.ops if op.fires and op not in tail]


def read(ann, what):
    """Return the `Graph` of an ordinary network.

    Layers that cannot be converted are noted in `Graph.problems`.

    Args:
        ann: Functional or Sequential Keras model.
        what: Name of the public function that asks, for messages.

    Raises:
        ValueError: If `ann` is no functional or Sequential model with one
            input and one output.
    """
    network = reading.read(ann, what)
    shape = _input_shape(network, what)
    graph = Graph(ann.name)
    found = {
        network.inputs[0].key: graph.add("input", "input", None, [], shape)
    }
    network.run(found, lambda node, found: _read_node(graph, node, found))
    graph.output = found[network.outputs[0].key]
    _check_places(graph)
    return graph


def _input_shape(network, what):
    for side in ("inputs", "outputs"):
        count = len(getattr(network, side))
        if count != 1:
            raise ValueError(
                f"{what}() expects a network with one input and one output. "
                f"'{network.name}' has {count} {side}. Convert a keras.Model("
                "input, output) of the part that you need."
            )
    shape = network.inputs[0].shape
    if None in shape[1:]:
        raise ValueError(
            f"{what}() expects a network whose input shape is known. "
            f"'{network.name}' has {shape}. Build it with a fixed shape."
        )
    return shape[1:]


def _read_node(graph, node, found):
    """Append a node's operations; return one for each of its outputs."""
    layer, reason = node.layer, problem(node.layer)
    role = kinds.of(layer).role if reason is None else "unknown"
    linear = role == "synapses"
    name = layer.name
    if isinstance(getattr(layer, "activation", None), QCFS) and not linear:
        # Activation(QCFS()): what counts is what it wraps.
        layer = layer.activation
    op = graph.add(
        role,
        name,
        layer,
        [found[x.key] for x in node.inputs],
        node.output.shape[1:],
        weights.effective(layer) if linear else None,
    )
    if reason:
        graph.refuse(op, reason)
    activation = getattr(layer, "activation", None)
    if linear and activation is not keras.activations.linear:
        op = _read_activation(graph, op, activation)
    return [op] * len(node.outputs)


def _read_activation(graph, op, activation):
    """Append the activation argument of a layer as an operation."""
    if not isinstance(activation, (QCFS, keras.layers.ReLU)):
        activation = keras.layers.Activation(activation)
    name = f"{op.name}_{activations.name_of(activation)}"
    return graph.add("activation", name, activation, [op], op.shape)


def _check_places(graph):
    """Note operations that are known, but not at this place."""
    _, tail = graph.head()
    before = graph.before()
    for op in graph.ops:
        if len({len(x.shape) for x in op.inputs}) > 1:
            graph.refuse(op, "its inputs have different numbers of axes")
        if op.role == "scaling" and op not in before:
            graph.refuse(op, "it is known only directly after the input")
        if op.role != "activation" or op.fires or op in tail:
            continue
        if op.function == "linear":
            op.role = "identity"
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
        op: An operation of any role that has a layer.
        input_scale: Number that the kernel is multiplied by.
    """
    config = {**op.layer.get_config(), "name": op.name}
    if op.layer.quantization_mode is not None:
        config["dtype"] = _plain_dtype(op.layer)
    if op.role != "synapses":
        layer = type(op.layer).from_config(config)
        return _with_weights_of(op.layer, layer, op)
    layer = _plain_layer(op, config)
    layer.build(frame_shape(op))
    scaled = dict(op.weights)
    first = "depthwise_kernel" if "depthwise_kernel" in scaled else "kernel"
    scaled[first] = scaled[first] * input_scale
    for name, value in scaled.items():
        getattr(layer, name).assign(np.asarray(value, "float32"))
    return layer


def _plain_dtype(layer):
    """Return the dtype policy that a layer had before it was quantized."""
    mixed = layer.compute_dtype != layer.variable_dtype
    return f"mixed_{layer.compute_dtype}" if mixed else layer.compute_dtype


def _plain_layer(op, config):
    """Return a layer of Keras whose weights are the effective ones."""
    for name in ("quantization_config", "lora_rank", "lora_alpha"):
        config.pop(name, None)
    config["activation"] = "linear"
    if "use_bias" in config:
        config["use_bias"] = "bias" in op.weights
    return weights.plain_type(op.layer).from_config(config)


def _with_weights_of(source, layer, op):
    if source.weights:
        layer.build(frame_shape(op))
        layer.set_weights(source.get_weights())
    if isinstance(layer, keras.layers.Normalization):
        # It works with constants that it derives from its weights.
        layer.finalize_state()
    return layer
