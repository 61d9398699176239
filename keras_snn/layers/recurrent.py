"""RecurrentLIF: LIF neurons that hear each other."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_snn import checks
from keras_snn.layers.spiking_layer import ThroughTimeNeuron
from keras_snn.layers.time_fold import SEQUENCE_LAYERS
from keras_snn.layers.time_layer import counts_or_draws, output_shape_of
from keras_snn.neurons import time_loop
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
class RecurrentLIF(ThroughTimeNeuron):
    """LIF neurons whose spikes come back as currents one step later.

        i(t) = alpha * i(t-1) + I(t) + V(s(t-1)),   s(0) = 0
        u(t) = v(t-1) + i(t)
        s(t) = 1 where u(t) > threshold, else 0        (strictly above)
        v(t) = beta * u(t) * (1 - s(t))                reset="zero"
        v(t) = beta * (u(t) - threshold * s(t))        reset="subtract"

    Without `alpha` synapses have no memory: `i(t) = I(t) + V(s(t-1))`. With it
    input and feedback act on for a while, as in `SynapticLIF`.

    `V` is a Keras layer, by default a dense one over the last axis, without
    bias and with an orthogonal kernel.

    Learns by backpropagation through time, `V`, too. No derivative flows
    through the reset; through the feedback it does. As `V` runs at every
    step, this neuron keeps more for the backward pass than the others and
    takes longer.

    Args:
        recurrent: Layer `V` that takes one step's spikes and returns currents
            of the same shape, e.g. a `keras.layers.Conv2D` with as many
            filters as there are channels and `padding="same"`. None is the
            dense layer.
        beta: Decay per step, in (0, 1]. Defaults to 0.99. An array is one a
            neuron or channel, as in `LIF`.
        threshold: Firing threshold, positive. Defaults to 1. An array
            is one a neuron or channel, as in `LIF`.
        reset: `"zero"` or `"subtract"`.
        learning_rule: The name of a surrogate or an object of
            `keras_snn.surrogates`. Defaults to `"arctan"`.
        tau: Time constant in steps, instead of `beta = exp(-1 / tau)`.
        unroll: Whether to lay the time steps out one by one instead of
            looping. Needs a fixed number of steps.
        alpha: Decay of the synaptic current per step, in [0, 1]. Defaults to
            0, no memory.
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
            rule that is no surrogate, input that is no float sequence, or a
            `recurrent` that is no layer, changes the shape, counts or
            draws random numbers (batch normalization, dropout), or has an
            activity regularizer.

    Example:

    >>> feedback = keras.layers.Conv2D(16, 3, padding="same")
    >>> layer = keras_snn.layers.RecurrentLIF(feedback, beta=0.9)
    >>> spikes = layer(currents)                 # (batch, time, 8, 8, 16)

    References:
        - [Bellec et al., 2018](https://arxiv.org/abs/1803.09574)
        - [Neftci et al., 2019](https://arxiv.org/abs/1901.09948)
    """

    per_neuron = ("alpha", "beta", "threshold")
    not_by_rules = "that passes no credit back through the feedback"

    def __init__(
        self,
        recurrent: Any = None,
        beta: PerNeuron | None = None,
        threshold: PerNeuron = 1.0,
        reset: Reset = "zero",
        learning_rule: LearningRule = "arctan",
        tau: PerNeuron | None = None,
        unroll: bool = False,
        alpha: float = 0.0,
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
        is_layer = isinstance(recurrent, keras.layers.Layer)
        over_time = isinstance(recurrent, SEQUENCE_LAYERS)
        is_cell = hasattr(recurrent, "state_size")
        if recurrent is not None and (not is_layer or over_time or is_cell):
            raise ValueError(
                "`recurrent` must be a Keras layer that takes one step's "
                "spikes, e.g. keras.layers.Dense(10), or None. Received: "
                f"recurrent={recurrent!r} (of type {type(recurrent).__name__})."
            )
        self.recurrent = recurrent

    def build(self, currents_shape: Shape) -> None:
        super().build(currents_shape)
        self.check_rank(currents_shape)
        frame_shape = (None, *currents_shape[2:])
        if None in frame_shape[1:]:
            raise ValueError(
                f"RecurrentLIF '{self.name}' needs to know the number of its "
                f"neurons. Received: shape {tuple(currents_shape)}."
            )
        if self.recurrent is None:
            self.recurrent = keras.layers.Dense(
                frame_shape[-1],
                use_bias=False,
                kernel_initializer="orthogonal",
                dtype=self.dtype_policy,
                name="recurrent",
            )
        if not self.recurrent.built:
            self.recurrent.build(frame_shape)
            self.recurrent.built = True
        self._check_recurrent(frame_shape)

    def _check_recurrent(self, frame_shape):
        layer, kind = self.recurrent, type(self.recurrent).__name__
        shape = tuple(output_shape_of(layer, frame_shape))
        if shape != frame_shape:
            raise ValueError(
                f"`recurrent` of RecurrentLIF must return currents of the "
                f"shape of the spikes it takes, {frame_shape}. Received: "
                f"{kind} '{layer.name}', which returns {shape}."
            )
        if counts_or_draws(layer):
            raise ValueError(
                "`recurrent` of RecurrentLIF runs at every step and must not "
                "count or draw random numbers. Received: "
                f"{kind} '{layer.name}'. Put normalization and dropout before "
                "or after the neurons."
            )
        if _regularizes_activity(layer):
            raise ValueError(
                "`recurrent` of RecurrentLIF runs at every step and must not "
                "add to the loss there. Received: an activity regularizer of "
                f"{kind} '{layer.name}'. Put one on the neurons, RecurrentLIF("
                "..., activity_regularizer=...)."
            )

    def run(self, currents: Tensor, state: State, unroll: bool) -> Any:
        if not self.return_potentials:
            return time_loop.through_time(
                self._advance, state, currents, unroll
            )

        def step(current, state):
            spikes, u, state = self._fire(current, state)
            return ops.stack([spikes, u], axis=1), state

        both, state = time_loop.through_time(step, state, currents, unroll)
        return both[:, :, 0], state, both[:, :, 1]

    @property
    def state_variables(self) -> int:  # type: ignore[override]
        """State variables that each neuron updates at every step."""
        return 2 if np.any(self.alpha) else 1

    def _advance(self, current, state):
        spikes, _, state = self._fire(current, state)
        return spikes, state

    def _fire(self, current, state):
        """Return `(spikes, u, state)` of one step."""
        v, spikes, *synapses = state
        i = self._input(current, spikes, *synapses)
        u = v + i
        spikes, v = lif_step_with_rule(
            v, i, **self.neuron_now, learning_rule=self.learning_rule
        )
        return spikes, u, [v, spikes, *(i for _ in synapses)]

    def initial_state(
        self, frame_shape: Shape, dtype: str = "float32"
    ) -> State:
        return [
            ops.zeros(frame_shape, "float32")
            for _ in range(self.state_variables + 1)
        ]

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        spikes, state = self._advance(frame, state)
        return ops.cast(spikes, self.compute_dtype), state

    def potential(self, frame: Tensor, state: State) -> Tensor:
        v, *others = state
        return v + self._input(frame, *others)

    def _input(self, frame, spikes, i=None):
        feedback = ops.cast(self.recurrent(spikes), "float32")
        current = ops.cast(frame, "float32") + feedback
        return current if i is None else self.alpha * i + current

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "recurrent": keras.saving.serialize_keras_object(self.recurrent)
            if self.recurrent is not None
            else None,
            "alpha": checks.in_config(self.alpha),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        layer = keras.saving.deserialize_keras_object(config.pop("recurrent"))
        return cls(layer, **config)


def _regularizes_activity(layer):
    inside = layer.layers if isinstance(layer, keras.Model) else []
    own = layer.activity_regularizer is not None
    return own or any(map(_regularizes_activity, inside))
