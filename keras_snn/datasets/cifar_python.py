"""The pickled ("python version") batches of CIFAR-10 and CIFAR-100."""

import codecs
import pickle

import numpy as np

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
    split = RawSplit(
        planes_to_images(data),
        np.asarray(_entry(path, batch, fine), "int64"),
        coarse and np.asarray(_entry(path, batch, coarse), "int64"),
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
    return {
        feature: [text.decode() for text in _entry(path, meta, key)]
        for feature, key in keys.items()
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
    try:
        with open(path, "rb") as stream:
            return _ArrayUnpickler(stream, encoding="bytes").load()
    # A damaged pickle can raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"`{path}`: expected a pickle of Python values and NumPy arrays. "
            f"Received: {type(error).__name__}: {error}. The file is "
            "truncated or of another kind; fetch it again."
        ) from error


def _array_rebuilders():
    # What an array's `__reduce__` names, asked of NumPy itself because the
    # module moved between NumPy 1 and 2.
    array = np.zeros(1, "uint8")
    reconstruct = array.__reduce__()[0]
    from_buffer = array.__reduce_ex__(5)[0]
    allowed = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        # How Python 3 writes bytes in protocols 0 to 2.
        ("_codecs", "encode"): codecs.encode,
    }
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = reconstruct
        allowed[f"{core}.numeric", "_frombuffer"] = from_buffer
    return allowed


class _ArrayUnpickler(pickle.Unpickler):
    _ALLOWED = _array_rebuilders()

    def find_class(self, module, name):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it names `{module}.{name}`")
        return self._ALLOWED[module, name]
