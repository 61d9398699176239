"""A network read as neurons and the synapses between them."""

import dataclasses

import numpy as np

from keras_snn.analysis import biases, graph
from keras_snn.analysis.graph import is_current, origin
from keras_snn.layers import Delay, RecurrentLIF, TimeFold
from keras_snn.layers.encoders import Encoder, RepeatEncoder
from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network import geometry, kinds, parts
from keras_snn.network.handlers import Handlers

HANDLERS = Handlers("counted", bases=True)


@dataclasses.dataclass
class Synapses:
    """The synapses from one tensor of activations into one layer.

    Attributes:
        source: The `Value` of the activations.
        fan_out: Integer array, synapses from each position of one frame.
        weighted: Whether they have weights of their own. Pooling and
            shortcuts have none: even analog values are only added.
        ordinary: Operations that a layer of real-valued activations needs
            for them, where those are fewer; else None.
    """

    source: object
    fan_out: np.ndarray
    weighted: bool
    ordinary: int | None = None

    @property
    def dense(self):
        """Number of synapses: the operations of a step at full activity."""
        return int(self.fan_out.sum(dtype="int64"))

    @property
    def ann(self):
        """Number of operations of real-valued activations."""
        return self.dense if self.ordinary is None else self.ordinary


@dataclasses.dataclass
class Row:
    """One layer of the network, as far as it is known without data.

    Attributes:
        name, kind, layer: The node's name, the layer's type and its name.
        neuron: Whether it is a spiking layer.
        output: `Value` of the output.
        over_time: Whether it works at every step.
        frame: Shape of one frame of its output.
        neurons: Membrane potentials (or other state) updated at each step.
        bias: Biases added at each step.
        active: Whether its output's activity is reported.
        analog: Whether its output counts as analog whatever its values.
    """

    name: str
    kind: str
    layer: str
    neuron: bool
    output: object
    over_time: bool
    frame: tuple
    synapses: list = dataclasses.field(default_factory=list)
    parameters: int = 0
    neurons: int = 0
    bias: int = 0
    active: bool = False
    analog: bool = False

    @property
    def is_empty(self):
        """Whether there is nothing to report."""
        return not (
            self.synapses
            or self.parameters
            or self.neurons
            or self.bias
            or self.active
        )


class Wiring:
    """The rows of a network in forward order, and the values to watch.

    Args:
        network: A `Network` with one input.

    Raises:
        ValueError: If the model has layers whose operations cannot be
            counted; the message names them all.
    """

    def __init__(self, network):
        self.network = network
        self._problems, seen = [], set()
        self._preparing = parts.ancestors(
            [
                node.inputs[0]
                for node in network.nodes
                if isinstance(node.layer, Encoder)
            ]
        )
        rows = []
        for node in network.nodes:
            row = self._new_row(node)
            fresh = {id(w): w for w in getattr(node.layer, "weights", ())}
            row.parameters = _count(
                w for key, w in fresh.items() if key not in seen
            )
            seen.update(fresh)
            self._fill(row, node)
            rows.append(row)
        self.rows = [row for row in rows if not row.is_empty]
        if self._problems:
            raise ValueError(
                f"The operations of '{network.name}' cannot be counted, "
                f"because of {len(self._problems)} of its layers:\n- "
                + "\n- ".join(self._problems)
            )

    @property
    def watched(self):
        """The values whose activity is counted, by key."""
        values = [row.output for row in self.rows if row.active]
        values += [s.source for row in self.rows for s in row.synapses]
        return {x.key: x for x in values}

    def _new_row(self, node):
        return Row(
            name=node.name,
            kind=type(node.stages[0]).__name__,
            layer=node.layer.name,
            neuron=isinstance(node.layer, SpikingLayer),
            output=node.output,
            over_time=node.output.over_time,
            frame=node.output.frame,
        )

    def _fill(self, row, node):
        """Complete the row of one node."""
        if node.is_input:
            row.active = row.over_time
        else:
            fill = HANDLERS.of(node.layer) or Wiring._fill_layer
            fill(self, row, node)

    @HANDLERS.register(Encoder)
    def _fill_encoder(self, row, node):
        row.active = True
        row.analog = isinstance(node.layer, RepeatEncoder)

    @HANDLERS.register(SpikingLayer, Readout)
    def _fill_neurons(self, row, node):
        variables = getattr(node.layer, "state_variables", 1)
        row.neurons = variables * _size(node.inputs[0].frame)
        row.active = row.neuron
        row.synapses = _direct(node, node.inputs[0].frame)

    @HANDLERS.register(RecurrentLIF)
    def _fill_recurrent(self, row, node):
        self._fill_neurons(row, node)
        self._add_feedback(row, node.layer)

    @HANDLERS.register("merge")
    def _fill_merge(self, row, node):
        row.synapses = _direct(node, row.frame)

    @HANDLERS.register("identity")
    def _fill_identity(self, row, node):
        """Leave the row empty."""

    def _fill_layer(self, row, node):
        """Complete the row of a layer of Keras, or of a function."""
        if not row.over_time:
            if node not in self._preparing or not _prepares(node):
                self._fill_frame_layer(row, node)
        elif kinds.of(node.layer).role not in graph.WITHOUT_SYNAPSES:
            self._problem(
                node.layer, "works on the whole sequence; wrap it in TimeFold"
            )

    def _add_feedback(self, row, layer):
        """Add the synapses from a layer's neurons to themselves."""
        feedback = layer.recurrent
        fan_out = kinds.of(feedback).geometry
        if fan_out is None:
            kind = type(feedback).__name__
            self._problem(layer, f"has a feedback ({kind}) that is not known")
            return
        leaving = fan_out(feedback, row.frame)
        row.synapses.append(Synapses(row.output, leaving, True))
        if biases.has_bias(feedback):
            row.bias = _size(row.frame)

    @HANDLERS.register(TimeLayer)
    def _fill_other_time_layer(self, row, node):
        """Complete the row of a layer such as pooling with a memory."""
        layer = node.layer
        if any(len(w.shape) > 1 for w in layer.trainable_weights):
            self._problem(layer, "has weights that are not known here")
            return
        if layer.keeps_state and not isinstance(layer, Delay):
            state = layer.initial_state((1, *node.inputs[0].frame))
            row.neurons = sum(_size(x.shape) for x in state)
        row.active = not is_current(row.output)

    @HANDLERS.register(TimeFold)
    def _fill_frame_layer(self, row, node):
        """Complete the row of a layer that works on each frame alone."""
        stages = node.stages
        at = [i for i, x in enumerate(stages) if kinds.of(x).geometry]
        problem = _problem_of(stages, at)
        if problem:
            self._problem(node.layer, problem)
        elif at:
            layer, wiring = stages[at[0]], stages[: at[0]]
            row.kind = type(layer).__name__
            row.synapses = [_weights(layer, wiring, node)]
        else:
            roles = {kinds.of(stage).role for stage in stages}
            row.active = (
                row.over_time
                and "maximum" in roles
                and not is_current(row.output)
            )
        row.bias = biases.added(node)

    def _problem(self, layer, reason):
        kind = type(layer).__name__
        if isinstance(layer, TimeFold):
            kind = f"TimeFold({type(layer.layer).__name__})"
        self._problems.append(f"'{layer.name}' ({kind}) {reason}")


def _weights(layer, wiring, node):
    """Return the synapses of a layer, seen from what activates them."""
    source, before = origin(node.inputs[0])
    places = graph.places(source.frame, [*before, *wiring])
    leaving = kinds.of(layer).geometry(layer, places.shape)
    return Synapses(
        source,
        _at_source(source.frame, places, leaving),
        # Any weight behind a fixed one can absorb it.
        kinds.of(layer).role == "synapses",
        geometry.separate_operations(layer, places.shape),
    )


def _direct(node, frame):
    """Return synapses of weight 1 where activations meet neurons.

    Currents that crossed a synapse already cost nothing more.

    Args:
        node: The `Node` of the neurons, or of a sum.
        frame: Shape of the frame that each input is broadcast to.
    """
    found = []
    for x in node.inputs:
        for source, places in graph.arrivals(x):
            if places.ndim == len(frame):
                places = np.broadcast_to(places, frame)
            leaving = _at_source(source.frame, places, np.ones(places.shape))
            found.append(Synapses(source, leaving, False))
    return found


def _prepares(node):
    """Return whether a node before an encoder only prepares its input."""
    return not getattr(node.layer, "weights", ()) and all(
        kinds.of(stage).geometry is None for stage in node.stages
    )


def _problem_of(stages, at):
    """Return why the operations of these layers are not known, or None."""
    unknown = [type(x).__name__ for x in stages if not _is_known(x)]
    if unknown:
        return (
            f"{', '.join(unknown)} has no known synapses; build it from Dense, "
            "convolution and average pooling layers"
        )
    if any(map(graph.interpolates, stages)):
        return "interpolates between positions"
    if any(map(_jumps, stages)):
        return "has strides and a dilation, which Keras does not define"
    before = stages[: at[0]] if at else []
    if len(at) > 1 or any(
        kinds.of(x).role in graph.WITHOUT_SYNAPSES for x in before
    ):
        return (
            "has more before its synapses than wiring; give each layer its "
            "own TimeFold"
        )
    return None


def _is_known(layer):
    kind = kinds.of(layer)
    known = (*graph.WITHOUT_SYNAPSES, *graph.LEADS_ON)
    return kind.geometry is not None or kind.role in known


def _jumps(layer):
    """Return whether the windows of a layer have both strides and holes."""
    sizes = (getattr(layer, x, 1) for x in ("strides", "dilation_rate"))
    return all(np.max(size) > 1 for size in sizes)


def _at_source(frame, places, leaving):
    """Return what leaves each place of a frame, summed over its copies."""
    counts = np.bincount(
        places.ravel(), np.ravel(leaving), minlength=_size(frame) + 1
    )
    # Place 0 is padding, which never spikes.
    return counts[1:].astype("int64").reshape(frame)


def _size(shape):
    return int(np.prod(shape, dtype="int64"))


def _count(weights):
    return sum(_size(w.shape) for w in weights)
