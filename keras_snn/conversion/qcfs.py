"""The quantised activation that spikes of few steps can reproduce."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.layers.fixed_arguments import FixedArguments
from keras_snn.network import kinds
from keras_snn.typing import Shape


@keras.saving.register_keras_serializable(package="keras_snn")
class QCFS(FixedArguments, keras.layers.Layer):
    """Quantisation-clip-floor-shift: a ReLU as an IF neuron computes it.

        z = clip(x / threshold, 0, 1)
        y = threshold * floor(levels * z + 1/2) / levels

    An integrate-and-fire neuron with reset by subtraction that starts at half
    its threshold and sees the constant current `x` for `T = levels` steps
    fires `levels * y / threshold` times: the converted layer makes no error
    at that T, and little at others. The rounding passes gradients as if it
    were not there; the threshold is trained with the weights:

        dy/dx = 1 where 0 < x < threshold, else 0
        dy/dthreshold = y / threshold - z + (1 where x > threshold, else 0)

    Args:
        levels: Number of steps of the staircase, positive.
        threshold: Initial threshold, positive, one for the whole layer.

    Call arguments:
        inputs: Floating point tensor.

    Input shape:
        Any.

    Output shape:
        The input's.

    Raises:
        ValueError: If `levels` or `threshold` is not positive.

    Example:

    >>> x = np.float32([0.1, 0.2, 0.9, 3.0])
    >>> keras_snn.conversion.QCFS(levels=4, threshold=1.0)(x)
    # 0, 0.25, 1, 1

    References:
        - [Bu et al., 2022](https://arxiv.org/abs/2303.04347)
    """

    def __init__(
        self, levels: int = 8, threshold: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.levels = checks.levels(levels)
        self.threshold = checks.positive_threshold(threshold)

    def build(self, inputs_shape: Shape) -> None:
        self.scale = self.add_weight(
            name="threshold",
            shape=(),
            initializer=keras.initializers.Constant(self.threshold),
            constraint="non_neg",
        )

    def call(self, inputs: Any) -> Any:
        scale = ops.cast(self.scale, inputs.dtype) + keras.config.epsilon()
        fraction = ops.clip(inputs / scale, 0.0, 1.0)
        rounded = ops.floor(fraction * self.levels + 0.5) / self.levels
        return scale * (fraction + ops.stop_gradient(rounded - fraction))

    def compute_output_shape(self, inputs_shape: Shape) -> Any:
        return tuple(inputs_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "levels": self.levels,
            "threshold": self.threshold,
        }


kinds.register(QCFS, role="activation")
