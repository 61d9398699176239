"""Neurons and learning rules as pure functions."""

from keras_snn.neurons.dynamics import fire, if_step, lif_step, reset_and_leak
from keras_snn.neurons.learning_rules import (
    collapsed_backward,
    exact_backward,
    leak_corrected_factor,
    spike_statistics,
    surrogate_backward,
)
from keras_snn.neurons.rate import rate_backward, rate_step

__all__ = [
    "collapsed_backward",
    "exact_backward",
    "fire",
    "if_step",
    "leak_corrected_factor",
    "lif_step",
    "rate_backward",
    "rate_step",
    "reset_and_leak",
    "spike_statistics",
    "surrogate_backward",
]
