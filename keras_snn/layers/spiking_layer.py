"""What all layers of spiking neurons have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_snn import checks
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.neurons import learning_rules, masks, time_loop
from keras_snn.typing import Shape, Tensor


class SpikingLayer(TimeLayer):
    """A layer of neurons: currents in, spikes (0 or 1) of their shape out.

    A neuron of one's own implements `step` and `initial_state`. It learns
    through time, by the derivative of its `step`, so the spikes in there are
    those of a surrogate: `self.learning_rule(u - self.threshold)`.

    With a method `potential(frame, state)`, which returns `u` of one step,
    above the attribute `threshold` where it spikes, potentials can be
    recorded.

    Example:

    >>> class Integrator(keras_snn.layers.SpikingLayer):
    ...     learning_rule = keras_snn.surrogates.Arctan()
    ...
    ...     def initial_state(self, frame_shape, dtype="float32"):
    ...         return [keras.ops.zeros(frame_shape)]
    ...
    ...     def step(self, frame, state, training=False):
    ...         u = state[0] + keras.ops.cast(frame, "float32")
    ...         spikes = self.learning_rule(u - 1.0)
    ...         return spikes, [u * (1 - keras.ops.stop_gradient(spikes))]
    """

    keeps_state = True
    # State variables that each neuron updates at every step.
    state_variables = 1

    def factor_of(self, sums: Any) -> Tensor:
        """Return the derivative of one spike that `collapsed` works with."""
        return ops.ones_like(sums.total)

    def check_sequence(self, sequences: Tensor) -> None:
        super().check_sequence(sequences)
        checks.broadcasts(self, sequences.shape[2:])

    def check_rule(self) -> None:
        if self.rule == "surrogate":
            return
        kind = type(self).__name__
        raise ValueError(
            f"{kind} '{self.name}' has a `step` of its own, and learns through "
            "time, by that step's derivative. Received: learning_rule="
            f"{self.learning_rule!r}, which is defined for LIF neurons. Use a "
            'surrogate, e.g. learning_rule="arctan", and in `step` '
            "self.learning_rule(u - self.threshold) for the spikes; or write "
            "the whole-sequence `call` whose derivative the rule is."
        )

    def obstacle(self, rule: str) -> str | None:
        if rule == "rate" and self.lif is None:
            kind = type(self).__name__
            return (
                f"'{self.name}' ({kind}) has a `step` of its own, for which "
                "the rate rule is not defined"
            )
        return super().obstacle(rule)

    def compute_output_shape(self, currents_shape: Shape) -> Any:
        return tuple(currents_shape)


class ThroughTimeNeuron(SpikingLayer):
    """A neuron for which only backpropagation through time is defined.

    Subclasses implement `run` besides the methods of a `TimeLayer`.
    """

    sequence_methods = ("call", "conclude", "run")
    # Why the paper's rules do not apply, for messages.
    not_by_rules: str | None = None

    def __init__(self, threshold, reset, learning_rule, unroll, **kwargs):
        super().__init__(**kwargs)
        self.threshold = checks.thresholds(threshold)
        self.reset = checks.reset_mode(reset)
        self.learning_rule = learning_rules.get_surrogate(
            learning_rule, type(self).__name__, self.not_by_rules
        )
        self.unroll = checks.flag("unroll", unroll)

    def run(self, currents, state, unroll):
        """Return `(spikes, state)` of some steps, in float32.

        Differentiable to currents, state and weights.
        """
        raise NotImplementedError

    def initial_state(self, frame_shape, dtype="float32"):
        return [
            ops.zeros(frame_shape, "float32")
            for _ in range(self.state_variables)
        ]

    def call(self, currents, mask=None):
        self.check_sequence(currents)
        return masks.on_existing_steps(self._spikes, currents, mask)

    def _spikes(self, currents, time_steps):
        # What learns through time asks for no number of steps.
        shape = ops.shape(currents)
        state = self.initial_state((shape[0], *shape[2:]))
        spikes, _ = self._run(currents, state, self.unroll)
        return spikes

    def window(self, sequence, state, training=False):
        return self._run(sequence, state, time_loop.unrolls_windows())

    def _run(self, currents, state, unroll):
        spikes, state = self.run(ops.cast(currents, "float32"), state, unroll)
        return ops.cast(spikes, self.compute_dtype), state

    def get_config(self):
        return {
            **super().get_config(),
            "threshold": np.asarray(self.threshold).tolist(),
            "reset": self.reset,
            "learning_rule": learning_rules.serialize(self.learning_rule),
            "unroll": self.unroll,
        }
