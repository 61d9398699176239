"""Events to frames, against a loop over the events."""

import numpy as np
import pytest

from keras_snn.datasets import events
from tests.datasets_events.writers import random_events

SENSOR = (5, 7)  # height, width


def loop_frames(recording, frame_of, time_steps, binary=False):
    """frames[k, y, x, p], one event after the other."""
    frames = np.zeros((time_steps, *SENSOR, 2))
    for number, (x, y, t, p) in enumerate(recording):
        k = frame_of(number, int(t))
        if 0 <= k < time_steps:
            frames[k, y, x, p] = 1 if binary else frames[k, y, x, p] + 1
    return frames


@pytest.fixture(scope="module")
def recording():
    rng = np.random.default_rng(0)
    return random_events(rng, SENSOR, 200, last=10_000, first=500)


@pytest.mark.parametrize("binary", [False, True])
def test_windows_of_a_fixed_duration(recording, binary):
    first = int(recording["t"][0])
    frames = events.to_frames(
        recording,
        SENSOR,
        time_steps=6,
        window=1000,
        representation="binary" if binary else "count",
    )
    expected = loop_frames(
        recording, lambda _, t: (t - first) // 1000, 6, binary
    )
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames, expected)
    assert frames.sum() < len(recording)  # later events are left out


def test_a_window_alone_keeps_all_events(recording):
    frames = events.to_frames(recording, SENSOR, window=1000)
    first, last = recording["t"][[0, -1]]
    assert len(frames) == (last - first) // 1000 + 1
    assert frames.sum() == len(recording)


def test_missing_windows_are_empty(recording):
    frames = events.to_frames(recording, SENSOR, time_steps=30, window=1000)
    assert len(frames) == 30
    assert frames[:10].sum() == len(recording) and not frames[10:].any()


def test_windows_open_at_start(recording):
    frames = events.to_frames(
        recording, SENSOR, time_steps=4, window=2000, start=1234
    )
    expected = loop_frames(recording, lambda _, t: (t - 1234) // 2000, 4)
    np.testing.assert_array_equal(frames, expected)
    assert (recording["t"] < 1234).any()  # earlier events are left out


def test_equal_parts_of_the_recording(recording):
    first, last = (int(t) for t in recording["t"][[0, -1]])
    frames = events.to_frames(recording, SENSOR, time_steps=7)
    expected = loop_frames(
        recording, lambda _, t: (t - first) * 7 // (last - first + 1), 7
    )
    np.testing.assert_array_equal(frames, expected)
    assert frames.sum() == len(recording)


def test_equal_numbers_of_events(recording):
    frames = events.to_frames(recording, SENSOR, events_per_frame=60)
    expected = loop_frames(recording, lambda number, _: number // 60, 4)
    np.testing.assert_array_equal(frames, expected)
    assert frames.sum(axis=(1, 2, 3)).tolist() == [60, 60, 60, 20]
    longer = events.to_frames(
        recording, SENSOR, events_per_frame=60, time_steps=5
    )
    np.testing.assert_array_equal(longer[:4], expected)
    assert not longer[4].any()


def test_one_channel_holds_both_polarities(recording):
    two = events.to_frames(recording, SENSOR, time_steps=3)
    one = events.to_frames(recording, SENSOR, time_steps=3, polarity_channels=1)
    np.testing.assert_array_equal(one, two.sum(-1, keepdims=True))


def test_axes_are_time_row_column_polarity():
    one = events.as_events([6], [2], [0], [1])
    frames = events.to_frames(one, SENSOR, time_steps=2)
    assert np.argwhere(frames).tolist() == [[0, 2, 6, 1]]


def test_uint8_counts_up_to_255():
    same = np.zeros(300, int)
    many = events.as_events(same, same, same, same)
    frames = events.to_frames(many, SENSOR, time_steps=1, dtype="uint8")
    assert frames.dtype == np.uint8
    assert frames[0, 0, 0, 0] == 255
    assert events.to_frames(many, SENSOR, time_steps=1)[0, 0, 0, 0] == 300


def test_no_events_are_empty_frames():
    none = events.as_events([], [], [], [])
    for options in ({}, {"window": 10}, {"events_per_frame": 10}):
        frames = events.to_frames(none, SENSOR, time_steps=3, **options)
        assert frames.shape == (3, *SENSOR, 2) and not frames.any()
    assert events.to_frames(none, SENSOR, window=10).shape == (0, *SENSOR, 2)
    assert list(events.split_windows(none, 10)) == []


@pytest.mark.parametrize("time_steps", [None, 4, 30])
def test_split_windows_deliver_the_frames_one_by_one(recording, time_steps):
    whole = events.to_frames(
        recording, SENSOR, window=1000, time_steps=time_steps
    )
    parts = [
        events.to_frames(part, SENSOR, time_steps=1, window=1000, start=start)
        for start, part in events.split_windows(recording, 1000, time_steps)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "at least one of `time_steps`, `window` and `events_per_frame`"),
        ({"time_steps": 0}, "`time_steps` must be a positive integer.*=0"),
        ({"time_steps": True}, "`time_steps` must be a positive integer"),
        ({"window": 0.02}, "`window` must be .* window is in microseconds"),
        ({"window": 9, "events_per_frame": 9}, "not both"),
        ({"time_steps": 1, "start": 3}, "`start` .* goes with `window`"),
        (
            {"time_steps": 1, "window": 5, "start": 0.5},
            "`start` must be an integer, .* Received: start=0.5",
        ),
        (
            {"time_steps": 1, "window": 5, "start": "a"},
            "`start` must be an integer",
        ),
        (
            {"time_steps": 1, "representation": "voxel"},
            "`representation` must be one of 'count', 'binary'",
        ),
        (
            {"time_steps": 1, "polarity_channels": 3},
            "`polarity_channels` must be one of 1, 2.*=3",
        ),
        ({"time_steps": 1, "dtype": "float16"}, "`dtype` must be one of"),
    ],
)
def test_unclear_frames_are_refused(recording, options, message):
    with pytest.raises(ValueError, match=message):
        events.to_frames(recording, SENSOR, **options)


@pytest.mark.parametrize("window, time_steps", [(None, 3), (0, 3), (9, 0)])
def test_windows_to_split_into_are_checked(recording, window, time_steps):
    with pytest.raises(ValueError, match="must be a positive integer.*micros"):
        list(events.split_windows(recording, window, time_steps))


@pytest.mark.parametrize("size", [34, (34,), (0, 3), (2.5, 3), None])
def test_sensor_size_is_height_and_width(recording, size):
    with pytest.raises(ValueError, match=r"must be \(height, width\)"):
        events.to_frames(recording, size, time_steps=1)


def test_events_outside_of_the_sensor_are_refused(recording):
    with pytest.raises(ValueError, match=r"x in 0\.\.4.*Received: x=[56]"):
        events.to_frames(recording, (7, 5), time_steps=1)


@pytest.mark.parametrize(
    "columns, message",
    [
        (([1], [1], [1, 2], [1]), r"one shape \(N,\).*'t': \(2,\)"),
        (([-1], [1], [1], [1]), r"`x` must hold integers in 0\.\.65535"),
        (([1], [1], [0.5], [1]), "`t` must hold integers.*microseconds"),
        (([1], [1], [1], [2]), "`p` must .* 1 for ON and 0 for OFF"),
        (([1, 1], [1, 1], [5, 4], [1, 1]), "t=4 after t=5 in event 1"),
    ],
)
def test_columns_that_are_no_events_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        events.as_events(*columns)


@pytest.mark.parametrize("wrong", [np.zeros((3, 4)), [[1, 2, 3, 1]]])
def test_plain_arrays_are_refused_with_advice(wrong):
    with pytest.raises(ValueError, match=r"as_events\(x, y, t, p\)"):
        events.to_frames(wrong, SENSOR, time_steps=1)
