"""ALIF: LIF neurons that tire."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.layers.spiking_layer import ThroughTimeNeuron
from keras_snn.neurons import adaptive
from keras_snn.typing import LearningRule, PerNeuron, Reset, State, Tensor


@keras.saving.register_keras_serializable(package="keras_snn")
class ALIF(ThroughTimeNeuron):
    """Adaptive LIF: every spike raises the neuron's own threshold.

        u(t) = v(t-1) + I(t)
        A(t) = threshold + amplitude * a(t-1)
        s(t) = 1 where u(t) > A(t), else 0             (strictly above)
        v(t) = beta * u(t) * (1 - s(t))                reset="zero"
        v(t) = beta * (u(t) - A(t) * s(t))             reset="subtract"
        a(t) = rho * a(t-1) + s(t)

    A spike counts for the threshold from the next step on. The adaptation
    `a` outlives the potential by far and is what gives networks of these
    neurons ("LSNN") a long memory. The paper adds `(1 - rho) * s(t)`, so its
    strength times `1 - rho` is the `amplitude` here; it also scales its input
    by `1 - beta`, which is not done here.

    Learns by backpropagation through time. No derivative flows through the
    reset; through the adaptation it does.

    Args:
        beta: Decay of the potential per step, in (0, 1]. Defaults to 0.99.
            An array is one a neuron or channel, as in `LIF`.
        threshold: Firing threshold of a rested neuron, positive. Defaults
            to 1.
        reset: `"zero"` or `"subtract"`.
        learning_rule: The name of a surrogate or an object of
            `keras_snn.surrogates`. Defaults to `"arctan"`.
        amplitude: What a spike adds to the threshold, in the unit of the
            potential, at least 0. Defaults to 0.1.
        rho: Decay of the adaptation per step, in [0, 1]. Defaults to 0.95.
        tau: Time constant of the potential in steps, instead of
            `beta = exp(-1 / tau)`.
        unroll: Whether to lay the time steps out one by one instead of
            looping. Needs a fixed number of steps.
        trainable_beta: As in `LIF`.
        trainable_threshold: As in `LIF`.
        return_potentials: As in `LIF`; less what the threshold has risen by.

    Call arguments:
        currents: Input currents `I`, floating point.
        mask: As in `LIF`.

    Input shape:
        `(batch, time, ...features)`, any number of feature axes; batch and
        time may be unknown.

    Output shape:
        The input's. Spikes are 0 or 1 in the layer's compute dtype. With
        `return_potentials` as in `LIF`.

    Raises:
        ValueError: For arguments out of range, unknown names, a learning
            rule that is no surrogate, or input that is no float sequence.

    Example:

    >>> currents = np.full((1, 6, 1), 1.1, "float32")
    >>> keras_snn.layers.ALIF(amplitude=0.2)(currents)[0, :, 0]  # 1 0 1 0 1 0

    References:
        - [Bellec et al., 2018](https://arxiv.org/abs/1803.09574), "Long
          short-term memory and learning-to-learn in networks of spiking
          neurons"
    """

    state_variables = 2
    not_by_rules = "derived for a threshold that does not move"

    def __init__(
        self,
        beta: PerNeuron | None = None,
        threshold: PerNeuron = 1.0,
        reset: Reset = "zero",
        learning_rule: LearningRule = "arctan",
        amplitude: float = 0.1,
        rho: float = 0.95,
        tau: PerNeuron | None = None,
        unroll: bool = False,
        trainable_beta: bool = False,
        trainable_threshold: bool = False,
        return_potentials: bool = False,
        **kwargs: Any,
    ) -> None:
        beta = checks.decays(beta, tau, default=0.99)
        super().__init__(
            beta,
            threshold,
            reset,
            learning_rule,
            unroll,
            trainable_beta,
            trainable_threshold,
            return_potentials=return_potentials,
            **kwargs,
        )
        self.amplitude = checks.number(
            "amplitude",
            amplitude,
            "[0, inf)",
            "what a spike adds to the threshold",
        )
        self.rho = checks.fraction("rho", rho)

    @property
    def neuron_now(self) -> dict[str, Any]:
        """All numbers of the neurons as they are now."""
        return {
            **super().neuron_now,
            "amplitude": self.amplitude,
            "rho": self.rho,
        }

    def run(self, currents: Tensor, state: State, unroll: bool) -> Any:
        v, a = state
        spikes, v, a, *potentials = adaptive.alif_window(
            currents,
            v,
            a,
            self.learning_rule,
            **self.neuron_now,
            unroll=unroll,
            with_potentials=self.return_potentials,
        )
        return spikes, [v, a], *potentials

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        v, a = state
        frame = ops.cast(frame, "float32")
        spikes, *state = adaptive.alif_step(
            v, a, frame, **self.neuron_now, surrogate=self.learning_rule
        )
        return ops.cast(spikes, self.compute_dtype), state

    def potential(self, frame: Tensor, state: State) -> Tensor:
        v, a = state
        u = v + ops.cast(frame, "float32")
        return adaptive.above_adaptation(u, a, self.amplitude)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "amplitude": self.amplitude,
            "rho": self.rho,
        }
