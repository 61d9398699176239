"""Decays and thresholds of neurons that train with the weights."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_snn import checks
from keras_snn.neurons.surrogates import Surrogate
from keras_snn.typing import PerNeuron, Tensor

# In which each stays, at least this far from an end that it must not reach.
LEAST = 1e-6
INTERVALS = {"beta": (LEAST, 1.0), "threshold": (LEAST, float("inf"))}


@keras.saving.register_keras_serializable(package="keras_snn")
class Between(keras.constraints.Constraint):
    """Keeps each number of a weight from `low` to `high`."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = float(low), float(high)

    def __call__(self, w: Tensor) -> Tensor:
        return ops.clip(w, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}


class LearnedNumbers:
    """A mixin of neurons with `beta` and `threshold` that may be weights.

    A number that is trained is a weight from `build` on, of the shape in which
    it was given; the attribute of its name is that variable then.
    """

    trainable_beta = False
    trainable_threshold = False
    # What the layer has.
    name: str
    learning_rule: Any
    reset: Any
    add_weight: Any

    def train_numbers(self, beta: bool, threshold: bool) -> None:
        """Take the arguments `trainable_beta` and `trainable_threshold`.

        Raises:
            ValueError: If the layer's rule has no derivative to them.
        """
        self.trainable_beta = checks.flag("trainable_beta", beta)
        self.trainable_threshold = checks.flag("trainable_threshold", threshold)
        self._given = {name: getattr(self, name) for name in INTERVALS}
        rule = self.learning_rule
        if self.trained_numbers and not isinstance(rule, Surrogate):
            name = f"trainable_{self.trained_numbers[0]}"
            raise ValueError(
                f"`{name}=True` of {type(self).__name__} '{self.name}' needs "
                "backpropagation through time, by a surrogate, e.g. "
                f'learning_rule="arctan". Received: learning_rule={rule!r}, a '
                "rule for currents, that has no derivative to a neuron's own "
                "numbers."
            )

    @property
    def trained_numbers(self) -> list[str]:
        """Names of the numbers that are weights."""
        flags = {
            "beta": self.trainable_beta,
            "threshold": self.trainable_threshold,
        }
        return [name for name, trains in flags.items() if trains]

    def build_numbers(self) -> None:
        """Make the weights, in `build`."""
        for name in self.trained_numbers:
            given = self._given[name]
            weight = self.add_weight(
                shape=np.shape(given),
                initializer=functools.partial(_first_value, given),
                constraint=Between(*INTERVALS[name]),
                # In low precision a slow decay would be no decay.
                dtype="float32",
                autocast=False,
                name=name,
            )
            setattr(self, name, weight)

    def number_now(self, name: str) -> Any:
        """Return a number for computing: as it was given, or a tensor."""
        value = getattr(self, name)
        if isinstance(value, keras.Variable):
            # A tensor of its own: no variable inside of gradients of ours.
            return ops.copy(value)
        return value

    @property
    def neuron_now(self) -> dict[str, Any]:
        """Decay, threshold and reset as they are now."""
        return {
            "beta": self.number_now("beta"),
            "threshold": self.number_now("threshold"),
            "reset": self.reset,
        }

    def given_number(self, name: str) -> PerNeuron:
        """Return the number that the layer was made with, for its config."""
        return checks.in_config(self._given[name])

    def config_of_training(self) -> dict[str, bool]:
        """Return the flags that are set, for the config."""
        return {f"trainable_{name}": True for name in self.trained_numbers}


def _first_value(value, shape, dtype=None):
    return ops.broadcast_to(ops.convert_to_tensor(value, dtype), shape)
