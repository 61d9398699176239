"""What a checkpoint costs training, which waits for its file or does not.

    python -m benchmarks.checkpoints
    python -m benchmarks.checkpoints --quick --output /tmp

Trains VGG9 at four time steps on random images, two updates at a time: without
a checkpoint, with one that is waited for, and with one that a thread writes,
in turn. Writes `benchmarks/results/checkpoints.json`: the median seconds of
two updates each, and what the file holds.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import time

import keras
import numpy as np

from keras_snn.training import building, recipe
from keras_snn.training import checkpoint_files as files
from keras_snn.training.checkpoints import Checkpoints

RESULTS = pathlib.Path(__file__).parent / "results"
WAYS = ("without", "waited for", "by a thread")
WARM_UPS = 4


class Timed(keras.callbacks.Callback):
    """Lets one of two updates write a checkpoint, or none, in turn.

    Attributes:
        seconds: Of two updates, a list for each of `WAYS`.
    """

    def __init__(self, checkpoints):
        super().__init__()
        self.checkpoints = checkpoints
        self.seconds = {way: [] for way in WAYS}

    def on_train_begin(self, logs=None):
        self.checkpoints.set_model(self.model)

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # waits for the update
        turn, second = divmod(batch - WARM_UPS, 2)
        if second:
            return
        if turn > 0:
            self.checkpoints.wait()
            took = time.perf_counter() - self.began
            self.seconds[WAYS[(turn - 1) % 3]].append(took)
        self.began = time.perf_counter()
        way = WAYS[turn % 3]
        if way != "without":
            self.checkpoints.on_train_batch_end(batch)
        if way == "waited for":
            self.checkpoints.wait()


def measure(settings, rounds):
    """Return the median seconds of each way, and the bytes of a file."""
    updates = WARM_UPS + 1 + 2 * len(WAYS) * rounds
    model = building.build_model(settings)
    building.compile_model(model, settings, updates)
    random = np.random.default_rng(0)
    samples = updates * settings.batch_size
    x = random.random((samples, *model.input_shape[1:]), dtype="float32")
    y = np.eye(10, dtype="float32")[random.integers(0, 10, samples)]
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder, every=1)
        checkpoints.epoch_updates = updates
        timed = Timed(checkpoints)
        model.fit(x, y, settings.batch_size, verbose=0, callbacks=[timed])
        newest = next(iter(files.positions(folder).values()))
        size = newest.stat().st_size
    medians = {way: statistics.median(timed.seconds[way]) for way in WAYS}
    return {"seconds_of_two_updates": medians, "bytes": size, "rounds": rounds}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a toy case")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    given = parser.parse_args(arguments)
    size = {"time_steps": 4, "batch_size": given.batch_size}
    if given.quick:
        size.update(width=0.05, time_steps=2, batch_size=2)
    settings = recipe("vgg9", "cifar10", **size)
    result = {**size, **measure(settings, given.rounds)}
    text = json.dumps(result, indent=2)
    print(text)
    (given.output / "checkpoints.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
