"""A running camera: packets of events in, steps of a stream out."""

from __future__ import annotations

import queue
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_snn import checks
from keras_snn.datasets.events.array import EVENT_DTYPE, check_events
from keras_snn.datasets.events.frames import split_windows

_PAUSE = 0.0005  # seconds between two questions to a camera that has nothing
_END = "the end"


def packets(camera: Any) -> Iterator[np.ndarray]:
    """Yields the packets of a camera as arrays of events.

    Args:
        camera: What a camera's library gives: an object of dv-processing
            with `isRunning` and `getNextEventBatch`
            (`dv_processing.io.camera.open()`, or a `MonoCameraRecording`), or
            an iterable of structured arrays, as the `EventsIterator` of
            Metavision's `metavision_core` is.

    Yields:
        Structured arrays of events, see `as_events`, in the order of their
        times; there may be none in one.

    Raises:
        ValueError: If something else comes, or a time that is before the
            last, of this or of the packet before.

    Example:

    >>> camera = dv_processing.io.camera.open()
    >>> for packet in keras_snn.datasets.events.packets(camera):
    ...     print(len(packet))
    """
    last = None
    for number, packet in enumerate(_raw_packets(camera)):
        source = f"packet {number} of the camera"
        found = check_events(packet, source=source)
        if last is not None and len(found) and found["t"][0] < last:
            raise ValueError(
                f"{source}: expected times that do not decrease. Received: "
                f"t={found['t'][0]} after t={last} in the packet before. Was "
                "the camera reset? Begin anew."
            )
        if len(found):
            last = int(found["t"][-1])
        yield found


def _raw_packets(camera):
    if not hasattr(camera, "getNextEventBatch"):
        yield from camera
        return
    while True:
        packet = camera.getNextEventBatch()
        if packet is not None:
            yield packet.numpy()
        elif camera.isRunning():
            time.sleep(_PAUSE)
        else:
            return


def play(
    events: np.ndarray, packet: int = 10_000, *, speed: float = 1.0
) -> Iterator[np.ndarray]:
    """Yields a recording in packets, in real time, as if a camera sent them.

    Args:
        events: Structured array of events, see `as_events`.
        packet: Duration of a packet in microseconds.
        speed: Seconds of the recording in a second.

    Yields:
        The events of one packet after the other, when it is over.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> recording = keras_snn.datasets.events.read("recording.aedat4")
    >>> camera = keras_snn.datasets.events.play(recording)
    """
    speed = checks.number("speed", speed, "(0, inf)")
    begin, first = time.monotonic(), None
    for start, part in split_windows(events, packet):
        first = start if first is None else first
        due = begin + (start + packet - first) / 1e6 / speed
        time.sleep(max(due - time.monotonic(), 0))
        yield part


class Live:
    """Runs a stream on a camera as the camera sends, window by window.

    A thread receives the packets, so that none waits in the camera while the
    network computes. When events later than a window have come, it is
    complete, and the stream takes its events as a step. Windows without
    events are steps, too; a camera that sends nothing at all has no time, and
    its windows are taken when it sends again.

    Whether the network keeps up is measured: `lateness` is the time from the
    arrival of the packet that completed a window to the answer. Beyond
    `patience` there is a warning, once, and then, by `when_late`:

    - `"queue"`: nothing is lost; packets wait, and answers come later.
    - `"drop"`: windows that have waited longer than `patience` are left out.
      The network does not see that time pass. Answers are never later than
      `patience` and a step.

    Iterate over it, once.

    Args:
        stream: An object with a method `step_events(x, y, channel)`:
            `keras_snn.streaming(model).stream()`, or the stream of a network
            of `keras_snn_runtime`.
        camera: As `packets` takes it, or the iterable of packets that it, or
            `play`, gives. Crop and scale on the way:
            `map(crop, packets(camera))`.
        window: Duration of a step in microseconds, as in training.
        when_late: `"queue"` or `"drop"`.
        patience: Lateness that is allowed, in microseconds.
        start: Time of the camera in microseconds at which the first window
            opens; `None` for that of the first event. Earlier events are
            left out.
        polarity_channels: 2 for a channel each of OFF (0) and ON (1), or 1
            for one channel of both, as in training.

    Yields:
        `(start, answer)`: when the window opened, and what the stream returned.

    Attributes:
        steps: Number of windows that the stream took.
        dropped_windows: Number of windows that were left out.
        dropped_events: Number of events in them.
        lateness: Of the last answer, in microseconds.
        worst_lateness: The largest so far.

    Raises:
        ValueError: If an argument is out of range; while running, see
            `packets` and `step_events`.

    Example:

    >>> stream = keras_snn.streaming(model).stream()
    >>> camera = dv_processing.io.camera.open()
    >>> live = keras_snn.datasets.events.Live(stream, camera, 10_000)
    >>> for start, scores in live:
    ...     print(start, scores.argmax(), live.lateness)
    """

    def __init__(
        self,
        stream: Any,
        camera: Any,
        window: int,
        *,
        when_late: str = "queue",
        patience: int = 100_000,
        start: int | None = None,
        polarity_channels: int = 2,
    ) -> None:
        if not callable(getattr(stream, "step_events", None)):
            raise ValueError(
                "`stream` must have a method step_events(x, y, channel), as "
                "keras_snn.streaming(model).stream() has. Received: "
                f"{type(stream).__name__}."
            )
        self._stream, self._camera = stream, camera
        unit = "A window is in microseconds."
        self._window = checks.integer("window", window, advice=unit)
        self._drops = (
            checks.choice("when_late", when_late, ("queue", "drop")) == "drop"
        )
        self._patience = checks.integer("patience", patience, 0)
        if start is not None and not checks.is_integer(start, 0):
            raise ValueError(
                "`start` must be a time of the camera, microseconds, an "
                f"integer of at least 0. Received: start={start!r}."
            )
        self._start = None if start is None else int(start)
        self._channels = checks.integer("polarity_channels", polarity_channels)
        if self._channels > 2:
            raise ValueError(
                "`polarity_channels` must be 1 or 2. Received: "
                f"polarity_channels={polarity_channels!r}."
            )
        self.steps = self.dropped_windows = self.dropped_events = 0
        self.lateness = self.worst_lateness = 0.0
        self._has_begun = False

    @property
    def keeps_up(self) -> bool:
        """Whether no answer was later than `patience`, and none left out."""
        return not self.dropped_windows and (
            self.worst_lateness <= self._patience
        )

    def __iter__(self):
        if self._has_begun:
            raise ValueError(
                "Expected to be iterated over once: the packets are gone. "
                "Make another Live, of the same stream to go on, or after its "
                "reset() to begin anew."
            )
        self._has_begun = True
        arrivals, stop = queue.SimpleQueue(), threading.Event()
        reader = threading.Thread(
            target=_receive, args=(self._camera, arrivals, stop), daemon=True
        )
        reader.start()
        try:
            for start, events, arrived in self._windows(arrivals):
                if self._drops and _since(arrived) > self._patience:
                    self._drop(start, events)
                else:
                    yield start, self._step(start, events, arrived)
        finally:
            stop.set()

    def _step(self, start, events, arrived):
        channel = events["p"] if self._channels == 2 else 0 * events["p"]
        answer = self._stream.step_events(events["x"], events["y"], channel)
        self.steps += 1
        kept_up = self.keeps_up
        self.lateness = _since(arrived)
        self.worst_lateness = max(self.worst_lateness, self.lateness)
        if kept_up and not self.keeps_up and not self._drops:
            self._warn(start, self.lateness, "The packets wait")
        return answer

    def _drop(self, start, events):
        if not self.dropped_windows:
            self._warn(start, self._patience, "Windows are left out")
        self.dropped_windows += 1
        self.dropped_events += len(events)

    def _warn(self, start, lateness, consequence):
        warnings.warn(
            f"The network does not keep up with the camera: the window of "
            f"t={start} was over {lateness / 1000:.0f} ms ago or more, and "
            f"`patience` is {self._patience / 1000:.0f} ms. {consequence} "
            f'(when_late="{"drop" if self._drops else "queue"}"). Take longer '
            "windows, a smaller network or fewer pixels.",
            RuntimeWarning,
            stacklevel=4,
        )

    def _windows(self, arrivals):
        """Yields `(start, events, arrival of their last packet)`."""
        start, waiting = self._start, np.zeros(0, EVENT_DTYPE)
        while True:
            arrived, packet, error = arrivals.get()
            if error is not None:
                raise error
            if packet is _END:
                break
            if not len(packet):
                continue
            start = int(packet["t"][0]) if start is None else start
            waiting = np.concatenate([waiting, packet])
            waiting = waiting[np.searchsorted(waiting["t"], start) :]
            while len(waiting) and waiting["t"][-1] >= start + self._window:
                count = np.searchsorted(waiting["t"], start + self._window)
                yield start, waiting[:count], arrived
                start, waiting = start + self._window, waiting[count:]
        if len(waiting):
            yield start, waiting, arrived


def _receive(camera, arrivals, stop):
    """Puts `(time, packet, error)` into a queue until the camera ends."""
    try:
        for packet in packets(camera):
            arrivals.put((time.monotonic(), packet, None))
            if stop.is_set():
                return
        arrivals.put((time.monotonic(), _END, None))
    except BaseException as error:
        # It belongs to whoever iterates.
        arrivals.put((time.monotonic(), _END, error))


def _since(moment):
    return (time.monotonic() - moment) * 1e6
