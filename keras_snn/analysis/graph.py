"""Where activations come from in a network."""

import math

import keras
import numpy as np

from keras_snn.layers import TimeFold
from keras_snn.layers.encoders import Encoder
from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network import kinds

# What is before or behind synapses without being any.
WITHOUT_SYNAPSES = (
    "normalization",
    "join",
    "maximum",
    "activation",
    "scaling",
)
LEADS_ON = ("wiring", "identity")


def is_wiring(node):
    """Return whether a node leads activations elsewhere and no more."""
    return all(
        kinds.of(stage).role in LEADS_ON and not interpolates(stage)
        for stage in node.stages
    )


def interpolates(layer):
    """Return whether `layer` mixes neighbours, as UpSampling2D may."""
    return getattr(layer, "interpolation", "nearest") != "nearest"


def origin(value):
    """Return `(source, wiring)`: the value behind, and how it gets here.

    Goes back over layers that only lead activations elsewhere or do nothing
    at inference.
    """
    wiring = []
    while True:
        node = value.node
        if node.is_input or isinstance(node.layer, Encoder):
            return value, wiring
        if not is_wiring(node):
            return value, wiring
        wiring = [*node.stages, *wiring]
        value = node.inputs[0]


def is_current(value):
    """Return whether a value is a sum over synapses, no activations."""
    node = value.node
    found = [kinds.of(stage) for stage in node.stages]
    if any(kind.role in ("synapses", "average", "merge") for kind in found):
        return True
    # Normalization and pooling of currents give currents.
    if _is_other_time_layer(node.layer) or all(
        kind.role in (*WITHOUT_SYNAPSES, *LEADS_ON) for kind in found
    ):
        return any(is_current(origin(x)[0]) for x in node.inputs)
    return False


def _is_other_time_layer(layer):
    """Return whether `layer` is such as pooling with a memory."""
    return isinstance(layer, TimeLayer) and not isinstance(
        layer, (SpikingLayer, Readout, TimeFold)
    )


def places(frame, wiring):
    """Return where each position behind `wiring` comes from.

    Args:
        frame: Shape of one frame.
        wiring: List of layers, first to last.

    Returns:
        Integer array of the shape of a frame behind the wiring. Positions of
        the frame are numbered from 1 in flat order; 0 is padding.
    """
    # Integers, which Keras does not cast to a policy's low precision.
    numbers = np.arange(1, math.prod(frame) + 1, dtype="int32")
    x = keras.ops.convert_to_tensor(numbers.reshape(1, *frame))
    for layer in wiring:
        if kinds.of(layer).role == "wiring":
            x = layer(x)
    return keras.ops.convert_to_numpy(x)[0]
