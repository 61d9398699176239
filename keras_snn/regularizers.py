"""Regularizers of spike rates, for `activity_regularizer=` of a layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.typing import Tensor

_VERSION = tuple(map(int, keras.version().split(".")[:2]))
# Whether layers divide penalties of their activity by the batch size.
_LAYERS_DIVIDE = _VERSION >= (3, 14)


class _RateRegularizer(keras.regularizers.Regularizer):
    """A penalty on each neuron's rate over a batch and all steps.

    From Keras 3.14 on, a layer divides what its activity regularizer returns by
    the batch size; this multiplies by it there, so that the loss does not
    depend on it.
    """

    # Masked ones, too, of which it is told nothing: layers refuse that.
    counts_all_steps = True

    def __call__(self, spikes):
        if not _LAYERS_DIVIDE:
            return self.penalty(spikes)
        return ops.cast(ops.shape(spikes)[0], "float32") * self.penalty(spikes)

    def penalty(self, spikes):
        """Return what is added to the loss."""
        rates = ops.mean(ops.cast(spikes, "float32"), axis=(0, 1))
        return self.weight * ops.mean(ops.square(self.deviation(rates)))

    def deviation(self, rates):
        """Return how far each rate is from where it may be."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="keras_snn")
class SpikeRate(_RateRegularizer):
    """Holds each neuron's rate at a target, or below a bound.

        r_n = mean over batch and time of s_n(t)
        loss += weight * mean_n (r_n - target)^2
        loss += weight * mean_n max(0, r_n - upper)^2

    A spike costs energy wherever it arrives, so a bound buys a cheaper
    network for some accuracy. The first form is that of the paper; it drives
    lazy neurons up, too.

    All learning rules pass its gradient on. By `"rate"` and `"collapsed"` a
    `keras_snn.Model` trains in one pass all the same.

    Args:
        target: Rate in spikes a step, in [0, 1]. Give it or `upper`.
        upper: Highest rate without penalty, in [0, 1].
        weight: Factor of the penalty, at least 0. Defaults to 1. A loss that
            is summed over the batch needs a larger one than a mean.

    Raises:
        ValueError: For arguments out of range, or not one of `target` and
            `upper`.

    Example:

    >>> quiet = keras_snn.regularizers.SpikeRate(upper=0.1, weight=5.0)
    >>> layer = keras_snn.layers.PLIF(activity_regularizer=quiet)

    References:
        - [Bellec et al., 2018](https://arxiv.org/abs/1803.09574)
    """

    def __init__(
        self,
        target: float | None = None,
        upper: float | None = None,
        weight: float = 1.0,
    ) -> None:
        if (target is None) == (upper is None):
            raise ValueError(
                "Give either `target`, the rate to hold, or `upper`, the "
                "highest rate without penalty. "
                f"Received: target={target!r}, upper={upper!r}."
            )
        self.target = None if target is None else _rate("target", target)
        self.upper = None if upper is None else _rate("upper", upper)
        self.weight = _weight(weight)

    def deviation(self, rates: Tensor) -> Tensor:
        if self.target is not None:
            return rates - self.target
        return ops.relu(rates - self.upper)

    def get_config(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "upper": self.upper,
            "weight": self.weight,
        }


@keras.saving.register_keras_serializable(package="keras_snn")
class Silence(_RateRegularizer):
    """Wakes neurons that fire too rarely.

        r_n = mean over batch and time of s_n(t)
        loss += weight * mean_n max(0, lower - r_n)^2

    A silent neuron passes no gradient on by `"exact"` and `"collapsed"`,
    which credit spikes: with these this keeps rare spikes from dying out, but
    wakes no neuron that is silent for a whole batch. `"rate"` and surrogates
    do, where the potential comes near enough to the threshold. For a network
    that is silent from the start there is `keras_snn.models.scale_to_rate`.

    By `"rate"` and `"collapsed"` a `keras_snn.Model` trains in one pass all
    the same.

    Args:
        lower: Lowest rate without penalty in spikes a step, in [0, 1].
            Defaults to 0.01.
        weight: Factor of the penalty, at least 0. Defaults to 1. A loss that
            is summed over the batch needs a larger one than a mean.

    Raises:
        ValueError: For arguments out of range.

    Example:

    >>> awake = keras_snn.regularizers.Silence(lower=0.02, weight=10.0)
    >>> layer = keras_snn.layers.LIF(
    ...     learning_rule="arctan", activity_regularizer=awake
    ... )

    References:
        - [Zenke and Vogels, 2021](https://doi.org/10.1162/neco_a_01367), "The
          Remarkable Robustness of Surrogate Gradient Learning"
    """

    def __init__(self, lower: float = 0.01, weight: float = 1.0) -> None:
        self.lower = _rate("lower", lower)
        self.weight = _weight(weight)

    def deviation(self, rates: Tensor) -> Tensor:
        return ops.relu(self.lower - rates)

    def get_config(self) -> dict[str, Any]:
        return {"lower": self.lower, "weight": self.weight}


def _rate(name, value):
    return checks.number(name, value, "[0, 1]", "spikes a neuron and step")


def _weight(value):
    return checks.number(
        "weight", value, "[0, inf)", "the factor of the penalty"
    )
