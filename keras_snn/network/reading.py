"""A Keras model read as a network: the one place that knows Keras' graph.

Everything here that begins with an underscore is private to Keras and looked
at nowhere else.
"""

import copy
import dataclasses
import functools

import keras
from keras import ops
from keras.src.backend import get_keras_mask

from keras_snn import checks
from keras_snn.layers.encoders import Encoder
from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network import kinds, parts
from keras_snn.neurons import masks

_INPUT = keras.Input((1,))
# Types of models that run their layers in the order of the graph, and no more.
_PLAIN = {
    type(keras.Model(_INPUT, keras.layers.Identity()(_INPUT))),
    keras.Sequential,
}


def readable(model_type):
    """Declare, as a decorator, that a type of functional models adds nothing.

    What it computes is what its layers compute.
    """
    _PLAIN.add(model_type)
    return model_type


@dataclasses.dataclass(eq=False)
class Value:
    """What flows from one node to others: a symbolic tensor, read.

    Attributes:
        key: Number of its own in the network.
        symbol: A symbolic tensor of its shape.
        node: The node that gives it.
        takers: Nodes that take it, once an input.
        over_time: Whether axis 1 is time.
    """

    key: int
    symbol: object
    node: object
    takers: list = dataclasses.field(default_factory=list)
    over_time: bool = False

    @property
    def shape(self):
        """Shape with batch and, if any, time."""
        return tuple(self.symbol.shape)

    @property
    def frame(self):
        """Shape of one sample, at one step if it runs over time."""
        return self.shape[2 if self.over_time else 1 :]

    @property
    def name(self):
        return self.symbol.name

    @property
    def masked(self):
        """Whether Keras passes a mask of steps along with it."""
        return mask_of(self.symbol) is not None


@dataclasses.dataclass(eq=False)
class Node:
    """One call of a layer (or of a function of `keras.ops`).

    Attributes:
        layer: The layer. Two nodes of one layer share its weights.
        name: The layer's name; of its second call `"name_call2"`, and where
            another layer has that name, too, its model's name comes first.
        call: Which call of the layer this is in the network, from 1.
        inputs: List of `Value`s.
        outputs: List of `Value`s.
    """

    layer: object
    inputs: list
    outputs: list
    name: str = ""
    call: int = 1
    path: tuple = ()
    _keras: object = None

    @property
    def is_input(self):
        return self._keras.is_input

    @property
    def output(self):
        """The first output."""
        return self.outputs[0]

    @property
    def key(self):
        """The key of the first output."""
        return self.outputs[0].key

    @property
    def over_time(self):
        """Whether it works at every step."""
        return isinstance(self.layer, Readout) or self.output.over_time

    @property
    def stages(self):
        """The layers that see one frame each: those inside a `TimeFold`."""
        return kinds.stages(self.layer)

    def arguments(self, values):
        """Return `(args, kwargs)` of the call.

        Args:
            values: Dict from keys to what stands for the inputs.
        """
        found = {
            id(x): values[value.key]
            for x, value in zip(self._keras.input_tensors, self.inputs)
        }
        return self._keras.arguments.fill_in(found)

    @property
    def adds_losses(self):
        """Whether its layer adds to the loss in its `call`, or one inside."""
        if not isinstance(self.layer, keras.Layer):
            return False
        return any(map(kinds.adds_losses, self.layer._flatten_layers()))

    @property
    def trains_always(self):
        """Whether it was built with `training=True`."""
        return self._keras.arguments.kwargs.get("training") is True

    def __call__(self, values, training=None):
        """Run the layer on `values`; return the list of its outputs."""
        args, kwargs = self.arguments(values)
        takes_training = getattr(self.layer, "_call_has_training_arg", False)
        if takes_training and training is not None:
            kwargs = {**kwargs, "training": training}
        return keras.tree.flatten(self.layer(*args, **kwargs))

    def infer_step(self, frames):
        """Run a layer, no `TimeLayer`, at one step; return its outputs.

        What does nothing at inference may know whole sequences only, and is
        passed by.
        """
        if kinds.of(self.layer).role == "identity":
            return [frames[self.inputs[0].key]]
        return self(frames, False)


class Network:
    """A functional, Sequential or nested model as nodes in forward order.

    Attributes:
        model: The model.
        nodes: List of `Node`s, inputs among them.
        inputs: List of `Value`s, as in `model.inputs`.
        outputs: List of `Value`s, as in `model.outputs`.
        before: Nodes that run once, and that the loop over time starts from.
        loop: Nodes that run at every step, readouts among them.
        after: The other nodes: they run once on the readouts' results, and
            on inputs that no step sees.
        sources: Values that the loop takes step by step.
        no_loop: Why the network does not run as one loop, or None; then the
            four lists above are empty.
        hidden: Names of spiking layers inside of layers that cannot be read.
        returns_sequences: What `no_loop` was where `by_steps` made it None.
    """

    returns_sequences = None

    def __init__(self, model):
        self.model = model
        self.functional = _functional(model)
        self.nodes, self.hidden = [], []
        self._count = 0
        self.inputs = [self._new_value(x) for x in self.functional.inputs]
        self.outputs = self._read(self.functional, self.inputs, ())
        self._leave_out_unused()
        self._name_nodes()
        _mark_time(self.nodes)
        found, self.no_loop = parts.parts(self)
        self.before, self.loop, self.after, self.sources = found

    @property
    def name(self):
        return self.model.name

    @property
    def neurons(self):
        """The nodes of spiking layers."""
        return [n for n in self.nodes if isinstance(n.layer, SpikingLayer)]

    @property
    def looped_neurons(self):
        """The nodes of spiking layers in the loop."""
        return [n for n in self.loop if isinstance(n.layer, SpikingLayer)]

    @functools.cached_property
    def trains_always(self):
        """Whether a node of the loop was built with `training=True`."""
        return any(node.trains_always for node in self.loop)

    @property
    def regularized(self):
        """The layers of the loop that regularize activity."""
        layers = (node.layer for node in self.loop)
        return [x for x in layers if kinds.regularizes_activity(x)]

    @property
    def layers(self):
        """The layers in forward order, each once."""
        return list(dict.fromkeys(node.layer for node in self.nodes))

    def trains(self):
        """Return the nodes that give spike trains, or the like.

        Spiking layers, encoders, and inputs over time.
        """
        return [
            node
            for node in self.nodes
            if isinstance(node.layer, (SpikingLayer, Encoder))
            or (node.is_input and node.output.over_time)
        ]

    def by_steps(self):
        """Return the network as it runs some steps at a time.

        Besides what runs as one loop these are networks that return
        sequences; `no_loop` is None for them, too, and `returns_sequences`
        says which. The same network if it runs as one loop.
        """
        if self.no_loop is None:
            return self
        network = copy.copy(self)
        found, network.no_loop = parts.parts(self, sequences=True)
        network.before, network.loop, network.after, network.sources = found
        network.returns_sequences = self.no_loop
        return network

    def run(self, values, visit=None, nodes=None):
        """Walk the nodes in forward order: the one interpreter of networks.

        Args:
            values: Dict from keys to what stands for the values that are
                known; the others are added to it.
            visit: Function of a node and `values` that returns the list of
                its outputs. None runs the layers.
            nodes: The nodes to walk. None is all.

        Returns:
            `values`.
        """
        visit = visit or Node.__call__
        for node in self.nodes if nodes is None else nodes:
            if not node.is_input:
                outputs = visit(node, values)
                values.update(zip((x.key for x in node.outputs), outputs))
        return values

    def start(self, inputs):
        """Return the dict of values that `run` starts from.

        Args:
            inputs: What the model is called on: a tensor, or a structure.

        Raises:
            ValueError: If shapes do not fit.
        """
        self.check_pixels(inputs)
        try:
            flat = self.functional._standardize_inputs(inputs)
        except ValueError:  # in Keras' words, of a rank that it knows no way of
            flat = self._flat(inputs)
        check_shapes(self.model, flat, inputs)
        return {value.key: x for value, x in zip(self.inputs, flat)}

    def check_pixels(self, inputs):
        """Refuse integer images, which Keras would cast without scaling.

        And ragged sequences, which the loops over time do not know.
        """
        for x, value in zip(self._flat(inputs), self.inputs):
            checks.dense(f"'{self.name}'", x)
            dtype = keras.backend.standardize_dtype(x.dtype)
            encoded = any(isinstance(n.layer, Encoder) for n in value.takers)
            if "int" in dtype and encoded:
                raise ValueError(
                    f"'{self.name}' expects floating point images, scaled to "
                    f"[-1, 1]. Received: dtype {dtype}, in which every pixel "
                    "above 0 would spike at every step. Scale them first, "
                    'e.g. images.astype("float32") / 255.'
                )

    def _flat(self, inputs):
        """Return what a model is called on in the order of its inputs."""
        names = [x.name for x in self.functional.inputs]
        by_name = isinstance(inputs, dict) and set(names) <= inputs.keys()
        if by_name and not isinstance(self.functional._inputs_struct, dict):
            return [inputs[name] for name in names]
        return keras.tree.flatten(inputs)

    def pack_inputs(self, flat):
        """Return a list of inputs in the structure the model is called on."""
        return _packed(self.functional._inputs_struct, flat)

    def pack(self, outputs):
        """Return a list of outputs in the structure that the model returns."""
        return _packed(self.functional._outputs_struct, outputs)

    def _new_value(self, symbol, node=None):
        self._count += 1
        return Value(self._count, symbol, node)

    def _read(self, model, inputs, path):
        """Append a model's nodes; return the values of its outputs."""
        found = {id(x): value for x, value in zip(model.inputs, inputs)}
        for keras_node in _nodes_of(model):
            if keras_node.is_input and path:
                continue
            if any(id(x) not in found for x in keras_node.input_tensors):
                continue
            self._read_node(keras_node, found, path)
        return [found[id(x)] for x in model.outputs]

    def _read_node(self, keras_node, found, path):
        layer = keras_node.operation
        inputs = [found[id(x)] for x in keras_node.input_tensors]
        inner = _inner_model(layer, inputs, keras_node)
        if inner is not None:
            outputs = self._read(*inner, (*path, layer.name))
            found.update(zip(map(id, keras_node.outputs), outputs))
            return
        node = Node(layer, inputs, [], path=path, _keras=keras_node)
        for x in keras_node.outputs:
            value = found.get(id(x)) or self._new_value(x)
            value.node = node
            node.outputs.append(value)
            found[id(x)] = value
        for value in inputs:
            value.takers.append(node)
        self.hidden += _hidden_neurons(layer)
        self.nodes.append(node)

    def _leave_out_unused(self):
        """Leave out what inner models compute for nobody."""
        used = parts.ancestors(self.outputs)
        self.nodes = [x for x in self.nodes if x.is_input or x in used]
        kept = set(self.nodes)
        for node in self.nodes:
            for value in node.outputs:
                value.takers = [x for x in value.takers if x in kept]

    def _name_nodes(self):
        calls, owners = {}, {}
        for node in self.nodes:
            layer = node.layer
            calls[layer] = node.call = calls.get(layer, 0) + 1
            owners.setdefault(layer.name, layer)
            own = owners[layer.name] is layer
            name = layer.name if own else "_".join((*node.path, layer.name))
            node.name = name if node.call == 1 else f"{name}_call{node.call}"
        names = set()
        for node in self.nodes:
            # Two layers of one name in two models of one name.
            base, number = node.name, 1
            while node.name in names:
                number += 1
                node.name = f"{base}_{number}"
            names.add(node.name)


def check_shapes(model, standardized, given):
    """Raise a `ValueError` unless inputs have the shapes of a model's.

    Keras adds an axis where it can, which makes a batch of a single sample.

    Args:
        model: A functional model.
        standardized: Flat list of the inputs with Keras' axes.
        given: The inputs as they came.
    """
    pairs = zip(standardized, model.inputs)
    if len(standardized) == len(model.inputs) and all(
        fits(x.shape, symbol.shape) for x, symbol in pairs
    ):
        return
    shapes = [tuple(y.shape) for y in keras.tree.flatten(given)]
    expected = [tuple(y.shape) for y in model.inputs]
    raise ValueError(
        f"'{model.name}' expects inputs of shape {_listed(expected)}, the "
        f"batch axis first. Received: shape {_listed(shapes)}. A single "
        "sample needs a batch axis, x[None]."
    )


def fits(shape, expected):
    """Return whether a shape is another one, as far as both are known."""
    return len(shape) == len(expected) and all(
        n is None or m is None or n == m
        for n, m in zip(expected[1:], shape[1:])
    )


def _packed(struct, flat):
    packed = keras.tree.pack_sequence_as(struct, flat)
    # A list of one is unpacked, as keras.Model does.
    is_single = isinstance(packed, (list, tuple)) and len(packed) == 1
    return packed[0] if is_single else packed


def _listed(shapes):
    return str(shapes[0]) if len(shapes) == 1 else str(shapes)


def mask_of(tensor):
    """Return the mask of steps that Keras passes along with a tensor."""
    return get_keras_mask(tensor)


def mean_over_time(sequence, mask):
    """Return the float32 mean over the steps that exist, 0 without any.

    Args:
        sequence: Tensor with axes (batch, time, ...).
        mask: Mask with axes (batch, time, ...), or None.
    """
    sequence = ops.cast(sequence, "float32")
    existing, time_steps = masks.existing_first(sequence, mask)
    return masks.mean(existing, time_steps)


def read(model, what=None):
    """Return the `Network` of a model.

    Args:
        model: A functional or built Sequential Keras model, perhaps with such
            models in it.
        what: Name of the public function that asks, for messages. With it
            the model must be readable down to its spiking layers.

    Raises:
        ValueError: If the model cannot be read.
    """
    network = getattr(model, "network", None)
    if not isinstance(network, Network):
        reason = _unreadable(model)
        if reason:
            raise ValueError(
                f"{what or 'keras_snn'}() expects a functional model, e.g. of "
                "keras_snn.models or the functional keras.Model(inputs, "
                "outputs), or a Sequential one that starts with keras.Input. "
                f"{reason}"
            )
        network = Network(model)
    if what and network.hidden:
        raise ValueError(
            f"{what}() cannot look into {', '.join(network.hidden)}: layers "
            f"and models with a `call` of their own in '{model.name}'. Build "
            "them in the functional API, keras.Model(inputs, outputs)."
        )
    return network


def _unreadable(model):
    """Return what is wrong with a model that cannot be read, or None."""
    if not isinstance(model, keras.Model):
        return f"Received: {type(model).__name__}."
    kind = f"'{model.name}' ({type(model).__name__})"
    if isinstance(model, keras.Sequential) and not model.built:
        return (
            f"Received: {kind}, which is not built: it has no input shape yet."
        )
    if not _is_plain(model):
        return f"Received: {kind}, which has a `call` of its own."
    return None


def _is_plain(model):
    """Return whether a model is the graph of its layers and no more."""
    plain = any(type(model).call is x.call for x in _PLAIN)
    return plain and _functional(model) is not None


def _functional(model):
    """Return a functional model, that of a Sequential, or None."""
    if isinstance(model, keras.Sequential):
        model = model._functional
    return model if hasattr(model, "_nodes_by_depth") else None


def _nodes_of(model):
    """Return Keras' nodes of a functional model in forward order."""
    return [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
    ]


def _inner_model(layer, inputs, keras_node):
    """Return `(model, inputs)` to read instead of a model in a model, or None.

    Args:
        layer: What is called.
        inputs: Values that go in.
        keras_node: The call.
    """
    if not isinstance(layer, keras.Model) or not _is_plain(layer):
        return None
    model = _functional(layer)
    found = {id(x): y for x, y in zip(keras_node.input_tensors, inputs)}
    args, kwargs = keras_node.arguments.fill_in(found)
    if len(args) != 1 or any(x is not None for x in _extras(kwargs)):
        return None
    given = args[0]
    if isinstance(given, dict) and not isinstance(model._inputs_struct, dict):
        # Keras goes by the names of the inputs.
        given = [given.get(x.name) for x in model.inputs]
    flat = keras.tree.flatten(given)
    if any(not isinstance(x, Value) for x in flat):
        return None
    symbols = [value.symbol for value in flat]
    # Keras would cast, or add an axis.
    same = all(
        x.dtype == y.dtype and len(x.shape) == len(y.shape)
        for x, y in zip(symbols, model.inputs)
    )
    return (model, flat) if same and len(flat) == len(model.inputs) else None


def _extras(kwargs):
    # Masks come as one for each input, None where there is none.
    others = [x for name, x in kwargs.items() if name != "training"]
    return keras.tree.flatten(others)


def _hidden_neurons(layer):
    """Return the spiking layers inside a layer that is no `TimeLayer`."""
    if not isinstance(layer, keras.Layer) or isinstance(layer, TimeLayer):
        return []
    if not getattr(layer, "hides_neurons", True):
        return []
    inner = layer._flatten_layers(include_self=False)
    found = any(isinstance(x, (SpikingLayer, Readout)) for x in inner)
    return [f"'{layer.name}' ({type(layer).__name__})"] if found else []


def sublayers(layer):
    """Return the layers inside a layer, at any depth."""
    return list(layer._flatten_layers(include_self=False))


def _mark_time(nodes):
    """Set `over_time` of all values, forwards and backwards."""
    for node in nodes:
        if isinstance(node.layer, (Encoder, TimeLayer)):
            over_time = not isinstance(node.layer, Readout)
        else:
            over_time = any(x.over_time for x in node.inputs)
        for x in node.outputs:
            x.over_time = over_time
        if isinstance(node.layer, Readout):
            # Beside the result there may be sequences.
            for x in node.outputs[1:]:
                x.over_time = True
    for node in reversed(nodes):
        if isinstance(node.layer, Encoder):
            continue
        takes_time = isinstance(node.layer, TimeLayer) or (
            node.output.over_time and not node.is_input
        )
        for x in node.inputs if takes_time else ():
            x.over_time = True
    # What an input over time feeds runs over time, too.
    for node in nodes:
        if not isinstance(node.layer, (Encoder, TimeLayer)):
            if any(x.over_time for x in node.inputs):
                for x in node.outputs:
                    x.over_time = True
