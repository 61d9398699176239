"""PLIF: LIF neurons that learn how fast they forget."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.layers.spiking_layer import ThroughTimeNeuron
from keras_snn.neurons.single_step import lif_step_with_rule
from keras_snn.typing import (
    LearningRule,
    PerNeuron,
    Reset,
    Shape,
    State,
    Tensor,
)


@keras.saving.register_keras_serializable(package="keras_snn")
class PLIF(ThroughTimeNeuron):
    """Parametric LIF: leaky neurons whose decay is a weight.

        decay = 1 - sigmoid(w)
        u(t) = v(t-1) + I(t)
        s(t) = 1 where u(t) > threshold, else 0        (strictly above)
        v(t) = decay * u(t) * (1 - s(t))               reset="zero"
        v(t) = decay * (u(t) - threshold * s(t))       reset="subtract"

    `w` is one trainable number a layer, or one a channel. It starts at
    `log((1 - beta) / beta)`, so that the decay starts at `beta`.

    The paper's time constant is `1 / sigmoid(w)`, so its decay is
    `1 - 1 / tau`, not `exp(-1 / tau)`; it starts at 2, as `beta=0.5` does
    here. The paper leaks before it integrates; with `reset="zero"` the
    potentials `u` are the same. With its "decay input" it integrates
    `I(t) / tau`, which is `scale_input=True` here.

    Learns by backpropagation through time, the decay, too. No derivative
    flows through the reset.

    Args:
        beta: Initial decay per step, in (0, 1). Defaults to 0.5.
        threshold: Firing threshold, positive. Defaults to 1. An array
            is one a neuron or channel, as in `LIF`.
        reset: `"zero"` or `"subtract"`.
        learning_rule: The name of a surrogate or an object of
            `keras_snn.surrogates`. Defaults to `"arctan"`.
        tau: Initial time constant in steps, as in `LIF`, instead of
            `beta = exp(-1 / tau)`.
        per_channel: Whether each entry of the last axis has a decay of its
            own.
        scale_input: Whether to integrate `(1 - decay) * I(t)` instead of
            `I(t)`, so that a constant current drives `u` towards itself
            whatever the decay.
        unroll: Whether to lay the time steps out one by one instead of
            looping. Needs a fixed number of steps.
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

    >>> layer = keras_snn.layers.PLIF(beta=0.9, per_channel=True)
    >>> layer(np.ones((1, 4, 2), "float32"))[0, :, 0]   # 0 1 0 1
    >>> layer.decay                                     # 0.9 0.9

    References:
        - [Fang et al., 2021](https://arxiv.org/abs/2007.05785), "Incorporating
          Learnable Membrane Time Constant to Enhance Learning of Spiking
          Neural Networks"
    """

    not_by_rules = "that has no derivative to the decay"

    def __init__(
        self,
        beta: float | None = None,
        threshold: PerNeuron = 1.0,
        reset: Reset = "zero",
        learning_rule: LearningRule = "arctan",
        tau: float | None = None,
        per_channel: bool = False,
        scale_input: bool = False,
        unroll: bool = False,
        trainable_threshold: bool = False,
        return_potentials: bool = False,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("trainable_beta", False):
            raise ValueError(
                "`trainable_beta=True`: the decay of PLIF is a weight already. "
                "Leave the argument out."
            )
        decay = checks.decay(beta, tau, default=0.5)
        super().__init__(
            decay,
            threshold,
            reset,
            learning_rule,
            unroll,
            trainable_threshold=trainable_threshold,
            return_potentials=return_potentials,
            **kwargs,
        )
        if self.beta == 1.0:
            raise ValueError(
                "`beta` of PLIF must lie in (0, 1): a sigmoid never reaches "
                f"the ends. Received: beta={beta}, tau={tau}. Neurons without "
                "leak are keras_snn.layers.IF."
            )
        self.per_channel = checks.flag("per_channel", per_channel)
        self.scale_input = checks.flag("scale_input", scale_input)

    def build(self, currents_shape: Shape) -> None:
        super().build(currents_shape)
        channels = currents_shape[-1]
        if self.per_channel and channels is None:
            raise ValueError(
                f"PLIF '{self.name}' has one decay a channel and needs to know "
                f"their number. Received: shape {tuple(currents_shape)}."
            )
        self.w = self.add_weight(
            shape=(channels,) if self.per_channel else (),
            initializer=keras.initializers.Constant(
                math.log((1.0 - self.beta) / self.beta)
            ),
            # In low precision a slow decay would be no decay.
            dtype="float32",
            autocast=False,
            name="w",
        )

    @property
    def decay(self) -> Tensor:
        """The decay per step now: a scalar, or one value a channel."""
        return ops.sigmoid(-ops.convert_to_tensor(self.w))

    @property
    def neuron_now(self) -> dict[str, Any]:
        """Decay, threshold and reset as they are now."""
        return {**super().neuron_now, "beta": self.decay}

    def run(self, currents: Tensor, state: State, unroll: bool) -> Any:
        spikes, v, *potentials = self._lif_window(
            self._input(currents), state[0], unroll
        )
        return spikes, [v], *potentials

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        spikes, v = lif_step_with_rule(
            state[0],
            self._input(frame),
            **self.neuron_now,
            learning_rule=self.learning_rule,
        )
        return ops.cast(spikes, self.compute_dtype), [v]

    def potential(self, frame: Tensor, state: State) -> Tensor:
        return state[0] + self._input(frame)

    def _input(self, currents):
        currents = ops.cast(currents, "float32")
        return (1.0 - self.decay) * currents if self.scale_input else currents

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "per_channel": self.per_channel,
            "scale_input": self.scale_input,
        }
