"""Recordings of a data set, read one by one."""

from __future__ import annotations

import collections.abc
import functools
import pathlib
from typing import Any

import numpy as np

from keras_snn.datasets.catalogue import event_info
from keras_snn.datasets.events import cifar10_dvs, dvs_gesture, nmnist
from keras_snn.datasets.events.spoken import Spoken
from keras_snn.datasets.scaling import one_hot
from keras_snn.typing import Path

_READERS: dict[str, Any] = {
    "nmnist": nmnist,
    "dvs_gesture": dvs_gesture,
    "cifar10_dvs": cifar10_dvs,
    "shd": Spoken("shd", 20, ("train", "test")),
    "ssc": Spoken("ssc", 35, ("train", "valid", "test")),
}


class Recordings(collections.abc.Sequence):
    """A sequence of recordings that are read when they are asked for.

    `recordings[i]` reads one recording, a structured array of events;
    `recordings[a:b]` and `recordings[[3, 1, 4]]` choose some without reading
    any. Get one from `keras_snn.datasets.events.recordings`.

    Attributes:
        sensor_size: `(height, width)` in pixels; of sounds the number of
            channels.
        labels: float32 one-hot rows `(N, classes)`.
    """

    def __init__(
        self,
        entries: Any,
        read: Any,
        labels: Any,
        sensor_size: tuple[int, int] | int,
    ) -> None:
        self._entries, self._read = entries, read
        self.labels, self.sensor_size = labels, sensor_size

    def __len__(self):
        return len(self._entries)

    def __getitem__(self, index):
        if isinstance(index, (int, np.integer)):
            return self._read(self._entries[index])
        chosen = np.arange(len(self))[index]
        entries = [self._entries[i] for i in chosen]
        labels = self.labels[chosen]
        return Recordings(entries, self._read, labels, self.sensor_size)


def recordings(
    name: str, split: str, data_dir: Path | None, *, sort: bool = False
) -> Recordings:
    """Finds the recordings of a data set of events; reads none yet.

    Nothing is downloaded. What `data_dir`, or a folder of the data set's
    name in it, has to hold:

    - `"nmnist"`: the folders `Train` and `Test` with `DIGIT/NUMBER.bin`, the
      published `Train.zip` and `Test.zip`, or another zip archive with the
      same folders in it. Archives are read as they lie; `data_dir` may be
      one.
    - `"dvs_gesture"`: `DvsGesture.tar.gz` unpacked: `trials_to_train.txt`,
      `trials_to_test.txt`, and the `.aedat` and `_labels.csv` files they
      name.
    - `"cifar10_dvs"`: the ten archives unpacked: `airplane`, ... `truck`
      with `cifar10_airplane_0.aedat`, ... There is no published split: those
      numbered 0..899 of each class are for training, 900..999 for the test.
    - `"shd"`, `"ssc"`: `shd_train.h5` and `shd_test.h5`; `ssc_train.h5`,
      `ssc_valid.h5` and `ssc_test.h5`. An event's x is the channel, 0..699,
      its y 0 and its p 1; the files' times are seconds, of no more digits
      than float16 has (a millisecond).

    Args:
        name: `"nmnist"`, `"dvs_gesture"`, `"cifar10_dvs"`, `"shd"` or
            `"ssc"`.
        split: `"train"` or `"test"`; of `"ssc"` also `"valid"`.
        data_dir: Folder of the files.
        sort: Whether to sort the events of a file by time. By default
            decreasing times are refused.

    Returns:
        `Recordings`.

    Raises:
        ValueError: If the name or the split is unknown or an index of the
            files is damaged; when a recording is read, if its file is.
        FileNotFoundError: If there are no recordings.

    Example:

    >>> train = keras_snn.datasets.events.recordings("nmnist", "train", DIR)
    >>> len(train), train.labels.shape, train.sensor_size
    (1000, (1000, 10), (34, 34))
    >>> train[0]["t"].max()
    """
    info = event_info(name)
    splits = getattr(_READERS[name], "splits", ("train", "test"))
    if split not in splits:
        raise ValueError(
            "`split` must be "
            + " or ".join(f'"{x}"' for x in splits)
            + f". Received: split={split!r}."
        )
    if data_dir is None:
        raise ValueError(
            f'"{name}" is never downloaded: expected `data_dir`, the folder '
            "of its published files. Received: data_dir=None."
        )
    data_dir = pathlib.Path(data_dir).expanduser()
    reader = _READERS[name]
    entries = reader.find([data_dir, data_dir / name], split)
    labels = one_hot([entry[-1] for entry in entries], info.classes)
    read = functools.partial(reader.read_entry, sort=sort)
    return Recordings(entries, read, labels, info.sensor_size)
