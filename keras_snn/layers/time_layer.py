"""What all layers over a time axis have in common."""

import keras

from keras_snn import checks
from keras_snn.layers.fixed_arguments import FixedArguments


class TimeLayer(FixedArguments, keras.layers.Layer):
    """A layer whose input has axes (batch, time, ...features).

    Subclasses that can also run one step at a time implement `step`, and
    `initial_state` where they have state; a whole-sequence `call` and T calls
    of `step` give the same result.
    """

    min_rank = 3
    axes = "(batch, time, ...features)"
    # Whether `step` carries something from one time step to the next.
    keeps_state = False

    def initial_state(self, frame_shape, dtype="float32"):
        """Return the state before the first step, a list of tensors.

        Args:
            frame_shape: Shape of one step's input, batch first.
            dtype: dtype of one step's input.
        """
        return []

    def step(self, frame, state, training=False):
        """Return `(output, state)` of one step."""
        raise NotImplementedError

    def window(self, sequence, state, training=False):
        """Return `(output, state)` of some steps, like as many `step`s.

        Differentiable to the state, too. For layers without state it is the
        whole-sequence call.
        """
        if self.keeps_state:
            raise NotImplementedError
        return self.call(sequence), state

    def compute_output_spec(self, sequences, *args, **kwargs):
        self.check_sequence(sequences)
        return super().compute_output_spec(sequences, *args, **kwargs)

    def check_sequence(self, sequences):
        """Raise a `ValueError` unless the input is a float sequence."""
        checks.floating(self, sequences)
        self.check_rank(sequences.shape)

    def check_rank(self, shape):
        """Raise a `ValueError` unless a shape has time and features."""
        if len(shape) < self.min_rank:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' expects a sequence with "
                f"axes {self.axes}. Received: shape {tuple(shape)}. "
                "Put an encoder, e.g. keras_snn.layers.PoissonEncoder("
                "time_steps=25), before it, or add a time axis."
            )


def counts_or_draws(layer):
    """Return whether a layer counts, or draws random numbers, when called.

    Also one that is frozen.
    """
    return any(
        inner._non_trainable_variables or inner._seed_generators
        for inner in layer._flatten_layers()
    )
