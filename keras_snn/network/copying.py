"""A network once more, of other layers."""

import keras


def copied(network, inputs, layer_for):
    """Return what a network computes, by layers that take the place of its own.

    Args:
        network: A `Network`.
        inputs: List of the new symbolic inputs, in the order of its own.
        layer_for: Function of a node that returns what takes the place of its
            layer, asked once for each layer; None passes the input on.

    Returns:
        Tuple: the inputs and the outputs, in the structures that the model
        takes and returns; dict from the layers to what took their places.
    """
    layers = {}

    def visit(node, values):
        if node.layer not in layers:
            layers[node.layer] = layer_for(node)
        layer = layers[node.layer]
        if layer is None:
            return [values[node.inputs[0].key]]
        args, kwargs = node.arguments(values)
        return keras.tree.flatten(layer(*args, **kwargs))

    keys = [x.key for x in network.inputs]
    values = network.run(dict(zip(keys, inputs)), visit)
    outputs = [values[x.key] for x in network.outputs]
    return network.pack_inputs(inputs), network.pack(outputs), layers
