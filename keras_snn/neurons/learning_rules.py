"""What the spike derivative is: the paper's rule, exact and collapsed.

Both credit a neuron through one number known after the forward pass, the
leak-corrected factor, and take no part in the potential's leak:

    total = sum_t s(t)                f(t) = beta * f(t-1) + s(t)
    factor = ([f(T) > 1e-3] + ln(beta) * f(T) / max(total, 1)) / threshold

The other rules are surrogates, through time, and `Rate`.

References:
    - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119), "Enabling
      Spike-Based Backpropagation for Training Deep Neural Network
      Architectures", Frontiers in Neuroscience 14:119.
"""

from __future__ import annotations

import math
import numbers

import keras
import numpy as np
from keras import ops

from keras_snn.neurons import masks, surrogates, time_loop
from keras_snn.neurons.rate import Rate, rate_backward
from keras_snn.neurons.surrogates import Surrogate
from keras_snn.typing import PerNeuron, Reset, Tensor

WHOLE_SEQUENCE_RULES = ("exact", "collapsed")


def get(learning_rule):
    """Return a rule's name (`"exact"`, `"collapsed"`) or its object.

    Args:
        learning_rule: `"exact"`, `"collapsed"`, the name of a surrogate
            (`"arctan"`, `"fast_sigmoid"`, `"sigmoid"`, `"triangle"`,
            `"boxcar"`), `"rate"`, or an object of `keras_snn.surrogates` or
            `keras_snn.rules`, also in its serialized form.

    Raises:
        ValueError: If the rule is unknown.
    """
    if isinstance(learning_rule, dict):
        learning_rule = keras.saving.deserialize_keras_object(learning_rule)
    if isinstance(learning_rule, (Surrogate, Rate)):
        return learning_rule
    if isinstance(learning_rule, str):
        if learning_rule in WHOLE_SEQUENCE_RULES:
            return learning_rule
        if learning_rule == "rate":
            return Rate()
        if learning_rule in surrogates.NAMES:
            return surrogates.NAMES[learning_rule]()
    known = ", ".join(
        f'"{n}"' for n in (*WHOLE_SEQUENCE_RULES, *surrogates.NAMES, "rate")
    )
    raise ValueError(
        f"`learning_rule` must be one of {known}, or an object of "
        "`keras_snn.surrogates` or `keras_snn.rules`, e.g. "
        "`keras_snn.surrogates.Arctan(alpha=2)`. "
        f"Received: learning_rule={learning_rule!r}."
    )


def get_surrogate(learning_rule, neuron, reason):
    """Return the surrogate of a neuron that learns through time only.

    Args:
        learning_rule: As in `get`.
        neuron: What the neuron is called in messages.
        reason: Why the paper's rules and `Rate` do not apply to it.

    Raises:
        ValueError: If the rule is unknown or no surrogate.
    """
    rule = get(learning_rule)
    if isinstance(rule, Surrogate):
        return rule
    received = f'"{rule}"' if isinstance(rule, str) else repr(rule)
    raise ValueError(
        f"{neuron} learns through time, by a surrogate, e.g. learning_rule="
        f'"arctan". Received: learning_rule={received}, a rule {reason}.'
    )


def serialize(learning_rule):
    """Return the form of a rule that goes into a layer's config."""
    if isinstance(learning_rule, str):
        return learning_rule
    return keras.saving.serialize_keras_object(learning_rule)


def get_factor(factor):
    """Return `factor` if it is `"leak_corrected"`, None or a positive number.

    None is the pooling neuron's constant derivative of 1.
    """
    if factor is None:
        return None
    if isinstance(factor, str) and factor == "leak_corrected":
        return factor
    is_number = isinstance(factor, numbers.Real) and not isinstance(
        factor, bool
    )
    if is_number and 0.0 < factor < math.inf:
        return float(factor)
    raise ValueError(
        '`factor` must be "leak_corrected" (computed from the spikes), None '
        "(the constant 1 of pooling neurons) or a positive number. "
        f"Received: factor={factor!r}."
    )


def log(beta):
    """Return the logarithm of a number, or of a float32 array, as such."""
    return np.log(beta) if np.ndim(beta) else math.log(beta)


def leak_corrected_factor(
    total: Tensor,
    trace: Tensor,
    beta: PerNeuron = 0.99,
    threshold: PerNeuron = 1.0,
) -> Tensor:
    """Return the approximate derivative of the spikes to the current.

        factor = ([f > 1e-3] + ln(beta) * f / max(total, 1)) / threshold

    It is 0 for a neuron that never fired.

    Args:
        total: Tensor, spikes of each neuron over all steps.
        trace: Tensor `f(T)`, the leaky trace of those spikes.
        beta: Decay per time step.
        threshold: Firing threshold.
    """
    fired = ops.cast(ops.greater(trace, 1e-3), trace.dtype)
    leak = log(beta) * trace / ops.maximum(total, 1.0)
    return (fired + leak) / threshold


def spike_statistics(
    spikes: Tensor, beta: PerNeuron = 0.99, time_steps: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return `(total, trace, t_last)` of spikes with axes (batch, time, ...).

    total = sum_t s(t)
    trace = sum_t beta^(T - t) * s(t)
    t_last = the step of the last spike, counted from 1; 0 if none

    Args:
        spikes: Tensor `s`, 0 after step T.
        beta: Decay per time step.
        time_steps: T of each sample, as in `masks.existing_first`, or None.
    """
    steps = time_loop.step_numbers(spikes)
    age = masks.steps_left(spikes, time_steps)
    weights = ops.exp(log(beta) * age)
    return (
        ops.sum(spikes, axis=1),
        ops.sum(weights * spikes, axis=1),
        # Of no samples, too.
        ops.max(steps * spikes, axis=1, initial=0.0),
    )


def resolve_factor(factor, total, trace, beta, threshold):
    """Return the derivative of each neuron as a tensor."""
    if factor == "leak_corrected":
        return leak_corrected_factor(total, trace, beta, threshold)
    return ops.full_like(total, 1.0 if factor is None else factor)


def exact_backward(
    spikes: Tensor,
    upstream: Tensor,
    factor: Tensor,
    unroll: bool = False,
    credit: Tensor | None = None,
) -> Tensor:
    """Return `dL/dI` of the exact rule.

        c(t) = factor * G(t) where s(t) else c(t+1);   D(t) = c(t)

    Every step is credited with the neuron's next spike; nothing after its
    last spike counts.

    Args:
        spikes: Tensor `s`, axes (batch, time, ...).
        upstream: Tensor `G = dL/ds`, axes (batch, time, ...).
        factor: Tensor, axes (batch, ...).
        unroll: See `time_loop.scan`.
        credit: Tensor `c(T+1)`, axes (batch, ...), what the spikes after
            these steps are credited with. Defaults to zero.
    """

    def step(carry, spikes, upstream):
        carry = ops.where(ops.greater(spikes, 0), factor * upstream, carry)
        return carry, carry

    return time_loop.scan(
        step,
        ops.zeros_like(factor) if credit is None else credit,
        (spikes, upstream),
        reverse=True,
        unroll=unroll,
    )


def collapsed_backward(
    upstream: Tensor,
    factor: Tensor,
    t_last: Tensor,
    time_steps: Tensor | None = None,
) -> Tensor:
    """Return `dL/dI` of the collapsed rule, the same at every step.

        D = factor * mean_t(G) * t_last / T

    Args:
        upstream: Tensor `G = dL/ds`, axes (batch, time, ...), 0 after step T.
        factor: Tensor, axes (batch, ...).
        t_last: Tensor, the step of each neuron's last spike, 0 if none.
        time_steps: T of each sample, as in `masks.existing_first`, or None.
    """
    count = masks.time_steps_of(upstream, time_steps)
    # Means over time, as in the rate rule, with another derivative.
    return rate_backward(upstream, factor * t_last / count, time_steps)


def surrogate_backward(
    potentials: Tensor,
    upstream: Tensor,
    surrogate: Surrogate,
    beta: PerNeuron,
    threshold: PerNeuron,
    reset: Reset,
    unroll: bool = False,
    upstream_v: Tensor | None = None,
    upstream_u: Tensor | None = None,
) -> Tensor:
    """Return `dL/dI` of backpropagation through time.

        d(t) = G(t) * surrogate'(u(t) - threshold) + U(t) + k(t) * d(t+1)
        k(t) = beta * (1 - s(t))    reset="zero"
        k(t) = beta                 reset="subtract"

    No derivative flows through the reset itself.

    Args:
        potentials: Tensor `u`, potentials before the reset, axes
            (batch, time, ...).
        upstream: Tensor `G = dL/ds`.
        surrogate: Object of `keras_snn.surrogates`.
        beta: Decay per time step.
        threshold: Firing threshold.
        reset: `"zero"` or `"subtract"`.
        unroll: See `time_loop.scan`.
        upstream_v: Tensor `d(T+1) = dL/dv(T)`, axes (batch, ...), what comes
            back from the steps after these. Defaults to zero.
        upstream_u: Tensor `U = dL/du`, of a loss that sees the potentials.
            Defaults to zero.
    """

    def step(carry, u, upstream, *of_u):
        x = u - threshold
        kept = beta * carry
        if reset == "zero":
            kept = ops.where(ops.greater(x, 0.0), 0.0, kept)
        carry = upstream * surrogate.derivative(x) + kept
        for own in of_u:
            carry = carry + own
        return carry, carry

    of_u = () if upstream_u is None else (upstream_u,)
    return time_loop.scan(
        step,
        ops.zeros_like(potentials[:, 0]) if upstream_v is None else upstream_v,
        (potentials, upstream, *of_u),
        reverse=True,
        unroll=unroll,
    )


def credit_of_numbers(
    learned, spikes, of_margin, later, kept, beta=1.0, reset="zero"
):
    """Return the derivatives to a neuron's own numbers, in a list.

        dL/d beta = sum_t d(t+1) * r(t)
        dL/d threshold = - sum_t m(t)
                         - sum_t beta * d(t+1) * s(t)     reset="subtract"

    The spikes in the reset are constants, as to the currents.

    Args:
        learned: Dict from `"beta"` or `"threshold"` to tensors that broadcast
            to the neurons.
        spikes: Tensor `s`, axes (batch, time, ...).
        of_margin: Tensor `m`, what reaches `u - threshold` by the spikes.
        later: Tensor `d(t+1)`, the derivative to the potential `v(t)`.
        kept: Tensor `r`, the potential after reset, before the leak.
        beta: Decay per time step.
        reset: `"zero"` or `"subtract"`.
    """
    found = {}
    if "beta" in learned:
        found["beta"] = later * kept
    if "threshold" in learned:
        found["threshold"] = -of_margin
        if reset == "subtract":
            found["threshold"] -= beta * later * spikes
    return [_summed_to(found[name], x.shape) for name, x in learned.items()]


def _summed_to(x, shape):
    """Return `x` summed over the axes along which `shape` broadcasts."""
    first = len(x.shape) - len(shape)
    ones = [first + axis for axis, n in enumerate(shape) if n == 1]
    return ops.reshape(ops.sum(x, axis=(*range(first), *ones)), shape)
