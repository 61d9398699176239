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
    raw = [x for x in network.outputs if isinstance(x.node.layer, Readout)]
    wrong = [x for x in keras.tree.flatten(loss) if _takes_probabilities(x)]
    if raw and wrong:
        (loss, *_) = wrong
        kind = loss if isinstance(loss, str) else type(loss).__name__
        warnings.warn(
            f"The loss {kind} expects probabilities, and '{network.name}' ends "
            f"in '{raw[0].node.name}', whose outputs are none. Use "
            "keras_snn.losses.CrossEntropy(), which takes them as logits, or "
            "put keras.layers.Softmax() behind it.",
            stacklevel=3,
        )


def _takes_probabilities(loss):
    if isinstance(loss, str):
        return loss.lower() in PROBABILITIES or loss.endswith("Crossentropy")
    return (
        type(loss).__module__.startswith("keras.")
        and getattr(loss, "name", None) in PROBABILITIES
        and not loss.get_config().get("from_logits", False)
    )
