"""A functional model read as neurons and the synapses between them."""

import dataclasses

import keras
import numpy as np

from keras_snn.analysis import fan_out, layer_kinds
from keras_snn.analysis.graph import (
    TimeAxes,
    is_current,
    node_of,
    origin,
)
from keras_snn.layers import RecurrentLIF, TimeFold
from keras_snn.layers.encoders import Encoder, RepeatEncoder
from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.models.plan import nodes_of

KNOWN = (*fan_out.SYNAPTIC, *layer_kinds.WITHOUT_OPERATIONS)


@dataclasses.dataclass
class Synapses:
    """The synapses from one tensor of activations into one layer.

    Attributes:
        source: The symbolic tensor of activations.
        fan_out: Integer array, synapses from each position of one frame.
        weighted: Whether they have weights of their own. Pooling and
            shortcuts have none: even analog values are only added.
    """

    source: object
    fan_out: np.ndarray
    weighted: bool

    @property
    def dense(self):
        """Number of synapses: the operations of a step at full activity."""
        return int(self.fan_out.sum(dtype="int64"))


@dataclasses.dataclass
class Row:
    """One layer of the network, as far as it is known without data.

    Attributes:
        name, kind: The layer's name and type.
        neuron: Whether it is a spiking layer.
        output: Symbolic output.
        over_time: Whether it works at every step.
        frame: Shape of one frame of its output.
        neurons: Membrane potentials (or other state) updated at each step.
        bias: Biases added at each step.
        active: Whether its output's activity is reported.
        analog: Whether its output counts as analog whatever its values.
    """

    name: str
    kind: str
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


class Network:
    """The rows of a model in forward order, and the tensors to watch.

    Args:
        model: A functional model with one input.

    Raises:
        ValueError: If the model has layers whose operations cannot be
            counted; the message names them all.
    """

    def __init__(self, model):
        self.model = model
        nodes = nodes_of(model)
        self.time = TimeAxes(nodes)
        self._problems, seen = [], set()
        rows = []
        for node in nodes:
            row = self._new_row(node)
            if node.operation not in seen:
                seen.add(node.operation)
                row.parameters = _count(node.operation.weights)
            self._fill(row, node)
            rows.append(row)
        self.rows = [row for row in rows if not row.is_empty]
        if self._problems:
            raise ValueError(
                f"The operations of '{model.name}' cannot be counted, because "
                f"of {len(self._problems)} of its layers:\n- "
                + "\n- ".join(self._problems)
            )

    @property
    def watched(self):
        """The tensors whose activity is counted, by id."""
        tensors = [row.output for row in self.rows if row.active]
        tensors += [s.source for row in self.rows for s in row.synapses]
        return {id(x): x for x in tensors}

    def _new_row(self, node):
        (x, *_), layer = node.output_tensors, node.operation
        return Row(
            name=layer.name,
            kind=type(layer_kinds.stages(layer)[0]).__name__,
            neuron=isinstance(layer, SpikingLayer),
            output=x,
            over_time=self.time.has_time(x),
            frame=self.time.frame(x),
        )

    def _fill(self, row, node):
        """Complete the row of one node."""
        layer = node.operation
        if node.is_input:
            row.active = row.over_time
        elif isinstance(layer, Encoder):
            row.active, row.analog = True, isinstance(layer, RepeatEncoder)
        elif isinstance(layer, (SpikingLayer, Readout)):
            variables = getattr(layer, "state_variables", 1)
            frame = self.time.frame(node.input_tensors[0])
            row.neurons = variables * _size(frame)
            row.active = row.neuron
            row.synapses = self._direct(node)
            if isinstance(layer, RecurrentLIF):
                self._add_feedback(row, layer)
        elif type(layer) in layer_kinds.MERGES:
            row.synapses = self._direct(node)
        elif type(layer) in layer_kinds.IDENTITIES:
            pass
        elif isinstance(layer, TimeLayer) and not isinstance(layer, TimeFold):
            self._fill_other_time_layer(row, node)
        elif row.over_time and not isinstance(layer, TimeFold):
            if type(layer) not in layer_kinds.WITHOUT_SYNAPSES:
                self._problem(
                    layer, "works on the whole sequence; wrap it in TimeFold"
                )
        else:
            self._fill_frame_layer(row, node)

    def _add_feedback(self, row, layer):
        """Add the synapses from a layer's neurons to themselves."""
        feedback = layer.recurrent
        if type(feedback) not in fan_out.SYNAPTIC:
            kind = type(feedback).__name__
            self._problem(layer, f"has a feedback ({kind}) that is not known")
            return
        leaving = fan_out.fan_out(feedback, row.frame)
        row.synapses.append(Synapses(row.output, leaving, True))
        if _adds_bias(feedback):
            row.bias = _size(row.frame)

    def _fill_other_time_layer(self, row, node):
        """Complete the row of a layer such as pooling with a memory."""
        layer = node.operation
        if any(len(w.shape) > 1 for w in layer.trainable_weights):
            self._problem(layer, "has weights that are not known here")
            return
        if layer.keeps_state:
            frame = self.time.frame(node.input_tensors[0])
            state = layer.initial_state((1, *frame))
            row.neurons = sum(_size(x.shape) for x in state)
        row.active = not is_current(row.output)

    def _fill_frame_layer(self, row, node):
        """Complete the row of a layer that works on each frame alone."""
        stages = layer_kinds.stages(node.operation)
        at = [i for i, x in enumerate(stages) if type(x) in fan_out.SYNAPTIC]
        problem = _problem_of(stages, at)
        if problem:
            self._problem(node.operation, problem)
        elif at:
            layer, wiring = stages[at[0]], stages[: at[0]]
            row.kind = type(layer).__name__
            row.synapses = [self._weights(layer, wiring, node)]
            if any(map(_adds_bias, stages)):
                row.bias = _size(row.frame)
        else:
            kinds = {type(stage) for stage in stages}
            row.active = (
                row.over_time
                and any("MaxPooling" in kind.__name__ for kind in kinds)
                and not is_current(row.output)
            )
            before = origin(node.input_tensors[0])[0]
            before = layer_kinds.stages(node_of(before).operation)
            if kinds & {*layer_kinds.NORMALIZATIONS} and not any(
                map(_adds_bias, before)
            ):
                row.bias = _size(row.frame)

    def _weights(self, layer, wiring, node):
        """Return the synapses of a layer, seen from what activates them."""
        source, before = origin(node.input_tensors[0])
        frame = self.time.frame(source)
        places = layer_kinds.places(frame, [*before, *wiring])
        return Synapses(
            source,
            _at_source(frame, places, fan_out.fan_out(layer, places.shape)),
            not isinstance(layer, fan_out.WITHOUT_WEIGHTS),
        )

    def _direct(self, node):
        """Return synapses of weight 1 where activations meet neurons.

        Currents that crossed a synapse already cost nothing more.
        """
        found = []
        for x in node.input_tensors:
            source, wiring = origin(x)
            if not is_current(source):
                frame = self.time.frame(source)
                places = layer_kinds.places(frame, wiring)
                leaving = _at_source(frame, places, np.ones(places.shape))
                found.append(Synapses(source, leaving, False))
        return found

    def _problem(self, layer, reason):
        kind = type(layer).__name__
        if isinstance(layer, TimeFold):
            kind = f"TimeFold({type(layer.layer).__name__})"
        self._problems.append(f"'{layer.name}' ({kind}) {reason}")


def _problem_of(stages, at):
    """Return why the operations of these layers are not known, or None."""
    unknown = [type(x).__name__ for x in stages if type(x) not in KNOWN]
    if unknown:
        return (
            f"{', '.join(unknown)} has no known synapses; build it from Dense, "
            "convolution and average pooling layers"
        )
    if any(map(layer_kinds.interpolates, stages)):
        return "interpolates between positions"
    before = stages[: at[0]] if at else []
    if len(at) > 1 or any(
        type(x) in layer_kinds.WITHOUT_SYNAPSES for x in before
    ):
        return (
            "has more before its synapses than wiring; give each layer its "
            "own TimeFold"
        )
    return None


def _adds_bias(layer):
    return getattr(layer, "use_bias", False) or isinstance(
        layer, keras.layers.BatchNormalization
    )


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
