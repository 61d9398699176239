"""The optimizer of the recipes."""

from __future__ import annotations

from typing import Any

import keras

from keras_snn import checks
from keras_snn.training import schedules

SCHEDULES = ("triangular", "cosine")


def sgd(
    peak: float,
    total_steps: int,
    *,
    schedule: str = "triangular",
    warmup: float = 0.2,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    **kwargs: Any,
) -> Any:
    """Return SGD with Nesterov momentum, a schedule and decay of kernels.

        m <- momentum * m - rate * g
        w <- w * (1 - rate * weight_decay / (1 - momentum))
        w <- w + momentum * m - rate * g

    Weight decay counts as in papers and other frameworks, where it is a part
    of the gradient and so gathers momentum. In Keras it is not, and for the
    same pull has to be `1 / (1 - momentum)` as much: that is what the returned
    optimizer's own `weight_decay` reads. It pulls at kernels and embeddings;
    gains, biases, scales and offsets of a normalization and what neurons
    learn are left alone, in a saved and loaded model too.

    Args:
        peak: Highest learning rate.
        total_steps: Number of updates: batches an epoch times epochs.
        schedule: `"triangular"`, a `keras_snn.training.Triangular`, or
            `"cosine"`, a `keras.optimizers.schedules.CosineDecay`.
        warmup: Part of the updates, in [0, 1), in which the rate rises.
        momentum: Number in [0, 1).
        weight_decay: Not negative.
        **kwargs: As in `keras.optimizers.SGD`, e.g. `global_clipnorm`. With
            `use_ema=True, ema_momentum=0.99` the optimizer averages the
            weights, and the callback `keras.callbacks.SwapEMAWeights(
            swap_on_epoch=True)` has each epoch's averages evaluated and
            saved; moving averages of a batch normalization are not averaged
            once more.

    Returns:
        A `keras.optimizers.SGD`.

    Raises:
        ValueError: For arguments out of range.

    Example:

    >>> steps = 10 * len(batches)
    >>> model.compile(
    ...     keras_snn.training.sgd(0.1, steps),
    ...     keras_snn.losses.CrossEntropy(label_smoothing=0.1),
    ... )
    """
    checks.choice("schedule", schedule, SCHEDULES)
    rate = schedules.Triangular(peak, total_steps, warmup)
    if schedule == "cosine":
        rate = schedules.cosine(rate.peak, rate.total_steps, rate.warmup)
    momentum = checks.number("momentum", momentum, "[0, 1)")
    weight_decay = checks.number("weight_decay", weight_decay, "[0, inf)")
    return KernelDecaySGD(
        rate,
        momentum=momentum,
        nesterov=True,
        weight_decay=weight_decay / (1.0 - momentum) or None,
        **kwargs,
    )


@keras.saving.register_keras_serializable(package="keras_snn")
class KernelDecaySGD(keras.optimizers.SGD):
    """Keras' SGD, whose weight decay pulls at kernels and embeddings only.

    A class of its own, as what `exclude_from_weight_decay` is told is not
    saved with an optimizer.
    """

    _excluded = ((), ())

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        super().exclude_from_weight_decay(var_list, var_names)
        self._excluded = tuple(var_list or ()), tuple(var_names or ())

    def build(self, variables):
        if not self.built:
            own, names = self._excluded
            others = [v for v in variables if not _decays(v.name)]
            super().exclude_from_weight_decay([*own, *others], [*names])
        super().build(variables)


def _decays(name):
    return "kernel" in name or "embedding" in name
