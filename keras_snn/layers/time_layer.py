"""What all layers over a time axis have in common."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.layers.fixed_arguments import FixedArguments
from keras_snn.neurons import masks, time_loop
from keras_snn.neurons.rate import Rate
from keras_snn.typing import Shape, State, Tensor

# What does the work of T calls of `step` at once, or knows what they do.
SHORTCUTS = ("call", "window", "lif", "potential", "collapsed", "credit")
# What a layer's numbers are, and a shortcut stands beside.
MEANING = ("step", "initial_state", "result")


class TimeLayer(FixedArguments, keras.layers.Layer):
    """A layer whose input has axes (batch, time, ...features).

    A layer of one's own implements `step`, and `initial_state` if it carries
    state (`keeps_state = True`). It then runs in every way in which networks
    run. A whole-sequence `call` or `window` that is faster, and what else
    `SHORTCUTS` names, may stand beside the `step` whose results it gives; a
    subclass with another `step` does not inherit them.

    A Keras mask says which steps of a sample exist. Where one comes, `call`
    takes it as `mask`, and gives what the sequence without the other steps
    would, with 0 in their places.
    """

    min_rank = 3
    axes = "(batch, time, ...features)"
    # What works on whole sequences, and says nothing about a step.
    sequence_methods: tuple[str, ...] = ("call", "conclude")
    # Whether `step` carries something from one time step to the next.
    keeps_state = False
    # Whether potentials come beside the output, in float32.
    return_potentials = False
    # Whether random numbers are drawn in `initial_state` only.
    draws_at_start = False
    # `(beta, threshold, reset)` if `step` is `neurons.lif_step` with these.
    lif: Any = None
    # Function of currents and state of a step that returns the potential that
    # is compared with the threshold; see `SpikingLayer`.
    potential: Any = None
    # Function `collapsed(mean, outcome, state, training)` that returns the
    # output's mean over time, differentiable to the input's mean by rules
    # that need no more. `outcome` is a `neurons.means.Outcome` of neurons and
    # readouts, else None.
    collapsed: Any = None
    # Function `credit(currents, carry, seen)` that returns the output of some
    # steps and the carry after them, differentiable by the exact rule; `seen`
    # is a `neurons.means.Seen`.
    credit: Any = None

    def __init__(self, **kwargs: Any) -> None:
        if "go_backwards" in kwargs:
            # As `keras.layers.Bidirectional` makes its second layer.
            kind = type(self).__name__
            raise ValueError(
                f"{kind} runs forwards, and in no keras.layers.Bidirectional. "
                "Run a second one on the sequence turned round, and join both: "
                f"keras.layers.Concatenate()([{kind}(...)(x), ops.flip("
                f"{kind}(...)(ops.flip(x, axis=1)), axis=1)]). Cells do: "
                "Bidirectional(keras.layers.RNN(keras_snn.layers.LIFCell("
                "units), return_sequences=True))."
            )
        super().__init__(**kwargs)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in SHORTCUTS:
            if not _stands_beside_step(cls, name):
                setattr(cls, name, vars(TimeLayer)[name])

    @classmethod
    def sees_only_sequences(cls) -> bool:
        """Return whether whole sequences are treated by code of their own.

        A class that overrides `call`, and not the `step` beside it, says
        nothing about single steps.
        """
        at = cls.__mro__.index
        step = at(_owner(cls, "step"))
        return step == at(TimeLayer) or any(
            at(_owner(cls, name)) < step for name in cls.sequence_methods
        )

    def call(
        self,
        sequences: Tensor,
        training: bool | None = False,
        mask: Tensor | None = None,
    ) -> Any:
        self.check_sequence(sequences)
        if training:
            self.check_rule()

        def run(sequences, time_steps):
            shape = ops.shape(sequences)
            state = self.initial_state((shape[0], *shape[2:]), sequences.dtype)
            outputs, state = self._steps(sequences, state, training, False)
            return self.conclude(outputs, state, shape[1])

        return masks.on_existing_steps(run, sequences, mask)

    def conclude(
        self, outputs: Tensor, state: State, time_steps: Any
    ) -> Tensor:
        """Return what `call` returns after the last step."""
        return outputs

    def initial_state(
        self, frame_shape: Shape, dtype: str = "float32"
    ) -> State:
        """Return the state before the first step, a list of tensors.

        Args:
            frame_shape: Shape of one step's input, batch first.
            dtype: dtype of one step's input.
        """
        return []

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        """Return `(output, state)` of one step."""
        raise NotImplementedError

    def step_outputs(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[list[Tensor], State]:
        """Return `(outputs, state)` of one step, a list as of `call`."""
        output, state = self.step(frame, state, training=training)
        return [output], state

    def window(
        self, sequence: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        """Return `(output, state)` of some steps, like as many `step`s.

        Differentiable to the state, too.
        """
        unroll = time_loop.unrolls_windows(sequence)
        return self._steps(sequence, state, training, unroll)

    def _steps(self, sequence, state, training, unroll):
        if not state:
            shape = ops.shape(sequence)
            frames = ops.reshape(sequence, (-1, *shape[2:]))
            outputs, _ = self.step(frames, state, training=training)
            outputs = ops.reshape(
                outputs, (-1, shape[1], *ops.shape(outputs)[1:])
            )
            return outputs, state

        def step(frame, state):
            return self.step(frame, state, training=training)

        sequence = ops.cast(sequence, "float32")
        outputs, state = time_loop.through_time(step, state, sequence, unroll)
        return ops.cast(outputs, self.compute_dtype), state

    def check_rule(self) -> None:
        """Refuse, before training, a rule that does not fit `step`."""

    @property
    def rule(self) -> str:
        """How the layer learns: a rule's name, or `"surrogate"`.

        That is backpropagation through time, also by a derivative of one's
        own.
        """
        rule = getattr(self, "learning_rule", None)
        if isinstance(rule, Rate):
            return "rate"
        return rule if isinstance(rule, str) else "surrogate"

    def obstacle(self, rule: str) -> str | None:
        """Return why a network's one loop cannot train this layer, or None.

        Args:
            rule: `"collapsed"`, `"rate"`, `"exact"`, or `"surrogate"`.
        """
        kind = type(self).__name__
        if rule in ("collapsed", "rate") and self.collapsed is None:
            return f"'{self.name}' ({kind}) is not known to be linear"
        if rule == "exact" and self.credit is None and self.keeps_state:
            return f"'{self.name}' ({kind}) carries state from step to step"
        if rule in ("exact", "surrogate") and not self.draws_at_start:
            # Steps that are computed again would draw again.
            if counts_or_draws(self):
                return (
                    f"'{self.name}' ({kind}) counts, or draws random numbers, "
                    "at every step"
                )
        return None

    def compute_output_spec(
        self, sequences: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        self.check_sequence(sequences)
        found = super().compute_output_spec(sequences, *args, **kwargs)
        if not self.return_potentials:
            return found
        outputs, potentials = found
        return outputs, keras.KerasTensor(potentials.shape, "float32")

    def compute_mask(
        self, sequences: Tensor, mask: Tensor | None = None
    ) -> Any:
        if mask is None:
            return None
        self._check_masked()
        # Keras' merges expect a mask of one axis less than the sequence has.
        return masks.over(mask, len(sequences.shape) - 1)

    def _check_masked(self):
        """Raise a `ValueError` if masked steps would count."""
        name = f"{type(self).__name__} '{self.name}'"
        if not takes_argument(self, "mask"):
            raise ValueError(
                f"{name} got a sequence with masked steps, and its `call` "
                "takes no `mask`. Give it the argument `mask=None`, (batch, "
                "time), True where a step exists."
            )
        if getattr(self.activity_regularizer, "counts_all_steps", False):
            kind = type(self.activity_regularizer).__name__
            raise ValueError(
                f"{name} got a sequence with masked steps, in which its "
                f"activity regularizer {kind} would count padding as silence. "
                "Leave the regularizer out, or the mask."
            )

    def check_sequence(self, sequences: Tensor) -> None:
        """Raise a `ValueError` unless the input is a float sequence."""
        checks.floating(self, sequences)
        self.check_rank(sequences.shape)

    def check_rank(self, shape: Shape) -> None:
        """Raise a `ValueError` unless a shape has time and features."""
        if len(shape) < self.min_rank:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' expects a sequence with "
                f"axes {self.axes}. Received: shape {tuple(shape)}. "
                "Put an encoder, e.g. keras_snn.layers.PoissonEncoder("
                "time_steps=25), before it, or add a time axis."
            )


def _owner(cls, name):
    """Return the class of the MRO that an attribute comes from."""
    base = vars(TimeLayer).get(name)
    # What `__init_subclass__` has put back is that of `TimeLayer`.
    found = (x for x in cls.__mro__ if vars(x).get(name, base) is not base)
    return next(found, TimeLayer)


def _stands_beside_step(cls, name):
    """Return whether a shortcut was written for the steps of a class."""
    # From the class that has the shortcut to the one that asks: the first
    # that knows a step is the one whose steps it was written for.
    lineage = cls.__mro__[: cls.__mro__.index(_owner(cls, name)) + 1]
    steps = [x for x in reversed(lineage) if _has_step(x)]
    return not steps or all(
        getattr(steps[0], x, None) is getattr(cls, x, None) for x in MEANING
    )


def _has_step(cls):
    return getattr(cls, "step", TimeLayer.step) is not TimeLayer.step


def counts_or_draws(layer):
    """Return whether a layer counts, or draws random numbers, when called.

    A frozen layer does not count.
    """
    if isinstance(layer, keras.Model) and layer.layers:
        return any(map(counts_or_draws, layer.layers))
    # Seeds are variables, but no weights.
    draws = len(layer.variables) > len(layer.weights)
    return draws or takes_statistics(layer)


def takes_statistics(layer):
    """Return whether a layer has weights that it trains without a gradient."""
    if isinstance(layer, keras.Model) and layer.layers:
        return any(map(takes_statistics, layer.layers))
    if getattr(layer, "lora_enabled", False):
        # Its kernel is frozen.
        return False
    return layer.trainable and bool(layer.non_trainable_weights)


def output_shape_of(layer, shape):
    """Return the shape of what a layer makes of input of a shape.

    Of a layer that does not say it is found by a symbolic call, as in Keras.
    """
    try:
        return layer.compute_output_shape(shape)
    except NotImplementedError:
        symbol = keras.KerasTensor(shape, layer.compute_dtype)
        return layer.compute_output_spec(symbol).shape


def takes_argument(layer, name):
    """Return whether a layer's `call` has an argument of this name."""
    return name in inspect.signature(layer.call).parameters
