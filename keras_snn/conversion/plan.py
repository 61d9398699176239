"""A trained network as a list of operations that can be rewritten."""

import dataclasses

import keras
import numpy as np
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from keras_snn.conversion import activations
from keras_snn.conversion.known import CONVERT, KNOWN, LAMBDA, problem
from keras_snn.conversion.qcfs import QCFS
from keras_snn.network import functions, kinds, reading, weights

# Names that the spiking network's own layers have.
RESERVED = {"input", "encoder", "readout", "readout_scale"}
# What may end the part of a network that prepares its input, and what else
# may be in it: all that has no weights and no activation.
PREPARES = ("scaling", "preprocessing", "function")
BEFORE = (*PREPARES, "wiring", "identity", "average", "merge", "join")


@dataclasses.dataclass(eq=False)
class Op:
    """One operation.

    Attributes:
        role: What its layer does, a role of `network.kinds`; "input";
            "function" of one that runs as it is before the encoder or behind
            the readout, and nowhere else; or "unknown" where it cannot be
            converted.
        name: Unique name.
        layer: The Keras layer it was read from, None for the input.
        inputs: List of the operations whose outputs it takes.
        shape: Shape of its output, without batch.
        weights: For synapses, dict from names to NumPy arrays.
        reason: For functions, why they run nowhere else.
        node: For functions, the `Node` of the call.
    """

    role: str
    name: str
    layer: object
    inputs: list
    shape: tuple
    weights: dict | None = None
    reason: str | None = None
    node: object = None

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
        name = self._free(name, set() if role == "input" else RESERVED)
        self.ops.append(Op(role, name, layer, inputs, shape, weights))
        return self.ops[-1]

    def _free(self, name, taken):
        """Return a name that is neither an operation's nor taken."""
        names = {op.name for op in self.ops} | taken
        unique, number = name, 1
        while unique in names:
            number += 1
            unique = f"{name}_{number}"
        return unique

    def keep_apart(self):
        """Rename operations called like layers that others become."""
        taken = {name for op in self.ops for name in _becomes(op)}
        for op in self.ops:
            if op.name in taken:
                op.name = self._free(op.name, RESERVED | taken)

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

    def insert(self, before, role, name, layer, weights=None):
        """Add an operation between another one and all that take from it."""
        takers = self.consumers(before)
        op = self.add(role, name, layer, [before], before.shape, weights)
        self.ops.insert(self.ops.index(before) + 1, self.ops.pop())
        for taker in takers:
            taker.inputs = [op if x is before else x for x in taker.inputs]
        if self.output is before:
            self.output = op
        return op

    def head(self):
        """Return `(op, tail)`: the last operation on spikes or currents, and
        the activations after it, which work on the network's output."""
        op, tail = self.output, []
        while op.role in ("activation", "identity", "function"):
            if len(op.inputs) > 1:
                break
            tail.insert(0, op)
            op = op.inputs[0]
            if len(self.consumers(op)) > 1:
                break
        return op, [x for x in tail if x.role != "identity"]

    def before(self):
        """Return what prepares the input, which precedes the encoder.

        The longest part of the network from the input on without weights or
        activations, from whose last operation alone all others take.
        """
        known, found = {self.input}, []
        for op in self.ops[1:]:
            if op.role not in BEFORE or not known.issuperset(op.inputs):
                continue
            known.add(op)
            if op.role in PREPARES and self._is_neck(op):
                found = self._up_to(op)
        return found

    def _up_to(self, op):
        """Return the operations that `op` needs and itself, in order."""
        needed, waiting = set(), [op]
        while waiting:
            x = waiting.pop()
            if x not in needed:
                needed.add(x)
                waiting += x.inputs
        return [x for x in self.ops[1:] if x in needed]

    def _is_neck(self, op):
        """Return whether nothing passes `op` by on the way to the output."""
        inside = {self.input, *self._up_to(op)}
        others = inside - {op}
        return self.output not in others and all(
            x in inside for y in others for x in self.consumers(y)
        )

    def neurons(self):
        """Return the activations that become spiking neurons."""
        _, tail = self.head()
        return [op for op in self.ops if op.fires and op not in tail]


def _becomes(op):
    """Return names of layers in the spiking network, besides its own."""
    if op.role == "activation":
        return [f"{op.name}_if"]
    if op.role == "maximum":
        return [f"{op.name}_if", f"{op.name}_channels"]
    if op.role in ("merge", "join"):
        numbers = range(1, len(op.inputs) + 1)
        return [f"{op.name}_{number}_scale" for number in numbers]
    return []


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
    graph.keep_apart()
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
    layer, inputs = node.layer, [found[x.key] for x in node.inputs]
    if not isinstance(layer, keras.layers.Layer):
        try:
            layer, values = functions.as_layer(node)
        except functions.NoLayer as reason:
            return _read_function(graph, node, inputs, str(reason))
        inputs = [found[x.key] for x in values]
    elif activations.is_foreign_relu(layer):
        layer = activations.relu_of(layer)
    elif type(layer) is keras.layers.Lambda:
        return _read_function(graph, node, inputs, LAMBDA)
    if type(layer) in _PARTS:
        shape = node.output.shape[1:]
        op = _PARTS[type(layer)](graph, layer, inputs, shape)
        return [op] * len(node.outputs)
    return _read_layer(graph, node, layer, inputs)


def _read_function(graph, node, inputs, reason):
    """Append a function that is no layer."""
    several = len(node.outputs) > 1
    op = graph.add(
        "unknown" if several else "function",
        node.layer.name,
        node.layer,
        inputs,
        node.output.shape[1:],
    )
    op.reason, op.node = reason, node
    if several:
        graph.refuse(op, reason)
    return [op] * len(node.outputs)


def _read_layer(graph, node, layer, inputs):
    reason = problem(layer)
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
        inputs,
        node.output.shape[1:],
        weights.effective(layer) if linear else None,
    )
    if reason:
        graph.refuse(op, reason)
    activation = getattr(layer, "activation", None)
    if linear and activation not in (None, keras.activations.linear):
        op = _read_activation(graph, op, activation)
    return [op] * len(node.outputs)


def _read_activation(graph, op, activation):
    """Append the activation argument of a layer as an operation."""
    if not isinstance(activation, (QCFS, keras.layers.ReLU)):
        activation = keras.layers.Activation(activation)
    name = f"{op.name}_{activations.name_of(activation)}"
    if activations.is_foreign_relu(activation):
        activation = activations.relu_of(activation)
    return graph.add("activation", name, activation, [op], op.shape)


def _residual(graph, layer, inputs, shape):
    """Append `a + scale * b`, a layer of InceptionResNetV2."""
    scaled = graph.add(
        "scaling",
        f"{layer.name}_scale",
        keras.layers.Rescaling(layer.scale),
        [inputs[1]],
        shape,
    )
    merge = keras.layers.Add(name=layer.name)
    return graph.add("merge", layer.name, merge, [inputs[0], scaled], shape)


# Layers that are several operations.
_PARTS = {CustomScaleLayer: _residual}


def _check_places(graph):
    """Note operations that are known, but not at this place."""
    _, tail = graph.head()
    before = graph.before()
    for op in graph.ops:
        if len({len(x.shape) for x in op.inputs}) > 1 and op not in before:
            graph.refuse(op, "its inputs have different numbers of axes")
        if op.role == "preprocessing" and op not in before:
            graph.refuse(op, kinds.of(op.layer).refusal)
        if op.role == "function" and op not in (*before, *tail):
            graph.refuse(op, op.reason)
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

    Functions are what they are: they keep nothing.

    Args:
        op: An operation of any role that has a layer.
        input_scale: Number that the kernel is multiplied by.
    """
    if op.role == "function":
        return _Call(op)
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
    if first in scaled:
        scaled[first] = scaled[first] * input_scale
    for name, value in scaled.items():
        getattr(layer, name).assign(np.asarray(value, "float32"))
    return layer


class _Call:
    """The call of a function, on other inputs."""

    def __init__(self, op):
        self._keys = [x.key for x in op.node.inputs]
        self._node = op.node

    def __call__(self, inputs):
        inputs = inputs if isinstance(inputs, list) else [inputs]
        (output,) = self._node(dict(zip(self._keys, inputs)))
        return output


def _plain_dtype(layer):
    """Return the dtype policy that a layer had before it was quantized."""
    mixed = layer.compute_dtype != layer.variable_dtype
    return f"mixed_{layer.compute_dtype}" if mixed else layer.compute_dtype


def _plain_layer(op, config):
    """Return a layer of Keras whose weights are the effective ones."""
    for name in ("quantization_config", "lora_rank", "lora_alpha"):
        config.pop(name, None)
    if "activation" in config:
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
