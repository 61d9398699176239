"""Losses of spiking networks."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_snn")
class SummedSquaredError(keras.losses.Loss):
    """The paper's loss: squared error summed over classes and batch.

        loss = sum_b sum_c (output_bc - one_hot_bc)^2

    Since it is a sum over the batch, a learning rate belongs to a batch size.

    Args:
        reduction: `"sum"` as published (default), or Keras'
            `"sum_over_batch_size"`, `"mean"`, None.
        name: Name of the loss.

    Call arguments:
        y_true: One-hot labels, `(batch, classes)`.
        y_pred: Outputs, `(batch, classes)`.

    Raises:
        ValueError: If the shapes differ, as with integer class labels.

    References:
        - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119)
    """

    def __init__(self, reduction="sum", name="summed_squared_error", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true, y_pred):
        y_true = ops.cast(y_true, y_pred.dtype)
        if len(y_true.shape) != len(y_pred.shape) or (
            None not in (y_true.shape[-1], y_pred.shape[-1])
            and y_true.shape[-1] != y_pred.shape[-1]
        ):
            raise ValueError(
                "SummedSquaredError expects one-hot labels of the outputs' "
                f"shape {tuple(y_pred.shape)}. Received: labels of shape "
                f"{tuple(y_true.shape)}. Convert class numbers with "
                "keras.utils.to_categorical(labels, classes)."
            )
        return ops.sum(ops.square(y_pred - y_true), axis=-1)
