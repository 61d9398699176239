"""Surrogate derivatives: objects for any `learning_rule` argument."""

from keras_snn.neurons.surrogates import (
    Arctan,
    Boxcar,
    FastSigmoid,
    Sigmoid,
    Surrogate,
    Triangle,
)

__all__ = [
    "Arctan",
    "Boxcar",
    "FastSigmoid",
    "Sigmoid",
    "Surrogate",
    "Triangle",
]
