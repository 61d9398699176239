"""Batches of frames, read and augmented while a network trains."""

from __future__ import annotations

import numbers
from typing import Any

import keras
import numpy as np

from keras_snn import checks
from keras_snn.datasets.events.array import check_events, check_sensor
from keras_snn.datasets.events.frames import check_frame_options, to_frames


class Frames(keras.utils.PyDataset):
    """Batches of frames for `fit`, `evaluate` and `predict`.

    Recordings are read one by one, changed at random if asked for, and made
    frames of; only a batch is in memory at a time, unless `recordings` is.
    Works on every backend of Keras.

    Every epoch has a new order and new changes. They depend only on the
    seed, the number of the epoch and the recording's place in `recordings`,
    not on batches or workers. `fit` shuffles the batches once more, unless
    it is told `shuffle=False`; `keras.utils.set_random_seed` repeats that.

    Args:
        recordings: A sequence of recordings: `Recordings`, or a list of
            structured arrays of events. `list(recordings)` keeps all events
            in memory, 13 bytes each.
        labels: One-hot rows `(N, classes)`.
        batch_size: Recordings in a batch; the last one may be smaller.
        time_steps: Number of frames T of each recording.
        window: Duration of a frame in microseconds, see `to_frames`. Windows
            open with the first event of the recording as it was read.
        events_per_frame: Number of events in a frame, see `to_frames`.
        sensor_size: `(height, width)`, or a number of channels in a row; `None`
            for that of `recordings`.
        augment: `None`, or a function `(events, sensor_size, rng)` that
            returns changed events, such as `Augmentation(shift=2)`. The
            size of n channels is `(1, n)`.
        shuffle: Whether every epoch has a new order.
        seed: Integer that makes orders and changes repeatable; `None` for a
            new one.
        representation: See `to_frames`.
        polarity_channels: See `to_frames`.
        dtype: See `to_frames`.
        **kwargs: `workers`, `use_multiprocessing` and `max_queue_size` of
            `keras.utils.PyDataset`.

    Attributes:
        epoch: Number of epochs that have ended; `fit` ends one before its
            first. Set it before `fit` so that a run that was cut off does
            not repeat its first epochs.

    Raises:
        ValueError: If the arguments do not fit each other.

    Example:

    >>> train = keras_snn.datasets.events.recordings("nmnist", "train", DIR)
    >>> batches = keras_snn.datasets.events.Frames(
    ...     train, train.labels, 32, 15, window=20_000,
    ...     augment=keras_snn.datasets.events.Augmentation(shift=2))
    >>> model.fit(batches, epochs=30)
    """

    def __init__(
        self,
        recordings: Any,
        labels: Any,
        batch_size: int,
        time_steps: int | None,
        *,
        window: int | None = None,
        events_per_frame: int | None = None,
        sensor_size: tuple[int, int] | int | None = None,
        augment: Any = None,
        shuffle: bool = True,
        seed: int | None = None,
        representation: str = "count",
        polarity_channels: int = 2,
        dtype: str = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(recordings) != len(labels) or len(labels) == 0:
            raise ValueError(
                "Expected one label a recording, and at least one. Received: "
                f"{len(recordings)} recordings and {len(labels)} labels."
            )
        checks.integer("batch_size", batch_size)
        self.options = {
            "time_steps": time_steps,
            "window": window,
            "events_per_frame": events_per_frame,
            "representation": representation,
            "polarity_channels": polarity_channels,
            "dtype": dtype,
        }
        check_frame_options(**self.options)
        if time_steps is None:
            raise ValueError(
                "`time_steps` must be a positive integer: all recordings of a "
                "batch need as many frames. Received: time_steps=None."
            )
        if sensor_size is None:
            sensor_size = getattr(recordings, "sensor_size", None)
        height_and_width = check_sensor(sensor_size)
        is_row = isinstance(sensor_size, numbers.Integral)
        self.sensor_size = height_and_width[1] if is_row else height_and_width
        self.recordings, self.labels = recordings, np.asarray(labels)
        self.batch_size, self.augment = batch_size, augment
        self.shuffle, self.epoch = shuffle, 0
        self.seed = np.random.SeedSequence(seed).entropy

    def __len__(self):
        return -(-len(self.recordings) // self.batch_size)

    def __getitem__(self, index):
        order = np.arange(len(self.recordings))
        if self.shuffle:
            order = self._generator().permutation(order)
        first = index * self.batch_size
        chosen = order[first : first + self.batch_size]
        return np.stack([self._frames(i) for i in chosen]), self.labels[chosen]

    def on_epoch_end(self) -> None:
        # Not in `on_epoch_begin`: workers start before it is called.
        self.epoch += 1

    def _generator(self, *numbers):
        return np.random.default_rng([self.seed, self.epoch, *numbers])

    def _frames(self, index):
        events = check_events(self.recordings[index])
        options = dict(self.options)
        if options["window"] is not None and len(events):
            # A change may take the first event away, but moves no window.
            options["start"] = int(events["t"][0])
        if self.augment is not None:
            rng = self._generator(index)
            size = check_sensor(self.sensor_size)
            events = self.augment(events.copy(), size, rng)
        return to_frames(events, self.sensor_size, **options)
