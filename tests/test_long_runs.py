"""Many steps, many spikes, many calls: nothing drifts, nothing grows.

`tests/long/streams.py` and `tests/long/memory.py` are the long forms.
"""

import gc
import pathlib
import warnings

import numpy as np
import pytest

import keras_snn as snn
from keras_snn.running import live
from keras_snn_runtime import streams
from tests.long import memory
from tests.long import streams as long_streams


def test_a_stream_is_the_model_on_all_steps_and_on_windows(monkeypatch):
    monkeypatch.setattr(long_streams, "WINDOW", 100)
    model, count = long_streams.network(), 0
    for name, stream, predict in long_streams.ways(model):
        steps = 200 if name == "dense" else 2000
        x = long_streams.frames(steps)
        found = long_streams.compare(stream, predict, x, {10, steps})
        assert found == {"equal": 2 + steps // 100, "unequal": 0}
        count += 1
    assert count


def numb():
    """Return a stream whose network has counted nearly 2^24 steps."""
    stream = snn.streaming(long_streams.network()).stream()
    steps, *state = stream.state
    stream.state = [np.full_like(steps, 2**24 - 2), *state]
    return stream


def test_where_counts_end_to_be_exact_is_said(engine):
    stream, frame = numb(), np.ones((1, 6), "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream.step(frame)
    with pytest.warns(UserWarning, match="16777216 steps.*exact up to there"):
        stream.step(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream.step(frame)
    assert live.MOST_STEPS == streams.MOST_STEPS == 2**24
    assert np.float32(2**24) + np.float32(1) == np.float32(2**24)


def test_the_runtime_says_so_too():
    pytest.importorskip("numba")
    stream = snn.export.runtime(long_streams.network()).stream()
    stream.steps = 2**24 - 1
    with pytest.warns(UserWarning, match="16777216 steps"):
        stream.step(np.ones(6, "float32"))


def test_rates_of_more_spikes_than_float32_counts_are_exact():
    """A neuron of 2^24 fires once: half of them, and one."""
    spikes = np.zeros((1, 1, 2**24 + 2), "float32")
    spikes[..., : 2**23 + 1] = 1
    spikes[..., -2:] = 1
    recording = snn.analysis.Recording({"a": spikes}, {}, {}, {})
    assert recording.rates()["a"] == (2**23 + 3) / (2**24 + 2)


@pytest.mark.skipif(
    not pathlib.Path("/proc/self/statm").exists(), reason="needs /proc"
)
@pytest.mark.parametrize("case", ["stream_steps", "runtime_steps"])
def test_streams_keep_no_memory(case):
    pytest.importorskip("numba")
    acts = getattr(memory, case)()
    for _ in range(50):
        next(acts)
    gc.collect()
    before = memory.resident()
    for _ in range(300):
        next(acts)
    gc.collect()
    assert memory.resident() - before < 10
