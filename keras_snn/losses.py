"""Losses of spiking networks."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.network.reading import mask_of, mean_over_time
from keras_snn.typing import Tensor


@keras.saving.register_keras_serializable(package="keras_snn")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of a readout's outputs, taken as logits.

        loss = -sum_c q_c log_softmax(output)_c
        q_c = (1 - label_smoothing) * one_hot_c + label_smoothing / classes

    Take it with the rules that learn by rates, on outputs of a
    `MembraneReadout` or `SpikeCountReadout`: unlike the squared error it has
    no target value that weights and time steps would have to match.

    One-hot labels and class numbers are told apart by their shape.

    Args:
        label_smoothing: Part of the label in [0, 1) that is spread over all
            classes, so that outputs need not grow without end. Defaults to 0;
            0.1 is usual.
        reduction: As in `keras.losses.Loss`; `"sum_over_batch_size"` (default)
            is the mean over the batch.
        name: Name of the loss.

    Call arguments:
        y_true: One-hot labels or probabilities, `(batch, classes)`, or class
            numbers from 0, `(batch,)` or `(batch, 1)`. The loss of a number
            that is no class is NaN.
        y_pred: Outputs, `(batch, classes)`, two classes or more.

    Raises:
        ValueError: For a `label_smoothing` out of range, or other shapes.

    Example:

    >>> loss = keras_snn.losses.CrossEntropy(label_smoothing=0.1)
    >>> loss(np.array([2]), np.zeros((1, 10)))       # log(10)
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str = "cross_entropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.label_smoothing = checks.number(
            "label_smoothing",
            label_smoothing,
            "[0, 1)",
            "the part of each label that is spread over all classes",
            "0.1 is usual.",
        )

    def call(self, y_true: Tensor, y_pred: Tensor) -> Any:
        y_pred = ops.cast(y_pred, "float32")
        classes = y_pred.shape[-1]
        if len(y_pred.shape) != 2 or classes == 1:
            raise ValueError(
                "CrossEntropy expects outputs (batch, classes) of two classes "
                f"or more. Received: shape {tuple(y_pred.shape)}. Outputs at "
                "every step need a readout behind them, or the loss "
                "TemporalEfficientTraining(CrossEntropy())."
            )
        labels = ops.cast(self._one_hot(y_true, y_pred), "float32")
        smooth = self.label_smoothing
        labels = (1.0 - smooth) * labels + smooth / classes
        return -ops.sum(labels * ops.log_softmax(y_pred, axis=-1), axis=-1)

    def _one_hot(self, y_true, y_pred):
        shape, classes = tuple(y_true.shape), y_pred.shape[-1]
        if len(shape) == 2 and shape[-1] in (classes, None):
            return _of_shape(y_true, y_pred)
        if len(shape) == 1 or len(shape) == 2 and shape[-1] == 1:
            numbers = ops.cast(ops.reshape(y_true, (-1,)), "int32")
            one_hot = ops.one_hot(numbers, classes, dtype="float32")
            # 0 / 0 for a number that is no class, which would not be noticed.
            return one_hot / ops.sum(one_hot, axis=-1, keepdims=True)
        raise ValueError(
            "CrossEntropy expects one-hot labels of the outputs' shape "
            f"{tuple(y_pred.shape)}, or class numbers of shape (batch,). "
            f"Received: labels of shape {shape}. Give the last layer as many "
            "units as there are classes."
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


def _of_shape(y_true, y_pred):
    """Return labels, which are refused in the graph if of another shape.

    One a sample would be broadcast to all classes.
    """
    if y_true.shape[-1] is not None:
        return y_true
    return ops.reshape(y_true, ops.shape(y_pred))


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

    def __init__(
        self,
        reduction: str = "sum",
        name: str | None = "summed_squared_error",
        **kwargs: Any,
    ) -> None:
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Any:
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
        y_true = _of_shape(y_true, y_pred)
        return ops.sum(ops.square(y_pred - y_true), axis=-1)


@keras.saving.register_keras_serializable(package="keras_snn")
class TemporalEfficientTraining(keras.losses.Loss):
    """A loss at every time step ("TET"), instead of one of their mean.

        loss = (1 - weight) * mean_t L(y, o(t))
               + weight * mean_t mean_c (o_c(t) - target)^2

    The loss of the mean output lets single steps be anything as long as the
    mean is right. The mean loss of the outputs asks each step to be right,
    which in deep networks that learn by a surrogate finds flatter minima, and
    makes networks that answer well after fewer steps than they learned with.

    It needs a model that returns its outputs at every step, `(batch, time,
    classes)`: one that ends in `TimeFold(keras.layers.Dense(classes))`. Their
    mean over time is the answer: `keras_snn.metrics.TimeMean` measures that
    while training, and a second model with a `SpikeCountReadout` (the mean
    over time, of whatever it is given) behind shares the weights and is the
    one to use, stream and export.

    Args:
        loss: Loss `L` of one step's outputs: a `keras.losses.Loss`, or its
            name. None is `CategoricalCrossentropy(from_logits=True)`.
        weight: Fraction in [0, 1] of the second term. Defaults to 0.05.
        target: What the second term draws all outputs to, in the paper the
            neurons' threshold. Defaults to 1.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.

    Call arguments:
        y_true: Labels as `L` takes them, without a time axis.
        y_pred: Outputs, `(batch, time, classes)`. Where they have a Keras
            mask, means over time are those over the steps that exist.

    Raises:
        ValueError: For arguments out of range, or outputs without a time
            axis.

    Example:

    >>> steps = TimeFold(keras.layers.Dense(10))(spikes)   # (batch, time, 10)
    >>> model = keras.Model(images, steps)
    >>> model.compile(
    ...     "adam",
    ...     keras_snn.losses.TemporalEfficientTraining(),
    ...     metrics=[keras_snn.metrics.TimeMean("categorical_accuracy")],
    ... )
    >>> model.fit(x_train, y_train)
    >>> mean = keras_snn.layers.SpikeCountReadout()(steps)
    >>> classifier = keras_snn.Model(images, mean)         # (batch, 10)

    References:
        - [Deng et al., 2022](https://arxiv.org/abs/2202.11946), "Temporal
          Efficient Training of Spiking Neural Network via Gradient
          Re-weighting"
    """

    def __init__(
        self,
        loss: Any = None,
        weight: float = 0.05,
        target: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str | None = "temporal_efficient_training",
        **kwargs: Any,
    ) -> None:
        super().__init__(reduction=reduction, name=name, **kwargs)
        if loss is None:
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        self.loss = keras.losses.get(loss)
        if not isinstance(self.loss, keras.losses.Loss):
            raise ValueError(
                "`loss` must be a keras.losses.Loss of one step's outputs or "
                "the name of its class, e.g. keras.losses."
                "SparseCategoricalCrossentropy(from_logits=True). "
                f"Received: loss={loss!r}."
            )
        self.weight = checks.number(
            "weight",
            weight,
            "[0, 1]",
            "the fraction of the loss that draws outputs to `target`",
        )
        self.target = checks.number("target", target, "(-inf, inf)")

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Any = None
    ) -> Any:
        mask = mask_of(y_pred)
        if mask is not None:
            # Of a mask beside the outputs Keras makes no weights of samples.
            y_pred = (y_pred, mask)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Tensor, y_pred: Any) -> Any:
        y_pred, mask = y_pred if isinstance(y_pred, tuple) else (y_pred, None)
        if len(y_pred.shape) < 3:
            raise ValueError(
                "TemporalEfficientTraining expects outputs at every step, "
                "(batch, time, classes). Received: shape "
                f"{tuple(y_pred.shape)}. End the model in keras_snn.layers."
                "TimeFold(keras.layers.Dense(classes)), without a readout."
            )
        y_pred = ops.cast(y_pred, "float32")
        time_steps = ops.shape(y_pred)[1]
        each_step = ops.repeat(ops.expand_dims(y_true, 1), time_steps, axis=1)
        losses = self.loss.call(_folded(each_step), _folded(y_pred))
        losses = ops.reshape(losses, (-1, time_steps))
        distance = ops.square(y_pred - self.target)
        features = tuple(range(2, len(y_pred.shape)))
        distance = ops.mean(distance, axis=features)
        total = (1.0 - self.weight) * losses + self.weight * distance
        return mean_over_time(total, mask)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "loss": keras.saving.serialize_keras_object(self.loss),
            "weight": self.weight,
            "target": self.target,
        }


def _folded(x):
    """Return `x` with its time axis folded into the batch."""
    return ops.reshape(x, (-1, *ops.shape(x)[2:]))
