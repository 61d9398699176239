"""N-MNIST: digits shown to a moving event camera."""

from __future__ import annotations

import pathlib
import re

import numpy as np

from keras_snn.datasets.events.array import EVENT_DTYPE, finish_reading
from keras_snn.datasets.events.containers import Archive, Folder
from keras_snn.typing import Path

SENSOR = (34, 34)
_OVERFLOW_ROW = 240
_OVERFLOW = 2**13
DESCRIPTION = (
    "folders Train and Test with DIGIT/NUMBER.bin, the published Train.zip "
    "and Test.zip, or another zip archive with Train/DIGIT/NUMBER.bin in it"
)


def read_nmnist(path: Path, sort: bool = False) -> np.ndarray:
    """Reads one recording of N-MNIST.

    Five bytes an event: x, y, then polarity (1 = ON) in the highest bit and
    big-endian microseconds in the other 23. An event in row 240 is none, but
    adds 2^13 microseconds to the times from there on.

    Args:
        path: The `.bin` file.
        sort: Whether to sort events by time. By default decreasing times
            are refused.

    Returns:
        Structured array with the fields x, y, t and p.

    Raises:
        ValueError: If the file is truncated or empty, times decrease, or
            coordinates lie outside of 34x34 pixels.

    References:
        Orchard et al., "Converting static image datasets to spiking
        neuromorphic datasets using saccades", Frontiers in Neuroscience
        9:437, 2015.
    """
    return decode(pathlib.Path(path).read_bytes(), f"`{path}`", sort)


def decode(content, source, sort=False):
    """Events in the bytes of a `.bin` file; see `read_nmnist`."""
    return finish_reading(decode_bytes(content, source), SENSOR, source, sort)


def decode_bytes(content, source):
    """Like `decode`, of a camera of any size and in any order of times."""
    if len(content) % 5:
        raise ValueError(
            f"{source}: expected a whole number of 5-byte events. Received: "
            f"{len(content)} bytes. The file is truncated or of another "
            "kind; fetch it again."
        )
    columns = np.frombuffer(content, "u1").reshape(-1, 5).T.astype("int64")
    x, y, high, middle, low = columns
    events = np.empty(len(x), EVENT_DTYPE)
    is_overflow = y == _OVERFLOW_ROW
    events["x"], events["y"], events["p"] = x, y, high >> 7
    events["t"] = (high & 127) << 16 | middle << 8 | low
    events["t"] += _OVERFLOW * np.cumsum(is_overflow)
    return events[~is_overflow]


def find(roots, split):
    """Finds the recordings of a split.

    Args:
        roots: Folders or zip archives, the first that has any is taken.
        split: `"train"` or `"test"`.

    Returns:
        List of `(container, name, digit)`, by digit and number.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If an archive is damaged.
    """
    # In an archive the folders may lie in another one. Names that begin with
    # a dot are macOS' own.
    pattern = re.compile(rf"(?:.*/)?{split.title()}/(\d)/\w[^/]*\.bin")
    for container in _containers(roots):
        names = sorted(container.names())
        matches = map(pattern.fullmatch, names)
        found = [(container, m[0], int(m[1])) for m in matches if m]
        taken = {name for _, name, _ in found}
        for name in names:
            if name not in taken:
                container.check(name)
        if found:
            return found
    looked = ", ".join(f"`{root}`" for root in roots)
    raise FileNotFoundError(
        f'No recordings of "nmnist", split "{split}", in {looked}. Expected '
        f"{DESCRIPTION}. Name the folder that holds them as `data_dir`."
    )


def _containers(roots):
    for root in roots:
        if root.is_file():
            yield Archive(root)
        elif any((root / name).is_dir() for name in ("Train", "Test")):
            yield Folder(root)
        elif root.is_dir():
            yield from map(Archive, sorted(root.glob("*.zip")))


def read_entry(entry, sort):
    """Events of one entry of `find`."""
    container, name, _ = entry
    return decode(container.read(name), container.where(name), sort)
