"""Events of other programs: one meaning at every door."""

import numpy as np
import pytest

from keras_snn.datasets import events

SIZE = (6, 9)
X, Y, T = [3, 0, 8, 5], [1, 5, 0, 2], [10, 10, 40, 90]
ON = [True, False, False, True]

LAYOUTS = {
    "signed polarity": (
        [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "i1")],
        [1, -1, -1, 1],
    ),
    "boolean": ([("x", "i4"), ("y", "i4"), ("t", "u8"), ("p", "?")], ON),
    "unsigned times": (
        [("x", "u2"), ("y", "u2"), ("p", "u1"), ("t", "u4")],
        [1, 0, 0, 1],
    ),
    "whole floats": (
        [("x", "f4"), ("y", "f4"), ("t", "f8"), ("p", "f4")],
        [1, -1, -1, 1],
    ),
    "another field": (
        [("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "i2"), ("id", "i4")],
        [1, 0, 0, 1],
    ),
    # What the fields are called by dv-processing, and by aedat and faery.
    "fields of dv": (
        [("timestamp", "i8"), ("x", "i2"), ("y", "i2"), ("polarity", "i1")],
        [1, 0, 0, 1],
    ),
    "fields of faery": (
        [("t", "u8"), ("x", "u2"), ("y", "u2"), (("p", "on"), "?")],
        ON,
    ),
}


def of_layout(fields, polarity):
    found = np.zeros(4, fields)
    values = {"x": X, "y": Y, "t": T, "p": polarity}
    values |= {"timestamp": T, "polarity": polarity, "on": polarity}
    for name in found.dtype.names:
        found[name] = values.get(name, 0)
    return found


DOORS = {
    "to_frames": lambda e: events.to_frames(e, SIZE, time_steps=3),
    "windows": lambda e: [
        (start, part.tolist()) for start, part in events.split_windows(e, 20)
    ],
    "batches": lambda e: events.Frames(
        [e], np.eye(2)[:1], 1, 3, sensor_size=SIZE, shuffle=False
    )[0][0],
    "shift": lambda e: events.shift(e, SIZE, 1, np.random.default_rng(0)),
    "drop": lambda e: events.drop_events(e, 0.5, np.random.default_rng(0)),
    "drop time": lambda e: events.drop_time(e, 0.3, np.random.default_rng(0)),
    "drop area": lambda e: events.drop_area(
        e, SIZE, 0.3, np.random.default_rng(0)
    ),
    "flip": lambda e: events.flip(e, SIZE),
    "flip polarity": lambda e: events.flip_polarity(e),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("door", DOORS)
def test_a_layout_means_the_same_at_every_door(layout, door):
    usual = events.as_events(X, Y, T, ON)
    expected = DOORS[door](usual)
    found = DOORS[door](of_layout(*LAYOUTS[layout]))
    if isinstance(found, list):
        assert found == expected
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "field, index, value, message",
    [
        ("p", 2, 2, "`p` must hold 1 for ON.* 2 in event 2"),
        ("p", 1, -1, "`p` must hold 1 for ON.* -1 in event 1"),
        ("x", 3, -1, "`x` must hold integers.* -1 in event 3"),
        ("x", 3, 70_000, "70000 in event 3"),
        ("t", 0, -5, "whole microseconds.* -5 in event 0"),
    ],
)
def test_numbers_out_of_range_are_refused_with_their_place(
    door, field, index, value, message
):
    wrong = np.zeros(4, [(name, "i8") for name in "xytp"])
    wrong["x"], wrong["y"], wrong["t"], wrong["p"] = X, Y, T, ON
    wrong[field][index] = value
    with pytest.raises(ValueError, match=message):
        DOORS[door](wrong)


@pytest.mark.parametrize("door", DOORS)
def test_times_that_decrease_are_refused_with_their_place(door):
    wrong = of_layout([(name, "i8") for name in "xytp"], ON)
    wrong["t"] = [10, 40, 30, 90]
    with pytest.raises(ValueError, match="t=30 after t=40 in event 2"):
        DOORS[door](wrong)


WITH_A_SENSOR = ("to_frames", "batches", "shift", "drop area", "flip")


@pytest.mark.parametrize("door", WITH_A_SENSOR)
@pytest.mark.parametrize("field, value", [("x", 9), ("y", 6)])
def test_places_beyond_the_sensor_are_refused(door, field, value):
    wrong = of_layout([(name, "i8") for name in "xytp"], ON)
    wrong[field][1] = value
    with pytest.raises(ValueError, match=f"{field}={value}.* in event 1"):
        DOORS[door](wrong)


@pytest.mark.parametrize("value", [0.25, np.nan, np.inf, 1e300])
def test_times_that_are_no_whole_microseconds_are_refused(value):
    fields = [("x", "f8"), ("y", "f8"), ("t", "f8"), ("p", "f8")]
    wrong = of_layout(fields, [1, 0, 0, 1])
    wrong["t"][1] = value
    with pytest.raises(ValueError, match="whole microseconds"):
        events.to_frames(wrong, SIZE, time_steps=3)


def test_as_events_takes_either_sign_of_polarity():
    usual = events.as_events(X, Y, T, ON)
    signed = events.as_events(X, Y, np.array(T, "u8"), [1, -1, -1, 1])
    np.testing.assert_array_equal(usual, signed)
    # All OFF, by either convention.
    assert events.as_events([1], [1], [1], [-1])["p"].tolist() == [0]
