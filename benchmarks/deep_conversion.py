"""The deep network's twin with ReLUs, converted, beside the trained ones.

    python -m benchmarks.deep_conversion OUTPUT --data-dir DIR

OUTPUT is what `python -m benchmarks.recipes spikingcnn_cifar10` wrote, or the
`ann.keras` of `keras-snn train --model SpikingCNN --ann-epochs ...`. The
network with ReLUs is converted without fine-tuning; accuracy after every step,
operations and energies go to `results/accuracy/conversion_spikingcnn.json`,
with those of the two networks that were trained with spikes.
"""

import argparse
import json
import pathlib
import time

import keras
import numpy as np

import keras_snn as snn
from benchmarks import recipes

RESULT = pathlib.Path(__file__).parent / "results/accuracy"
RESULT /= "conversion_spikingcnn.json"
RECIPE = "spikingcnn_cifar10"


def network_with_relus(path):
    """Return the network that a recipe's folder or a file holds."""
    if path.suffix == ".keras":
        weights = keras.models.load_model(path, compile=False).get_weights()
    else:
        weights = recipes.load(path, RECIPE)[0]["ann"]
    ann = snn.models.SpikingCNN(spiking=False)
    ann.set_weights(weights)
    return ann


def cost(model, x):
    """Return operations and energies of one image, spiking and with ReLUs."""
    found = snn.analysis.profile(model, x, batch_size=4).to_dict()
    energy = found["energy"]["45nm-float32"]
    return {
        **found["synaptic_operations"],
        "activation_sparsity": found["activation_sparsity"],
        "energy_uJ": energy["snn_pj"] / 1e6,
        "ann_energy_uJ": energy["ann_pj"] / 1e6,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--data-dir")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--time-steps", type=int, default=512)
    parser.add_argument("--methods", nargs="+", default=["max", "percentile"])
    args = parser.parse_args()
    (x_train, _), (x, y) = snn.datasets.load("cifar10", args.data_dir)
    x, y = x[: args.images], y[: args.images]
    ann = network_with_relus(args.output)
    scores = ann.predict(x, batch_size=250, verbose=0)
    result = {
        "images": len(x),
        "ann_accuracy": float(np.mean(scores.argmax(-1) == y.argmax(-1))),
        "networks": {},
    }
    networks = {
        "trained": snn.models.SpikingCNN(weights="cifar10"),
        "trained to few spikes": snn.models.SpikingCNN(
            weights="cifar10_sparse"
        ),
    }
    for method in args.methods:
        networks[f"converted, {method}"] = snn.conversion.convert(
            ann, x_train[:512], method, time_steps=args.time_steps
        )
    for name, model in networks.items():
        start = time.perf_counter()
        curve = snn.analysis.latency_curve(model, x, y, batch_size=50)
        result["networks"][name] = {
            "accuracy": curve.accuracy.tolist(),
            "spikes": curve.spikes.tolist(),
            "seconds": time.perf_counter() - start,
            **cost(model, x[:20]),
        }
        print(name, f"{curve.accuracy[-1]:.1%}", flush=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
