"""Two processes over loopback against one, both of `worker_program.py`."""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_snn.training import launching
from tests.training import worker_program

# The processes are of JAX, whatever the backend of this one is.
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="needs JAX"
)
pytestmark = pytest.mark.slow
TOLERANCE = 1e-6
ROOT = pathlib.Path(__file__).parents[2]


def environment():
    # Small programs, which take longer to optimize than to run.
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_backend_optimization_level=0 "
        "--xla_cpu_use_fusion_emitters=false",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    """Run the program in one and in two processes; return what they found."""
    folder = tmp_path_factory.mktemp("workers")
    program = [sys.executable, "-m", "tests.training.worker_program", folder]
    port = launching.free_port()
    for count in (1, 2):
        (folder / f"files{count}").mkdir()
    running = [
        subprocess.Popen(
            [*map(str, program), *map(str, (number, count, port))],
            env=environment(),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for count, number in ((1, 0), (2, 0), (2, 1))
    ]
    errors = [process.communicate()[1] for process in running]
    for process, error in zip(running, errors):
        assert process.returncode == 0, error
    results = {
        name: dict(np.load(folder / f"{name}.npz"))
        for name in ("1-0", "2-0", "2-1")
    }
    return {"folder": folder, **results}


def assert_close(ours, theirs):
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * scale)


@needs_jax
@pytest.mark.parametrize("process", ["2-0", "2-1"])
class TestTwoAreAsOne:
    @pytest.mark.parametrize("rule", worker_program.RULES)
    def test_weights_after_21_updates_with_incomplete_batches(
        self, found, process, rule
    ):
        name = f"weights {rule}"
        assert np.abs(found["1-0"][name]).max() > 0
        assert_close(found[process][name], found["1-0"][name])

    @pytest.mark.parametrize("rule", worker_program.RULES)
    def test_metrics_of_each_epoch(self, found, process, rule):
        for name in (f"loss {rule}", f"accuracy {rule}"):
            assert len(set(found["1-0"][name])) > 1
            assert_close(found[process][name], found["1-0"][name])

    @pytest.mark.parametrize("data", ["PyDataset", "generator", "tf.data"])
    def test_weights_after_other_kinds_of_data(self, found, process, data):
        assert_close(
            found[process][f"data {data}"], found["1-0"]["data arrays"]
        )

    @pytest.mark.parametrize(
        "name", ["evaluate", "predict", "spike_rates", "profile"]
    )
    def test_measures_are_of_all_samples(self, found, process, name):
        assert found[process][name].shape == found["1-0"][name].shape
        assert_close(found[process][name], found["1-0"][name])

    @pytest.mark.parametrize(
        "name", ["lif_spike_rate", "val_loss", "val_accuracy"]
    )
    def test_what_callbacks_and_validation_add(self, found, process, name):
        name = f"history {name}"
        assert_close(found[process][name], found["1-0"][name])

    def test_parts_that_each_process_brings(self, found, process):
        assert_close(found[process]["own"], found["1-0"]["own"])


@needs_jax
def test_one_process_writes(found):
    def files(count):
        folder = found["folder"] / f"files{count}"
        return sorted(
            path.name.split(".")[0] if "events" in path.name else path.name
            for path in folder.rglob("*")
        )

    assert files(2) == files(1)
    assert files(2) == [
        "1.keras",
        "2.keras",
        "events",
        "log.csv",
        "logs",
        "spikes",
    ]
    log = (found["folder"] / "files2/log.csv").read_text()
    assert len(log.splitlines()) == 3


@needs_jax
@pytest.mark.parametrize("process", ["2-0", "2-1"])
@pytest.mark.parametrize(
    "name, text",
    [
        ("other data", "given the same arrays, batch size and order"),
        ("backup", "BackupAndRestore knows one process only"),
        ("list", "data are arrays, a keras.utils.PyDataset"),
        ("in first", "the disk"),
        ("samples", "samples: 9 in process 0, 10 in process 1"),
        ("batch", "samples in a batch: 4 in process 0, 3 in process 1"),
    ],
)
def test_what_does_not_fit_is_refused_everywhere(found, process, name, text):
    assert text in str(found[process][f"refused {name}"])


OPTIONS = (
    "--model lenet --dataset digits --time-steps 2 --width 0.1 --limit 30 "
    "--batch-size 8 --epochs 3 --checkpoint-every 1 --no-scale --norm batch "
    "--ann-epochs 1 --validation-split 0.2"
).split()


def command(*words):
    return [sys.executable, "-m", "keras_snn", "train", *map(str, words)]


def children(pid):
    listed = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return sorted(map(int, listed.split()))


def wait_for(condition, seconds=200):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def signal_a_worker(words, folder, checkpoints, worker, number):
    """Signal one of two workers once there are checkpoints.

    Returns the exit code and output of the command, and seconds to its end.
    """
    running = subprocess.Popen(
        command(*words, "--workers", 2, "--output", folder),
        env=environment(),
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: list(folder.glob(checkpoints)) or running.poll())
    assert running.poll() is None, running.communicate()[0]
    os.kill(children(running.pid)[worker], number)
    signalled = time.monotonic()
    output = running.communicate()[0]
    return running.returncode, output, time.monotonic() - signalled


@needs_jax
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_signal_to_one_worker_ends_the_run_and_resume_goes_on(tmp_path):
    folder = tmp_path / "run"
    # In the training of the network with ReLUs. The worker that does not
    # write takes note, and the other one saves.
    code, output, seconds = signal_a_worker(
        OPTIONS, folder, "backup_ann/*.npz", 1, signal.SIGTERM
    )
    assert code == 75 and seconds < 30, output
    assert "Stopped by SIGTERM" in output

    code, output, seconds = signal_a_worker(
        ["--resume"], folder, "backup/*.npz", 1, signal.SIGKILL
    )
    assert code == 128 + signal.SIGKILL and seconds < 30, output
    assert "Worker 1 was ended by SIGKILL" in output
    assert json.loads((folder / "history.json").read_text())["result"] == {}

    alone = tmp_path / "alone"
    for words in (
        ["--resume", "--output", folder],
        [*OPTIONS, "--output", alone],
    ):
        subprocess.run(
            command(*words), env=environment(), cwd=tmp_path, check=True
        )
    ours, theirs = (
        json.loads((path / "history.json").read_text())
        for path in (folder, alone)
    )
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        for one, other in ((ours, theirs), (ours["ann"], theirs["ann"])):
            np.testing.assert_allclose(
                one["history"][name], other["history"][name], rtol=1e-5
            )


MIRRORED = """
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)

import keras
import numpy as np

import keras_snn as snn

rng = np.random.default_rng(0)
x = rng.random((16, 6)).astype("float32")
y = np.eye(3, dtype="float32")[rng.integers(0, 3, 16)]


def trained(rule, devices):
    keras.utils.set_random_seed(1)
    with snn.training.distribute(devices=devices).scope():
        keras.utils.set_random_seed(1)
        images = keras.Input((6,))
        s = snn.layers.RepeatEncoder(4)(images)
        s = snn.layers.TimeFold(keras.layers.Dense(8))(s)
        s = snn.layers.LIF(0.9, 0.5, learning_rule=rule)(s)
        s = snn.layers.TimeFold(keras.layers.Dense(3))(s)
        readout = snn.layers.MembraneReadout(learning_rule=rule)(s)
        model = snn.Model(images, readout)
        model.compile(keras.optimizers.SGD(0.1), "mse")
    before = model.get_weights()
    model.fit(x, y, 8, 3, shuffle=False, verbose=0)
    moves = [b - a for a, b in zip(before, model.get_weights())]
    return moves, model.predict(x, 8, verbose=0)


for rule in ("collapsed", "rate", "exact", "arctan"):
    (one, scores), (both, same) = (
        trained(rule, devices) for devices in (["CPU:0"], ["CPU:0", "CPU:1"])
    )
    for a, b in zip(one, both, strict=True):
        assert np.any(a), rule
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-6 * np.abs(a).max())
    np.testing.assert_allclose(same, scores, rtol=1e-5, atol=1e-6)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow"
)
def test_two_devices_of_tensorflow_are_as_one():
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED],
        env={**environment(), "KERAS_BACKEND": "tensorflow"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
