"""A spiking model as the operations that NIR has words for."""

import collections
import copy
import dataclasses

import keras
import numpy as np

from keras_snn.export.nir.layer_handlers import KNOWN
from keras_snn.export.nir.neuron_handlers import NODES
from keras_snn.layers import MembraneReadout
from keras_snn.layers.encoders import Encoder
from keras_snn.layers.readouts import Readout
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network import kinds
from keras_snn.network import read as read_network
from keras_snn.network.parts import ancestors

PADDED = "NIR pads with zeros only in a convolution"
WHOLE_SEQUENCE = "it works on the whole sequence. Put it in a TimeFold"


@dataclasses.dataclass(eq=False)
class Operation:
    """One node of the NIR graph to be.

    Attributes:
        kind: `"input"`, `"convolution"`, `"dense"`, `"scale"`, `"delay"`,
            `"pool"`, `"flatten"`, `"neuron"`, `"neuron of more states"`,
            `"readout"` or `"unknown"`.
        name: Unique name.
        layer: The Keras layer it was read from.
        inputs: Operations whose outputs it takes the sum of.
        shape: Shape of one output frame, in Keras' order of axes.
        image: For the flat vector of an image, the image's shape.
        weight: In NIR's axes; of a scale, in Keras'.
        bias: One number an output channel, or None.
        padding: Pairs (before, after), one an axis.
        strides, dilation, groups: Of a convolution.
        feedback: The operation through which a neuron's spikes come back.
        passing: Of neurons, how many of the last channels only pass spikes
            on; see `branches`.
    """

    kind: str
    name: str
    layer: object
    inputs: tuple
    shape: tuple
    image: tuple | None = None
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    padding: tuple = ((0, 0), (0, 0))
    strides: tuple = (1, 1)
    dilation: tuple = (1, 1)
    groups: int = 1
    feedback: object = None
    passing: int = 0


@dataclasses.dataclass(frozen=True)
class Signal:
    """What flows from one layer to others.

    Attributes:
        sources: Operations whose outputs it is the sum of.
        padding: Zero padding that waits for the convolution it belongs to, or
            None.
        shared: Whether more than one layer takes what it is made of.
    """

    sources: tuple
    padding: tuple | None = None
    shared: bool = False

    @property
    def shape(self):
        """Shape of one frame, without the padding that waits."""
        return self.sources[0].shape


def read(model, convention):
    """Return a model's operations, the last of which give its output.

    Args:
        model: The model.
        convention: The `Convention` of the program it is written for.

    The list starts with the spike train: the encoder's output, or the input
    of a model without encoder. It ends with the readout, or with what makes
    the sequence that the model returns.

    Raises:
        ValueError: Naming all layers that NIR cannot express.
    """
    return Primitives(read_network(model, "to_nir"), convention).run()


def is_membrane(layer):
    """Return whether a readout is the leaky integrator that NIR knows."""
    return type(layer) is MembraneReadout


class Primitives:
    """The operations of a network.

    Args:
        network: A `Network`.
        convention: The `Convention` of the program it is written for.

    Attributes:
        operations: List of `Operation`s, in forward order.
        problems: Dict from layers to why NIR cannot express them.
        node: The node that is being read.
    """

    def __init__(self, network, convention):
        self.network, self.convention = network, convention
        self.operations, self.problems = [], {}
        self.node = None
        needed = ancestors(network.outputs)
        self._nodes = [x for x in network.nodes if x in needed]
        taken = [x.key for node in self._nodes for x in node.inputs]
        taken += [x.key for x in network.outputs]
        self._uses = collections.Counter(taken)

    def run(self):
        """Return the operations.

        Raises:
            ValueError: Naming all layers that NIR cannot express.
        """
        signals = {}
        for node in self._nodes:
            if node.is_input and node.output.over_time:
                signals[node.key] = self._begin("input", node)
        self.network.run(signals, self._visit, self._nodes)
        self._check_end(signals)
        if self.problems:
            raise NODES.error(self.network.name, self.problems.items(), KNOWN)
        return self.operations

    def add(self, kind, layer, signal, shape, name=None, **attributes):
        """Append an operation; return the signal it gives.

        Args:
            kind: See `Operation`.
            layer: The layer, one of the current node's.
            signal: What it takes.
            shape: Shape of one output frame.
            name: Its name, if it is not the layer's.
            **attributes: Others of `Operation`.
        """
        name = self._unused(name or self.name_of(layer))
        operation = Operation(
            kind, name, layer, signal.sources, tuple(shape), **attributes
        )
        self.operations.append(operation)
        # A normalization behind a pooling goes into the weights before it.
        return Signal((operation,), shared=kind == "pool" and signal.shared)

    def beside(self):
        """Return what reads layers beside the network, into a list of its own.

        It refuses in a dict of its own, too.
        """
        other = copy.copy(self)
        other.operations, other.problems = [], {}
        return other

    def refuse(self, layer, reason):
        """Note why NIR cannot express a layer; the first reason stays."""
        self.problems.setdefault(layer, reason)

    def unpadded(self, layer, signal, reason=PADDED):
        """Return a signal without padding; refuse a layer that sees some."""
        if signal.padding:
            self.refuse(layer, reason)
        return dataclasses.replace(signal, padding=None)

    def name_of(self, layer):
        """Return the name of the current node's call of a layer."""
        node = self.node
        if layer.name == node.layer.name:
            return node.name
        return layer.name + (f"_call{node.call}" if node.call > 1 else "")

    def _unused(self, name):
        # PyTorch has no dots in names, HDF5 no slashes.
        base = name = name.replace("/", "_").replace(".", "_")
        names = {x.name for x in self.operations}
        number = 1
        while name in names:
            number += 1
            name = f"{base}_{number}"
        return name

    def _begin(self, kind, node):
        """Append an operation without inputs for what a node gives."""
        self.node = node
        return self.add(kind, node.layer, Signal(()), node.output.frame)

    def _visit(self, node, signals):
        """Return the list of a node's output, empty where no time runs."""
        self.node = node
        if isinstance(node.layer, Encoder):
            return [self._begin("input", node)]
        inputs = [signals.get(x.key) for x in node.inputs]
        if not any(inputs):
            # Before the encoder, or behind the readout.
            if isinstance(node.layer, TimeLayer):
                self.refuse(node.layer, "it starts a second sequence")
            return []
        if None in inputs:
            reason = "it joins a sequence with what is none"
            self.refuse(node.layer, reason)
            return [self._begin("unknown", node)]
        if isinstance(node.layer, Readout):
            reason = "it reads an image padded with zeros"
            signal = self.unpadded(node.layer, inputs[0], reason)
            self.add("readout", node.layer, signal, node.output.shape[1:])
            return []
        signal = self._through(node, inputs)
        shared = signal.shared or self._uses[node.key] > 1
        return [dataclasses.replace(signal, shared=shared)]

    def _through(self, node, inputs):
        """Return the signal behind a node's layers."""
        refusals = NODES.refusals(node.stages)
        if not refusals and not _works_on_frames(node.layer):
            refusals = [(node.layer, WHOLE_SEQUENCE)]
        for layer, reason in refusals:
            self.refuse(layer, reason)
        if refusals:
            return self._begin("unknown", node)
        for layer in node.stages:
            inputs = [NODES.of(layer)(self, layer, *inputs)]
        return inputs[0]

    def _check_end(self, signals):
        """Refuse a model of other ends than one spike train and one output."""
        network = self.network
        starts = [x for x in self.operations if x.kind == "input"]
        readouts = [x for x in self.operations if x.kind == "readout"]
        if len(starts) != 1 or len(network.outputs) != 1:
            raise ValueError(
                "to_nir() expects a model with one spike train and one "
                f"output. '{network.name}' has {len(starts)} spike "
                f"train(s) and {len(network.outputs)} output(s)."
            )
        end = signals.get(network.outputs[0].key)
        if end is None and len(readouts) == 1:
            sources = readouts[0].inputs
        elif end is None or readouts:
            raise ValueError(
                "to_nir() expects a model that ends in one readout, or that "
                f"returns one sequence. '{network.name}' has "
                f"{len(readouts)} readout(s)."
            )
        else:
            sources = end.sources
            self.unpadded(network.model, end, "its output is padded with zeros")
        if len(sources) > 1:
            self.refuse(
                network.model,
                "its output is a sum; let a layer of neurons end it",
            )


def _works_on_frames(layer):
    """Return whether a layer does to a sequence what it does to each frame."""
    same = kinds.of(layer).role in ("merge", "identity", "normalization")
    return same or isinstance(layer, (TimeLayer, keras.layers.Dense))
