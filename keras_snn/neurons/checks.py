"""Validation shared by the neuron functions and their layers."""

import math
import numbers

RESETS = ("zero", "subtract")


def real_number(name, value):
    """Return `value` as a float, or raise a `ValueError` naming it."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(
            f"`{name}` must be a real number. Received: {name}={value!r} "
            f"(of type {type(value).__name__})."
        )
    return float(value)


def decay(beta, tau, default=None):
    """Return the decay per step from exactly one of `beta` and `tau`.

    `beta = exp(-1 / tau)`, `tau` in time steps.
    """
    if beta is not None and tau is not None:
        raise ValueError(
            "Give either `beta` (decay per step) or `tau` (time constant in "
            f"steps), not both. Received: beta={beta!r}, tau={tau!r}."
        )
    if tau is not None:
        tau = real_number("tau", tau)
        if not tau > 0.0:
            raise ValueError(
                "`tau` must be a positive number of time steps; "
                f"beta = exp(-1 / tau). Received: tau={tau}."
            )
        return math.exp(-1.0 / tau)
    beta = real_number("beta", default if beta is None else beta)
    if not 0.0 < beta <= 1.0:
        raise ValueError(
            f"`beta` must lie in (0, 1]. Received: beta={beta}. For a time "
            "constant in steps pass `tau`, which sets beta = exp(-1 / tau)."
        )
    return beta


def fraction(name, value):
    """Return `value` as a float in [0, 1], what is kept from step to step."""
    value = real_number(name, value)
    if not 0.0 <= value <= 1.0:
        raise ValueError(
            f"`{name}` must lie in [0, 1], the fraction kept after a time "
            f"step. Received: {name}={value}. For a time constant of tau "
            f"steps use {name}=exp(-1 / tau)."
        )
    return value


def positive_threshold(threshold):
    """Return `threshold` as a positive, finite float."""
    threshold = real_number("threshold", threshold)
    if not 0.0 < threshold < math.inf:
        raise ValueError(
            "`threshold` must be positive and finite; to make a neuron more "
            f"excitable lower it towards 0. Received: threshold={threshold}."
        )
    return threshold


def potential(value):
    """Return an initial potential as a finite float."""
    value = real_number("initial_potential", value)
    if not math.isfinite(value):
        raise ValueError(
            "`initial_potential` must be finite, in the unit of the "
            f"threshold. Received: initial_potential={value}."
        )
    return value


def positive_integer(name, value, meaning):
    """Return `value` as a positive int.

    Args:
        name: What the argument is called.
        value: What was given.
        meaning: What it is the number of, for the message.
    """
    is_int = isinstance(value, numbers.Integral)
    if not is_int or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{name}` must be a positive integer, {meaning}. "
            f"Received: {name}={value!r}."
        )
    return int(value)


def batch_size(value):
    """Return `value` as a positive int."""
    return positive_integer(
        "batch_size", value, "the number of samples run at once"
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
