"""One time step of a spiking neuron, as pure functions.

Conventions, the same everywhere in this package:

- the input current is added before the threshold test and is not scaled by
  `1 - beta`;
- the test is strict: a neuron at exactly the threshold does not fire;
- the reset follows the spike within the step, and the leak follows the
  reset, so a soft-reset residual decays too;
- `beta` is the fraction of the potential kept after one time step.
"""

from __future__ import annotations

from keras import ops

from keras_snn import checks
from keras_snn.typing import PerNeuron, Reset, Tensor


def fire(membrane_potential: Tensor, threshold: PerNeuron = 1.0) -> Tensor:
    """Return the spikes (0 or 1) of the integrated potential.

        s = 1 where u > threshold, else 0

    NaN stays NaN, as what is broken should be seen. Infinity is above every
    threshold, minus infinity below.

    Args:
        membrane_potential: Tensor `u`, the potential after integration and
            before the reset.
        threshold: Firing threshold, in the unit of the potential.

    Returns:
        Tensor of the shape and dtype of `membrane_potential`.

    Raises:
        ValueError: If the potential is no float tensor, or the threshold a
            number that is not positive.
    """
    checks.tensor("membrane_potential", membrane_potential)
    threshold, _ = checks.neuron(threshold)
    return above(membrane_potential, threshold)


def above(x, bound):
    """Return 1 where `x > bound`, NaN where `x` is NaN, else 0."""
    return ops.where(ops.isnan(x), x, ops.cast(ops.greater(x, bound), x.dtype))


def reset_and_leak(
    membrane_potential: Tensor,
    spikes: Tensor,
    beta: PerNeuron = 0.99,
    threshold: PerNeuron = 1.0,
    reset: Reset = "zero",
) -> Tensor:
    """Return the potential at the end of a step.

        v = beta * u * (1 - s)             reset="zero"
        v = beta * (u - threshold * s)     reset="subtract"

    An infinite potential that spikes is NaN after `reset="zero"`.

    Args:
        membrane_potential: Tensor `u`, the potential after integration.
        spikes: Tensor `s` of 0 and 1 from `fire`.
        beta: Decay per time step, in (0, 1]. 1 is no leak.
        threshold: Firing threshold.
        reset: `"zero"` (hard) or `"subtract"` (soft).

    Returns:
        Tensor `v` of the shape of `membrane_potential`.

    Raises:
        ValueError: For numbers out of range, or an unknown reset.
    """
    threshold, beta = checks.neuron(threshold, reset, beta)
    if reset == "zero":
        kept = membrane_potential * (1.0 - spikes)
    else:
        kept = membrane_potential - threshold * spikes
    no_leak = not hasattr(beta, "shape") and beta == 1.0
    return kept if no_leak else beta * kept


def lif_step(
    membrane_potential: Tensor,
    current: Tensor,
    beta: PerNeuron = 0.99,
    threshold: PerNeuron = 1.0,
    reset: Reset = "zero",
) -> tuple[Tensor, Tensor]:
    """Advance leaky integrate-and-fire neurons by one time step.

        u = v + I
        s = 1 where u > threshold, else 0
        v = beta * reset(u, s)

    Args:
        membrane_potential: Tensor `v` from the step before.
        current: Tensor `I`, the input current of this step.
        beta: Decay per time step, in (0, 1].
        threshold: Firing threshold.
        reset: `"zero"` or `"subtract"`.

    Returns:
        Tuple `(spikes, membrane_potential)`.

    References:
        - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119)
    """
    checks.tensor("membrane_potential", membrane_potential)
    checks.tensor("current", current)
    u = membrane_potential + current
    spikes = fire(u, threshold)
    return spikes, reset_and_leak(u, spikes, beta, threshold, reset)


def if_step(
    membrane_potential: Tensor,
    current: Tensor,
    threshold: PerNeuron = 1.0,
    reset: Reset = "zero",
) -> tuple[Tensor, Tensor]:
    """Advance integrate-and-fire neurons (no leak) by one time step.

    `lif_step` with `beta = 1`.
    """
    return lif_step(membrane_potential, current, 1.0, threshold, reset)
