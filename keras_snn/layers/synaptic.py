"""SynapticLIF: LIF neurons behind synapses with a memory."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.layers.spiking_layer import ThroughTimeNeuron
from keras_snn.neurons import synaptic
from keras_snn.neurons.single_step import lif_step_with_rule
from keras_snn.typing import LearningRule, PerNeuron, Reset, State, Tensor


@keras.saving.register_keras_serializable(package="keras_snn")
class SynapticLIF(ThroughTimeNeuron):
    """Current-based LIF: an input spike acts on for a while.

        i(t) = alpha * i(t-1) + I(t)
        u(t) = v(t-1) + i(t)
        s(t) = 1 where u(t) > threshold, else 0        (strictly above)
        v(t) = beta * u(t) * (1 - s(t))                reset="zero"
        v(t) = beta * (u(t) - threshold * s(t))        reset="subtract"

    The second-order neuron of snnTorch's `Synaptic`, with this library's
    conventions: the reset follows the spike within the step, the leak follows
    the reset. The reset leaves the synaptic current alone.

    Learns by backpropagation through time. No derivative flows through the
    reset.

    Args:
        beta: Decay of the potential per step, in (0, 1]. Defaults to 0.99.
            An array is one a neuron or channel, as in `LIF`.
        threshold: Firing threshold, positive. Defaults to 1. An array
            is one a neuron or channel, as in `LIF`.
        reset: `"zero"` or `"subtract"`.
        learning_rule: The name of a surrogate or an object of
            `keras_snn.surrogates`. Defaults to `"arctan"`.
        alpha: Decay of the synaptic current per step, in [0, 1]. Defaults to
            0.8. 0 is a `LIF`.
        tau: Time constant of the potential in steps, instead of
            `beta = exp(-1 / tau)`.
        unroll: Whether to lay the time steps out one by one instead of
            looping. Needs a fixed number of steps.
        trainable_beta: As in `LIF`.
        trainable_threshold: As in `LIF`.
        return_potentials: As in `LIF`.

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

    >>> pulse = np.float32([[[0.6], [0], [0], [0]]])
    >>> keras_snn.layers.SynapticLIF(alpha=0.8)(pulse)[0, :, 0]   # 0 1 0 0

    References:
        - [Neftci et al., 2019](https://arxiv.org/abs/1901.09948), "Surrogate
          Gradient Learning in Spiking Neural Networks"
        - [Eshraghian et al., 2023](https://arxiv.org/abs/2109.12894)
    """

    state_variables = 2
    per_neuron = ("alpha", "beta", "threshold")
    not_by_rules = "derived for currents without a memory"

    def __init__(
        self,
        beta: PerNeuron | None = None,
        threshold: PerNeuron = 1.0,
        reset: Reset = "zero",
        learning_rule: LearningRule = "arctan",
        alpha: PerNeuron = 0.8,
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
        self.alpha = checks.fractions("alpha", alpha)

    def run(self, currents: Tensor, state: State, unroll: bool) -> Any:
        v, i = state
        currents = synaptic.synaptic_currents(currents, i, self.alpha, unroll)
        spikes, v, *potentials = self._lif_window(currents, v, unroll)
        return spikes, [v, currents[:, -1]], *potentials

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        i = self._synaptic_current(frame, state)
        spikes, v = lif_step_with_rule(
            state[0], i, **self.neuron_now, learning_rule=self.learning_rule
        )
        return ops.cast(spikes, self.compute_dtype), [v, i]

    def potential(self, frame: Tensor, state: State) -> Tensor:
        return state[0] + self._synaptic_current(frame, state)

    def _synaptic_current(self, frame, state):
        return self.alpha * state[1] + ops.cast(frame, "float32")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": checks.in_config(self.alpha),
        }
