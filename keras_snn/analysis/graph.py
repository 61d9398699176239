"""Where activations come from in a functional model."""

from keras_snn.analysis import fan_out, layer_kinds
from keras_snn.layers import TimeFold
from keras_snn.layers.encoders import Encoder
from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.time_layer import TimeLayer


def node_of(x):
    """Return the node of a functional model that made the tensor `x`."""
    history = x._keras_history
    return history.operation._inbound_nodes[history.node_index]


def origin(x):
    """Return `(source, wiring)`: the tensor behind `x`, and how it gets here.

    Goes back over layers that only lead activations elsewhere or do nothing
    at inference.
    """
    wiring = []
    while True:
        node = node_of(x)
        layer = node.operation
        if node.is_input or isinstance(layer, Encoder):
            return x, wiring
        if not layer_kinds.is_wiring(layer):
            return x, wiring
        wiring = [*layer_kinds.stages(layer), *wiring]
        x = node.input_tensors[0]


def is_current(x):
    """Return whether `x` is a sum over synapses rather than activations."""
    node = node_of(x)
    if type(node.operation) in layer_kinds.MERGES:
        return True
    kinds = [type(stage) for stage in layer_kinds.stages(node.operation)]
    if any(kind in fan_out.SYNAPTIC for kind in kinds):
        return True
    # Normalization and pooling of currents give currents.
    if _is_other_time_layer(node.operation) or all(
        kind in layer_kinds.WITHOUT_OPERATIONS for kind in kinds
    ):
        return any(is_current(origin(y)[0]) for y in node.input_tensors)
    return False


def _is_other_time_layer(layer):
    """Return whether `layer` is such as pooling with a memory."""
    return isinstance(layer, TimeLayer) and not isinstance(
        layer, (SpikingLayer, Readout, TimeFold)
    )


class TimeAxes:
    """Tells which tensors of a model have a time axis."""

    def __init__(self, nodes):
        self._nodes = nodes

    def has_time(self, x):
        """Return whether the symbolic tensor `x` has a time axis."""
        node = node_of(x)
        layer = node.operation
        if node.is_input:
            return self._feeds_time_layer(x)
        if isinstance(layer, (Encoder, TimeLayer)):
            return not isinstance(layer, Readout)
        return any(map(self.has_time, node.input_tensors))

    def frame(self, x):
        """Return the shape of one frame of `x`, without batch and time."""
        return tuple(x.shape[2 if self.has_time(x) else 1 :])

    def _feeds_time_layer(self, x):
        for node in self._nodes:
            if any(x is y for y in node.input_tensors):
                layer = node.operation
                if isinstance(layer, TimeLayer):
                    return True
                if not isinstance(layer, Encoder) and any(
                    map(self._feeds_time_layer, node.output_tensors)
                ):
                    return True
        return False
