"""The event-driven engine against dense products, over the firing rate.

    python -m benchmarks.event_driven

One convolution of 3x3, 64 to 128 channels on 16x16 pixels, sees spike trains
of a given rate; its currents are added up over time. Both ways alternate in
one process; times are medians. Writes `event_driven.json` into
`benchmarks/results` and prints the table.
"""

import argparse
import os
import pathlib
import statistics

# Before TensorFlow is imported, as the README advises.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np

import keras_snn
from benchmarks import measure, processes, report

RATES = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def network(side, channels, filters, time_steps):
    inputs = keras.Input((time_steps, side, side, channels))
    convolution = keras.layers.Conv2D(
        filters, 3, padding="same", use_bias=False
    )
    currents = keras_snn.layers.TimeFold(convolution)(inputs)
    outputs = keras_snn.layers.SpikeCountReadout()(currents)
    return keras_snn.Model(inputs, outputs)


def run(side=16, channels=64, filters=128, time_steps=10, batch=32, repeats=9):
    """Return a list of dicts: rate, seconds of both ways, and their ratio."""
    models = {}
    for name in ("event_driven", "dense"):
        switch = "disable" if name == "dense" else "enable"
        getattr(keras_snn.event_driven, switch)()
        models[name] = network(side, channels, filters, time_steps)
        shape = (batch, *models[name].input.shape[1:])
        # Traced while the switch stands.
        models[name].predict_on_batch(np.zeros(shape, "float32"))
    rng, results = np.random.default_rng(0), []
    for rate in RATES:
        spikes = (rng.random(shape, "float32") < rate).astype("float32")
        seconds = {name: [] for name in models}
        for _ in range(repeats + 1):
            for name, model in models.items():
                step = measure.seconds(
                    lambda m=model: m.predict_on_batch(spikes)
                )
                seconds[name].append(step)
        result = {x: statistics.median(s[1:]) for x, s in seconds.items()}
        ratio = result["dense"] / result["event_driven"]
        results.append({"rate": rate, **result, "ratio": ratio})
    return results


def table(results):
    lines = [
        "| spikes a neuron and step | event-driven | dense "
        "| dense / event-driven |",
        "|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['rate']:g} | {1e3 * r['event_driven']:.1f} ms | "
        f"{1e3 * r['dense']:.1f} ms | {r['ratio']:.2f} |"
        for r in results
    ]
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--output", type=pathlib.Path, default=report.RESULTS)
    add("--quick", action="store_true", help="toy sizes")
    args = parser.parse_args(argv)
    sizes = (
        dict(side=4, channels=3, filters=5, time_steps=2, batch=2, repeats=1)
        if args.quick
        else {}
    )
    results = run(**sizes)
    args.output.mkdir(parents=True, exist_ok=True)
    report.write_json(
        args.output / "event_driven.json",
        {"machine": processes.machine(), "results": results},
    )
    print(table(results))


if __name__ == "__main__":
    main()
