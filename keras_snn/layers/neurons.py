"""LIF and IF: spiking neurons over whole sequences."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_snn import checks
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.neurons import (
    dynamics,
    learning_rules,
    masks,
    means,
    single_step,
    time_loop,
)
from keras_snn.neurons import sequences as neuron_sequences
from keras_snn.typing import (
    LearningRule,
    PerNeuron,
    Reset,
    Shape,
    State,
    Tensor,
)


@keras.saving.register_keras_serializable(package="keras_snn")
class LIF(SpikingLayer):
    """Leaky integrate-and-fire neurons, one for each feature.

    From `v(0) = initial_potential` at every step, exactly:

        u(t) = v(t-1) + I(t)
        s(t) = 1 where u(t) > threshold, else 0        (strictly above)
        v(t) = beta * u(t) * (1 - s(t))                reset="zero"
        v(t) = beta * (u(t) - threshold * s(t))        reset="subtract"

    The input is not scaled by `1 - beta`; the leak follows the reset. The
    potential is kept in float32 whatever the dtype policy.

    `learning_rule` chooses the derivative of the spikes:

    - `"collapsed"`: the paper's leak-corrected derivative with every time
      course replaced by its mean, `D = factor * mean_t(G) * t_last / T`. The
      cheapest: in a `keras_snn.Model` its memory does not grow with T.
    - `"exact"`: the paper's rule step by step,
      `D(t) = factor * G(next spike at or after t)`.
    - `"arctan"`, `"fast_sigmoid"`, `"sigmoid"`, `"triangle"`, `"boxcar"`, or
      an object of `keras_snn.surrogates`: backpropagation through time.
    - `"rate"`, or an object of `keras_snn.rules`: the derivative of the mean
      spikes to a constant current, by a surrogate and through the reset. It
      credits silent neurons too. With `x(t) = u(t) - threshold`:

          e(t) = 1 + beta * k(t-1) * e(t-1);   e(0) = 0
          k(t) = 1 - s(t) - u(t) * surrogate'(x(t))      reset="zero"
          k(t) = 1 - threshold * surrogate'(x(t))        reset="subtract"
          D = sum_t surrogate'(x(t)) * e(t) / T * mean_t(G)

    Both paper rules were derived for `reset="zero"`; with `"subtract"` they
    use the same backward equations.

    Args:
        beta: Decay per step, in (0, 1]. Defaults to 0.99. An array is one a
            neuron or channel: it broadcasts to the features as in NumPy.
        threshold: Firing threshold, positive. Defaults to 1. An array as for
            `beta`.
        reset: `"zero"` or `"subtract"`.
        learning_rule: See above. Defaults to `"collapsed"`.
        factor: For the paper's rules: `"leak_corrected"`,
            `(1 + ln(beta) * trace / total) / threshold` for a neuron that
            fired; None, the constant 1; or a positive number. The other
            rules do not use it.
        tau: Time constant in steps, or an array of them, instead of
            `beta = exp(-1 / tau)`.
        unroll: Whether to lay the time steps out one by one instead of
            looping. Needs a fixed number of steps.
        initial_potential: `v(0)` of every neuron. Defaults to 0, rest. Half
            the threshold makes a neuron that counts round its input instead
            of rounding it down, as converted networks want.
        trainable_beta: Whether `beta` is a weight, of the shape in which it
            is given, kept in (0, 1]. Learns by surrogates only.
        trainable_threshold: Whether `threshold` is one, kept positive.
        return_potentials: Whether to return the potentials at every step, too.
            A loss on them learns; by surrogates only.

    Call arguments:
        currents: Input currents `I`, floating point.
        mask: Which steps exist, (batch, time). At the others neurons hold
            their potential and give no spikes.

    Input shape:
        `(batch, time, ...features)`, any number of feature axes; batch and
        time may be unknown.

    Output shape:
        The input's. Spikes are 0 or 1 in the layer's compute dtype, NaN from
        the step on at which the current is; with `reset="zero"` also after a
        step at which it is infinite. With `return_potentials` a tuple
        of spikes and the potentials `u(t)`, before the reset, float32: above
        the threshold exactly where the neuron fires, 0 at masked steps.

    Raises:
        ValueError: For arguments out of range, unknown names, integer input,
            input without time and feature axes, arrays that do not broadcast
            to the features, or an option that the rule has no derivative for.

    Example:

    >>> currents = np.full((1, 4, 1), 0.6, "float32")
    >>> keras_snn.layers.LIF(beta=0.9)(currents)[0, :, 0]   # 0 1 0 1
    >>> options = {"learning_rule": "arctan", "return_potentials": True}
    >>> spikes, u = keras_snn.layers.LIF(beta=0.9, **options)(currents)
    >>> u[0, :, 0]   # 0.6 1.14 0.6 1.14

    References:
        - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119)
        - [Yu et al., 2024](https://arxiv.org/abs/2410.11488), `"rate"`
    """

    def __init__(
        self,
        beta: PerNeuron | None = None,
        threshold: PerNeuron = 1.0,
        reset: Reset = "zero",
        learning_rule: LearningRule = "collapsed",
        factor: float | str | None = "leak_corrected",
        tau: PerNeuron | None = None,
        unroll: bool = False,
        initial_potential: float = 0.0,
        trainable_beta: bool = False,
        trainable_threshold: bool = False,
        return_potentials: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(return_potentials, **kwargs)
        self.beta = checks.decays(beta, tau, default=0.99)
        self.threshold = checks.thresholds(threshold)
        self.reset = checks.reset_mode(reset)
        self.learning_rule = learning_rules.get(learning_rule)
        self.factor = learning_rules.get_factor(factor)
        self.unroll = checks.flag("unroll", unroll)
        self.initial_potential = checks.potential(initial_potential)
        self.train_numbers(trainable_beta, trainable_threshold)
        self.check_potentials()

    def build(self, currents_shape: Shape) -> None:
        self.build_numbers()

    @property
    def tau(self) -> PerNeuron:
        """Time constant in steps, `-1 / ln(beta)`; infinite without leak."""
        with np.errstate(divide="ignore"):
            tau = np.abs(1.0 / np.log(self.beta))
        return tau if np.ndim(tau) else float(tau)

    def call(self, currents: Tensor, mask: Tensor | None = None) -> Any:
        self.check_sequence(currents)
        return masks.on_existing_steps(self._spikes, currents, mask)

    def _spikes(self, currents, time_steps):
        if self.rule == "surrogate":
            # What learns through time asks for no number of steps.
            start = ops.full(
                ops.shape(currents[:, 0]), self.initial_potential, "float32"
            )
            return self._window(currents, start, self.unroll)[0]
        spikes = neuron_sequences.lif(
            ops.cast(currents, "float32"),
            beta=self.beta,
            threshold=self.threshold,
            reset=self.reset,
            learning_rule=self.learning_rule,
            factor=self.factor,
            unroll=self.unroll,
            initial_potential=self.initial_potential,
            time_steps=time_steps,
        )
        return ops.cast(spikes, self.compute_dtype)

    def initial_state(
        self, frame_shape: Shape, dtype: str = "float32"
    ) -> State:
        return [ops.full(frame_shape, self.initial_potential, "float32")]

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        """Return `(spikes, state)` of one step, with a surrogate's derivative.

        A whole sequence has the derivative of the other rules.
        """
        current, neuron = ops.cast(frame, "float32"), self.neuron_now
        if self.rule == "surrogate":
            spikes, v = single_step.lif_step_with_rule(
                state[0], current, **neuron, learning_rule=self.learning_rule
            )
        else:
            spikes, v = dynamics.lif_step(state[0], current, **neuron)
        return ops.cast(spikes, self.compute_dtype), [v]

    def window(
        self, sequence: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        """Return `(output, state)` of some steps; surrogates only."""
        unroll = time_loop.unrolls_windows(sequence)
        return self._window(sequence, state[0], unroll)

    def _window(self, currents, v, unroll):
        currents = ops.cast(currents, "float32")
        spikes, v, *potentials = self._lif_window(currents, v, unroll)
        spikes = ops.cast(spikes, self.compute_dtype)
        return (spikes, *potentials) if potentials else spikes, [v]

    def potential(self, frame: Tensor, state: State) -> Tensor:
        return state[0] + ops.cast(frame, "float32")

    @property
    def lif(self) -> tuple[PerNeuron, PerNeuron, str] | None:
        """The numbers with which `step` is `neurons.lif_step`.

        None if they change.
        """
        if self.trained_numbers:
            return None
        return self.beta, self.threshold, self.reset

    def factor_of(self, sums: Any) -> Tensor:
        """Return the derivative of the paper's rules from `means.Sums`."""
        return learning_rules.resolve_factor(
            self.factor, sums.total, sums.trace, self.beta, self.threshold
        )

    def collapsed(
        self, mean: Tensor, outcome: Any, state: State, training: bool = False
    ) -> Tensor:
        """Return the spikes' rate, differentiable to the mean current."""
        return means.replace(mean, *outcome)

    def credit(
        self, currents: Tensor, carry: Tensor, seen: Any
    ) -> tuple[Tensor, Tensor]:
        """Return spikes that were seen, differentiable by the exact rule."""
        spikes, carry = neuron_sequences.credit_next_spike(
            ops.cast(currents, "float32"),
            carry,
            seen.spikes,
            self.factor_of(seen.sums),
        )
        return ops.cast(spikes, self.compute_dtype), carry

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta": self.given_number("beta"),
            "threshold": self.given_number("threshold"),
            "reset": self.reset,
            "learning_rule": learning_rules.serialize(self.learning_rule),
            "factor": self.factor,
            "unroll": self.unroll,
            "initial_potential": self.initial_potential,
        }


@keras.saving.register_keras_serializable(package="keras_snn")
class IF(LIF):
    """Integrate-and-fire neurons: `LIF` without leak, `beta = 1`.

        u(t) = v(t-1) + I(t)
        s(t) = 1 where u(t) > threshold, else 0        (strictly above)
        v(t) = u(t) * (1 - s(t))                       reset="zero"
        v(t) = u(t) - threshold * s(t)                 reset="subtract"

    After a 2x2 average pooling, `IF(threshold=0.75)` is the paper's pooling
    neuron: 3 spikes of 4 come to exactly 0.75 and do not fire, 4 do.

    Args:
        threshold: Firing threshold, positive. Defaults to 1. An array as in
            `LIF`.
        reset: `"zero"` or `"subtract"`.
        learning_rule: As in `LIF`.
        factor: The derivative in the paper's rules: None (default), the
            constant 1; a positive number; or `"leak_corrected"`, which is
            `1 / threshold` here.
        unroll: As in `LIF`.
        initial_potential: As in `LIF`.
        trainable_threshold: As in `LIF`.
        return_potentials: As in `LIF`.

    Call arguments:
        currents: Input currents `I`, floating point.
        mask: As in `LIF`.

    Input shape:
        `(batch, time, ...features)`.

    Output shape:
        The input's.

    References:
        - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119)
    """

    def __init__(
        self,
        threshold: PerNeuron = 1.0,
        reset: Reset = "zero",
        learning_rule: LearningRule = "collapsed",
        factor: float | str | None = None,
        unroll: bool = False,
        initial_potential: float = 0.0,
        trainable_threshold: bool = False,
        return_potentials: bool = False,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("trainable_beta", False):
            raise ValueError(
                "`trainable_beta=True`: IF has no decay to train. Use "
                "keras_snn.layers.LIF(beta=1.0, trainable_beta=True)."
            )
        super().__init__(
            beta=1.0,
            threshold=threshold,
            reset=reset,
            learning_rule=learning_rule,
            factor=factor,
            unroll=unroll,
            initial_potential=initial_potential,
            trainable_threshold=trainable_threshold,
            return_potentials=return_potentials,
            **kwargs,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config
