"""Training in one and in two processes, each with one thread that computes.

    KERAS_BACKEND=jax python -m benchmarks.scaling
    KERAS_BACKEND=jax python -m benchmarks.scaling --batches 16 --updates 5
    KERAS_BACKEND=jax python -m benchmarks.scaling --quick --output /tmp

Trains networks on random images by `fit`, with the same batch of all processes
together, and writes `benchmarks/results/scaling.json`: seconds of an update,
weights that learn, bytes whose sum is taken at each update (4 a weight), and
how many times as fast two processes are as one. Threads are not bound to
cores: those that send and receive would wait for the one that computes.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from keras_snn.training import launching

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NETWORKS = ("VGG9", "ResNet11")
CASE = {"width": 1.0, "time_steps": 4, "side": 32}
QUICK = [
    {"network": "VGG5", "width": 0.05, "time_steps": 2, "batch": 4, "side": 8}
]
WARM_UPS = 3
ONE = {"NPROC": "1"}  # read by XLA: threads that compute


def worker(case):
    """Train in this process, one of several; the first one prints its times."""
    import keras
    import numpy as np

    import keras_snn as snn

    keras.utils.set_random_seed(0)
    snn.training.distribute()
    shape = (case["side"], case["side"], 3)
    model = getattr(snn.models, case["network"])(
        input_shape=shape,
        classes=10,
        time_steps=case["time_steps"],
        width=case["width"],
    )
    model.compile(keras.optimizers.SGD(1e-3), snn.losses.CrossEntropy())
    samples = case["batch"] * (case["updates"] + WARM_UPS)
    random = np.random.default_rng(0)
    x = random.random((samples, *shape), dtype="float32")
    y = np.eye(10, dtype="float32")[random.integers(0, 10, samples)]
    times = Times()
    listener = keras.callbacks.LambdaCallback(on_train_batch_end=times.take)
    model.fit(x, y, case["batch"], verbose=0, callbacks=[listener])
    learned = sum(w.value.size for w in model.trainable_weights)
    if snn.running.processes.is_first():
        result = {"seconds": times.median(), "weights": int(learned)}
        print(json.dumps(result))


class Times:
    """When updates ended."""

    def __init__(self):
        self.ends = []

    def take(self, batch, logs):
        float(logs["loss"])  # waits for the update
        self.ends.append(time.perf_counter())

    def median(self):
        """Return the median seconds of an update behind the first ones."""
        ends = self.ends[WARM_UPS - 1 :]
        return statistics.median(b - a for a, b in zip(ends, ends[1:]))


def measure(case, count):
    """Return what the first of `count` processes measures."""
    address = f"127.0.0.1:{launching.free_port()}"
    if (cores := os.cpu_count()) < count:
        raise SystemExit(f"{count} processes need as many cores: {cores}.")
    program = [sys.executable, "-m", "benchmarks.scaling", "--worker"]
    processes = [
        subprocess.Popen(
            [*program, json.dumps(case)],
            cwd=ROOT,
            env={**launching.environment(address, count, number), **ONE},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{count} processes of {case} failed.")
    return json.loads(outputs[0].splitlines()[-1])


def compare(case):
    """Return a case with what one and two processes measure."""
    one, two = measure(case, 1), measure(case, 2)
    return {
        **case,
        "weights": one["weights"],
        "bytes": 4 * one["weights"],
        "seconds_of_one": one["seconds"],
        "seconds_of_two": two["seconds"],
        "times_as_fast": one["seconds"] / two["seconds"],
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a toy case")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker:
        worker(json.loads(given.worker))
        return
    cases = [
        {"network": name, **CASE, "batch": batch}
        for name in NETWORKS
        for batch in given.batches
    ]
    results = []
    for case in QUICK if given.quick else cases:
        results.append(compare({**case, "updates": given.updates}))
        print(json.dumps(results[-1]), flush=True)
    text = json.dumps({"results": results}, indent=2)
    (given.output / "scaling.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
