"""Batches read from TFRecord files, however large those are."""

from __future__ import annotations

import collections.abc
import glob
import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_snn import checks
from keras_snn.datasets.catalogue import image_info
from keras_snn.datasets.ordered import OrderedBatches
from keras_snn.datasets.prepared import prepared_builder
from keras_snn.datasets.scaling import one_hot, scale
from keras_snn.typing import Path

# A record is its length, a checksum of that, its bytes, a checksum of those.
_HEADER, _FOOTER = np.dtype([("length", "<u8"), ("checksum", "<u4")]), 4


class RecordFiles(collections.abc.Sequence):
    """The records of TFRecord files, as bytes, read when they are asked for.

    Only where they are is kept in memory, 16 bytes each. Lengths are compared
    with their checksums, bytes are not: another byte in a record is not seen.

    Args:
        files: A path, a pattern such as `"train-*.tfrecord"`, or a list of
            these. Files of a pattern come in the order of their names.

    Raises:
        ValueError: If there is no such file, or one is truncated or none of
            this kind.
    """

    def __init__(self, files: Path | collections.abc.Sequence[Path]) -> None:
        self.files = _found(files)
        places = [_places(path) for path in self.files]
        self._ends = np.cumsum([len(x) for x in places])
        self._places = np.concatenate([np.zeros((0, 2), "int64"), *places])
        if not len(self._places):
            raise ValueError(
                f"Expected files with records. Received: {files!r}, "
                f"{len(self.files)} files without any."
            )

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> bytes:
        start, length = map(int, self._places[index])
        number = np.searchsorted(self._ends, index % len(self), "right")
        path = self.files[number]
        # Opened anew: threads, processes and thousands of files may share it.
        with open(path, "rb") as file:
            file.seek(start)
            content = file.read(length)
        if len(content) < length:
            raise _damaged(path, f"{len(content)} bytes at {start}")
        return content


class RecordBatches(OrderedBatches):
    """Batches of records of TFRecord files for `fit`, on every backend.

    Nothing but the batch is in memory. Each epoch draws a new order of all
    records of all files, which hangs on the seed and the epoch alone: neither
    on workers nor on where a run was cut off.

    Args:
        files: As in `RecordFiles`: a path, a pattern, or a list of these.
        decode: Function from a record's bytes to `(x, y)`, or to what else a
            batch is to hold, in NumPy arrays of one shape for all records.
        batch_size: Records in a batch; the last one may be smaller.
        shuffle: Whether each epoch has a new order.
        seed: Integer, not negative: what orders are drawn from.
        epoch: Epoch to begin with, from 0, to go on with a run.
        **kwargs: `workers`, `use_multiprocessing` and `max_queue_size` of
            `keras.utils.PyDataset`.

    Attributes:
        epoch: The epoch that is read now, from 0. It goes on by itself; on
            JAX one too far for a set of one batch, or of no more than
            `workers` read ahead, as Keras looks at data before it trains.

    Raises:
        ValueError: If there is no such file, one is truncated or none of
            this kind, or an argument is out of range.

    Example:

    >>> batches = keras_snn.datasets.RecordBatches("train-*.tfrecord", decode)
    >>> model.fit(batches, epochs=10, shuffle=False)
    >>> # Cut off after 120 updates of the fourth epoch, and begun again:
    >>> batches = keras_snn.datasets.RecordBatches(
    ...     "train-*.tfrecord", decode, epoch=3)
    >>> model.fit(batches.rest(120), shuffle=False)
    >>> batches.epoch = 4
    >>> model.fit(batches, epochs=10, initial_epoch=4, shuffle=False)
    """

    def __init__(
        self,
        files: Path | collections.abc.Sequence[Path],
        decode: Callable[[bytes], Any],
        batch_size: int = 64,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle, seed, epoch, **kwargs)
        if not callable(decode):
            raise ValueError(
                "`decode` must be a function from a record's bytes to what a "
                f"batch holds. Received: decode={decode!r}."
            )
        self.batch_size = checks.batch_size(batch_size)
        self.x, self.decode = RecordFiles(files), decode

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        self._is_asked(index)
        first = index * self.batch_size
        rows = self._samples(self.epoch)[first : first + self.batch_size]
        samples = [self.decode(self.x[row]) for row in rows]
        return keras.tree.map_structure(lambda *x: np.stack(x), *samples)

    def rest(self, updates: int) -> keras.utils.PyDataset:
        """Return what follows in this epoch after so many updates.

        This data set stays in that epoch; set its `epoch` for the next.

        Args:
            updates: Batches of the epoch that have been trained on.

        Returns:
            A data set of one epoch.

        Raises:
            ValueError: If the epoch has not so many.
        """
        checks.integer("updates", updates, 0, "batches trained on")
        if updates >= len(self):
            raise ValueError(
                f"An epoch has {len(self)} batches. Received: updates="
                f"{updates}. Begin with epoch={self.epoch + 1}."
            )
        return _Rest(self, updates)


class _Rest(keras.utils.PyDataset):
    """The batches of one epoch behind the first."""

    def __init__(self, batches, updates):
        super().__init__(
            batches.workers, batches.use_multiprocessing, batches.max_queue_size
        )
        self._batches, self._updates = batches, updates

    def __len__(self):
        return len(self._batches) - self._updates

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is none of {len(self)} batches.")
        return self._batches[index + self._updates]


def record_batches(
    name: str,
    split: str = "train",
    batch_size: int = 64,
    data_dir: Path | None = None,
    *,
    download: bool = True,
    **kwargs: Any,
) -> RecordBatches:
    """Reads a prepared data set batch by batch, never all of it.

    The images, scaling and labels are those of `keras_snn.datasets.load`.

    Args:
        name: One of `"mnist"`, `"fashion_mnist"`, `"svhn"`, `"cifar10"`,
            `"cifar100"`.
        split: `"train"` or `"test"`.
        batch_size: Images in a batch.
        data_dir: Folder of prepared data sets; `None` for the default folder
            of TensorFlow Datasets.
        download: Whether a data set that is not in `data_dir` may be
            downloaded into it.
        **kwargs: `shuffle`, `seed`, `epoch` and more of `RecordBatches`.

    Returns:
        A `RecordBatches` of float32 images and one-hot labels.

    Raises:
        ValueError: If `name`, `split` or another argument is not valid.
        FileNotFoundError: If the data set is neither prepared nor can be
            downloaded.
        ImportError: If a package of the extra `datasets` is missing.

    Example:

    >>> train = keras_snn.datasets.record_batches("cifar10", seed=0)
    >>> model.fit(train, epochs=10, shuffle=False)
    """
    import tensorflow as tf

    info = image_info(name)
    if info.tfds_name is None:
        raise ValueError(
            f'"{name}" comes with a package and has no files of records. Use '
            f'keras_snn.datasets.load("{name}").'
        )
    checks.choice("split", split, ("train", "test"))
    builder = prepared_builder(info, data_dir, download)
    text = tf.TensorSpec((), tf.string)
    parse = tf.function(
        builder.info.features.deserialize_example, input_signature=[text]
    )

    def decode(record):
        # Graphs, and what they put out, belong to the processor here.
        with tf.device("CPU:0"):
            found = parse(record)
        pixels = found["image"].numpy().astype("float32")
        label = one_hot(np.array([int(found["label"])]), info.classes)[0]
        return scale(pixels, info), label

    files = [str(x) for x in builder.info.splits[split].filepaths]
    return RecordBatches(files, decode, batch_size, **kwargs)


def _found(files):
    """Return the paths that a path, a pattern, or a list of these means."""
    if isinstance(files, (str, os.PathLike)):
        files = [files]
    found = []
    for path in files:
        path = os.path.expanduser(os.fspath(path))
        is_there = os.path.exists(path)
        matches = [path] if is_there else sorted(glob.glob(path))
        if not matches:
            raise ValueError(
                "Expected TFRecord files, by their paths or a pattern. "
                f"Received: {path!r}, where there is none."
            )
        found.extend(matches)
    return found


def _places(path):
    """Return `(start, length)` of each record of a file, `(N, 2)`."""
    size, places, start = pathlib.Path(path).stat().st_size, [], 0
    with open(path, "rb") as file:
        while start < size:
            file.seek(start)
            header = file.read(_HEADER.itemsize)
            if len(header) < _HEADER.itemsize:
                raise _damaged(path, f"{len(header)} bytes at {start}")
            length, checksum = np.frombuffer(header, _HEADER)[0]
            if _masked_crc32c(header[:8]) != checksum:
                raise _damaged(path, f"another checksum at {start}")
            start += _HEADER.itemsize
            places.append((start, int(length)))
            start += int(length) + _FOOTER
    if start > size:
        raise _damaged(path, f"an end at {size}, {start - size} bytes early")
    return np.array(places, "int64").reshape(-1, 2)


def _damaged(path, received):
    return ValueError(
        f"`{path}`: expected TFRecords, each with its length and checksums. "
        f"Received: {received}. The file is truncated, damaged, compressed or "
        "of another kind; fetch it again."
    )


def _masked_crc32c(content):
    """Return the checksum that TFRecords hold, of a few bytes."""
    value = 0xFFFFFFFF
    for byte in content:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    value ^= 0xFFFFFFFF
    rotated = ((value >> 15) | (value << 17)) & 0xFFFFFFFF
    return (rotated + 0xA282EAD8) & 0xFFFFFFFF


def _row(value):
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = [_row(value) for value in range(256)]
