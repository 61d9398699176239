"""Metrics of networks that answer at every time step."""

from __future__ import annotations

from typing import Any

import keras

from keras_snn.network.reading import mask_of, mean_over_time
from keras_snn.typing import Tensor


@keras.saving.register_keras_serializable(package="keras_snn")
class TimeMean(keras.metrics.Metric):
    """Another metric, of the outputs' mean over time.

        m(y, mean_t o(t))

    For models that return their outputs at every step, as
    `keras_snn.losses.TemporalEfficientTraining` needs.

    Args:
        metric: A `keras.metrics.Metric`, or the name of its class or function,
            e.g. `"categorical_accuracy"`. The short `"accuracy"` is no name
            of one: it stands for a choice that `compile` makes.
        name: Defaults to the metric's name.

    Call arguments:
        y_true: Labels as the metric takes them, without a time axis.
        y_pred: Outputs, `(batch, time, ...)`. Where they have a Keras mask,
            the mean is that over the steps that exist.
        sample_weight: Passed to the metric.

    Raises:
        ValueError: If `metric` is none, or outputs have no time axis.

    Example:

    >>> accuracy = keras_snn.metrics.TimeMean("categorical_accuracy")
    >>> model.compile("adam", loss, metrics=[accuracy])
    """

    def __init__(
        self, metric: Any, name: str | None = None, **kwargs: Any
    ) -> None:
        found = None if metric == "accuracy" else keras.metrics.get(metric)
        if callable(found) and not isinstance(found, keras.metrics.Metric):
            found = keras.metrics.MeanMetricWrapper(found, found.__name__)
        if found is None:
            raise ValueError(
                "`metric` must be a keras.metrics.Metric or the name of one, "
                'e.g. "categorical_accuracy" for one-hot labels, "sparse_'
                'categorical_accuracy" for class numbers. '
                f"Received: metric={metric!r}."
            )
        super().__init__(name=name or found.name, **kwargs)
        self.metric = found

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Any = None
    ) -> Any:
        if len(y_pred.shape) < 3:
            raise ValueError(
                "TimeMean expects outputs at every step, (batch, time, ...). "
                f"Received: shape {tuple(y_pred.shape)}. Without a time axis "
                "use the metric itself."
            )
        mean = mean_over_time(y_pred, mask_of(y_pred))
        self.metric.update_state(y_true, mean, sample_weight)

    def result(self) -> Tensor:
        return self.metric.result()

    def reset_state(self) -> None:
        self.metric.reset_state()

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "metric": keras.saving.serialize_keras_object(self.metric),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        metric = keras.saving.deserialize_keras_object(config.pop("metric"))
        return cls(metric, **config)
