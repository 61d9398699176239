"""What a loss expects of the outputs, beside what a network gives."""

import warnings

import keras

from keras_snn.layers.readouts import Readout

PROBABILITIES = {
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "binary_crossentropy",
    "kl_divergence",
    "kld",
}


def warn_of_probabilities(network, loss):
    """Warn if a loss of probabilities gets a readout's potentials or counts.

    Their logarithm is taken as it stands, negative ones cut off: such a model
    does not learn, or stops at NaN.

    Args:
        network: The `Network`.
        loss: As in `compile`.
    """
    wrong = [
        (output, loss)
        for output, loss in _pairs(network, loss)
        if isinstance(output.node.layer, Readout) and _takes_probabilities(loss)
    ]
    if wrong:
        output, loss = wrong[0]
        kind = loss if isinstance(loss, str) else type(loss).__name__
        warnings.warn(
            f"The loss {kind} expects probabilities, and '{network.name}' ends "
            f"in '{output.node.name}', whose outputs are none. Use "
            "keras_snn.losses.CrossEntropy(), which takes them as logits, or "
            "put keras.layers.Softmax() behind it.",
            stacklevel=3,
        )


def _pairs(network, loss):
    """Return pairs of an output and its loss, as Keras makes them."""
    outputs = network.outputs
    if isinstance(loss, dict):
        named = network.pack(outputs)
        if not isinstance(named, dict):
            named = dict(zip(network.model.output_names, outputs))
        return [(named[name], loss[name]) for name in named.keys() & loss]
    losses = keras.tree.flatten(loss)
    if len(losses) != len(outputs):
        return [(output, x) for output in outputs for x in losses]
    return list(zip(outputs, losses))


def _takes_probabilities(loss):
    if isinstance(loss, str):
        return loss.lower() in PROBABILITIES or loss.endswith("Crossentropy")
    return (
        type(loss).__module__.startswith("keras.")
        and getattr(loss, "name", None) in PROBABILITIES
        and not loss.get_config().get("from_logits", False)
    )
