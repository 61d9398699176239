"""100,000 steps of a stream, beside the model on all of them at once.

    python -m tests.long.streams --steps 100000

A network of leaky neurons with counts of spikes as its result, so that equal
means the same bits. It takes random frames one by one; at some steps its
result is compared with `predict` on all frames so far, and a second stream,
which is reset every 1,000 steps, with `predict` on that window. In the
event-driven engine, with dense products, and in the runtime. Writes
`tests/long/results/streams.json`.
"""

import argparse
import json
import pathlib
import sys
import time

import keras
import numpy as np

import keras_snn as snn
from keras_snn.event_driven import switch
from keras_snn.training import records

RESULT = pathlib.Path(__file__).parent / "results" / "streams.json"
WINDOW = 1000


def network():
    keras.utils.set_random_seed(0)
    x = keras.Input((None, 6))
    y = snn.layers.TimeFold(keras.layers.Dense(16))(x)
    y = snn.layers.LIF(beta=0.9, threshold=0.5, name="lif")(y)
    y = snn.layers.TimeFold(keras.layers.Dense(4))(y)
    y = snn.layers.LIF(beta=0.9, threshold=0.3, name="last")(y)
    return snn.Model(x, snn.layers.SpikeCountReadout(normalize=False)(y))


def frames(steps):
    rng = np.random.default_rng(0)
    return (rng.random((steps, 6)) < 0.3).astype("float32")


def compare(stream, predict, x, at):
    """Return at how many steps and windows results were and were not equal.

    Args:
        stream: Function that returns a new function from a frame to a result.
        predict: Function from all frames to the result.
        x: The frames.
        at: Steps to compare at.
    """
    equal = unequal = 0
    whole, window = stream(), stream()
    for i, frame in enumerate(x, 1):
        results = {"whole": whole(frame), "window": window(frame)}
        expected = {}
        if i in at:
            expected["whole"] = predict(x[:i])
        if i % WINDOW == 0:
            expected["window"] = predict(x[i - WINDOW : i])
            window = stream()
        for name, y in expected.items():
            same = np.array_equal(np.ravel(y), np.ravel(results[name]))
            equal, unequal = equal + same, unequal + (not same)
    return {"equal": equal, "unequal": unequal}


def ways(model):
    """Yield names of ways to run, streams and predictions."""
    step_model = snn.streaming(model)

    def stream():
        one = step_model.stream()
        return lambda frame: one.step(frame[None])

    def predict(x):
        return model.predict(x[None], verbose=0)

    switch._choice = False
    yield "dense", stream, predict
    switch._choice = None
    if model.dense_reason() is None:
        model.predict_function = None
        yield "event-driven", stream, predict
        runtime = snn.export.runtime(model)
        yield (
            "runtime",
            lambda: runtime.stream().step,
            lambda x: runtime.predict(x[None]),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--dense-steps", type=int, default=20_000)
    args = parser.parse_args()
    result = {}
    for name, stream, predict in ways(network()):
        steps = args.dense_steps if name == "dense" else args.steps
        start = time.perf_counter()
        at = {10**k for k in range(1, 6)} | {steps}
        found = compare(stream, predict, frames(steps), at)
        seconds = round(time.perf_counter() - start, 1)
        result[name] = {"steps": steps, **found, "seconds": seconds}
        print(name, result[name], flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    text = {"window": WINDOW, **result, "versions": records.versions()}
    RESULT.write_text(json.dumps(text, indent=1) + "\n", "utf-8")
    if any(x["unequal"] for x in result.values()):
        sys.exit("Results differ.")


if __name__ == "__main__":
    main()
