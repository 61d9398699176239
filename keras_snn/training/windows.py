"""Long recordings, a window of steps at a time, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_snn import checks
from keras_snn.datasets.ordered import OrderedBatches

TARGETS = ("recording", "window", "step")


class Windows(OrderedBatches):
    """Batches of windows of recordings, in order, for `keras_snn.stateful`.

    A group of `batch_size` recordings comes window after window, then the next
    group: the inputs of a batch are `(window, first)`, of shapes
    `(batch, steps, ...)` and `(batch,)`, and `first` is True in a group's first
    window.

    Args:
        x: Recordings `(samples, time, ...)`; time is a multiple of `steps`.
        y: Targets, or None for `predict`.
        steps: Steps in a window.
        batch_size: Recordings side by side; the last group may have less.
        targets: What `y` has one of: `"recording"`, `(samples, ...)`, the
            target of all of its windows; `"window"`, `(samples, windows,
            ...)`; or `"step"`, `(samples, time, ...)`, for models that return
            sequences.
        shuffle: Whether each epoch has the recordings in a new order.
        seed: Integer, not negative: what the orders are drawn from.
        epoch: Epoch to begin with, from 0, to go on with a run.
        **kwargs: As in `keras.utils.PyDataset`.

    Raises:
        ValueError: For arguments out of range or shapes that do not fit.

    Example:

    >>> windows = keras_snn.training.Windows(x, y, steps=50, batch_size=8)
    >>> keras_snn.stateful(model, batch_size=8).fit(windows)
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        steps: int = 1,
        batch_size: int = 32,
        targets: str = "recording",
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle, seed, epoch, **kwargs)
        # Arrays on disk stay there.
        self.x = checks.array("x", x)
        self.y = None if y is None else checks.array("y", y)
        self.steps = checks.integer(
            "steps", steps, 1, "the number of steps in a window"
        )
        self.batch_size = checks.batch_size(batch_size)
        self.targets = checks.choice("targets", targets, TARGETS)
        self._check()
        self.windows = self.x.shape[1] // self.steps

    def _check(self):
        shape = np.shape(self.x)
        if len(shape) < 3 or not shape[0]:
            raise ValueError(
                "`x` must be recordings, an array with axes (samples, time, "
                f"...features). Received: shape {shape}."
            )
        time, steps = shape[1], self.steps
        if time % steps or not time:
            best = max(time - time % steps, 0)
            raise ValueError(
                "The recordings' number of steps must be a multiple of "
                f"`steps`. Received: {time} steps, steps={steps}. Cut them, "
                f"x[:, :{best}], or take another `steps`."
            )
        if self.y is None:
            return
        axes = {
            "recording": shape[:1],
            "window": (shape[0], time // steps),
            "step": shape[:2],
        }[self.targets]
        found = np.shape(self.y)
        if found[: len(axes)] != axes:
            raise ValueError(
                f"`y` with targets={self.targets!r} must have a shape that "
                f"begins with {axes}. Received: shape {found}."
            )

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size) * self.windows

    def __getitem__(self, index: int) -> Any:
        self._is_asked(index)
        group, window = divmod(index, self.windows)
        start = group * self.batch_size
        rows = self._samples(self.epoch)[start : start + self.batch_size]
        steps = slice(window * self.steps, (window + 1) * self.steps)
        first = np.full(len(rows), window == 0)
        inputs = np.asarray(self.x[rows, steps]), first
        if self.y is None:
            return (inputs,)
        if self.targets == "recording":
            return inputs, np.asarray(self.y[rows])
        at = window if self.targets == "window" else steps
        return inputs, np.asarray(self.y[rows, at])
