"""Unusual values of every argument: an error that names it, or a meaning."""

import keras
import pytest

from tests import fuzzing

CALLS = {name: call for name, *call in fuzzing.calls()}


@pytest.mark.parametrize("name", CALLS)
def test_constructors_take_or_name_every_value(name):
    found, count = fuzzing.faults(name, *CALLS[name])
    assert not found
    assert count >= len(fuzzing.VALUES)


@pytest.mark.slow
@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="enough on one backend"
)
def test_functions_take_or_name_every_value():
    found, count = [], 0
    for name, function, base in fuzzing.calls_with_data():
        faults, cases = fuzzing.faults(name, function, base)
        found += faults
        count += cases
    assert not found
    assert count > 2500


def test_drawn_values_are_taken_or_named():
    hypothesis = pytest.importorskip("hypothesis")
    from tests import fuzz_strategies

    @hypothesis.settings(
        max_examples=500, derandomize=True, database=None, deadline=None
    )
    @hypothesis.given(fuzz_strategies.cases(fuzzing.calls()))
    def check(case):
        assert fuzzing.fault(*case) is None

    check()
