"""Events of an event camera that looks at images: frames -> events."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_snn import checks
from keras_snn.datasets.events.array import EVENT_DTYPE, check_sensor_size

STEP = 5_000  # microseconds between two frames of a saccade
# Where the digits of N-MNIST are, (y, x) in pixels from the middle of the
# sensor, each 10 ms: fitted to 60 recordings and the digits that they show.
PATH = np.array(
    [
        (-2.00, -2.60),
        (-1.95, -2.61),
        (-1.61, -2.68),
        (-0.86, -2.75),
        (0.29, -2.77),
        (1.60, -2.67),
        (2.68, -2.14),
        (3.34, -1.50),
        (3.55, -1.16),
        (3.57, -1.06),
        (3.52, -0.96),
        (3.46, -0.83),
        (3.44, -0.60),
        (3.21, -0.11),
        (2.48, 0.61),
        (1.41, 1.20),
        (0.27, 1.47),
        (-0.76, 1.84),
        (-1.30, 2.15),
        (-1.46, 2.33),
        (-1.48, 2.51),
        (-1.49, 2.74),
        (-1.53, 2.87),
        (-1.53, 2.79),
        (-1.49, 2.03),
        (-1.51, 1.07),
        (-1.57, 0.02),
        (-1.65, -0.97),
        (-1.76, -1.62),
        (-1.80, -2.10),
        (-1.78, -2.31),
    ]
)
EXTENT = 5.6  # pixels from one side of this path to the other
# Settings of `simulate` as two published simulators have them, the models
# "clean" and "noisy" of v2e (without the jitter of its leak) and the defaults
# of ESIM, and those that come closest to the recordings of N-MNIST.
SIMULATORS: dict[str, dict[str, float]] = {
    "v2e clean": {"threshold": 0.2, "threshold_spread": 0.02},
    "v2e noisy": {
        "threshold": 0.2,
        "threshold_spread": 0.05,
        "cutoff": 30.0,
        "leak_rate": 0.1,
        "noise_rate": 5.0,
    },
    "esim": {
        "threshold": 1.0,
        "threshold_spread": 0.021,
        "offset": 0.001,
        "refractory": 100,
    },
    "n-mnist": {
        "threshold": 0.17,
        "threshold_spread": 0.025,
        "offset": 0.3,
        "noise_rate": 0.2,
    },
}


def simulate(
    frames: Any,
    times: Any,
    *,
    threshold: float | tuple[float, float] = 0.2,
    threshold_spread: float = 0.03,
    offset: float = 0.1,
    noise_rate: float = 0.0,
    leak_rate: float = 0.0,
    cutoff: float | None = None,
    refractory: float = 0,
    seed: int | None = 0,
) -> np.ndarray:
    """Turns a video into the events that an event camera would send.

    A pixel remembers the logarithm of its brightness, `log(I + offset)`, and
    sends an ON (OFF) event each time this has risen (fallen) by its threshold
    since the last. Between two frames it is taken to change along a line,
    which gives the time of each event.

    What real pixels do besides, off unless asked for: they are slow in the
    dark (`cutoff`), drift (`leak_rate`), are dead for a moment after an event
    (`refractory`), and send noise (`noise_rate`). `SIMULATORS` holds published
    settings: `simulate(frames, times, **SIMULATORS["v2e noisy"])`.

    Args:
        frames: Brightness, floats `(frames, height, width)` in [0, 1], or
            uint8.
        times: Times of the frames in microseconds, rising, `(frames,)`. Take
            frames so close that nothing moves further than a pixel.
        threshold: Change of the logarithm that sends an event, positive; two
            are those of OFF and of ON.
        threshold_spread: Standard deviation of the thresholds from pixel to
            pixel; each keeps its own, at least a twentieth of `threshold`.
        offset: Brightness of the dark, positive. The smaller it is, the more
            events dark parts send.
        noise_rate: Events a pixel sends for no reason, a second.
        leak_rate: ON events a second that a pixel sends as its memory leaks.
        cutoff: Frequency in Hz of the low-pass filter of a white pixel, of
            first order, between the logarithm and the comparison. That of a
            darker one is lower by `(255 I + 20) / 275`, as in v2e. None is no
            filter.
        refractory: Microseconds after an event in which its pixel sends none.
            What changes in them is lost if it was an event.
        seed: Integer for thresholds and noise.

    Returns:
        Events, see `as_events`, in the order of their times.

    Raises:
        ValueError: For shapes or numbers out of range.

    Example:

    >>> video = np.zeros((3, 8, 8))
    >>> video[1, 2, 3] = 1.0
    >>> events = keras_snn.datasets.events.simulate(video, [0, 1000, 2000])
    >>> set(events["x"]), set(events["y"])
    ({3}, {2})

    References:
        - [Rebecq et al., 2018](https://proceedings.mlr.press/v87/rebecq18a),
          ESIM
        - [Hu et al., 2021](https://arxiv.org/abs/2006.07722), v2e, whose
          defaults of threshold and spread are the ones here
    """
    levels = _logarithm(frames, offset)
    times = _checked_times(times, len(levels))
    both = _both(threshold)
    leak_rate = checks.number("leak_rate", leak_rate, "[0, inf)")
    refractory = checks.number("refractory", refractory, "[0, inf)")
    spread = checks.number("threshold_spread", threshold_spread, "[0, inf)")
    noise_rate = checks.number("noise_rate", noise_rate, "[0, inf)")
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    shape = levels.shape[1:]
    thresholds = both + spread * rng.standard_normal((2, *shape))
    thresholds = np.maximum(thresholds, both / 20)
    if cutoff is not None:
        cutoff = checks.number("cutoff", cutoff, "(0, inf)")
        levels = _low_pass(levels, _brightness(frames), times, cutoff)
    seconds = (times - times[0])[:, None, None] / 1e6
    levels = levels + leak_rate * seconds * thresholds[1]
    parts = list(_crossings(levels, times, thresholds))
    parts.append(_noise(noise_rate, times, shape, rng))
    events = np.concatenate(parts)
    events = events[np.argsort(events["t"], kind="stable")]
    return _without_dead_time(events, refractory) if refractory else events


def saccades(
    image: Any,
    sensor_size: tuple[int, int] = (34, 34),
    *,
    amplitude: float = EXTENT,
    duration: int = 100_000,
    blur: float = 0.65,
    inverted: bool = True,
    **settings: Any,
) -> np.ndarray:
    """Turns an image into events as N-MNIST was recorded: the camera moves.

    Three saccades along a triangle: the image moves down and right, up and
    right, and back, at the speeds that were measured in the recordings of
    N-MNIST. With `**SIMULATORS["n-mnist"]` the camera's settings are theirs,
    too, and the events of a digit of MNIST those of its recording but for
    noise: over windows of 20 ms their counts have a correlation of 0.85.

    Args:
        image: Brightness, `(height, width)` or `(height, width, 1)`, floats in
            [0, 1], or uint8.
        sensor_size: `(height, width)` of the sensor in pixels.
        amplitude: Pixels that the image moves up and down, and about as many
            from left to right.
        duration: Microseconds of a saccade.
        blur: Standard deviation of the optics' Gaussian, in pixels; 0 is sharp.
        inverted: Whether bright parts of the image are shown dark on a bright
            screen, as the digits of N-MNIST seem to have been: their events
            have the polarities of such.
        **settings: As in `simulate`.

    Returns:
        Events, see `as_events`, over three times `duration`.

    Raises:
        ValueError: For shapes or numbers out of range.

    Example:

    >>> digits = keras_snn.datasets.load("digits")[0][0]
    >>> events = keras_snn.datasets.events.saccades(digits[0], (12, 12))
    >>> frames = keras_snn.datasets.events.to_frames(
    ...     events, (12, 12), time_steps=15
    ... )

    References:
        - [Orchard et al., 2015](https://arxiv.org/abs/1507.07629),
          "Converting Static Image Datasets to Spiking Neuromorphic Datasets
          Using Saccades"
    """
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim != 2:
        raise ValueError(
            "`image` must be grey, (height, width) or (height, width, 1). "
            f"Received: shape {image.shape}."
        )
    image = _brightness(image)
    size = check_sensor_size(sensor_size)
    amplitude = checks.number("amplitude", amplitude, "(0, inf)")
    duration = checks.integer("duration", duration, 1, "microseconds")
    blurred = _blurred(image, checks.number("blur", blur, "[0, inf)"))
    steps = 3 * max(duration // STEP, int(np.ceil(4 * amplitude)))
    places = np.linspace(0, len(PATH) - 1, steps + 1)
    knots = np.arange(len(PATH))
    path = np.stack([np.interp(places, knots, x) for x in PATH.T], axis=1)
    path *= amplitude / EXTENT
    middle = (np.array(size) - blurred.shape) / 2
    frames = np.stack([_moved(blurred, size, middle + p) for p in path])
    if checks.flag("inverted", inverted):
        frames = 1 - frames
    times = np.linspace(0, 3 * duration, len(frames)).round()
    return simulate(frames, times, **settings)


def _both(threshold):
    """Returns the thresholds of OFF and ON, axes (polarity, 1, 1)."""
    both = threshold
    if np.ndim(threshold) != 1 or len(threshold) != 2:
        both = threshold, threshold
    both = [checks.number("threshold", x, "(0, inf)") for x in both]
    return np.array(both)[:, None, None]


def _low_pass(levels, brightness, times, cutoff):
    """Returns logarithms after a filter of first order, slow in the dark."""
    rates = 2e-6 * np.pi * cutoff * (255 * brightness + 20) / 275
    found = [levels[0]]
    for level, rate, step in zip(levels[1:], rates[1:], np.diff(times)):
        share = -np.expm1(-rate * step)
        found.append(found[-1] + share * (level - found[-1]))
    return np.stack(found)


def _without_dead_time(events, refractory):
    """Leaves out events that follow one of their pixel too early."""
    place = events["y"].astype("int64") << 16 | events["x"]
    order = np.argsort(place, kind="stable")
    _, first, count = np.unique(
        place[order], return_index=True, return_counts=True
    )
    kept = np.zeros(len(events), bool)
    last = np.full(len(first), -np.inf)
    # The n-th event of all pixels that have one, in a turn.
    for n in range(count.max(initial=0)):
        alive = np.flatnonzero(count > n)
        number = order[first[alive] + n]
        time = events["t"][number]
        ready = time - last[alive] >= refractory
        kept[number[ready]] = True
        last[alive[ready]] = time[ready]
    return events[kept]


def _brightness(frames):
    frames = np.asarray(frames)
    if frames.dtype == np.uint8:
        return frames / 255.0
    is_number = frames.dtype.kind in "fiu"
    if not is_number or not np.all((frames >= 0) & (frames <= 1)):
        raise ValueError(
            "Brightness must be floats in [0, 1], or uint8. Received: "
            f"{frames.dtype}"
            + (f" in {frames.min()}..{frames.max()}." if frames.size else ".")
        )
    return frames.astype("float64")


def _logarithm(frames, offset):
    frames = _brightness(frames)
    if frames.ndim != 3 or len(frames) < 2 or not frames.size:
        raise ValueError(
            "`frames` must be (frames, height, width), two or more. Received: "
            f"shape {frames.shape}."
        )
    return np.log(frames + checks.number("offset", offset, "(0, inf)"))


def _checked_times(times, count):
    times = np.asarray(times)
    if times.dtype.kind in "bui":  # whose differences would wrap round
        times = times.astype("float64")
    if times.shape != (count,) or not np.all(np.diff(times) > 0):
        raise ValueError(
            f"`times` must be {count} rising numbers, the microseconds of each "
            f"frame. Received: shape {times.shape}, {times}."
        )
    if times[0] < 0:
        raise ValueError(f"`times` must not be negative. Received: {times}.")
    return times.astype("float64")


def _crossings(levels, times, thresholds):
    """Yield the events between each two frames."""
    remembered = levels[0].copy()
    for before, after, start, end in zip(levels, levels[1:], times, times[1:]):
        change = after - remembered
        step = np.where(change > 0, thresholds[1], -thresholds[0])
        # A hair more, so that a change of just one threshold counts.
        count = np.floor(change / step + 1e-9).astype("int64")
        y, x = np.nonzero(count)
        many = count[y, x]
        y, x = np.repeat(y, many), np.repeat(x, many)
        firsts = np.cumsum(many) - many
        number = np.arange(len(y)) - np.repeat(firsts, many) + 1
        reached = remembered[y, x] + number * step[y, x]
        slope = after[y, x] - before[y, x]
        share = (reached - before[y, x]) / np.where(slope == 0, 1, slope)
        time = start + np.clip(share, 0, 1) * (end - start)
        yield _events(x, y, time, step[y, x] > 0)
        remembered += count * step


def _noise(rate, times, shape, rng):
    seconds = (times[-1] - times[0]) / 1e6
    count = rng.poisson(rate * seconds * shape[0] * shape[1])
    y, x = (rng.integers(0, n, count) for n in shape)
    time = rng.uniform(times[0], times[-1], count)
    return _events(x, y, time, rng.integers(0, 2, count))


def _events(x, y, time, polarity):
    events = np.empty(len(x), EVENT_DTYPE)
    events["x"], events["y"] = x, y
    events["t"], events["p"] = np.floor(time), polarity
    return events


def _blurred(image, deviation):
    """Return an image as blurred optics see it, larger by what they spread."""
    reach = int(np.ceil(3 * deviation))
    if not reach:
        return image
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    for axis in range(2):
        image = np.apply_along_axis(np.convolve, axis, image, weights)
    return np.clip(image, 0, 1)


def _moved(image, size, place):
    """Return an image on a dark field, between pixels by linear weights."""
    whole = np.floor(place).astype(int)
    part = place - whole
    padded = np.pad(image, 1)
    rows = (1 - part[0]) * padded[1:] + part[0] * padded[:-1]
    sampled = (1 - part[1]) * rows[:, 1:] + part[1] * rows[:, :-1]
    field = np.zeros(size)
    y, x = whole
    top, left = max(y, 0), max(x, 0)
    bottom = min(y + sampled.shape[0], size[0])
    right = min(x + sampled.shape[1], size[1])
    if top < bottom and left < right:
        field[top:bottom, left:right] = sampled[
            top - y : bottom - y, left - x : right - x
        ]
    return field
