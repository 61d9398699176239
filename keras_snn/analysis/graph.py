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
# Spikes behind these are counted as they are.
SEEN_THROUGH = {"normalization", "scaling", *LEADS_ON}


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


def arrivals(value):
    """Return what gets to a value without having crossed a synapse.

    Normalizations and scalings are seen through: their bias is counted apart.

    Returns:
        List of pairs: a `Value` of activations, and where each position of
        `value` comes from in it, as `places` has it.
    """
    wiring = []
    while True:
        value, before = origin(value)
        wiring = [*before, *wiring]
        if is_current(value):
            break
        node = value.node
        roles = {kinds.of(x).role for x in node.stages}
        if node.is_input or not roles <= SEEN_THROUGH:
            return [(value, places(value.frame, wiring))]
        wiring = [*node.stages, *wiring]
        value = node.inputs[0]
    join = value.node
    if kinds.of(join.layer).role != "join":
        return []
    found = []
    for number, x in enumerate(join.inputs):
        for source, at in arrivals(x):
            frames = [np.zeros(y.frame, "int32") for y in join.inputs]
            frames[number] = at
            # With the axes of a sequence.
            joined = join.layer([y[None, None] for y in frames])
            found.append((source, _through(wiring, joined[:, 0])))
    return found


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
    return _through(wiring, numbers.reshape(1, *frame))


def _through(wiring, x):
    """Return the frame that a batch of one becomes, as an array."""
    x = keras.ops.convert_to_tensor(x)
    for layer in wiring:
        if kinds.of(layer).role == "wiring":
            x = layer(x)
    return keras.ops.convert_to_numpy(x)[0]
