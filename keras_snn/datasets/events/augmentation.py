"""Random changes of a recording that leave its class as it is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_snn import checks
from keras_snn.datasets.events.array import check_events


def shift(
    events: np.ndarray,
    sensor_size: tuple[int, int],
    pixels: Any,
    rng: np.random.Generator,
) -> np.ndarray:
    """Moves all events by one random offset; what leaves the sensor is lost.

    Args:
        events: Structured array with the fields x, y, t and p.
        sensor_size: `(height, width)` in pixels.
        pixels: Largest offset in each direction, in pixels.
        rng: A `numpy.random.Generator`.

    Returns:
        The events that are still on the sensor, in their order.
    """
    events = check_events(events, sensor_size)
    height, width = sensor_size
    right, down = rng.integers(-pixels, pixels + 1, 2)
    # A row of channels has only one direction.
    down = 0 if height == 1 else down
    x = events["x"].astype("int64") + right
    y = events["y"].astype("int64") + down
    kept = (0 <= x) & (x < width) & (0 <= y) & (y < height)
    moved = events[kept]
    moved["x"], moved["y"] = x[kept], y[kept]
    return moved


def drop_events(
    events: np.ndarray, rate: float, rng: np.random.Generator
) -> np.ndarray:
    """Leaves out each event with probability `rate`.

    Args:
        events: Structured array with the fields x, y, t and p.
        rate: Probability, in [0, 1).
        rng: A `numpy.random.Generator`.

    Returns:
        The events that are left, in their order.

    References:
        Gu et al., "EventDrop: data augmentation for event-based learning",
        IJCAI 2021 (random drop).
    """
    events = check_events(events)
    return events[rng.random(len(events)) >= rate]


def drop_time(
    events: np.ndarray, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Leaves out the events of a random span of time.

    Args:
        events: Structured array with the fields x, y, t and p.
        fraction: Length of the span as a fraction of the recording.
        rng: A `numpy.random.Generator`.

    Returns:
        The events that are left, in their order.

    References:
        Gu et al., "EventDrop: data augmentation for event-based learning",
        IJCAI 2021 (drop by time).
    """
    events = check_events(events)
    place = rng.random()
    if len(events) == 0:
        return events
    first = events["t"][0]
    duration = events["t"][-1] - first + 1
    since = events["t"] - first - place * (1 - fraction) * duration
    return events[(since < 0) | (since >= fraction * duration)]


def drop_area(
    events: np.ndarray,
    sensor_size: tuple[int, int],
    fraction: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Leaves out the events of a random rectangle of pixels.

    Args:
        events: Structured array with the fields x, y, t and p.
        sensor_size: `(height, width)` in pixels.
        fraction: Height and width of the rectangle as a fraction of the
            sensor's.
        rng: A `numpy.random.Generator`.

    Returns:
        The events that are left, in their order.

    References:
        Gu et al., "EventDrop: data augmentation for event-based learning",
        IJCAI 2021 (drop by area).
    """
    events = check_events(events, sensor_size)
    inside = np.ones(len(events), bool)
    for field, size in zip("yx", sensor_size, strict=True):
        extent = 1 if size == 1 else round(fraction * size)
        first = rng.integers(0, size - extent + 1)
        inside &= (events[field] >= first) & (events[field] < first + extent)
    return events[~inside]


def flip(events: np.ndarray, sensor_size: tuple[int, int]) -> np.ndarray:
    """Mirrors the events left to right."""
    mirrored = check_events(events, sensor_size).copy()
    mirrored["x"] = sensor_size[1] - 1 - mirrored["x"]
    return mirrored


def flip_polarity(events: np.ndarray) -> np.ndarray:
    """Makes ON events of OFF events and the other way round."""
    inverted = check_events(events).copy()
    inverted["p"] = 1 - inverted["p"]
    return inverted


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Changes a recording at random; nothing unless asked for.

    An object is a function `(events, sensor_size, rng) -> events`, which is
    what `Frames(augment=...)` takes. A mirrored digit or gesture is another
    one: `flip` is for objects.

    Args:
        shift: Largest offset in each direction, in pixels.
        drop: Probability with which each event is left out.
        drop_time: Span of time that is left out, as a fraction of the
            recording.
        drop_area: Height and width of the rectangle that is left out, as a
            fraction of the sensor's.
        flip: Whether every second recording, at random, is mirrored left to
            right.
        flip_polarity: Whether every second recording, at random, has ON and
            OFF exchanged.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> augment = keras_snn.datasets.events.Augmentation(shift=2, drop=0.1)
    >>> augment(events, (34, 34), numpy.random.default_rng(0))
    """

    shift: int = 0
    drop: float = 0.0
    drop_time: float = 0.0
    drop_area: float = 0.0
    flip: bool = False
    flip_polarity: bool = False

    def __post_init__(self):
        if not checks.is_integer(self.shift, 0):
            raise ValueError(
                "`shift` must be a number of pixels, an integer of at least "
                f"0. Received: shift={self.shift!r}."
            )
        for name in ("drop", "drop_time", "drop_area"):
            fraction = getattr(self, name)
            if not 0 <= fraction < 1:
                raise ValueError(
                    f"`{name}` must be a fraction in [0, 1). "
                    f"Received: {name}={fraction!r}."
                )

    def __call__(self, events, sensor_size, rng):
        if self.shift:
            events = shift(events, sensor_size, self.shift, rng)
        if self.drop:
            events = drop_events(events, self.drop, rng)
        if self.drop_time:
            events = drop_time(events, self.drop_time, rng)
        if self.drop_area:
            events = drop_area(events, sensor_size, self.drop_area, rng)
        if self.flip and rng.random() < 0.5:
            events = flip(events, sensor_size)
        if self.flip_polarity and rng.random() < 0.5:
            events = flip_polarity(events)
        return events
