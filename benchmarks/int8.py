"""The trained networks with int8 weights: accuracy, memory and time.

    python -m benchmarks.int8 --data-dir DIR

DIR holds CIFAR-10, MNIST and recordings of N-MNIST. Runs each network on its
test data in the event-driven engine, with float32 and with int8 weights, and
writes `results/int8.json`, a row of each card in `saved_models/` and the table
of `docs/event_driven.md`. Times are those of a processor, of one image after
the other, in turns, in one thread. `--times` measures nothing else, and
`--networks` some of the networks; the other results stay.
"""

import argparse
import json
import pathlib
import statistics
import time

import numpy as np

import keras_snn as snn
from benchmarks.publish import SAVED
from benchmarks.recipes import nmnist

RESULT = pathlib.Path(__file__).parent / "results" / "int8.json"
PAGE = SAVED.parent / "docs" / "event_driven.md"
WEIGHTS = snn.event_driven.WEIGHTS
ROW = "| with int8 weights"
# By card: network, weights, data.
NETWORKS = {
    "lenet_mnist_weights": ("LeNet", "mnist", "mnist"),
    "lenet_mnist": ("LeNet", SAVED / "lenet_mnist.keras", "mnist"),
    "lenet_nmnist": ("LeNet", "nmnist", "nmnist"),
    "spikingcnn_cifar10": ("SpikingCNN", "cifar10", "cifar10"),
    "spikingcnn_cifar10_sparse": ("SpikingCNN", "cifar10_sparse", "cifar10"),
    "vgg8_cifar10": ("VGG8", "cifar10", "cifar10"),
    "vgg9_cifar10": ("VGG9", SAVED / "vgg9_cifar10.npz", "cifar10"),
    "vgg8_cifar10_sparse": ("VGG8", "cifar10_sparse", "cifar10"),
}


def load(dataset, data_dir):
    """Return what a network is tested on: inputs, and classes."""
    if dataset == "nmnist":
        _, held_out, test = nmnist.split(data_dir)
        x = np.concatenate([nmnist.frames(y) for y in (held_out, test)])
        y = np.concatenate([held_out.labels, test.labels])
    else:
        _, (x, y) = snn.datasets.load(dataset, data_dir)
    return x, y.argmax(-1)


def measured(model, x, y):
    """Return accuracies, sizes and how often both weights say the same."""
    result, answers = {"images": len(x)}, {}
    for weights in WEIGHTS:
        network = snn.event_driven.compile(model, weights=weights)
        # The same noise of a Poisson encoder for both.
        scores = [
            network.predict(x[i : i + 250], seed=i)
            for i in range(0, len(x), 250)
        ]
        answers[weights] = np.concatenate(scores).argmax(-1)
        result[weights] = {
            "right": int(np.sum(answers[weights] == y)),
            "bytes": sum(w.nbytes for w in network.arrays.values()),
        }
    result["same answer"] = int(np.sum(answers["int8"] == answers["float32"]))
    return result


def seconds(model, x, repeats=40):
    """Return the median seconds of one sample, by type of weights."""
    networks = [snn.event_driven.compile(model, weights=w) for w in WEIGHTS]
    spent = [[], []]
    for i in range(repeats):
        for network, found in zip(networks, spent):
            network.threads = 1
            start = time.process_time()
            network.predict(x[i : i + 1], seed=i)
            found.append(time.process_time() - start)
    return dict(zip(WEIGHTS, map(statistics.median, spent)))


def row(result):
    """Return a card's row."""
    count = result["images"]
    exact, rounded = (result[x] for x in ("float32", "int8"))
    points = 100 * (rounded["right"] - exact["right"]) / count
    return (
        f"{ROW}, {rounded['bytes'] / 1e6:.1f} MB, not "
        f"{exact['bytes'] / 1e6:.1f} | {rounded['right'] / count:.2%} "
        f"({points:+.2f} points; {result['same answer']:,} of {count:,} "
        "answers the same) |"
    )


def with_row(card, result):
    """Return a card's text with its row on int8 weights."""
    lines = [x for x in card.split("\n") if not x.startswith(ROW)]
    lines.insert(lines.index("| seed | 0 |"), row(result))
    return "\n".join(lines)


def table(results):
    """Return the lines of the page's table."""
    lines = [
        "| network | accuracy | in int8 | weights | in int8 | one sample "
        "| in int8 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        network, weights, _ = NETWORKS[name]
        exact, rounded = (result[x] for x in WEIGHTS)
        cells = [
            f"{network}, `{getattr(weights, 'name', weights)}`",
            *(f"{x['right'] / result['images']:.2%}" for x in (exact, rounded)),
            *(f"{x['bytes'] / 1e6:.1f} MB" for x in (exact, rounded)),
            *(f"{1e3 * result['seconds'][x]:.1f} ms" for x in WEIGHTS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def filled(page, results):
    """Return the page with its table made anew."""
    start, end = "<!-- int8 -->\n", "<!-- end int8 -->"
    before, rest = page.split(start)
    text = "\n".join(table(results))
    return f"{before}{start}\n{text}\n\n{end}{rest.split(end)[1]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    args = parser.parse_args()
    results = json.loads(RESULT.read_text("utf-8"))
    for name in args.networks:
        network, weights, dataset = NETWORKS[name]
        model = getattr(snn.models, network)(weights=weights)
        x, y = load(dataset, args.data_dir)
        if not args.times:
            results[name] = measured(model, x, y)
        results[name]["seconds"] = seconds(model, x)
        print(name, results[name], flush=True)
        RESULT.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        path = SAVED / f"{name}.md"
        card = with_row(path.read_text("utf-8"), results[name])
        path.write_text(card, "utf-8")
    PAGE.write_text(filled(PAGE.read_text("utf-8"), results), "utf-8")


if __name__ == "__main__":
    main()
