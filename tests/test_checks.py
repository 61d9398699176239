"""One number or word is checked by one rule everywhere."""

import math

import numpy as np
import pytest

from keras_snn import checks


@pytest.mark.parametrize(
    "interval, inside, outside",
    [
        ("(0, 1]", (1e-9, 1.0), (0.0, 1.1, -1.0)),
        ("[0, 1)", (0.0, 0.99), (1.0, -1e-9)),
        ("(0, inf)", (1e-300, 1e300), (0.0, math.inf)),
        ("(-inf, inf)", (-1e300, 1e300), (-math.inf, math.inf)),
    ],
)
def test_interval(interval, inside, outside):
    for value in inside:
        assert checks.number("x", value, interval) == value
    for value in (*outside, math.nan):
        with pytest.raises(ValueError, match="`x` must.*Received: x="):
            checks.number("x", value, interval)


@pytest.mark.parametrize("value", [True, "1", None, 1j, np.ones(2)])
def test_what_is_no_number(value):
    with pytest.raises(ValueError, match="`x` must be a real number.*of type"):
        checks.number("x", value, "[0, 1]")


@pytest.mark.parametrize("value", [0, 1.0, True, "3", None])
def test_what_is_no_positive_integer(value):
    with pytest.raises(ValueError, match="`n` must be a positive integer, of"):
        checks.integer("n", value, 1, "of steps", "Round it.")


def test_numbers_become_plain():
    assert type(checks.integer("n", np.int64(3))) is int
    assert type(checks.number("x", np.float32(0.5), "[0, 1]")) is float


@pytest.mark.parametrize("value", ["c", 1, None, np.array(["a", "b"])])
def test_choice(value):
    assert checks.choice("mode", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match='`mode` must be one of "a", "b"'):
        checks.choice("mode", value, ("a", "b"))
