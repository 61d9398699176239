"""The cropped-digit MATLAB files of SVHN."""

import zlib

from keras_snn import optional, untrusted
from keras_snn.datasets.raw_files import RawData, RawSplit, check_split, locate

_HEADER = 128
_COMPRESSED = 15
_PIECE = 2**20
DESCRIPTION = "SVHN cropped digits (train_32x32.mat, test_32x32.mat)"


def patterns(info):
    """Names of the files this reader takes."""
    return ["train_32x32.mat", "test_32x32.mat"]


def read(folder, info):
    """Reads the two .mat files in `folder` into `RawData`."""
    return RawData(
        {
            split: _read_split(locate(folder, f"{split}_32x32.mat"), info)
            for split in ("train", "test")
        }
    )


def _read_split(path, info):
    scipy_io = optional.require("scipy.io", "datasets")
    with untrusted.reading(path, "a complete MATLAB 5 file"):
        _check_unpacked(path.read_bytes())
        content = scipy_io.loadmat(path)
    if "X" not in content or "y" not in content:
        found = [key for key in content if not key.startswith("__")]
        raise ValueError(
            f"`{path}`: expected the variables X and y. Received: {found}. "
            "Take the cropped digits (format 2), not the full numbers."
        )
    with untrusted.reading(path, "numbers in X and y"):
        pixels = content["X"]
        digits = content["y"].reshape(-1).astype("int64")
    if pixels.ndim != 4 or pixels.dtype != "uint8":
        raise ValueError(
            f"`{path}`: expected X as uint8 of shape (32, 32, 3, N). "
            f"Received: {pixels.dtype} of shape {pixels.shape}."
        )
    if digits.size and not 1 <= digits.min() <= digits.max() <= 10:
        raise ValueError(
            f"`{path}`: expected y in 1..10, 10 for the digit zero. "
            f"Received: {digits.min()}..{digits.max()}."
        )
    split = RawSplit(pixels.transpose(3, 0, 1, 2), digits % 10)
    return check_split(split, info, f"`{path}`")


def _check_unpacked(content):
    """Raise a `ValueError` if elements unpack to far more than the file has.

    Behind 128 bytes a MATLAB 5 file is elements: type and size, uint32 each in
    the order that "IM" shows, then so many bytes, zlib's if the type is 15.
    """
    order = "little" if content[126:128] == b"IM" else "big"
    left, offset = untrusted.limit(len(content)), _HEADER
    while offset < len(content):
        kind, size = (
            int.from_bytes(content[i : i + 4], order)
            for i in (offset, offset + 4)
        )
        offset += 8
        if size > len(content) - offset:
            raise EOFError(f"an element of {size} bytes at byte {offset}")
        if kind == _COMPRESSED:
            left -= _unpacked_size(content[offset : offset + size], left)
        offset += size if kind == _COMPRESSED else -(-size // 8) * 8


def _unpacked_size(content, most):
    """Return the bytes that zlib's stream has, without keeping them."""
    stream, size = zlib.decompressobj(), 0
    while content and not stream.eof:
        size += len(stream.decompress(content, _PIECE))
        content = stream.unconsumed_tail
        if size > most:
            raise ValueError(f"it unpacks to more than {most} bytes")
    return size
