"""What follows from no event, or from those of the last step, is kept."""

import numpy as np
import pytest

pytest.importorskip("numba")
from keras_snn_runtime import kernels, samples  # noqa: E402
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
        # A bias that no potential gets above the threshold by, and one that
        # makes them fire every other step.
        (False, 0.25, 0.0, 2),
        (False, 0.75, 0.0, 7),
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


@pytest.mark.parametrize("beta", [0.9, 1.0])
@pytest.mark.parametrize("each", [False, True])
def test_potentials_go_to_where_biases_hold_them(beta, each):
    bias = np.array([0.05, -0.25] if beta < 1 else [0.0, -0.25], "float32")
    numbers = {"beta": np.full(2, beta), "threshold": np.ones(2)}
    numbers = {k: x.astype("float32") for k, x in numbers.items()}
    stream = Stepper(
        [
            ops.Source(0, (2,)),
            ops.Product(0, 1, (2,), "kernel", "bias"),
            ops.Neurons(
                1, 2, (2,), *(numbers if each else (beta, 1.0)), True, 0.0, None
            ),
            ops.Integration(1, 3, (2,), 0.5),
        ],
        {"kernel": KERNEL, "bias": bias, **numbers},
    )
    v = y = np.zeros(2)
    for t in range(40):
        stream.step()
        v, y = beta * (v + bias), 0.5 * (y + bias)
    assert stream._pending == 40
    np.testing.assert_allclose(stream.states()[2][0], v, rtol=1e-5)
    np.testing.assert_allclose(stream.results[3][0], y, rtol=1e-6)


def test_what_follows_from_the_spikes_of_the_last_step_is_kept(monkeypatch):
    multiply, calls = kernels.multiply, []

    def counted(*arguments):
        calls.append(arguments)
        return multiply(*arguments)

    monkeypatch.setattr(kernels, "multiply", counted)
    # Both neurons fire at each step.
    stream, computed = stepper(bias=2.0)
    calls.clear()
    frames = np.array([[0, 0], [0, 0], [1, 1], [1, 1], [0, 0]], "float32")
    for frame in frames:
        stream.step(frame[None])
    assert len(computed) == 5 and len(calls) == 2
    np.testing.assert_array_equal(stream.results[3], [[0.96875, 0.96875]])


@pytest.mark.parametrize("rate", [0.5, 0.01])
def test_streams_of_few_events_are_whole_sequences(rate):
    rng = np.random.default_rng(0)

    def drawn(*shape):  # exact in float32
        return (rng.integers(-6, 7, shape) / 8).astype("float32")

    arrays = {"conv": drawn(3, 3, 2, 5), "biases": drawn(5)}
    arrays |= {"dense": drawn(80, 3), "three": drawn(3)}
    operations = [
        ops.Source(0, (8, 8, 2)),
        ops.Convolution(0, 1, (8, 8, 5), "conv", "biases", (1, 1), (1, 1)),
        ops.Pooling(1, 2, (4, 4, 5), "average", (2, 2), (2, 2)),
        ops.Neurons(2, 3, (4, 4, 5), 0.5, 1.0, True, 0.0, None),
        ops.Product(3, 4, (3,), "dense", "three"),
        ops.Neurons(4, 5, (3,), 0.5, 1.0, True, 0.0, None),
        ops.Integration(5, 6, (3,), 1.0),
    ]
    frames = (rng.random((2, 30, 8, 8, 2)) < rate).astype("float32")
    frames[:, 5:15] = 0
    counts = np.empty((2, 3), "float32")
    samples.run(
        *(operations, {0: frames, **arrays}, {(6, "state"): counts}),
        *(None, 30, (), 1),
    )
    assert counts.any()
    stream = Stepper(operations, arrays, 2)
    for t in range(30):
        stream.step(frames[:, t])
    np.testing.assert_array_equal(stream.results[6], counts)


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
