"""Checks of arguments that several functions and layers have in common."""

import math

import numpy as np

from keras_snn.checks.scalars import (
    array,
    constant,
    integer,
    is_integer,
    number,
    number_or_array,
    real_number,
)

RESETS = ("zero", "subtract")
# What a number has to be in, what it means, and what helps.
BETA = (
    "(0, 1]",
    "",
    "For a time constant in steps pass `tau`, which sets beta = exp(-1 / tau).",
)
THRESHOLD = (
    "(0, inf)",
    "",
    "To make a neuron more excitable lower it towards 0.",
)


def decay(beta, tau, default=None):
    """Return the decay per step from exactly one of `beta` and `tau`.

    `beta = exp(-1 / tau)`, `tau` in time steps.
    """
    beta = _decay_given(beta, tau, default, arrays=False)
    return number("beta", beta, *BETA)


def decays(beta, tau, default=None):
    """Return the decay per step as `decay` does, or an array of one a neuron.

    `number_or_array` says which arrays.
    """
    beta = _decay_given(beta, tau, default, arrays=True)
    return number_or_array("beta", beta, BETA[0], BETA[2])


def _decay_given(beta, tau, default, arrays):
    if beta is not None and tau is not None:
        raise ValueError(
            "Give either `beta` (decay per step) or `tau` (time constant in "
            f"steps), not both. Received: beta={beta!r}, tau={tau!r}."
        )
    if tau is not None:
        if arrays and array("tau", tau).ndim:
            tau = number_or_array("tau", tau, "(0, inf]")
            return np.exp(-1.0 / tau)
        tau = real_number("tau", tau)
        if not tau > 0.0:
            raise ValueError(
                "`tau` must be a positive number of time steps; "
                f"beta = exp(-1 / tau). Received: tau={tau}."
            )
        return math.exp(-1.0 / tau)
    return default if beta is None else beta


def fraction(name, value):
    """Return `value` as a float in [0, 1], what is kept from step to step."""
    return number(
        name,
        value,
        "[0, 1]",
        "the fraction kept after a time step",
        f"For a time constant of tau steps use {name}=exp(-1 / tau).",
    )


def fractions(name, value):
    """Return `value` as `fraction` does, or an array of one a neuron."""
    if not array(name, value).ndim:
        return fraction(name, value)
    return number_or_array(name, value, "[0, 1]")


def positive_threshold(threshold):
    """Return `threshold` as a positive, finite float."""
    return number("threshold", threshold, *THRESHOLD)


def thresholds(threshold):
    """Return one positive, finite threshold, or an array of one a neuron."""
    return number_or_array("threshold", threshold, THRESHOLD[0], THRESHOLD[2])


def broadcasts(layer, frame_shape):
    """Raise a `ValueError` if a layer's constants do not fit its neurons.

    Args:
        layer: The layer, whose numbers in `per_neuron` may be arrays.
        frame_shape: Its features, without batch and time; None is unknown.
    """
    for name in layer.per_neuron:
        shape = np.shape(getattr(layer, name, 1.0))
        fits = len(shape) <= len(frame_shape) and all(
            ours in (1, theirs) or theirs is None
            for ours, theirs in zip(shape[::-1], frame_shape[::-1])
        )
        if not fits:
            raise ValueError(
                f"`{name}` of {type(layer).__name__} '{layer.name}' must be "
                "one number, or an array that broadcasts to the layer's "
                f"neurons, of shape {tuple(frame_shape)}. Received: an array "
                f"of shape {shape}. One value a channel has the shape "
                f"({frame_shape[-1]},)."
            )


def neuron(threshold, reset="zero", beta=1.0):
    """Return `(threshold, beta)` of one step: floats, or tensors."""
    reset_mode(reset)
    threshold = constant("threshold", threshold, *THRESHOLD)
    return threshold, constant("beta", beta, *BETA)


def potential(value):
    """Return an initial potential as a finite float."""
    return number(
        "initial_potential",
        value,
        "(-inf, inf)",
        "in the unit of the threshold",
    )


def batch_size(value):
    """Return `value` as a positive int."""
    return integer("batch_size", value, 1, "the number of samples run at once")


def time_steps(value):
    """Return `value` as a positive int."""
    return integer(
        "time_steps", value, 1, "the number of steps each input is shown for"
    )


def seed(value):
    """Return `value` as an int, or None."""
    if value is None:
        return None
    if not is_integer(value):
        raise ValueError(
            "`seed` must be an integer, or None for a random one. "
            f"Received: seed={value!r}."
        )
    if not 0 <= value < 2**32:
        raise ValueError(
            "`seed` must be an integer from 0 to 2**32 - 1. "
            f"Received: seed={value!r}."
        )
    return int(value)


def max_rate(value):
    """Return `value` as a float in (0, 1]."""
    return number(
        "max_rate", value, "(0, 1]", "the spikes a step of an input of size 1"
    )


def levels(value):
    """Return `value` as a positive int."""
    return integer(
        "levels", value, 1, "the number of steps of the quantised activation"
    )


def percentile(value):
    """Return `value` as a float in (0, 100]."""
    return number(
        "percentile",
        value,
        "(0, 100]",
        "99.9 cuts off one activation in a thousand",
    )


def reset_mode(reset):
    """Return `reset` if it is one of `RESETS`."""
    if not isinstance(reset, str) or reset not in RESETS:
        raise ValueError(
            '`reset` must be "zero" (the potential is set to 0 after a spike) '
            'or "subtract" (the threshold is taken off). '
            f"Received: reset={reset!r}."
        )
    return reset
