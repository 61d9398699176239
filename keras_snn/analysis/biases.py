"""Where a network adds biases.

A normalization becomes a bias of the layer before it, also past an average
pooling, as `keras_snn.conversion.fold` does it.
"""

import math

from keras_snn.analysis import graph
from keras_snn.layers import Affine
from keras_snn.network import kinds

# What a bias may be added before just as well.
LETS_PASS = ("average", *graph.LEADS_ON)


def added(node):
    """Return how many biases a node adds at each step.

    Args:
        node: A `Node` of a layer that works on frames.
    """
    if not any(map(_may_have_one, node.stages)):
        return 0
    before, shape = _chain(node)
    return _count([*before, *node.stages], shape) - _count(before, shape)


def has_bias(layer):
    """Return whether a layer of synapses adds a bias."""
    return getattr(layer, "use_bias", False) or isinstance(layer, Affine)


def _may_have_one(layer):
    return kinds.of(layer).role in ("synapses", "normalization")


def _chain(node):
    """Return the layers from synapses on to a node, and the frame before."""
    found = []
    (value,) = node.inputs
    while not value.node.is_input and len(value.node.inputs) == 1:
        roles = {kinds.of(x).role for x in value.node.stages}
        if not roles <= {"synapses", "normalization", *LETS_PASS}:
            break
        found = [*value.node.stages, *found]
        (value,) = value.node.inputs
        if "synapses" in roles:
            break
    return found, (None, *value.frame)


def _count(layers, shape):
    """Return the biases of layers, one behind the other, on a frame."""
    total, free = 0, None
    for layer in layers:
        shape = layer.compute_output_shape(shape)
        role = kinds.of(layer).role
        if role == "synapses":
            places = math.prod(shape[1:])
            total += places if has_bias(layer) else 0
            # Those that a normalization behind it adds.
            free = 0 if has_bias(layer) else places
        elif role == "normalization":
            total += math.prod(shape[1:]) if free is None else free
            free = 0
        elif role not in LETS_PASS:
            free = None
    return total
