"""What `fit` does with freed memory."""

import sys

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.running import heap

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="it is TensorFlow's memory"
)


class Library:
    """Notes what it is called with."""

    def __init__(self, most=2**31):
        self.calls, self.most = [], most

    def mallopt(self, option, value):
        self.calls.append((option, value))
        return option == -1 or value <= self.most

    def malloc_trim(self, pad):
        self.calls.append("trim")


@pytest.fixture
def calls(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    library = Library()
    monkeypatch.setattr(heap, "_glibc", lambda: library)
    return library.calls


def trained(steps=1, **given):
    model = snn.models.VGG5(
        input_shape=(8, 8, 3), width=1 / 16, norm="batch", time_steps=2
    )
    loss = snn.losses.CrossEntropy()
    model.compile("sgd", loss, steps_per_execution=steps)
    x, y = (
        np.ones((12, 8, 8, 3), "f"),
        np.eye(10, dtype="f")[np.arange(12) % 10],
    )
    model.fit(x, y, batch_size=4, verbose=0, **given)
    return model


def test_it_is_kept_while_a_model_trains(calls):
    own = []
    trained(callbacks=own)
    # After the first two batches, and behind the training.
    assert calls[:4] == calls[2:4] * 2 == [(-1, 2**30), (-3, 2**30)] * 2
    assert calls[4:] == [(-1, 2**26), (-3, 2**25), "trim"]
    assert own == []


def test_it_is_kept_however_many_steps_are_taken_at_once(calls):
    trained(steps=3)
    assert calls[0] == (-1, 2**30)


def test_a_training_that_fails_gives_it_back(calls):
    class Failing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyError("failed")

    with pytest.raises(KeyError, match="failed"):
        trained(callbacks=[Failing()])
    assert calls[-1] == "trim"


def test_what_the_engine_kept_is_given_back(calls):
    memory = pytest.importorskip("keras_snn.event_driven.memory")
    array = memory.array((3, 5))
    del array
    assert memory._blocks
    heap.give_back()
    assert not memory._blocks


def test_older_libraries_keep_smaller_arrays(calls, monkeypatch):
    library = Library(most=2**25)
    monkeypatch.setattr(heap, "_glibc", lambda: library)
    heap.KeepMemory().on_train_batch_end(0)
    assert library.calls == [(-1, 2**30), (-3, 2**30), (-3, 2**25)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072"),
    ],
)
def test_users_choose(calls, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    heap.KeepMemory().on_train_batch_end(0)
    heap.give_back()
    assert calls == []


def test_there_are_other_libraries(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    heap._glibc.cache_clear()
    try:
        heap.KeepMemory().on_train_batch_end(0)
        heap.give_back()
        assert heap._glibc() is None
    finally:
        heap._glibc.cache_clear()
