"""Batches of shifted, flipped and partly hidden images, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_snn import checks
from keras_snn.datasets.ordered import OrderedBatches

PADDINGS = ("reflect", "zeros")
# What random numbers are for, besides `ordered.ORDER`.
FIRST_FLIPS, BATCH = 2, 3


class AugmentedBatches(OrderedBatches):
    """Batches of training images, augmented anew in each epoch.

    Each image is shifted by up to `shift` pixels along both axes, mirrored
    left to right, and loses a square of `cutout` pixels. A batch depends on
    `seed`, the epoch and its index alone: not on the backend, the number of
    workers or the batches asked for before.

    `epoch` counts the passes that `fit` has made (an evaluation would count
    as well); set it to go on with a run. `fit` asks for the batches of an
    epoch in an order of its own, drawn from Python's random numbers: pass
    `shuffle=False` for that of `seed`.

    Args:
        x: Images `(samples, height, width, channels)`. Batches have their
            dtype; an array in order is not copied.
        y: Labels, `(samples, ...)`.
        batch_size: Images in a batch; the last may have less.
        flip: Whether to mirror images.
        alternate: With `flip`, True (default) draws for each image whether
            it is mirrored in the first epoch, and from then on mirrors it in
            every other epoch, so that two epochs show both sides of all.
            False draws in each epoch.
        shift: Most pixels of a shift. 0 for none.
        padding: What comes in behind a shift: `"reflect"`, the image mirrored
            at its border, or `"zeros"`, as a random crop of the padded image.
        border: What `"zeros"` are, a number or one a channel: 0 (default), or
            what scaling has made of black.
        cutout: Side of the square that is set to 0, its centre anywhere in
            the image. 0 for none.
        shuffle: Whether each epoch has a new order.
        seed: Integer, not negative.
        epoch: Epoch to begin with, from 0.
        **kwargs: As in `keras.utils.PyDataset`: `workers`,
            `use_multiprocessing`, `max_queue_size`.

    Raises:
        ValueError: For arguments out of range or shapes that do not fit.

    Example:

    >>> batches = keras_snn.training.AugmentedBatches(
    ...     x_train, y_train, 125, shift=2, cutout=8
    ... )
    >>> steps = 10 * len(batches)
    >>> model.compile(
    ...     keras_snn.training.sgd(0.1, steps),
    ...     keras_snn.losses.CrossEntropy(label_smoothing=0.1),
    ...     metrics=["accuracy"],
    ... )
    >>> model.fit(batches, epochs=10, shuffle=False)

    References:
        - [DeVries and Taylor, 2017](https://arxiv.org/abs/1708.04552), Cutout
        - [Jordan, 2024](https://arxiv.org/abs/2404.00498), alternating flips
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        batch_size: int = 128,
        *,
        flip: bool = True,
        alternate: bool = True,
        shift: int = 2,
        padding: str = "reflect",
        border: Any = 0.0,
        cutout: int = 0,
        shuffle: bool = True,
        seed: int | None = 0,
        epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle, seed, epoch, **kwargs)
        self.x, self.y = np.ascontiguousarray(x), np.asarray(y)
        self.batch_size = checks.batch_size(batch_size)
        _check_arrays(self.x, self.y)
        sides = self.x.shape[1:3]
        self.flip = checks.flag("flip", flip)
        self.alternate = checks.flag("alternate", alternate)
        self.shift = checks.integer("shift", shift, 0, "pixels")
        if self.shift >= min(sides):
            raise ValueError(
                "`shift` must be less than the sides of the images, "
                f"{sides[0]} and {sides[1]} pixels. Received: shift={shift}."
            )
        self.cutout = checks.integer("cutout", cutout, 0, "pixels of a side")
        self.padding = checks.choice("padding", padding, PADDINGS)
        self.border = _checked_border(border, self.x)
        first = self._random(FIRST_FLIPS).integers(0, 2, len(self.x))
        self._first_flips = first.astype(bool)

    def __len__(self):
        return -(-len(self.x) // self.batch_size)

    def __getitem__(self, index):
        self._is_asked(index)
        epoch = self.epoch
        first = index * self.batch_size
        samples = self._samples(epoch)[first : first + self.batch_size]
        if not (self.flip or self.shift or self.cutout):
            return self.x[samples], self.y[samples]
        random = self._random(BATCH, epoch, index)
        images = self._moved(samples, epoch, random)
        if self.cutout:
            images[_squares(random, images.shape, self.cutout)] = 0
        return images, self.y[samples]

    def _moved(self, samples, epoch, random):
        """Return images, each in its place and on its side, in one look-up."""
        count, (height, width) = len(samples), self.x.shape[1:3]
        most = self.shift
        moves = random.integers(-most, most, (2, count, 1), endpoint=True)
        rows, columns = (
            np.arange(height) + moves[0],
            np.arange(width) + moves[1],
        )
        if self.flip:
            flipped = self._flipped(samples, epoch, random)
            columns[flipped] = columns[flipped, ::-1]
        # One index of whole pixels takes half the time of an index an axis.
        pixels = self.x.reshape(-1, self.x.shape[-1])
        rows, columns = rows[:, :, None], columns[:, None, :]
        above = samples[:, None, None] * height + _reflected(rows, height)
        images = pixels.take(above * width + _reflected(columns, width), axis=0)
        if most and self.padding == "zeros":
            inside = _inside(rows, height) & _inside(columns, width)
            images[~inside] = self.border
        return images

    def _flipped(self, samples, epoch, random):
        if self.alternate:
            return self._first_flips[samples] ^ bool(epoch % 2)
        return random.integers(0, 2, len(samples)).astype(bool)


def _reflected(index, size):
    """Return an index beyond the border as the one mirrored at it."""
    return size - 1 - np.abs(size - 1 - np.abs(index))


def _inside(index, size):
    return (index >= 0) & (index < size)


def _squares(random, shape, side):
    """Return where a square hides each image, `(batch, height, width)`."""
    count, height, width = shape[:3]
    first_row = random.integers(0, height, (count, 1)) - side // 2
    first_column = random.integers(0, width, (count, 1)) - side // 2
    rows = _inside(np.arange(height) - first_row, side)
    columns = _inside(np.arange(width) - first_column, side)
    return rows[:, :, None] & columns[:, None, :]


def _checked_border(border, x):
    border = checks.array("border", border).astype(x.dtype)
    if border.shape not in ((), x.shape[-1:]):
        raise ValueError(
            f"`border` must be a number, or one for each of {x.shape[-1]} "
            f"channels. Received: shape {border.shape}."
        )
    return border


def _check_arrays(x, y):
    if x.ndim != 4 or not len(x):
        raise ValueError(
            "`x` must be images (samples, height, width, channels). Received: "
            f"shape {x.shape}. Give grey images a channel: x[..., None]."
        )
    if y.ndim < 1 or len(y) != len(x):
        raise ValueError(
            f"`y` must hold a label for each of the {len(x)} images. "
            f"Received: shape {y.shape}."
        )
