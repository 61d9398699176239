"""What devices that train together send each other, read from the program.

Gradients and statistics are summed. Spikes and currents stay where they are:
moving them would cost more than a second device gains.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CASES = {
    "rate": {"norm": "batch", "time_steps": 2},
    "weight": {"norm": "weight", "time_steps": 2},
    "collapsed": {"learning_rule": "collapsed", "time_steps": 2},
    "exact": {"learning_rule": "exact", "time_steps": 2},
    "arctan": {"norm": "batch", "learning_rule": "arctan", "time_steps": 2},
}
PROGRAM = """
import json, pathlib, re, sys
import keras, numpy as np
import keras_snn as snn

dump, cases = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
snn.training.distribute()
x = np.ones((4, 4, 4, 3), "float32")
y = np.eye(10, dtype="float32")[:4]
for title, case in cases.items():
    model = snn.models.LeNet(input_shape=(4, 4, 3), width=0.1, **case)
    model.compile("sgd", snn.losses.CrossEntropy())
    model.train_on_batch(x, y)
    (path,) = dump.glob("*jit_train_step*after_optimizations.txt")
    name = r" (all-[a-z-]+|collective-[a-z-]+)\\("
    names = re.findall(name, path.read_text())
    print(json.dumps([title, sorted(set(names))]))
    for path in dump.glob("*jit_train_step*.txt"):
        path.unlink()
"""


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory):
    """Return the names of collective operations of a training step by case."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("needs JAX")
    dump = tmp_path_factory.mktemp("program")
    flags = (
        "--xla_force_host_platform_device_count=2",
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false",
        f"--xla_dump_to={dump}",
        "--xla_dump_hlo_as_text",
        "--xla_dump_hlo_module_re=.*train_step.*",
    )
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(dump), json.dumps(CASES)],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": " ".join(flags),
        },
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return dict(map(json.loads, run.stdout.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_devices_exchange_sums_alone(exchanged, case):
    assert exchanged[case] == ["all-reduce"]
