"""One door for the files of event cameras, whatever their format."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_snn.datasets.events import faery_files, hdf5, jaer, numpy_files
from keras_snn.datasets.events.array import check_sensor_size, finish_reading
from keras_snn.datasets.events.nmnist import decode_bytes
from keras_snn.typing import Path


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        name: What messages call it.
        begins: Bytes that such a file begins with; empty if the ending of its
            name has to tell.
        endings: Endings of the names of such files.
        read: Function `(path, sensor_size)` that returns the events and the
            sensor's size, as the file says it, or else as it is given. Both
            may be what `finish_reading` has to check.
    """

    name: str
    begins: bytes
    endings: tuple[str, ...]
    read: Callable


def read(
    path: Path,
    *,
    sensor_size: tuple[int, int] | None = None,
    sort: bool = False,
) -> np.ndarray:
    """Reads a recording of an event camera from a file of any usual format.

    The first bytes of the file tell the format, the ending of its name where
    these do not:

    - AEDAT 4 (`.aedat4`, of DV and dv-processing), Prophesee's RAW (`.raw`,
      EVT 2 and EVT 3) and DAT (`.dat`), and Event Stream (`.es`), by the
      library `faery`: `pip install "keras-snn[events]"`.
    - HDF5 (`.h5`, `.hdf5`): columns x, y, t and p in a group as in DSEC, an
      `(N, 4)` array as in MVSEC (float, x y t p) or of v2e (integer, t x y
      p), or one of structures, as in the files of Metavision. Times that are
      floats are seconds there. Data that is compressed by a plugin of HDF5
      needs `pip install "keras-snn[hdf5]"`.
    - AEDAT 2 (`.aedat`, of jAER) of the DVS128 and the DAVIS cameras, upright
      as these stood, and AEDAT 3.1 of cAER. For CIFAR10-DVS, whose
      camera was turned, take `read_aedat2`.
    - NumPy (`.npy`, `.npz`): a structured array, or arrays x, y, t and p.
    - `.bin`, as of N-MNIST and N-Caltech101.

    Args:
        path: The file.
        sensor_size: `(height, width)` in pixels, for files that do not say
            it; what a file says has to agree. Without both, coordinates are
            not compared with it.
        sort: Whether to sort events by time. By default decreasing times
            are refused.

    Returns:
        Structured array with the fields x, y, t (microseconds) and p, see
        `as_events`.

    Raises:
        ValueError: If the file is truncated, damaged, empty or of a format
            that is not known, times decrease, or coordinates lie outside of
            the sensor. It names the file.
        ImportError: If the library that reads the format is missing.

    Example:

    >>> events = keras_snn.datasets.events.read("recording.aedat4")
    >>> size = keras_snn.datasets.events.sensor_size_of("recording.aedat4")
    >>> frames = keras_snn.datasets.events.to_frames(events, size, window=5000)
    """
    events, size = _read(path, sensor_size)
    return finish_reading(events, size, f"`{path}`", sort)


def sensor_size_of(path: Path) -> tuple[int, int] | None:
    """Returns the sensor's `(height, width)` as a file says it, or None.

    Args:
        path: A file that `read` reads; all of it is read.

    Raises:
        ValueError: As of `read`.

    Example:

    >>> keras_snn.datasets.events.sensor_size_of("recording.raw")
    (720, 1280)
    """
    return _read(path, None)[1]


def _read(path, sensor_size):
    if sensor_size is not None:
        sensor_size = check_sensor_size(sensor_size)
    found = format_of(path)
    events, size = found.read(pathlib.Path(path), sensor_size)
    if size and sensor_size and size != sensor_size:
        raise ValueError(
            f"`{path}`: expected a sensor of (height, width) = {sensor_size}, "
            f"as `sensor_size` says. Received: a file of one of {size}. Leave "
            "`sensor_size` out."
        )
    return events, size or sensor_size


def format_of(path):
    """Returns the `Format` of a file.

    Raises:
        ValueError: If it is of none.
    """
    path = pathlib.Path(path)
    with open(path, "rb") as file:
        beginning = file.read(16)
    ending = path.suffix.lower()
    for known in FORMATS:
        if known.begins and beginning.startswith(known.begins):
            if known.begins != b"%" or ending in known.endings:
                return known
    for known in FORMATS:
        if not known.begins and ending in known.endings:
            return known
    raise ValueError(
        f"`{path}`: expected a recording of an event camera: "
        f"{', '.join(f'{f.name} ({f.endings[0]})' for f in FORMATS[:-3])}. "
        f"Received: a file that begins with {beginning!r}. It is empty, "
        "damaged or of another format. Read it with a program that knows it, "
        "and make events of what that gives with "
        "keras_snn.datasets.events.as_events(x, y, t, p)."
    )


def _read_bin(path, sensor_size):
    return decode_bytes(path.read_bytes(), f"`{path}`"), None


def _refuse_bag(path, sensor_size):
    raise ValueError(
        f"`{path}`: expected a recording of an event camera. Received: a bag "
        "of ROS, which holds messages of any kind. Convert it (to HDF5 or "
        "AEDAT 4), or read it with the package `rosbags`, register the message "
        "type dvs_msgs/msg/EventArray, and give what the messages hold to "
        "keras_snn.datasets.events.as_events(x, y, t, p), with times in "
        "microseconds: ts.sec * 1_000_000 + ts.nanosec // 1000."
    )


FORMATS = (
    Format("AEDAT 4", b"#!AER-DAT4", (".aedat4",), faery_files.read_aedat4),
    Format("AEDAT 3.1", b"#!AER-DAT3", (".aedat",), jaer.read_aedat3),
    Format("AEDAT 2", b"#!AER-DAT2", (".aedat",), jaer.read_aedat2),
    Format("Prophesee RAW", b"%", (".raw",), faery_files.read_raw),
    Format("Prophesee DAT", b"%", (".dat",), faery_files.read_dat),
    Format("Event Stream", b"Event Stream", (".es",), faery_files.read_es),
    Format("HDF5", b"\x89HDF\r\n\x1a\n", (".h5", ".hdf5"), hdf5.read),
    Format("NumPy", b"\x93NUMPY", (".npy",), numpy_files.read),
    Format("NumPy", b"PK\x03\x04", (".npz",), numpy_files.read),
    Format("N-MNIST", b"", (".bin",), _read_bin),
    Format("ROS 1", b"#ROSBAG", (".bag",), _refuse_bag),
    Format("ROS 2", b"\x89MCAP0\r\n", (".mcap",), _refuse_bag),
    Format("ROS 2", b"SQLite format 3", (".db3",), _refuse_bag),
)
