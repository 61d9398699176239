"""Readouts: from currents or spikes over time to one output."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.neurons import learning_rules, masks, means
from keras_snn.neurons import sequences as neuron_sequences
from keras_snn.neurons.surrogates import Surrogate
from keras_snn.typing import LearningRule, Shape, State, Tensor


class Readout(TimeLayer):
    """A layer that ends the time axis: (batch, time, ...) to (batch, ...).

    A readout of one's own implements `step` and `result`, and `initial_state`
    unless it starts from zeros of its input's shape.
    """

    keeps_state = True
    # Whether the result is on the scale of a mean over time, or of a sum.
    normalize = True

    def initial_state(
        self, frame_shape: Shape, dtype: str = "float32"
    ) -> State:
        return [ops.zeros(frame_shape, "float32")]

    def result(self, state: State, time_steps: Any) -> Tensor:
        """Return the output after `time_steps` calls of `step`."""
        raise NotImplementedError

    def conclude(
        self, outputs: Tensor, state: State, time_steps: Any
    ) -> Tensor:
        return self.result(state, time_steps)

    def compute_mask(
        self, sequences: Tensor, mask: Tensor | None = None
    ) -> Any:
        super().compute_mask(sequences, mask)
        if mask is not None and type(self).call is TimeLayer.call:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' got a sequence with "
                "masked steps, and reads its result after the last step. "
                "Write its `call(sequences, mask=None)`, or leave the mask."
            )
        # What has no time axis has no masked steps.
        return None

    def compute_output_shape(self, sequences_shape: Shape) -> Any:
        return (sequences_shape[0], *sequences_shape[2:])


class LinearReadout(Readout):
    """A readout to which every step contributes the same by the rules.

    Attributes:
        normalize: Whether that is a mean over time; else it is a sum.
    """

    def collapsed(self, mean, outcome, state, training=False):
        """Return the result, differentiable to the mean of the input."""
        return means.replace(mean, *outcome)

    def credit(self, currents, carry, seen):
        """Return `(None, carry)`; `carry` gets the result's derivative."""
        currents = ops.cast(currents, "float32")
        if self.normalize:
            currents = currents / seen.time_steps
        return None, neuron_sequences.credit_all_steps(currents, carry)


@keras.saving.register_keras_serializable(package="keras_snn")
class MembraneReadout(LinearReadout):
    """Leaky neurons that never fire: their last potential divided by T.

        v(t) = beta * (v(t-1) + I(t));   y = v(T) / T

    Args:
        beta: Decay per step, in (0, 1]. Defaults to 0.99.
        learning_rule: With the paper's rules, `"collapsed"` (default) and
            `"exact"`, and with `"rate"` the backward pass has no leak:
            `dL/dI(t) = dL/dy / T`.
            With a surrogate it is the equation's own derivative,
            `beta^(T - t + 1) * dL/dy / T`.
        tau: Time constant in steps, instead of `beta = exp(-1 / tau)`.
        return_potentials: Whether to return `v(t)` at every step, too. By the
            rules that have no leak in `dL/dI`, `v(t)` has none either: its
            derivative to each current up to t is 1.

    Call arguments:
        currents: Input currents `I`, floating point.
        mask: Which steps exist, (batch, time); T counts those. The output of
            a sample without any is 0.

    Input shape:
        `(batch, time, ...features)`.

    Output shape:
        `(batch, ...features)`; with `return_potentials` a tuple of it and the
        potentials, float32 of the input's shape, 0 at masked steps.

    Raises:
        ValueError: For arguments out of range, unknown names or integer
            input.

    References:
        - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119)
    """

    def __init__(
        self,
        beta: float | None = None,
        learning_rule: LearningRule = "collapsed",
        tau: float | None = None,
        return_potentials: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.beta = checks.decay(beta, tau, default=0.99)
        self.learning_rule = learning_rules.get(learning_rule)
        self.return_potentials = checks.flag(
            "return_potentials", return_potentials
        )
        if self.return_potentials and self.activity_regularizer is not None:
            raise ValueError(
                f"`return_potentials=True` of MembraneReadout '{self.name}' "
                "cannot be regularized by activity, as Keras would count "
                "potentials, too. Put the regularizer in a "
                "keras.layers.Identity behind the output. Received: "
                f"activity_regularizer={self.activity_regularizer!r}."
            )

    @property
    def _leak_in_backward(self):
        return isinstance(self.learning_rule, Surrogate)

    def call(self, currents: Tensor, mask: Tensor | None = None) -> Any:
        self.check_sequence(currents)
        existing, time_steps = masks.existing_first(currents, mask)
        outputs = neuron_sequences.leaky_average(
            ops.cast(existing, "float32"),
            self.beta,
            leak_in_backward=self._leak_in_backward,
            time_steps=time_steps,
        )
        outputs = ops.cast(outputs, self.compute_dtype)
        if not self.return_potentials:
            return outputs

        def potentials(currents, time_steps):
            return self._potentials(currents, ops.zeros_like(currents[:, 0]))

        return outputs, masks.on_existing_steps(
            potentials, ops.cast(currents, "float32"), mask
        )

    def _potentials(self, currents, v):
        return neuron_sequences.leaky_potentials(
            ops.cast(currents, "float32"), v, self.beta, self._leak_in_backward
        )

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        v = self.beta * (state[0] + ops.cast(frame, "float32"))
        return v, [v]

    def window(
        self, sequence: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        """Return `(potentials, state)` of some steps; the last one's alone
        unless potentials are returned.
        """
        if self.return_potentials:
            potentials = self._potentials(sequence, state[0])
            return potentials, [potentials[:, -1]]
        v = neuron_sequences.leaky_sum(
            ops.cast(sequence, "float32"),
            state[0],
            self.beta,
            leak_in_backward=self._leak_in_backward,
        )
        return v, [v]

    def step_outputs(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[list[Tensor], State]:
        v, state = self.step(frame, state, training=training)
        return [v, v] if self.return_potentials else [v], state

    def result(self, state: State, time_steps: Any) -> Tensor:
        mean = state[0] / ops.cast(time_steps, "float32")
        return ops.cast(mean, self.compute_dtype)

    def compute_output_shape(self, sequences_shape: Shape) -> Any:
        shape = super().compute_output_shape(sequences_shape)
        return (
            [shape, tuple(sequences_shape)]
            if self.return_potentials
            else (shape)
        )

    def compute_mask(
        self, sequences: Tensor, mask: Tensor | None = None
    ) -> Any:
        super().compute_mask(sequences, mask)
        if mask is None or not self.return_potentials:
            return None
        return [None, masks.over(mask, len(sequences.shape) - 1)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta": self.beta,
            "learning_rule": learning_rules.serialize(self.learning_rule),
            "return_potentials": self.return_potentials,
        }


@keras.saving.register_keras_serializable(package="keras_snn")
class SpikeCountReadout(LinearReadout):
    """The number of spikes, by default divided by T.

        y = sum_t s(t) / T

    Args:
        normalize: Whether to divide by T. False gives the count itself.

    Call arguments:
        spikes: Floating point spikes.
        mask: As in `MembraneReadout`.

    Input shape:
        `(batch, time, ...features)`.

    Output shape:
        `(batch, ...features)`.

    Raises:
        ValueError: For integer input or input without time and feature axes.
    """

    def __init__(self, normalize: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.normalize = checks.flag("normalize", normalize)

    def call(self, spikes: Tensor, mask: Tensor | None = None) -> Any:
        self.check_sequence(spikes)
        spikes, time_steps = masks.existing_first(spikes, mask)
        spikes = ops.cast(spikes, "float32")
        if self.normalize:
            outputs = masks.mean(spikes, time_steps)
        else:
            outputs = ops.sum(spikes, axis=1)
        return ops.cast(outputs, self.compute_dtype)

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        count = state[0] + ops.cast(frame, "float32")
        return count, [count]

    def window(
        self, sequence: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        sequence = ops.cast(sequence, "float32")
        count = state[0] + ops.sum(sequence, axis=1)
        return count, [count]

    def result(self, state: State, time_steps: Any) -> Tensor:
        count = state[0]
        if self.normalize:
            count = count / ops.cast(time_steps, "float32")
        return ops.cast(count, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalize": self.normalize}
