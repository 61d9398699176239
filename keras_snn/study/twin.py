"""The ordinary network of a spiking network's architecture."""

from __future__ import annotations

import itertools

import keras

from keras_snn import layers
from keras_snn.layers.encoders import Encoder
from keras_snn.layers.readouts import Readout
from keras_snn.network import kinds, read


def ordinary_twin(model: keras.Model, seed: int | None = None) -> keras.Model:
    """Return the network of the same layers with ReLU instead of spikes.

    Neurons become ReLU; encoders, neurons after a pooling, and readouts go;
    dropout stays, and every synapse is a layer of the same configuration with
    new weights. The output is class scores (logits).

    Args:
        model: Functional model of one input and one output, e.g. of
            `keras_snn.models`.
        seed: Seed of the new weights; None for random ones.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        ValueError: If a layer has no ordinary counterpart.

    Example:

    >>> ann = ordinary_twin(keras_snn.models.LeNet())
    """
    network = read(model, "ordinary_twin")
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ValueError(
            "ordinary_twin() expects a model of one input and one output. "
            f"'{model.name}' has {len(network.inputs)} and "
            f"{len(network.outputs)}."
        )
    # A seed of its own for each layer: equal seeds are equal weights.
    seeds = itertools.repeat(None) if seed is None else itertools.count(seed)
    if not any(isinstance(layer, Encoder) for layer in network.layers):
        raise ValueError(
            "ordinary_twin() expects a model with an encoder, whose input is "
            f"the ordinary network's too. '{model.name}' has none."
        )
    inputs = keras.Input(network.inputs[0].shape[1:], name="images")
    made = {}

    def visit(node, values):
        args = [values[x.key] for x in node.inputs]
        if node.layer not in made:
            made[node.layer] = _counterpart(node, seeds)
        after = made[node.layer]
        if after is None:
            return [args[0]]
        return [after(args if len(args) > 1 else args[0])]

    values = network.run({network.inputs[0].key: inputs}, visit)
    outputs = values[network.outputs[0].key]
    return keras.Model(inputs, outputs, name=f"{model.name}_ann")


def _counterpart(node, seeds):
    """Return the ordinary layer for a spiking one; None for the identity."""
    layer = node.layer
    if isinstance(layer, (Encoder, Readout)):
        return None
    if isinstance(layer, layers.IF) and _follows_pooling(node):
        # Pooling neurons pass on what they receive.
        return None
    if isinstance(layer, layers.LIF):
        return keras.layers.ReLU(name=layer.name)
    if isinstance(layer, layers.TimeConstantDropout):
        return keras.layers.Dropout(layer.rate, name=layer.name)
    if isinstance(layer, layers.TimeFold):
        return _fresh(layer.layer, seeds)
    if isinstance(layer, (keras.layers.Add, keras.layers.Activation)):
        return type(layer).from_config(layer.get_config())
    raise ValueError(
        f"Layer '{layer.name}' ({type(layer).__name__}) has no counterpart in "
        "an ordinary network."
    )


def _follows_pooling(node):
    stages = node.inputs[0].node.stages
    return kinds.of(stages[-1]).role == "average"


def _fresh(layer, seeds):
    """Return a layer of the same configuration with new weights."""
    config = layer.get_config()
    if "kernel_initializer" in config:
        config["kernel_initializer"] = keras.initializers.HeNormal(
            seed=next(seeds)
        )
    return type(layer).from_config(config)
