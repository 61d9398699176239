"""The idx files of MNIST and Fashion-MNIST."""

import numpy as np

from keras_snn import untrusted
from keras_snn.datasets.raw_files import RawData, RawSplit, check_split, locate

DESCRIPTION = "idx files (train-images-idx3-ubyte[.gz], ...)"
_PREFIXES = {"train": "train", "test": "t10k"}
_IMAGES_MAGIC = 2051
_LABELS_MAGIC = 2049


def patterns(info):
    """Glob patterns of the files this reader takes."""
    # `-` or `.` before `idx`, with or without `.gz`: all are in circulation.
    return [
        f"{prefix}-{part}"
        for prefix in _PREFIXES.values()
        for part in ("images?idx3-ubyte*", "labels?idx1-ubyte*")
    ]


def read(folder, info):
    """Reads the four idx files in `folder` into `RawData`."""
    return RawData(
        {
            split: _read_split(folder, prefix, info)
            for split, prefix in _PREFIXES.items()
        }
    )


def _read_split(folder, prefix, info):
    images_path = locate(folder, f"{prefix}-images?idx3-ubyte*")
    labels_path = locate(folder, f"{prefix}-labels?idx1-ubyte*")
    split = RawSplit(
        read_idx(images_path, _IMAGES_MAGIC)[..., None],
        read_idx(labels_path, _LABELS_MAGIC),
    )
    return check_split(split, info, f"`{images_path}`, `{labels_path.name}`")


def read_idx(path, magic):
    """One idx file of unsigned bytes as an array.

    Layout, big-endian: uint32 magic (0x0800 + number of axes), one uint32
    per axis, then the bytes.

    Args:
        path: The file, gzip-compressed or not.
        magic: The magic number it must start with.

    Returns:
        uint8 array with the axes of the header.

    Raises:
        ValueError: If the file is damaged, of another kind or has more or
            fewer bytes than its header says.
    """
    content = _content(path)
    header_size = 4 + 4 * (magic & 0xFF)
    if len(content) < header_size:
        raise ValueError(
            f"`{path}`: expected an idx header of {header_size} bytes. "
            f"Received: a file of {len(content)} bytes. Fetch it again."
        )
    found, *shape = np.frombuffer(content[:header_size], ">u4").tolist()
    if found != magic:
        raise ValueError(
            f"`{path}`: expected the magic number {magic} of an idx file "
            f"with {magic & 0xFF} axes. Received: {found}. Check that images "
            "and labels are not mixed up."
        )
    values = np.frombuffer(content, "uint8", offset=header_size)
    # Python integers: a foreign header must not overflow.
    expected = 1
    for size in shape:
        expected *= size
    if values.size != expected:
        raise ValueError(
            f"`{path}`: expected {expected} bytes after the header for shape "
            f"{tuple(shape)}. Received: {values.size} bytes. The file is "
            "truncated or damaged; fetch it again."
        )
    return values.reshape(shape)


def _content(path):
    content = path.read_bytes()
    # Told by content, not by name: browsers unpack files and keep the `.gz`.
    if content[:2] != b"\x1f\x8b":
        return content
    with untrusted.reading(path, "a complete gzip file"):
        return untrusted.ungzipped(content)
