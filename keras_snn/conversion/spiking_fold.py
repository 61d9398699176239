"""A spiking network without normalizations, equal to it in inference."""

from __future__ import annotations

import collections

import keras

from keras_snn.conversion import folding
from keras_snn.conversion.plan import Op, fresh_layer
from keras_snn.layers import TimeFold
from keras_snn.layers.standardized import Standardized
from keras_snn.models import Model
from keras_snn.network import copied, kinds, read, weights

ALONE = "it shares a TimeFold with others. Give each layer one of its own"
SHARED = "it is called more than once, or the layer before it is"
NOTHING = (
    "no convolution or dense layer without an activation stands before it, "
    "directly or before an average pooling, whose output goes nowhere else"
)


def fold(model: keras.Model) -> keras.Model:
    """Return a spiking network's equal without normalizations, for inference.

    Batch normalizations go into the weights before them, with their moving
    averages, also past an average pooling:

        W <- W * a,   b <- a * b + c
        a = gamma / sqrt(variance + epsilon),   c = beta - a * mean

    and standardized layers become plain ones with their effective weights.
    What is left is what neuromorphic chips, other programs and streams take:
    convolutions and dense layers with a bias. Outputs are those of the model
    but for rounding, which may move a spike.

    Args:
        model: A functional, Sequential or nested spiking model. It stays as
            it is.

    Returns:
        A `keras_snn.Model` with weights of its own.

    Raises:
        ValueError: Naming all normalizations that cannot be folded, or if the
            model cannot be read.

    Example:

    >>> plain = keras_snn.conversion.fold(model)
    >>> step = keras_snn.streaming(plain)
    """
    network = read(model, "fold")
    folded = _Folded(network)
    inputs = [
        keras.Input(
            batch_shape=x.shape, dtype=x.symbol.dtype, name=x.node.layer.name
        )
        for x in network.inputs
    ]
    inputs, outputs, _ = copied(network, inputs, folded.layer_for)
    folded.copy_weights()
    return Model(inputs, outputs, name=model.name)


class _Folded:
    """The layers that take the place of a network's."""

    def __init__(self, network):
        self.network = network
        self._calls = collections.Counter(x.layer for x in network.nodes)
        self._gone, self._ops, self._weighted = set(), {}, []
        self._plan()

    def _plan(self):
        """Decide what goes, and into which weights."""
        problems = []
        for node in self.network.nodes:
            stages = [] if node.is_input else node.stages
            if any(isinstance(x, Standardized) for x in stages):
                self._op(node)
            if not any(map(kinds.is_normalization, stages)):
                continue
            problem = self._fold_one(node, stages)
            if problem:
                problems.append(f"- '{node.name}': {problem}")
        if problems:
            raise ValueError(
                f"'{self.network.name}' has normalizations that cannot be "
                "folded:\n" + "\n".join(problems)
            )

    def _fold_one(self, node, stages):
        """Fold a normalization; return why it cannot be, or None."""
        if len(stages) > 1:
            return ALONE
        (norm,) = stages
        rank = len(node.output.frame) + (norm is node.layer) + 1
        if norm.axis not in (-1, rank - 1):
            return f"axis={norm.axis}; only the last axis is known"
        before = self._synapses_before(node)
        if before is None:
            return NOTHING
        if self._calls[node.layer] + self._calls[before.layer] > 2:
            return SHARED
        folding.into_outputs(self._op(before), *folding.affine(norm))
        self._gone.add(node)
        return None

    def _synapses_before(self, node):
        """Return the node of weights that only `node` takes from, or None."""
        results = {x.key for x in self.network.outputs}
        while len(node.inputs) == 1:
            (current,) = node.inputs
            if len(current.takers) > 1 or current.key in results:
                return None
            node = current.node
            stages = [] if node.is_input else node.stages
            roles = [kinds.of(x).role for x in stages]
            if roles == ["synapses"]:
                return node if _takes_a_map(stages[0]) else None
            if roles != ["average"]:
                return None
        return None

    def _op(self, node):
        """Return the weights of a node as an operation of conversion."""
        if node.layer not in self._ops:
            (layer,) = node.stages
            source = Op("input", "input", None, [], node.inputs[0].frame)
            self._ops[node.layer] = Op(
                "synapses",
                layer.name,
                layer,
                [source],
                node.output.frame,
                weights.effective(layer),
            )
        return self._ops[node.layer]

    def layer_for(self, node):
        """Return what takes the place of a node's layer; None for nothing."""
        layer = node.layer
        if node in self._gone:
            return None
        if layer in self._ops:
            plain = fresh_layer(self._ops[layer])
            if hasattr(plain, "activation"):  # an Affine has none
                plain.activation = self._ops[layer].layer.activation
            is_fold = isinstance(layer, TimeFold)
            return TimeFold(plain, name=layer.name) if is_fold else plain
        if not isinstance(layer, keras.Layer):  # a function of keras.ops
            return layer
        fresh = type(layer).from_config(layer.get_config())
        self._weighted.append((layer, fresh))
        return fresh

    def copy_weights(self):
        """Give the layers that stay as they are their weights."""
        for layer, fresh in self._weighted:
            fresh.set_weights(layer.get_weights())


def _takes_a_map(layer):
    """Return whether an affine map behind a layer may go into its weights."""
    return (
        kinds.activation(layer) == "linear"
        and getattr(layer, "use_scale", True)
        and not isinstance(layer, keras.layers.EinsumDense)
    )
