"""Learning rules with settings: objects for `learning_rule` arguments."""

from keras_snn.neurons.rate import Rate

__all__ = ["Rate"]
