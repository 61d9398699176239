"""The runtime: all steps of images, or steps until the answer is sure."""

import dataclasses
import pathlib

import numpy as np

import keras_snn_runtime as runtime
from benchmarks.one_image import timed


def with_settings(network, time_steps, thresholds=None):
    """Return a network of the same weights with other steps and thresholds.

    Args:
        network: A `Network` that repeats its image.
        time_steps: T.
        thresholds: One a spiking layer, or None for its own.
    """
    left = iter(thresholds or ())
    operations = [
        dataclasses.replace(x, threshold=next(left))
        if thresholds and hasattr(x, "threshold")
        else x
        for x in network.operations
    ]
    return runtime.Network(
        network.name,
        time_steps,
        network.encoder,
        operations,
        network.divides,
        network.arrays,
    )


def run(case):
    """Measure all cells of a case."""
    kind, _, weights = case["library"].partition("-")
    folder = pathlib.Path(case["folder"])
    network = runtime.load(folder / f"{case['network']}-{weights}.npz")
    images = np.load(folder / "images.npy")
    if kind == "exit":
        return {"cells": [_exits(network, images, case)]}
    cells = []
    for cell in case["cells"]:
        other = with_settings(
            network, cell["time_steps"], cell.get("thresholds")
        )
        other.threads = case["threads"]
        batches = np.split(images, len(images) // case["images"])
        rates = other.spike_rates(images[:8])
        cells.append(
            {
                "time_steps": cell["time_steps"],
                "rate": cell.get("rate"),
                "measured_rates": rates,
                "scores": other.predict(images[:1])[0].tolist(),
                **timed.cell(
                    lambda n: other.predict(batches[n % len(batches)]), case
                ),
            }
        )
    return {"cells": cells}


def _exits(network, images, case):
    (cell,) = case["cells"]
    network.threads = case["threads"]

    def call(number):
        image = images[number % len(images)][None]
        network.predict_until_sure(image, cell["margin"])

    return timed.cell(call, case)
