"""Events to frames: what a spiking network takes, one frame a time step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_snn import checks
from keras_snn.datasets.events.array import check_events, check_sensor

REPRESENTATIONS = ("count", "binary")
DTYPES = ("float32", "uint8")


def to_frames(
    events: np.ndarray,
    sensor_size: tuple[int, int] | int,
    *,
    time_steps: int | None = None,
    window: int | None = None,
    events_per_frame: int | None = None,
    start: int | None = None,
    representation: str = "count",
    polarity_channels: int = 2,
    dtype: str = "float32",
) -> np.ndarray:
    """Sorts events into frames by their time, place and polarity.

        frames[k, y, x, p] = number of events (x, y, t, p) in frame k

    Which frame an event belongs to:

    - `window`: frame k holds `start + k window <= t < start + (k+1) window`.
      With `time_steps` there are exactly that many frames: later events are
      left out, missing frames are empty. Without, all events are kept.
    - `events_per_frame`: frame k holds events `k n .. (k+1) n - 1`. The last
      frame may hold fewer. `time_steps` as above.
    - `time_steps` alone: the recording is cut into frames of equal duration,
      `k = floor((t - t_first) T / (t_last - t_first + 1))`.

    Only with `window` does every frame last equally long in all recordings,
    and only then can the network run on a live stream: a frame is complete
    when its window is over.

    Args:
        events: Structured array with the fields x, y, t (microseconds) and
            p, see `as_events`.
        sensor_size: `(height, width)` in pixels, or a number of channels, x,
            in a row: those of a cochlea.
        time_steps: Number of frames T.
        window: Duration of a frame in microseconds.
        events_per_frame: Number of events in a frame.
        start: Time in microseconds at which the first window opens; `None`
            for that of the first event. Earlier events are left out. Goes
            with `window`.
        representation: `"count"`, the number of events, or `"binary"`, 1
            where there was any.
        polarity_channels: 2 for a channel each of OFF (0) and ON (1), or 1
            for one channel of both.
        dtype: `"float32"`, or `"uint8"`, which takes a quarter of the memory
            and counts up to 255.

    Returns:
        Array `(T, height, width, polarity_channels)`; for a row of channels
        `(T, channels)`, whatever the polarity.

    Raises:
        ValueError: If an argument is out of range, the arguments do not say
            what a frame is, or the events do not fit the sensor.

    Example:

    >>> frames = keras_snn.datasets.events.to_frames(
    ...     events, (34, 34), time_steps=15, window=20_000)
    >>> frames.shape
    (15, 34, 34, 2)
    """
    height, width = check_sensor(sensor_size)
    is_row = not np.ndim(sensor_size)
    check_frame_options(
        time_steps,
        window,
        events_per_frame,
        representation,
        polarity_channels,
        dtype,
    )
    if start is not None and window is None:
        raise ValueError(
            "`start` opens the first window and goes with `window`. "
            f"Received: start={start!r}, window=None."
        )
    if start is not None and not checks.is_integer(start):
        raise ValueError(
            "`start` must be an integer, the time in microseconds at which "
            f"the first window opens. Received: start={start!r}."
        )
    events = check_events(events, None if is_row else (height, width))
    if is_row:
        events = _check_row(events, width)
    frame, count = _frame_of_each(
        events["t"], time_steps, window, events_per_frame, start
    )
    kept = (frame >= 0) & (frame < count)
    place = frame[kept] * height + events["y"][kept]
    place = place * width + events["x"][kept]
    if polarity_channels == 2 and not is_row:
        place = place * 2 + events["p"][kept]
    axes = (width,) if is_row else (height, width, polarity_channels)
    shape = (count, *axes)
    frames = np.bincount(place, minlength=np.prod(shape)).reshape(shape)
    if representation == "binary":
        frames = np.minimum(frames, 1)
    elif dtype == "uint8":
        frames = np.minimum(frames, 255)
    return frames.astype(dtype)


def _check_row(events, channels):
    if np.any(events["y"]):
        first = int(np.argmax(events["y"] != 0))
        raise ValueError(
            "`sensor_size` must be (height, width) in pixels, two positive "
            f"integers, for events of a camera. Received: {channels}, channels "
            f"in a row, and y={events['y'][first]} in event {first}."
        )
    return check_events(events, (1, channels))


def check_frame_options(
    time_steps,
    window,
    events_per_frame,
    representation,
    polarity_channels,
    dtype,
):
    """Refuses arguments of `to_frames` that are out of range or ambiguous."""
    for name, value in (
        ("time_steps", time_steps),
        ("window", window),
        ("events_per_frame", events_per_frame),
    ):
        if value is not None:
            _check_count(name, value)
    if window is not None and events_per_frame is not None:
        raise ValueError(
            "A frame is a duration (`window`) or a number of events "
            f"(`events_per_frame`), not both. Received: window={window}, "
            f"events_per_frame={events_per_frame}."
        )
    if time_steps is None and window is None and events_per_frame is None:
        raise ValueError(
            "Expected at least one of `time_steps`, `window` and "
            "`events_per_frame`. Received: none. For example time_steps=15, "
            "window=20_000 makes 15 frames of 20 ms."
        )
    _check_choice("representation", representation, REPRESENTATIONS)
    _check_choice("polarity_channels", polarity_channels, (1, 2))
    _check_choice("dtype", dtype, DTYPES)


def _check_count(name, value):
    checks.integer(name, value, advice="A window is in microseconds.")


def _check_choice(name, value, choices):
    is_plain = isinstance(value, (str, int)) and not isinstance(value, bool)
    if not is_plain or value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. "
            f"Received: {name}={value!r}."
        )


def _frame_of_each(times, time_steps, window, events_per_frame, start):
    """Returns each event's frame, `(N,)`, and the number of frames."""
    if events_per_frame is not None:
        frame = np.arange(len(times)) // events_per_frame
    elif len(times) == 0:
        frame = np.zeros(0, "int64")
    elif window is not None:
        frame = (times - (times[0] if start is None else start)) // window
    else:
        duration = times[-1] - times[0] + 1
        frame = (times - times[0]) * time_steps // duration
    if time_steps is None:
        time_steps = max(int(frame[-1]) + 1, 0) if len(frame) else 0
    return frame, time_steps


def split_windows(
    events: np.ndarray, window: int, time_steps: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields a recording as a camera would deliver it, window by window.

    Frame k of `to_frames(events, ..., window=window)` holds the events of
    the k-th pair.

    Args:
        events: Structured array with a field t, in microseconds.
        window: Duration of a window in microseconds.
        time_steps: Number of windows; `None` for all up to the last event.

    Yields:
        `(start, events)`: when the window opened, and the events in it, of
        which there may be none.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> for start, part in split_windows(events, 20_000, time_steps=15):
    ...     frame = to_frames(part, (34, 34), time_steps=1, window=20_000,
    ...                       start=start)
    ...     scores, *state = step([frame, *state])
    """
    _check_count("window", window)
    if time_steps is not None:
        _check_count("time_steps", time_steps)
    events = check_events(events)
    times = events["t"]
    if time_steps is None:
        time_steps = (times[-1] - times[0]) // window + 1 if len(times) else 0
    start = int(times[0]) if len(times) else 0
    for _ in range(time_steps):
        first, last = np.searchsorted(times, (start, start + window))
        yield start, events[first:last]
        start += window
