"""LIF and IF as cells for `keras.layers.RNN`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.layers.fixed_arguments import FixedArguments
from keras_snn.neurons import learning_rules
from keras_snn.neurons.rate import Rate
from keras_snn.neurons.single_step import lif_step_with_rule
from keras_snn.typing import LearningRule, Reset, Shape, State, Tensor


@keras.saving.register_keras_serializable(package="keras_snn")
class LIFCell(FixedArguments, keras.layers.Layer):
    """One time step of leaky integrate-and-fire neurons.

        u(t) = v(t-1) + I(t)
        s(t) = 1 where u(t) > threshold, else 0        (strictly above)
        v(t) = beta * u(t) * (1 - s(t))                reset="zero"
        v(t) = beta * (u(t) - threshold * s(t))        reset="subtract"

    Use it in `keras.layers.RNN`, in a `StackedRNNCells`, or step by step with
    your own state. `keras_snn.layers.LIF` gives the same spikes for any
    feature shape, and more: a cell sees one step at a time, so the paper's
    rules `"exact"` and `"collapsed"` come without the leak correction, which
    needs the whole spike train. In a cell both are
    `d(t) = G(t) / threshold where s(t) else d(t+1)`. Surrogates give the same
    derivative as `LIF`; `"rate"` has none for a single step and is refused.

    Args:
        units: Number of neurons, the size of the input's last axis.
        beta: Decay per step, in (0, 1]. Defaults to 0.99.
        threshold: Firing threshold, positive. Defaults to 1.
        reset: `"zero"` or `"subtract"`.
        learning_rule: `"collapsed"`, `"exact"` or a surrogate.
        tau: Time constant in steps, instead of `beta = exp(-1 / tau)`.

    Call arguments:
        current: Input current `I(t)`, shape `(batch, units)`.
        states: List of one tensor, the membrane potential `v(t-1)`, float32.

    Output shape:
        `(spikes, [membrane_potential])`, both `(batch, units)`.

    Raises:
        ValueError: For arguments out of range, unknown names, integer input,
            or an input whose last axis is not `units`.

    Example:

    >>> rnn = keras.layers.RNN(LIFCell(128), return_sequences=True)
    >>> spikes = rnn(currents)          # (batch, time, 128)
    """

    def __init__(
        self,
        units: int,
        beta: float | None = None,
        threshold: float = 1.0,
        reset: Reset = "zero",
        learning_rule: LearningRule = "collapsed",
        tau: float | None = None,
        **kwargs: Any,
    ) -> None:
        # Membrane potentials stay float32 under mixed precision.
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.units = checks.integer(
            "units",
            units,
            1,
            "the number of neurons",
            "For images use the layer keras_snn.layers.LIF, which takes any "
            "feature shape.",
        )
        self.beta = checks.decay(beta, tau, default=0.99)
        self.threshold = checks.positive_threshold(threshold)
        self.reset = checks.reset_mode(reset)
        self.learning_rule = learning_rules.get(learning_rule)
        if isinstance(self.learning_rule, Rate):
            raise ValueError(
                f"{type(self).__name__} sees one time step at a time, and the "
                "rate rule needs all of them. Use the layer "
                "keras_snn.layers.LIF, or a surrogate, e.g. learning_rule="
                f'"sigmoid". Received: learning_rule={self.learning_rule!r}.'
            )
        self.state_size = self.units
        self.output_size = self.units

    def build(self, input_shape: Shape) -> None:
        if input_shape[-1] != self.units or len(input_shape) != 2:
            raise ValueError(
                f"{type(self).__name__} expects a current of shape (batch, "
                f"units={self.units}). Received: shape {tuple(input_shape)}."
            )

    def call(
        self, current: Tensor, states: State, training: bool | None = None
    ) -> Any:
        dtype = keras.backend.standardize_dtype(current.dtype)
        if "float" not in dtype:
            raise ValueError(
                f"{type(self).__name__} expects floating point currents. "
                f"Received: dtype {dtype}. Cast the input to float32."
            )
        spikes, v = lif_step_with_rule(
            states[0],
            current,
            self.beta,
            self.threshold,
            self.reset,
            self.learning_rule,
        )
        return spikes, [v]

    def get_initial_state(self, batch_size: int | None = None) -> State:
        return [ops.zeros((batch_size, self.units), dtype="float32")]

    def compute_output_shape(
        self, input_shape: Shape, states_shape: Any = None
    ) -> Any:
        return tuple(input_shape), [tuple(input_shape)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "beta": self.beta,
            "threshold": self.threshold,
            "reset": self.reset,
            "learning_rule": learning_rules.serialize(self.learning_rule),
        }


@keras.saving.register_keras_serializable(package="keras_snn")
class IFCell(LIFCell):
    """One time step of integrate-and-fire neurons: `LIFCell` without leak.

        u(t) = v(t-1) + I(t)
        s(t) = 1 where u(t) > threshold, else 0        (strictly above)
        v(t) = u(t) * (1 - s(t))                       reset="zero"
        v(t) = u(t) - threshold * s(t)                 reset="subtract"

    Without a leak there is no leak correction, so here `"exact"` is the whole
    exact rule.

    Args:
        units: Number of neurons.
        threshold: Firing threshold, positive. Defaults to 1.
        reset: `"zero"` or `"subtract"`.
        learning_rule: As in `LIFCell`.
    """

    def __init__(
        self,
        units: int,
        threshold: float = 1.0,
        reset: Reset = "zero",
        learning_rule: LearningRule = "collapsed",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            beta=1.0,
            threshold=threshold,
            reset=reset,
            learning_rule=learning_rule,
            **kwargs,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config
