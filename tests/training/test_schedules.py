import keras
import numpy as np
import pytest

from keras_snn.training import Triangular


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in steps])


def test_rises_and_falls_along_lines():
    found = rates(Triangular(0.4, 10, warmup=0.4), range(12))
    rising = [0.1, 0.2, 0.3, 0.4]
    falling = [0.4, 1 / 3, 4 / 15, 0.2, 2 / 15, 1 / 15]
    np.testing.assert_allclose(found, [*rising, *falling, 0, 0], atol=1e-7)


def test_without_warmup_to_an_end_above_zero():
    found = rates(Triangular(1.0, 4, warmup=0, end=0.2), range(7))
    np.testing.assert_allclose(found, [1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2])


def test_trains_as_its_rates_say():
    schedule = Triangular(0.3, 5)
    w = keras.Variable([1.0])
    optimizer = keras.optimizers.SGD(schedule)
    expected = 1.0
    for rate in rates(schedule, range(5)):
        optimizer.apply([np.ones(1, "float32")], [w])
        expected -= rate
        assert float(w[0]) == pytest.approx(expected, abs=1e-6)


def test_round_trip():
    schedule = Triangular(0.1, 400, 0.3, 0.01)
    schedules = keras.optimizers.schedules
    again = schedules.deserialize(schedules.serialize(schedule))
    assert type(again) is Triangular
    assert again.get_config() == schedule.get_config()
    np.testing.assert_array_equal(
        rates(again, range(0, 400, 50)), rates(schedule, range(0, 400, 50))
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"peak": 0}, "`peak` must be positive"),
        ({"total_steps": 2.5}, "batches an epoch times epochs"),
        ({"warmup": 1.0}, r"`warmup` must lie in \[0, 1\)"),
        ({"end": 0.2}, r"`end` must lie in \[0, 0.1\], up to peak"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Triangular(**{"peak": 0.1, "total_steps": 100, **options})
