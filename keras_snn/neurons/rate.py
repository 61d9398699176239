"""The rate rule: a neuron's derivative is that of its rate to a constant input.

References:
    - [Yu et al., NeurIPS 2024](https://arxiv.org/abs/2410.11488), "Advancing
      Training Efficiency of Deep Spiking Neural Networks through Rate-based
      Backpropagation".
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn.neurons import masks, surrogates
from keras_snn.typing import PerNeuron, Reset, Surrogate, Tensor


@keras.saving.register_keras_serializable(package="keras_snn")
class Rate:
    """Learning by rates: one backward pass on means over time.

    A neuron's spikes stand for their mean over time, and their derivative is
    that of this mean to a constant input current, by a surrogate and through
    the reset. With the potential `u` before the reset and
    `x(t) = u(t) - threshold`:

        e(t) = 1 + beta * k(t-1) * e(t-1);   e(0) = 0
        k(t) = 1 - s(t) - u(t) * surrogate'(x(t))      reset="zero"
        k(t) = 1 - threshold * surrogate'(x(t))        reset="subtract"
        g = sum_t surrogate'(x(t)) * e(t) / T
        D = g * mean_t(G)                              the same at all t

    Silent neurons are credited too, so that they may wake, and saturated ones
    are not as if they could fire more. The forward pass carries two more
    numbers a neuron; nothing kept for the backward pass grows with T. Take it
    for few time steps, and for deep networks that start silent.

    Args:
        surrogate: Object of `keras_snn.surrogates` or its name. Defaults to
            `"sigmoid"`, of slope 4. Where `threshold * surrogate'(0)` is
            above 2, `k` may fall below -1, and `e` grow with T.

    Raises:
        ValueError: If `surrogate` is no surrogate.

    Example:

    >>> rule = keras_snn.rules.Rate(keras_snn.surrogates.Sigmoid(slope=3))
    >>> keras_snn.layers.LIF(beta=0.5, learning_rule=rule)

    References:
        - [Yu et al., 2024](https://arxiv.org/abs/2410.11488)
    """

    def __init__(self, surrogate: Surrogate | str = "sigmoid") -> None:
        self.surrogate = surrogates.get(surrogate)

    def get_config(self) -> dict[str, Any]:
        surrogate = keras.saving.serialize_keras_object(self.surrogate)
        return {"surrogate": surrogate}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    def __eq__(self, other):
        if not isinstance(other, Rate):
            return NotImplemented
        return self.get_config() == other.get_config()

    def __hash__(self):
        return hash(type(self.surrogate))

    def __repr__(self):
        return f"Rate(surrogate={self.surrogate!r})"


def rate_step(
    membrane_potential: Tensor,
    spikes: Tensor,
    eligibility: Tensor,
    derivative: Tensor,
    surrogate: Surrogate,
    beta: PerNeuron = 0.99,
    threshold: PerNeuron = 1.0,
    reset: Reset = "zero",
) -> tuple[Tensor, Tensor]:
    """Carry the rate rule's derivative through one time step.

        e = 1 + eligibility
        derivative = derivative + surrogate'(u - threshold) * e
        eligibility = beta * k * e

    where `k = 1 - s - u * surrogate'(u - threshold)` for `reset="zero"` and
    `k = 1 - threshold * surrogate'(u - threshold)` for `"subtract"`.

    What is carried is `beta * k(t) * e(t)`, the derivative of the potential
    after reset and leak, `v(t)`, to a constant current. Both start at 0; after
    the last step `derivative / T` is the `g` of `rate_backward`.

    Args:
        membrane_potential: Tensor `u`, the potential after integration and
            before the reset.
        spikes: Tensor `s` of 0 and 1 from `fire`.
        eligibility: Tensor from the step before.
        derivative: Tensor, the sum over the steps before.
        surrogate: Object of `keras_snn.surrogates`.
        beta: Decay per time step, in (0, 1].
        threshold: Firing threshold.
        reset: `"zero"` or `"subtract"`.

    Returns:
        Tuple `(eligibility, derivative)`.

    References:
        - [Yu et al., 2024](https://arxiv.org/abs/2410.11488)
    """
    slope = surrogate.derivative(membrane_potential - threshold)
    e = 1.0 + eligibility
    if reset == "zero":
        kept = 1.0 - spikes - membrane_potential * slope
    else:
        kept = 1.0 - threshold * slope
    return beta * kept * e, derivative + slope * e


def rate_backward(
    upstream: Tensor, derivative: Tensor, time_steps: Tensor | None = None
) -> Tensor:
    """Return `dL/dI` of the rate rule, the same at every step.

        D = g * mean_t(G)

    Args:
        upstream: Tensor `G = dL/ds`, axes (batch, time, ...), 0 after step T.
        derivative: Tensor `g`, axes (batch, ...).
        time_steps: T of each sample, as in `masks.existing_first`, or None.
    """
    credit = derivative * masks.mean(upstream, time_steps)
    return ops.broadcast_to(ops.expand_dims(credit, 1), ops.shape(upstream))
