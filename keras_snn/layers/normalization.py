"""Threshold-dependent batch normalization."""

from __future__ import annotations

from typing import Any

import keras

from keras_snn import checks
from keras_snn.layers.fixed_arguments import FixedArguments
from keras_snn.typing import Tensor


@keras.saving.register_keras_serializable(package="keras_snn")
class ThresholdBatchNormalization(
    FixedArguments, keras.layers.BatchNormalization
):
    """Batch normalization of currents to the scale of a threshold ("tdBN").

        y = alpha * threshold * g * (x - mean) / sqrt(variance + epsilon) + b

    with trainable `g` (starts at 1) and `b` (starts at 0), one a channel. So
    currents start with a spread of `alpha * threshold` whatever the weights
    and the depth, which keeps deep networks from falling silent.

    Use it in a `TimeFold`: mean and variance then are over batch, time and
    space together, and their moving averages, which inference uses, move once
    a training step. It runs in streams, too. By the rules `"rate"` and
    `"collapsed"` it trains in one backward pass, see
    `keras_snn.Model.training_order`.

    `gamma` reads as the whole factor `alpha * threshold * g`, so that folding
    it into the kernels before works as for `BatchNormalization`:
    `keras_snn.conversion.fold` does it after training.

    Args:
        threshold: Threshold of the neurons behind it, positive. Defaults
            to 1.
        alpha: Positive factor, 1 (default), or `1 / sqrt(n)` where n of them
            are added, as in residual blocks.
        **kwargs: As in `keras.layers.BatchNormalization`, without `scale`.

    Call arguments:
        inputs: Currents of frames, floating point.
        training: Whether to normalize by the batch.

    Input shape:
        Any; channels last unless `axis` says otherwise.

    Output shape:
        The input's.

    Raises:
        ValueError: For arguments out of range.

    Example:

    >>> x = TimeFold(keras.layers.Conv2D(64, 3, use_bias=False))(x)
    >>> x = TimeFold(ThresholdBatchNormalization(threshold=0.5))(x)
    >>> x = keras_snn.layers.PLIF(threshold=0.5)(x)

    References:
        - [Zheng et al., 2021](https://arxiv.org/abs/2011.05280), "Going Deeper
          With Directly-Trained Larger Spiking Neural Networks"
    """

    def __init__(
        self, threshold: float = 1.0, alpha: float = 1.0, **kwargs: Any
    ) -> None:
        if not kwargs.pop("scale", True):
            raise ValueError(
                "ThresholdBatchNormalization scales to the threshold. "
                "Received: scale=False. Use keras.layers.BatchNormalization."
            )
        self.threshold = checks.positive_threshold(threshold)
        self.alpha = checks.number(
            "alpha",
            alpha,
            "(0, inf)",
            "1 or, where n such layers are added, 1 / sqrt(n)",
        )
        self._factor = self.alpha * self.threshold
        super().__init__(**kwargs)

    @property
    def gamma(self) -> Tensor:
        """The factor of the normalized input, `alpha * threshold * g`."""
        # None until built, as in `BatchNormalization`.
        return None if self._g is None else self._factor * self._g

    @gamma.setter
    def gamma(self, g):
        self._g = g

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["scale"]
        return {**config, "threshold": self.threshold, "alpha": self.alpha}
