"""Spiking Heidelberg Digits and Spiking Speech Commands: 700 hair cells."""

import functools
import os

import h5py
import numpy as np

from keras_snn.datasets.events.array import as_columns, finish_reading

CHANNELS = 700
_LISTS = ("spikes/times", "spikes/units")


class Spoken:
    """Readers of a set of sounds in the HDF5 files as they are published.

    Args:
        name: `"shd"` or `"ssc"`, the beginning of the files' names.
        classes: Number of classes.
        splits: Which files there are.
    """

    def __init__(self, name, classes, splits):
        self.name, self.classes, self.splits = name, classes, splits

    def find(self, roots, split):
        """Finds the recordings of a split.

        Args:
            roots: Folders; the first that has the file is taken.
            split: One of `splits`.

        Returns:
            List of `(path, number of the recording, class number)`.

        Raises:
            FileNotFoundError: If there is no file.
            ValueError: If it is damaged or of another kind.
        """
        name = f"{self.name}_{split}.h5"
        path = next((r / name for r in roots if (r / name).is_file()), None)
        if path is None:
            looked = ", ".join(f"`{root}`" for root in roots)
            raise FileNotFoundError(
                f'No recordings of "{self.name}", split "{split}": no `{name}` '
                f"in {looked}. Unpack `{name}.gz` or `.zip` and name the "
                "folder with that file as `data_dir`."
            )
        times, units, labels = _read(path, lambda: _sizes_and_labels(path))
        source = f"`{path}`"
        if not len(labels) or not times == units == labels.shape:
            raise ValueError(
                f"{source}: expected as many labels as lists of spikes, at "
                f"least one. Received: {times} lists of times, {units} of "
                f"units and {labels.shape} labels."
            )
        wrong = (labels < 0) | (labels >= self.classes)
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(
                f"{source}: expected labels in 0..{self.classes - 1}. "
                f"Received: {labels[first]} of recording {first}."
            )
        return [(path, i, int(label)) for i, label in enumerate(labels)]

    def read_entry(self, entry, sort):
        """Events of one entry of `find`: x is the unit, y is 0, p is 1."""
        path, number, _ = entry
        times, units = _lists(path)
        seconds, x = _read(path, lambda: (times[number], units[number]))
        ones = np.ones(len(x), "u1")
        source = f"`{path}`, recording {number}"
        t = np.rint(np.asarray(seconds, "float64") * 1e6)
        events = as_columns({"x": x, "y": 0 * ones, "t": t, "p": ones}, source)
        return finish_reading(events, (1, CHANNELS), source, sort)


def _sizes_and_labels(path):
    with h5py.File(path) as file:
        return *(file[name].shape for name in _LISTS), file["labels"][()]


def _lists(path):
    stat = path.stat()
    return _open(path, stat.st_mtime_ns, stat.st_size, os.getpid())


@functools.lru_cache(maxsize=4)
def _open(path, changed, size, process):
    """Returns the lists of a file, open as long as it is among the last four.

    Processes that share an open file disturb each other.
    """
    return _read(path, lambda: [h5py.File(path)[name] for name in _LISTS])


def _read(path, read):
    try:
        return read()
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"`{path}`: expected a complete HDF5 file with {', '.join(_LISTS)} "
            f"and labels. Received: {error}. The file is truncated or of "
            "another kind; fetch it again."
        ) from error
