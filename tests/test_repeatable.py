"""The same bits again: by seed, by threads, by engine, and after a fork."""

import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.event_driven import engine as engine_module
from keras_snn.event_driven import switch

ON_TENSORFLOW = keras.config.backend() == "tensorflow"


def network(seed=1):
    """Return Poisson spikes, a normalization, and dropout."""
    T, L = snn.layers.TimeFold, keras.layers
    x = keras.Input((6, 6, 1))
    y = snn.layers.PoissonEncoder(4, seed=seed)(x)
    y = T(L.Conv2D(3, 3, use_bias=False))(y)
    y = T(L.BatchNormalization())(y)
    y = snn.layers.LIF(learning_rule="rate", name="lif")(y)
    y = snn.layers.TimeConstantDropout(0.2, seed=seed)(y)
    y = T(L.Dense(3))(T(L.Flatten())(y))
    return snn.Model(x, snn.layers.MembraneReadout(learning_rule="rate")(y))


def still(encoder="repeat"):
    """Return a network without noise."""
    keras.utils.set_random_seed(0)
    return snn.models.LeNet(
        input_shape=(8, 8, 1), width=0.2, time_steps=3, encoder=encoder
    )


def images(samples, side=8):
    rng = np.random.default_rng(0)
    return rng.random((samples, side, side, 1), "float32")


def bits(*arrays):
    return [np.asarray(x).tobytes() for x in arrays]


def run():
    """Return the bits of a seeded fit, of predictions, and of a stream."""
    keras.utils.set_random_seed(5)
    model, x = network(), images(24, 6)
    y = np.eye(3, dtype="float32")[np.arange(24) % 3]
    model.compile("adam", snn.losses.CrossEntropy())
    history = model.fit(x, y, 8, 2, verbose=0).history["loss"]
    scores = model.predict(x, verbose=0)
    stream = snn.streaming(model).stream()
    steps = [stream.step(x[i : i + 1]) for i in range(4)]
    return bits(history, scores, *model.get_weights(), *steps)


def test_the_same_seed_gives_the_same_bits(engine):
    first, second = run(), run()
    assert first == second


ONE_THREAD = """
import json, hashlib
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
from tests import test_repeatable as here
here.snn.event_driven.disable()
print(json.dumps([hashlib.sha256(x).hexdigest() for x in here.run()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not ON_TENSORFLOW, reason="JAX has no such setting")
def test_one_thread_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(switch, "_choice", False)
    ran = subprocess.run(
        [sys.executable, "-c", ONE_THREAD],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found == [hashlib.sha256(x).hexdigest() for x in run()]


@pytest.mark.skipif(not ON_TENSORFLOW, reason="the engine runs there")
def test_the_engine_in_one_thread_and_in_three_gives_the_same_bits(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(switch, "_choice", True)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(engine_module, "threads", lambda n=threads: n)
        found.append(run())
    assert found[0] == found[1]


def in_threads(function, given):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(function, given))


def test_predictions_from_eight_threads_are_those_of_one(engine):
    model, x = still(), images(16)
    parts = [x[i : i + 4] for i in range(0, 13)] * 3
    predict = lambda part: model.predict_on_batch(part)  # noqa: E731
    serial = [bits(predict(part)) for part in parts]
    assert [bits(y) for y in in_threads(predict, parts)] == serial


def test_predict_is_not_disturbed_by_other_threads(engine):
    """`predict` makes its function when it is first called."""
    model, x = still(), images(16)
    parts = [x[i : i + 4] for i in range(8)]
    predict = lambda part: model.predict(part, verbose=0)  # noqa: E731
    together = [bits(y) for y in in_threads(predict, parts)]
    assert together == [bits(predict(part)) for part in parts]


def test_spike_rates_from_eight_threads_are_those_of_one(engine):
    model, x = still(), images(8)
    rates = lambda part: snn.models.spike_rates(model, part)  # noqa: E731
    parts = [x[i : i + 2] for i in range(3)]
    serial = [rates(part) for part in parts]
    assert in_threads(rates, parts) == serial


def test_streams_in_eight_threads_are_those_of_one(engine):
    model, x = still(encoder=None), images(12)

    def stream(begin):
        one = snn.streaming(model).stream()
        return bits(*(one.step(x[i : i + 1]) for i in range(begin, begin + 4)))

    serial = [stream(begin) for begin in range(4)]
    assert in_threads(stream, range(4)) == serial


def test_the_runtime_in_eight_threads_is_that_of_one():
    pytest.importorskip("numba")
    runtime, x = snn.export.runtime(still()), images(16)
    parts = [x[i : i + 4] for i in range(13)] * 4

    def run(part):
        stream = runtime.stream()
        steps = [stream.step(frame) for frame in part]
        rates = runtime.spike_rates(part)
        return bits(runtime.predict(part), rates, *steps)

    serial = [run(part) for part in parts]
    assert in_threads(run, parts) == serial


FORK = """
import os, sys
import numpy as np
import keras_snn_runtime
network = keras_snn_runtime.load(sys.argv[1])
x = np.random.default_rng(0).random((16, 8, 8, 1), "float32")
before = network.predict(x)
child = os.fork()
if not child:
    same = network.predict(x).tobytes() == before.tobytes()
    stream = network.stream()
    stream.step(x[0])
    os._exit(0 if same else 3)
assert os.waitpid(child, 0)[1] == 0
assert network.predict(x).tobytes() == before.tobytes()
print("same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_the_runtime_goes_on_in_a_forked_process(tmp_path):
    pytest.importorskip("numba")
    snn.export.runtime(still(), tmp_path / "net.npz")
    ran = subprocess.run(
        [sys.executable, "-c", FORK, tmp_path / "net.npz"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout == "same\n", ran.stderr
