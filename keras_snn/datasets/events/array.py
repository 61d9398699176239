"""Events as NumPy structured arrays, and the checks all readers share."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_snn import checks

EVENT_DTYPE = np.dtype([("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "u1")])
# What cameras' libraries call the fields.
FIELD_NAMES = {
    "x": ("x",),
    "y": ("y",),
    "t": ("t", "ts", "time", "timestamp"),
    "p": ("p", "pol", "polarity", "on"),
}


def as_events(x: Any, y: Any, t: Any, p: Any) -> np.ndarray:
    """Returns events as a structured array with the fields x, y, t and p.

    Args:
        x: Integers `(N,)`, columns, 0 at the left.
        y: Integers `(N,)`, rows, 0 at the top.
        t: Integers `(N,)`, times in microseconds that do not decrease.
        p: Integers or booleans `(N,)`, polarity: 1 (ON) where it became
            brighter, 0 or -1 (OFF) where it became darker.

    Returns:
        Array `(N,)` of dtype `keras_snn.datasets.events.EVENT_DTYPE`.

    Raises:
        ValueError: If the lengths differ or a value is out of range.

    Example:

    >>> events = keras_snn.datasets.events.as_events([3], [0], [1000], [1])
    >>> events["t"]
    array([1000])
    """
    events = as_columns({"x": x, "y": y, "t": t, "p": p}, "")
    _check_times(events["t"], "`t`")
    return events


def as_columns(columns, source):
    """Returns a dict of x, y, t and p as events whose times may decrease."""
    columns = {name: np.asarray(values) for name, values in columns.items()}
    shapes = {values.shape for values in columns.values()}
    if len(shapes) != 1 or len(columns["t"].shape) != 1:
        found = {name: values.shape for name, values in columns.items()}
        raise ValueError(
            f"{source and source + ': '}Expected x, y, t and p of one shape "
            f"(N,), one value an event. Received: {found}."
        )
    return _filled(columns, source)


def _filled(columns, source):
    """Return columns of whatever numbers as an array of `EVENT_DTYPE`."""
    events = np.empty(columns["t"].shape, EVENT_DTYPE)
    for name in EVENT_DTYPE.names:
        events[name] = _whole(name, columns[name], source)
    return events


def _whole(name, values, source):
    """Return a column as integers in the range of its field."""
    if values.size == 0:
        return values.astype("int64")
    whole, wrong = values, np.zeros(values.shape, bool)
    if values.dtype.kind == "f":
        # Beyond it a cast has no meaning, and no float is exact.
        usable = np.abs(values.astype("float64")) < 2.0**62
        whole = np.where(usable, values, 0).astype("int64")
        wrong = values != whole
    if values.dtype.kind in "iubf":
        if name == "p" and np.any(whole == -1) and not np.any(whole == 0):
            whole = np.where(whole == -1, 0, whole)
        largest = 1 if name == "p" else np.iinfo(EVENT_DTYPE[name]).max
        wrong |= (whole < 0) | (whole > largest)
    if wrong.any() or values.dtype.kind not in "iubf":
        first = int(wrong.argmax())
        raise ValueError(
            f"{source and source + ': '}`{name}` must hold "
            f"{_ALLOWED[name]}. Received: {values.dtype}, {values[first]} in "
            f"event {first}, all in {values.min()}..{values.max()}."
        )
    return whole


_ALLOWED = {
    "x": "integers in 0..65535",
    "y": "integers in 0..65535",
    "t": "integers: whole microseconds, not negative (seconds times 1e6)",
    "p": "1 for ON and 0 for OFF, or 1 and -1",
}


def check_sensor_size(sensor_size):
    """Returns `sensor_size` as two ints, `(height, width)`."""
    try:
        height, width = (int(n) for n in sensor_size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1 or [height, width] != list(sensor_size):
        raise ValueError(
            "`sensor_size` must be (height, width) in pixels, two positive "
            f"integers. Received: sensor_size={sensor_size!r}."
        )
    return height, width


def check_sensor(sensor_size):
    """Like `check_sensor_size`, where a row of n channels may be n."""
    if checks.is_integer(sensor_size, 1):
        return 1, int(sensor_size)
    return check_sensor_size(sensor_size)


def check_events(events, sensor_size=None, source="`events`"):
    """Returns a time-ordered recording of a sensor of this size as it is here.

    Fields may come in any order and of any type of numbers, others besides;
    OFF may be 0 or -1. The time may be called t, ts, time or timestamp, the
    polarity p, pol, polarity or on.

    Args:
        events: The structured array.
        sensor_size: `(height, width)`, or `None` for any.
        source: What the events are or the file they come from, for the
            message.

    Returns:
        The events, of dtype `EVENT_DTYPE`; `events` itself if it is.

    Raises:
        ValueError: If fields are missing, times decrease, coordinates lie
            outside of the sensor, or polarities are none.
    """
    events = _normalized(events, source)
    if sensor_size is not None:
        _check_inside(events, sensor_size, source)
    _check_times(events["t"], source)
    return events


def field_of(name, names):
    """Returns what the field x, y, t or p is called among `names`, or None."""
    return next((n for n in FIELD_NAMES[name] if n in names), None)


def _normalized(events, source):
    """Returns a structured array as one of `EVENT_DTYPE`, itself if it is."""
    fields = getattr(getattr(events, "dtype", None), "names", None) or ()
    called = {name: field_of(name, fields) for name in EVENT_DTYPE.names}
    if None in called.values() or events.ndim != 1:
        raise ValueError(
            f"{source}: expected a structured array of shape (N,) with the "
            f"fields x, y, t and p. Received: {type(events).__name__} "
            f"{getattr(events, 'dtype', '')}. Make one with "
            "keras_snn.datasets.events.as_events(x, y, t, p)."
        )
    if events.dtype == EVENT_DTYPE and not np.any(events["p"] > 1):
        return events
    columns = {name: np.asarray(events[n]) for name, n in called.items()}
    return _filled(columns, source)


def _check_inside(events, sensor_size, source):
    height, width = sensor_size
    outside = (events["x"] >= width) | (events["y"] >= height)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(
            f"{source}: expected x in 0..{width - 1} and y in 0..{height - 1}, "
            f"the pixels of the sensor. Received: x={events['x'][first]}, "
            f"y={events['y'][first]} in event {first}. The file is damaged, "
            "or of another camera or kind."
        )


def _check_times(times, source):
    back = times[1:] < times[:-1]
    if back.any():
        first = int(back.argmax())
        raise ValueError(
            f"{source}: expected times that do not decrease. Received: "
            f"t={times[first + 1]} after t={times[first]} in event "
            f"{first + 1}. The file is damaged; if its events are complete "
            "and only out of order, read it with sort=True."
        )


def finish_reading(events, sensor_size, source, sort):
    """Checks what a reader has decoded; sorts it by time first, if asked.

    Args:
        events: The structured array.
        sensor_size: `(height, width)` of the camera, or None if the file does
            not tell.
        source: The file, for the message.
        sort: Whether to sort events by time; those of one time keep their
            order.

    Returns:
        The events.

    Raises:
        ValueError: If there are none, or see `check_events`.
    """
    if len(events) == 0:
        raise ValueError(
            f"{source}: expected a recording. Received: no events. The "
            "recording is empty or the file truncated; fetch it again."
        )
    if sort:
        events = _normalized(events, source)
        events = events[np.argsort(events["t"], kind="stable")]
    return check_events(events, sensor_size, source)
