"""Any Keras layer at all time steps at once."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn.layers.encoders import Encoder
from keras_snn.layers.time_layer import (
    TimeLayer,
    output_shape_of,
    takes_argument,
    takes_statistics,
)
from keras_snn.neurons import masks
from keras_snn.typing import Shape, State, Tensor

SEQUENCE_LAYERS = (
    TimeLayer,
    keras.layers.RNN,
    keras.layers.Bidirectional,
    keras.layers.TimeDistributed,
)


@keras.saving.register_keras_serializable(package="keras_snn")
class TimeFold(TimeLayer):
    """Applies a layer to every step, with time folded into the batch axis.

        y(t) = layer(x(t)),   t = 1..T, in one call on (batch * time, ...)

    Unlike `keras.layers.TimeDistributed` this is one call whatever T, known
    or not, and `BatchNormalization` inside takes its statistics over batch
    and time together and updates them once.

    A `keras.layers.Dropout` inside draws a new mask at every step; use
    `TimeConstantDropout` for one mask a sample.

    Args:
        layer: A `keras.layers.Layer` that takes one step's frames. Its dtype
            is the fold's, unless that has one of its own.

    Call arguments:
        sequences: Floating point tensor.
        training: Passed to the layer if it takes it.
        mask: Which steps exist, (batch, time). The output at the others is 0,
            and statistics leave them out.

    Input shape:
        `(batch, time, ...features)`.

    Output shape:
        `(batch, time, ...)` with the layer's output features.

    Raises:
        ValueError: If `layer` is no Keras layer, the input has no time axis
            before the layer's own axes, or a layer that learns statistics
            would count masked steps.

    Example:

    >>> conv = keras.layers.Conv2D(64, 3, padding="same", use_bias=False)
    >>> currents = TimeFold(conv)(spikes)     # (batch, time, 32, 32, 64)
    """

    def __init__(self, layer: keras.layers.Layer, **kwargs: Any) -> None:
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(
                "TimeFold expects a Keras layer, e.g. TimeFold("
                "keras.layers.Dense(10)). "
                f"Received: {layer!r} (of type {type(layer).__name__})."
            )
        kind = type(layer).__name__
        if isinstance(layer, SEQUENCE_LAYERS):
            raise ValueError(
                f"{kind} already runs over the time axis. Call it on the "
                "sequence itself, without TimeFold."
            )
        if hasattr(layer, "state_size"):
            raise ValueError(
                f"{kind} is a cell and needs its state from step to step. Use "
                f"keras.layers.RNN({kind}(...), return_sequences=True)."
            )
        if isinstance(layer, Encoder):
            raise ValueError(
                f"{kind} makes the time axis. Call it on the images "
                "themselves, without TimeFold."
            )
        # Reads as the layer it applies: "conv1", not "time_fold_3".
        kwargs.setdefault("name", layer.name)
        # A fold of another precision would round what the layer is to see.
        if getattr(layer, "quantization_mode", None) is None:
            kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, sequences_shape: Shape) -> None:
        frame_shape = (None, *sequences_shape[2:])
        first = self.layer
        while isinstance(first, keras.Sequential) and first.layers:
            first = first.layers[0]
        spec = first.input_spec
        ndim = getattr(spec, "ndim", None) or getattr(spec, "min_ndim", None)
        if ndim is not None and len(frame_shape) < ndim:
            raise ValueError(
                f"TimeFold({type(first).__name__}) expects {ndim + 1} "
                "axes: batch, time and those of one frame. "
                f"Received: shape {tuple(sequences_shape)}. Put an encoder, "
                "e.g. keras_snn.layers.PoissonEncoder(time_steps=25), before "
                "it, or add a time axis."
            )
        if not self.layer.built:
            self.layer.build(frame_shape)
            self.layer.built = True

    def call(
        self,
        sequences: Tensor,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Any:
        self.check_sequence(sequences)
        sequences = masks.silenced(sequences, mask)
        shape = ops.shape(sequences)
        frames = ops.reshape(sequences, (-1, *shape[2:]))
        options = {}
        if mask is not None and training and takes_statistics(self.layer):
            options["mask"] = self._mask_of_frames(mask, frames)
        outputs = self._apply(frames, training, **options)
        outputs = ops.reshape(outputs, (-1, shape[1], *ops.shape(outputs)[1:]))
        return masks.silenced(outputs, mask)

    def step(
        self, frame: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        return self._apply(frame, training), state

    def window(
        self, sequence: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        return self.call(sequence, training=training), state

    def collapsed(
        self, mean: Tensor, outcome: Any, state: State, training: bool = False
    ) -> Tensor:
        """Return the layer of the mean: the output's mean, if it is linear."""
        return self._apply(mean, training)

    def _apply(self, frames, training, **options):
        if takes_argument(self.layer, "training"):
            options["training"] = training
        return self.layer(frames, **options)

    def _mask_of_frames(self, mask, frames):
        """Return the mask of frames as layers that take statistics want it."""
        layer, kind = self.layer, type(self.layer).__name__
        nested = isinstance(layer, keras.Model)
        if nested or not takes_argument(layer, "mask"):
            raise ValueError(
                f"TimeFold({kind}) '{self.name}' may take statistics over all "
                "steps, also over masked ones, as not all of its weights learn "
                "by a gradient. Fold a layer whose `call` takes a `mask`, e.g. "
                "keras.layers.BatchNormalization, and one layer in each "
                "TimeFold."
            )
        axes = len(frames.shape) - 1
        mask = ops.reshape(masks.of_steps(mask), (-1,) + (1,) * (axes - 1))
        return ops.broadcast_to(mask, ops.shape(frames)[:-1])

    def compute_mask(
        self, sequences: Tensor, mask: Tensor | None = None
    ) -> Any:
        mask = super().compute_mask(sequences, mask)
        if mask is None:
            return None
        rank = len(self.compute_output_shape(sequences.shape))
        return masks.over(mask, rank - 1)

    def compute_output_shape(self, sequences_shape: Shape) -> Any:
        frame_shape = (None, *sequences_shape[2:])
        output_shape = output_shape_of(self.layer, frame_shape)
        return (*sequences_shape[:2], *output_shape[1:])

    def get_config(self) -> dict[str, Any]:
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        layer = keras.saving.deserialize_keras_object(config.pop("layer"))
        return cls(layer, **config)
