"""Events in HDF5, as the usual data sets and programs lay them out."""

import importlib

import h5py
import numpy as np

from keras_snn import optional
from keras_snn.datasets.events.array import (
    EVENT_DTYPE,
    FIELD_NAMES,
    as_columns,
    field_of,
)

_PLURALS = {
    "x": ("xs",),
    "y": ("ys",),
    "t": ("timestamps", "times"),
    "p": ("ps", "polarities"),
}
_CALLED = {name: FIELD_NAMES[name] + _PLURALS[name] for name in FIELD_NAMES}
_ROWS = {"f": "xytp", "u": "txyp", "i": "txyp"}


def read(path, sensor_size):
    """Reads the one recording in a file; its sensor's size if it says it."""
    source = f"`{path}`"
    # Importing it adds its filters to HDF5.
    if optional.is_installed("hdf5plugin"):
        importlib.import_module("hdf5plugin")
    try:
        with h5py.File(path) as file:
            place, columns = _only_recording(file, source)
            _check_filters(place, source)
            columns = {name: read() for name, read in columns.items()}
            offset = file.get("t_offset", 0)
            offset = int(np.asarray(offset).reshape(-1)[0])
            size = _said_size(place)
    # How h5py tells of bytes that make no sense differs from place to place.
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"{source}: expected a complete HDF5 file. Received: {error}. "
            "The file is truncated or damaged; fetch it again."
        ) from error
    columns["t"] = _microseconds(columns["t"])
    events = as_columns(columns, source)
    events["t"] += offset
    return events, size


def _check_filters(place, source):
    items = place.values() if isinstance(place, h5py.Group) else [place]
    for item in items:
        if not isinstance(item, h5py.Dataset):
            continue
        settings = item.id.get_create_plist()
        for i in range(settings.get_nfilters()):
            number, _, _, name = settings.get_filter(i)
            if not h5py.h5z.filter_avail(number):
                raise ImportError(
                    f"{source}: {item.name} is compressed by the filter "
                    f"{number} ({name.decode('latin-1')}), which HDF5 does not "
                    "have. Install the usual ones with `pip install "
                    '"keras-snn[hdf5]"`; that of the files of Metavision (ECF) '
                    "comes with their software."
                )


def _only_recording(file, source):
    """Returns the object that holds the events, and their columns."""
    found = []
    for name, item in _objects(file):
        columns = _columns(item)
        if columns:
            found.append((name, item, columns))
    if len(found) == 1:
        return found[0][1:]
    if "spikes" in file and "labels" in file:
        raise ValueError(
            f"{source}: expected one recording. Received: a whole set of "
            'sounds. Read it with keras_snn.datasets.events.recordings("shd", '
            'split, data_dir), or "ssc".'
        )
    raise ValueError(
        f"{source}: expected one group with columns x, y, t and p, one (N, 4) "
        "array called events, or one array of structures. Received: "
        + (
            f"{len(found)} of them, {', '.join(x[0] for x in found)}. Read the "
            "one you mean with h5py"
            if found
            else f"none, the file holds {sorted(file)}. Read it with h5py"
        )
        + " and keras_snn.datasets.events.as_events(x, y, t, p)."
    )


def _objects(file):
    found = [("/", file)]
    file.visititems(lambda name, item: found.append((name, item)))
    return found


def _columns(item):
    """Returns functions that read x, y, t and p of an object, or None."""
    if isinstance(item, h5py.Group):
        names = {n: _called(n, item) for n in EVENT_DTYPE.names}
        if None in names.values():
            return None
        return {n: lambda m=m: item[m][()] for n, m in names.items()}
    if item.dtype.names:
        names = {n: field_of(n, item.dtype.names) for n in EVENT_DTYPE.names}
        if None in names.values() or item.ndim != 1:
            return None
        return {n: lambda m=m: item[m] for n, m in names.items()}
    is_table = item.ndim == 2 and item.shape[1] == 4
    order = _ROWS.get(item.dtype.kind)
    if not is_table or order is None or item.name.split("/")[-1] != "events":
        return None
    return {n: lambda i=i: item[:, i] for i, n in enumerate(order)}


def _called(name, group):
    arrays = [n for n, x in group.items() if isinstance(x, h5py.Dataset)]
    return next((n for n in _CALLED[name] if n in arrays), None)


def _microseconds(times):
    """Returns times in microseconds; floats that are none are seconds."""
    if times.dtype.kind != "f" or np.all(times == np.rint(times)):
        return times
    return np.rint(times.astype("float64") * 1e6)


def _said_size(place):
    """Returns (height, width) as an attribute says it, or None."""
    while True:
        geometry = place.attrs.get("geometry")
        if geometry is not None:
            text = getattr(geometry, "decode", lambda: str(geometry))()
            width, _, height = text.partition("x")
            if width.isdigit() and height.isdigit():
                return int(height), int(width)
        if place.name == "/":
            return None
        place = place.parent
