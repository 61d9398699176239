"""From a model to a network of the runtime, in float32 or int8."""

import keras
import numpy as np

from keras_snn.event_driven.lowering import Program, Unknown
from keras_snn.layers import (
    LatencyEncoder,
    PoissonEncoder,
    RateEncoder,
    RepeatEncoder,
)
from keras_snn.network import read
from keras_snn_runtime import Network
from keras_snn_runtime import weights as runtime_weights

ENCODERS = {
    RepeatEncoder: "repeat",
    PoissonEncoder: "poisson",
    RateEncoder: "rate",
    LatencyEncoder: "latency",
}


def compiled(model, weights):
    """Return what `event_driven.compile` returns."""
    network = read(model, "compile")
    source, readout = _ends(network)
    try:
        program = Program(network, training=False)
    except Unknown as unknown:
        raise ValueError(
            f"'{model.name}' does not run event by event: {unknown}. "
            "model.predict runs it, and keras_snn.export.saved_model writes it."
        ) from None
    arrays = {
        name: np.asarray(keras.ops.convert_to_numpy(value()), "float32")
        for name, value in program.weights.items()
    }
    layer = source.node.layer
    encoder = ENCODERS.get(type(layer))
    found = runtime_weights.folded(program.operations, arrays)
    found = runtime_weights.pooled(*found)
    if weights == "int8":
        # Pixels are no spikes, and are multiplied once for all steps.
        pixels = [source.key] if encoder == "repeat" else []
        found = runtime_weights.quantized(*found, pixels)
    operations, arrays = runtime_weights.renamed(*found)
    return Network(
        model.name,
        source.shape[1],
        encoder
        and {"name": encoder, "max_rate": getattr(layer, "max_rate", 1.0)},
        operations,
        readout.normalize,
        arrays,
    )


def _ends(network):
    """Return the one source and the one readout of a network."""
    name = network.model.name
    if network.no_loop is not None:
        raise ValueError(
            f"'{name}' does not run step by step: {network.no_loop}."
        )
    before = [
        x
        for x in network.before
        if not x.is_input and type(x.layer) not in ENCODERS
    ]
    others = [x.layer.name for x in (*before, *network.after)]
    if others:
        raise ValueError(
            f"The runtime takes networks from an encoder to a readout. '{name}'"
            f" has {', '.join(others)} before or behind them: leave those to "
            "the program around it."
        )
    if len(network.sources) != 1 or len(network.outputs) != 1:
        raise ValueError(
            "The runtime takes networks of one input and one output. Received: "
            f"'{name}' with {len(network.sources)} and {len(network.outputs)}."
        )
    return network.sources[0], network.outputs[0].node.layer
