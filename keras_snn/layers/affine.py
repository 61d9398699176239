"""A number to multiply by and one to add, for each channel."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.layers.fixed_arguments import FixedArguments
from keras_snn.typing import Shape


@keras.saving.register_keras_serializable(package="keras_snn")
class Affine(FixedArguments, keras.layers.Layer):
    """One synapse from each neuron to its own counterpart, and a bias.

        y[..., c] = kernel[c] * x[..., c] + bias[c]

    What a batch normalization is once it is trained. `conversion.convert`
    leaves it where no convolution or dense layer next to a normalization can
    take it in, in a `TimeFold`.

    Args:
        use_scale: Whether there is a `kernel`, (channels,). Without it this
            is a bias alone, and no synapse.
        per_position: Whether the bias is a number of its own for each
            position, of the shape of a frame: what a shift before a layer
            that pads with zeros is behind it.

    Call arguments:
        inputs: Floating point tensor.

    Input shape:
        `(batch, ...features, channels)`.

    Output shape:
        The input's.

    Raises:
        ValueError: If `per_position` is asked for and the input's shape is
            not known.

    Example:

    >>> layer = keras_snn.layers.Affine()
    >>> layer.build((None, 2))
    >>> layer.set_weights([np.float32([2, -1]), np.float32([0, 3])])
    >>> layer(np.float32([[1, 1]]))  # 2, 2
    """

    def __init__(
        self,
        use_scale: bool = True,
        per_position: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_scale = checks.flag("use_scale", use_scale)
        self.per_position = checks.flag("per_position", per_position)

    def build(self, inputs_shape: Shape) -> None:
        frame = tuple(inputs_shape[1:])
        if None in frame[0 if self.per_position else -1 :]:
            raise ValueError(
                f"Affine '{self.name}' has one number a "
                f"{'position' if self.per_position else 'channel'}, and needs "
                "to know how many there are. Received: input of shape "
                f"{tuple(inputs_shape)}. Build the network with a fixed shape."
            )
        self.kernel = None
        if self.use_scale:
            self.kernel = self.add_weight(
                name="kernel", shape=frame[-1:], initializer="ones"
            )
        self.bias = self.add_weight(
            name="bias",
            shape=frame if self.per_position else frame[-1:],
            initializer="zeros",
        )

    def call(self, inputs: Any) -> Any:
        if self.kernel is not None:
            inputs = inputs * self.kernel
        return ops.add(inputs, self.bias)

    def compute_output_shape(self, inputs_shape: Shape) -> Any:
        return tuple(inputs_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "per_position": self.per_position,
        }
