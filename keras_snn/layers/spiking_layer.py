"""What all layers of spiking neurons have in common."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_snn import checks
from keras_snn.layers.learned_numbers import LearnedNumbers
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.neurons import learning_rules, masks, time_loop
from keras_snn.neurons import sequences as neuron_sequences
from keras_snn.typing import Shape, State, Tensor


class SpikingLayer(LearnedNumbers, TimeLayer):
    """A layer of neurons: currents in, spikes (0 or 1) of their shape out.

    A neuron of one's own implements `step` and `initial_state`. It learns
    through time, by the derivative of its `step`, so the spikes in there are
    those of a surrogate: `self.learning_rule(u - self.threshold)`.

    With a method `potential(frame, state)`, which returns `u` of one step,
    above the attribute `threshold` where it spikes, potentials can be
    recorded, and returned beside the spikes with `return_potentials=True`.

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
    # Names of the numbers that may be arrays of one a neuron.
    per_neuron: tuple[str, ...] = ("beta", "threshold")

    def __init__(self, return_potentials: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.return_potentials = checks.flag(
            "return_potentials", return_potentials
        )

    def factor_of(self, sums: Any) -> Tensor:
        """Return the derivative of one spike that `collapsed` works with."""
        return ops.ones_like(sums.total)

    def check_sequence(self, sequences: Tensor) -> None:
        super().check_sequence(sequences)
        checks.broadcasts(self, sequences.shape[2:])
        self.check_potentials()

    def check_potentials(self) -> None:
        """Raise a `ValueError` if potentials are wanted that cannot learn."""
        if not self.return_potentials:
            return
        option = f"`return_potentials=True` of {type(self).__name__}"
        option += f" '{self.name}'"
        if self.rule != "surrogate":
            raise ValueError(
                f"{option} needs backpropagation through time, by a surrogate, "
                'e.g. learning_rule="arctan". Received: learning_rule='
                f"{self.learning_rule!r}, a rule for spikes, that has no "
                "derivative of potentials. Those of a trained network are in "
                "keras_snn.analysis.record(model, x).potentials."
            )
        if self.potential is None:
            raise ValueError(
                f"{option} needs a method `potential(frame, state)` beside its "
                "`step`, which returns what is compared with the threshold."
            )
        if self.activity_regularizer is not None:
            raise ValueError(
                f"{option} cannot be regularized by activity, as Keras would "
                "count potentials, too. Received: activity_regularizer="
                f"{self.activity_regularizer!r}. Put it in a "
                "keras.layers.Identity behind the spikes."
            )

    def step_outputs(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[list[Tensor], State]:
        outputs, after = super().step_outputs(frame, state, training)
        if self.return_potentials:
            outputs.append(self.potential(frame, state))
        return outputs, after

    def _steps(self, sequence, state, training, unroll):
        if not self.return_potentials:
            return super()._steps(sequence, state, training, unroll)

        def step(frame, state):
            u = self.potential(frame, state)
            spikes, state = self.step(frame, state, training=training)
            return ops.stack([ops.cast(spikes, "float32"), u], axis=1), state

        sequence = ops.cast(sequence, "float32")
        both, state = time_loop.through_time(step, state, sequence, unroll)
        spikes = ops.cast(both[:, :, 0], self.compute_dtype)
        return (spikes, both[:, :, 1]), state

    def _lif_window(self, currents, v, unroll):
        """Return `(spikes, v, *potentials)` of some steps of LIF neurons."""
        return neuron_sequences.surrogate_window(
            currents,
            v,
            self.learning_rule,
            **self.neuron_now,
            unroll=unroll,
            with_potentials=self.return_potentials,
        )

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
        shape = tuple(currents_shape)
        return [shape, shape] if self.return_potentials else shape

    def compute_mask(
        self, sequences: Tensor, mask: Tensor | None = None
    ) -> Any:
        mask = super().compute_mask(sequences, mask)
        has_two = mask is not None and self.return_potentials
        return [mask, mask] if has_two else mask

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), **self.config_of_training()}
        # A neuron of one's own need not know the word.
        if self.return_potentials:
            config["return_potentials"] = True
        return config


class ThroughTimeNeuron(SpikingLayer):
    """A neuron for which only backpropagation through time is defined.

    Subclasses implement `run` besides the methods of a `TimeLayer`.
    """

    sequence_methods = ("call", "conclude", "run")
    # Why the paper's rules do not apply, for messages.
    not_by_rules: str | None = None

    def __init__(
        self,
        beta,
        threshold,
        reset,
        learning_rule,
        unroll,
        trainable_beta=False,
        trainable_threshold=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.beta = beta
        self.threshold = checks.thresholds(threshold)
        self.reset = checks.reset_mode(reset)
        self.learning_rule = learning_rules.get_surrogate(
            learning_rule, type(self).__name__, self.not_by_rules
        )
        self.unroll = checks.flag("unroll", unroll)
        self.train_numbers(trainable_beta, trainable_threshold)
        self.check_potentials()

    def build(self, currents_shape):
        self.build_numbers()

    def run(self, currents, state, unroll):
        """Return `(spikes, state, *potentials)` of some steps, in float32.

        Differentiable to currents, state and weights. The potentials are
        there with `return_potentials`.
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
        return self._run(sequence, state, time_loop.unrolls_windows(sequence))

    def _run(self, currents, state, unroll):
        currents = ops.cast(currents, "float32")
        spikes, state, *potentials = self.run(currents, state, unroll)
        spikes = ops.cast(spikes, self.compute_dtype)
        return (spikes, *potentials) if potentials else spikes, state

    def get_config(self):
        return {
            **super().get_config(),
            "beta": self.given_number("beta"),
            "threshold": self.given_number("threshold"),
            "reset": self.reset,
            "learning_rule": learning_rules.serialize(self.learning_rule),
            "unroll": self.unroll,
        }
