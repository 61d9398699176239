"""The pickled ("python version") batches of CIFAR-10 and CIFAR-100."""

import io
import pickle
import pickletools

import numpy as np

from keras_snn import untrusted
from keras_snn.datasets.cifar_binary import (
    IMAGE_BYTES,
    batch_names,
    join_batches,
    planes_to_images,
)
from keras_snn.datasets.raw_files import RawData, RawSplit, check_split, locate

DESCRIPTION = "CIFAR python batches (data_batch_1 or train, ...)"


def patterns(info):
    """Names of the files this reader takes."""
    return [name for split in batch_names(info).values() for name in split]


def read(folder, info):
    """Reads the pickled batches in `folder` into `RawData`."""
    splits = {
        split: join_batches(
            _read_batch(locate(folder, name), info) for name in batches
        )
        for split, batches in batch_names(info).items()
    }
    return RawData(splits, _label_names(folder, info))


def _read_batch(path, info):
    batch = unpickle(path)
    fine, coarse = b"labels", None
    if info.name == "cifar100":
        fine, coarse = b"fine_labels", b"coarse_labels"
    data = _entry(path, batch, b"data")
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.shape[1:] != (IMAGE_BYTES,)
    ):
        raise ValueError(
            f"`{path}`: expected `data` as a uint8 array of shape (N, "
            f"{IMAGE_BYTES}). Received: {type(data).__name__} "
            f"{getattr(data, 'dtype', '')} {getattr(data, 'shape', '')}."
        )
    fine = _entry(path, batch, fine)
    if coarse is not None:
        coarse = _entry(path, batch, coarse)
    with untrusted.reading(path, "labels that are integers"):
        split = RawSplit(
            planes_to_images(data),
            np.asarray(fine, "int64"),
            None if coarse is None else np.asarray(coarse, "int64"),
        )
    return check_split(split, info, f"`{path}`")


def _entry(path, batch, key):
    if not isinstance(batch, dict) or key not in batch:
        found = list(batch) if isinstance(batch, dict) else type(batch).__name__
        raise ValueError(
            f"`{path}`: expected a dictionary with the key {key!r}. "
            f"Received: {found}. Is it another data set?"
        )
    return batch[key]


def _label_names(folder, info):
    name, keys = "batches.meta", {"label": b"label_names"}
    if info.name == "cifar100":
        name = "meta"
        keys = {
            "label": b"fine_label_names",
            "coarse_label": b"coarse_label_names",
        }
    path = folder / name
    if not path.is_file():
        return {}
    meta = unpickle(path)
    found = {k: _entry(path, meta, key) for k, key in keys.items()}
    with untrusted.reading(path, "names of classes"):
        return {
            feature: [text.decode() for text in names]
            for feature, names in found.items()
        }


def unpickle(path):
    """The object in a pickle that holds only builtins and NumPy arrays.

    Unlike `pickle.load` it calls nothing but what rebuilds an array, so a
    foreign file cannot run code.

    Args:
        path: The pickle file. Strings of Python 2 come back as bytes.

    Returns:
        The unpickled object.

    Raises:
        ValueError: If the file is damaged or needs any other object.
    """
    with untrusted.reading(path, "a pickle of Python values and NumPy arrays"):
        content = path.read_bytes()
        _check_places(content)
        stream = io.BytesIO(content)
        return _ArrayUnpickler(stream, encoding="bytes").load()


def _check_places(content):
    """Raise a `ValueError` if values get numbers beyond the file's bytes.

    The unpickler makes a list that long.
    """
    for operation, number, _ in pickletools.genops(content):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            if number > len(content):
                raise ValueError(f"it puts a value into place {number}")


def _array_of_nothing(*_):
    """Return what an array's state is set on; a shape of the file's is not."""
    return np.ndarray((0,), "int8")


def _array_of_bytes(content, dtype, shape, order, *_):
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _bytes(text, encoding="latin1"):
    """Return bytes, written by Python 3 in protocols 0 to 2."""
    if encoding not in ("latin1", "latin-1"):  # others lengthen it
        raise pickle.UnpicklingError(f"it encodes by {encoding!r}")
    return text.encode("latin1")


class _Array:
    """Stands for `numpy.ndarray`, which is named but not called."""

    def __new__(cls, *_):
        raise pickle.UnpicklingError("it makes an array without its values")


def _array_rebuilders():
    # What an array's `__reduce__` names; the module moved between NumPy 1
    # and 2.
    allowed = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _bytes,
    }
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = _array_of_nothing
        allowed[f"{core}.numeric", "_frombuffer"] = _array_of_bytes
    return allowed


class _ArrayUnpickler(pickle.Unpickler):
    _ALLOWED = _array_rebuilders()

    def find_class(self, module, name):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it names `{module}.{name}`")
        return self._ALLOWED[module, name]
