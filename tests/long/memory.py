"""Resident memory over many models, predictions and steps of streams.

    python -m tests.long.memory --part 1.0

Builds and forgets models, predicts, and steps streams, and notes the resident
memory a tenth of the way each. Writes `tests/long/results/memory_BACKEND.json`.
What the first three tenths bring (compiled programs, pools of memory) is not
counted as growth.
"""

import argparse
import gc
import json
import os
import pathlib

import keras
import numpy as np

import keras_snn as snn
from keras_snn.training import records

RESULTS = pathlib.Path(__file__).parent / "results"
WARM = 3  # tenths


def resident():
    """Return the resident memory of this process in megabytes."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def network(seed=0):
    return snn.models.LeNet(
        input_shape=(8, 8, 1), width=0.2, time_steps=4, seed=seed
    )


def images(samples):
    rng = np.random.default_rng(0)
    return rng.random((samples, 8, 8, 1), "float32")


def rebuilds():
    """Yield after a model was built, run and forgotten."""
    while True:
        model = network()
        model.predict(images(2), verbose=0)
        del model
        # Keras keeps what was made in a global graph of names.
        keras.backend.clear_session()
        yield


def predictions():
    model, x = network(), images(8)
    while True:
        model.predict(x, verbose=0)
        yield


def predictions_on_batch():
    model, x = network(), images(8)
    while True:
        model.predict_on_batch(x)
        yield


def predictions_of_keras():
    """Yield after a model without anything of this package has predicted."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs)))
    x = images(8)
    while True:
        model.predict(x, verbose=0)
        yield


def rates():
    model, x = network(), images(8)
    while True:
        snn.models.spike_rates(model, x)
        yield


def stream_steps():
    stream = snn.streaming(network()).stream()
    frame = images(1)
    while True:
        stream.step(frame)
        yield


def runtime_predictions():
    runtime, x = snn.export.runtime(network()), images(8)
    while True:
        runtime.predict(x, seed=0)
        yield


def runtime_steps():
    stream = snn.export.runtime(network()).stream()
    frame = images(1)[0]
    while True:
        stream.step(frame)
        yield


CASES = {
    "model rebuilds": (rebuilds, 500),
    "predicts": (predictions, 10_000),
    "predicts on batch": (predictions_on_batch, 10_000),
    "predicts of plain Keras": (predictions_of_keras, 10_000),
    "spike_rates": (rates, 100),
    "stream steps": (stream_steps, 2_000),
    "runtime predicts": (runtime_predictions, 10_000),
    "runtime stream steps": (runtime_steps, 100_000),
}


def measure(act, times):
    """Return the megabytes at each tenth of so many acts."""
    acts, found = act(), []
    for _ in range(10):
        for _ in range(max(times // 10, 1)):
            next(acts)
        gc.collect()
        found.append(resident())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    args = parser.parse_args()
    result = {}
    for name in args.only:
        act, times = CASES[name]
        times = max(int(times * args.part), 10)
        found = measure(act, times)
        grown = found[-1] - found[WARM - 1]
        result[name] = {"times": times, "megabytes": found, "grown": grown}
        print(name, result[name], flush=True)
    backend = keras.config.backend()
    path = RESULTS / f"memory_{backend}.json"
    path.parent.mkdir(exist_ok=True)
    text = {"cases": result, "versions": records.versions()}
    path.write_text(json.dumps(text, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
