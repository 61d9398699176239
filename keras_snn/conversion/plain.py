"""The ordinary Keras network of a graph."""

import keras
import numpy as np

from keras_snn import checks, progress
from keras_snn.conversion.plan import fresh_layer
from keras_snn.running import tracing


def build(graph, replace=None):
    """Return `(inputs, values)`: the graph as an ordinary Keras network.

    Args:
        graph: A `Graph`.
        replace: Dict from operations to layers that take their place.

    Returns:
        The symbolic input, and a dict from operations to symbolic outputs.
    """
    replace = replace or {}
    inputs = keras.Input(graph.input.shape, name="input")
    values = {graph.input: inputs}
    for op in graph.ops[1:]:
        layer = replace.get(op) or fresh_layer(op)
        args = [values[x] for x in op.inputs]
        values[op] = layer(args if len(args) > 1 else args[0])
    return inputs, values


def reference(graph, ops):
    """Return the ordinary network with the outputs of `ops` as its outputs."""
    inputs, values = build(graph)
    return keras.Model(inputs, [values[op] for op in ops], name="reference")


def predict_batches(model, x, batch_size, doing):
    """Yield `(batch, outputs)`, outputs a list of NumPy arrays."""
    starts = range(0, len(x), checks.batch_size(batch_size))
    for start in progress.display().track(starts, doing):
        batch = x[start : start + batch_size]
        outputs = tracing.predict_on_batch(model, batch)
        yield (
            batch,
            [np.asarray(y, "float32") for y in keras.tree.flatten(outputs)],
        )
