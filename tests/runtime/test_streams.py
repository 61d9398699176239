"""A frame of zeros is not computed where nothing can follow from it."""

import numpy as np
import pytest

pytest.importorskip("numba")
from keras_snn_runtime import operations as ops  # noqa: E402
from keras_snn_runtime.streams import Stepper  # noqa: E402

KERNEL = np.array([[2.5, 0.75], [0.0, 1.25]], "float32")


def stepper(subtract=False, bias=0.0, initial=0.0, beta=0.5, samples=1):
    """Return two neurons and what adds them up; and how often it computed."""
    found = Stepper(
        [
            ops.Source(0, (2,)),
            ops.Product(0, 1, (2,), "kernel", "bias"),
            ops.Neurons(1, 2, (2,), beta, 1.0, subtract, initial, None),
            ops.Integration(2, 3, (2,), 0.5),
        ],
        {"kernel": KERNEL, "bias": np.full(2, bias, "float32")},
        samples,
    )
    computed, step = [], found._space.take_step
    found._space.take_step = lambda *args: computed.append(args) or step(*args)
    return found, computed


def loop(frames, subtract, bias, initial, beta=0.5):
    """Return the readout after each frame, in plain NumPy."""
    v, y, found = np.full(2, initial, "float32"), np.zeros(2, "float32"), []
    for frame in frames:
        u = v + (frame @ KERNEL + np.float32(bias))
        s = (u > 1).astype("float32")
        v = np.float32(beta) * (u - s if subtract else u * (1 - s))
        y = np.float32(0.5) * (y + s)
        found.append(y)
    return found


@pytest.mark.parametrize(
    "subtract, bias, initial, computed",
    [
        (False, 0.0, 0.0, 2),
        (True, 0.0, 0.0, 2),
        # What is above the threshold fires without input: at 4, then at 1.5.
        (True, 0.0, 4.0, 4),
        (False, 0.25, 0.0, 7),
        (False, 0.0, 3.0, 3),
    ],
)
def test_only_what_may_spike_is_computed(subtract, bias, initial, computed):
    frames = np.zeros((7, 2), "float32")
    first = 2 if initial else 0
    frames[first], frames[5] = (1, 0), (0.25, 0.25)
    stream, calls = stepper(subtract, bias, initial)
    for frame, y in zip(frames, loop(frames, subtract, bias, initial)):
        stream.step(frame[None])
        np.testing.assert_array_equal(stream.results[3][0], y)
    assert np.any(y)
    assert len(calls) == computed
    assert stream.states().keys() == {2, 3}


def test_potentials_leak_while_nothing_comes():
    stream, calls = stepper(beta=0.9)
    stream.step(np.array([[0, 0.5]], "float32"))
    for _ in range(50):
        stream.step()
    assert len(calls) == 1
    expected = 0.5 * KERNEL[1] * 0.9**51
    np.testing.assert_allclose(stream.states()[2][0], expected, rtol=1e-5)
    stream.reset()
    assert not np.any(stream.states()[2])


def test_one_stream_with_events_wakes_all():
    stream, calls = stepper(samples=2)
    frames = np.zeros((2, 2), "float32")
    stream.step(frames)
    frames[1, 0] = 1
    stream.step(frames)
    assert len(calls) == 1
    np.testing.assert_array_equal(stream.results[3], [[0, 0], [0.5, 0]])


def test_what_is_broken_stays_broken():
    stream, _ = stepper()
    stream.step(np.array([[np.nan, 0]], "float32"))
    for _ in range(3):
        stream.step()
        assert np.isnan(stream.results[3]).all()
