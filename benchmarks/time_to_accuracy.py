"""Test accuracy against seconds of training: this library and its peers.

    python -m benchmarks.time_to_accuracy --data-dir DIR \\
        --peer-python PEERS/bin/python

Each row is a process of its own, one after the other: the same network (six
convolutions with batch normalization over batch and time, T = 4), initial
weights, batches (augmented before, the same bytes for all), schedule and loss.
The clock counts all training steps, the first with its compilation included;
it stands still while the first 2,000 test images are evaluated, every 50
updates. A row ends early at the last of the marks.

The peers train as their documents recommend: snnTorch in a loop over time
through `Leaky` neurons, SpikingJelly layer by layer through multi-step
`LIFNode`s that detach the reset. Both compute the first convolution once, as
the input is constant. Results go to `results/time_to_accuracy.json` and `.png`;
rows in there are not run again.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "time_to_accuracy.json"
CHANNELS = (16, 16, 64, 64, 64, 64)
T, BETA, BATCH = 4, 0.5, 125
PEAK, MOMENTUM, DECAY, WARMUP, SMOOTHING = 0.1, 0.9, 5e-4, 0.2, 0.1
EVERY, TESTED = 50, 2000
MARKS = (0.4, 0.5, 0.6, 0.7)
ROWS = ("rate", "arctan", "snntorch", "spikingjelly")
TITLES = {
    "rate": "keras_snn, rate rule",
    "arctan": "keras_snn, through time (arctan)",
    "snntorch": "snnTorch",
    "spikingjelly": "SpikingJelly",
}


class Curve:
    """Seconds of training and accuracies.

    Args:
        evaluate: Function that returns the accuracy on the test images.
    """

    def __init__(self, evaluate):
        self.evaluate, self.points = evaluate, []
        self.seconds, self.processor = 0.0, 0.0

    def begin(self):
        self._start = time.perf_counter(), time.process_time()

    def end(self, updates):
        """Add a point; return whether the last mark is reached."""
        wall, processor = self._start
        self.seconds += time.perf_counter() - wall
        self.processor += time.process_time() - processor
        accuracy = float(self.evaluate())
        self.points.append(
            {
                "updates": updates,
                "seconds": self.seconds,
                "processor_seconds": self.processor,
                "test_accuracy": accuracy,
            }
        )
        return accuracy >= MARKS[-1]


def prepare(folder, data_dir, updates):
    """Write what all rows read: batches, test images, initial weights."""
    import numpy as np

    import keras_snn as snn

    (x, y), (x_test, y_test) = snn.datasets.load("cifar10", data_dir)
    info = snn.datasets.info("cifar10")
    mean, std = np.array(info.mean), np.array(info.std)

    def pixels(x):
        return np.round((x * std + mean) * 255).astype("uint8")

    batches = snn.training.AugmentedBatches(x, y, BATCH, seed=0)
    images = np.empty((updates, BATCH, 32, 32, 3), "uint8")
    labels = np.empty((updates, BATCH), "int64")
    for i in range(updates):
        batches.epoch, index = divmod(i, len(batches))
        image, label = batches[index]
        images[i] = pixels(image)
        labels[i] = label.argmax(-1)
    rng = np.random.default_rng(0)
    weights, before = {}, 3
    for i, channels in enumerate(CHANNELS):
        scale = np.sqrt(2 / (9 * before))
        kernel = rng.normal(0, scale, (3, 3, before, channels))
        weights[f"conv{i + 1}"], before = kernel.astype("float32"), channels
    # Three poolings leave 4 x 4 places.
    kernel = rng.normal(0, np.sqrt(1 / (16 * before)), (4, 4, before, 10))
    weights["dense"] = kernel.reshape(-1, 10).astype("float32")
    np.savez(folder / "weights.npz", **weights)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "x_test.npy", pixels(x_test[:TESTED]))
    np.save(folder / "y_test.npy", y_test[:TESTED].argmax(-1))


def scaled(pixels):
    """Return images of mean 0 and a standard deviation near 1/2."""
    import numpy as np

    return (pixels.astype("float32") / 255 - np.float32(0.473)) * np.float32(2)


def read(folder):
    import numpy as np

    names = "images", "labels", "x_test", "y_test"
    arrays = [np.load(folder / f"{name}.npy") for name in names]
    return *arrays, dict(np.load(folder / "weights.npz"))


def run_keras_snn(rule, folder):
    import keras
    import numpy as np

    import keras_snn as snn

    images, labels, x_test, y_test, weights = read(folder)
    layers, fold = snn.layers, snn.layers.TimeFold
    inputs = keras.Input((32, 32, 3))
    x = layers.RepeatEncoder(T)(inputs)
    for i, channels in enumerate(CHANNELS):
        name = f"conv{i + 1}"
        x = fold(
            keras.layers.Conv2D(channels, 3, padding="same", use_bias=False),
            name=name,
        )(x)
        if i % 2:
            x = fold(keras.layers.AveragePooling2D(2))(x)
        x = fold(keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5))(x)
        x = layers.LIF(beta=BETA, reset="subtract", learning_rule=rule)(x)
    x = fold(keras.layers.Flatten())(x)
    x = fold(keras.layers.Dense(10), name="dense")(x)
    model = snn.Model(inputs, layers.MembraneReadout(beta=1.0)(x))
    for name, kernel in weights.items():
        model.get_layer(name).layer.kernel.assign(kernel)
    model.compile(
        snn.training.sgd(
            PEAK,
            len(images),
            warmup=WARMUP,
            momentum=MOMENTUM,
            weight_decay=DECAY,
        ),
        snn.losses.CrossEntropy(label_smoothing=SMOOTHING),
    )
    x_test = scaled(x_test)

    def evaluate():
        outputs = model.predict(x_test, 250, verbose=0)
        return np.mean(outputs.argmax(-1) == y_test)

    curve = Curve(evaluate)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            y = keras.utils.to_categorical(labels[index], 10)
            return scaled(images[index]), y

    class Evaluate(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            curve.begin()

        def on_train_batch_end(self, batch, logs=None):
            updates = batch + 1
            if updates % EVERY == 0 or updates == len(images):
                if curve.end(updates):
                    self.model.stop_training = True
                curve.begin()

    # One call: at the end of each, TensorFlow may wait for a thread that looks
    # every few seconds how to read faster.
    model.fit(Batches(), callbacks=[Evaluate()], shuffle=False, verbose=0)
    return curve.points


def run_torch(build, folder, reset=lambda network: None):
    """Train a PyTorch network of `build(weights)`; return its curve."""
    import numpy as np
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    images, labels, x_test, y_test, weights = read(folder)
    network = build(weights)
    decayed = [w for w in network.parameters() if w.ndim > 1]
    others = [w for w in network.parameters() if w.ndim == 1]
    optimizer = torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": DECAY},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=PEAK,
        momentum=MOMENTUM,
        nesterov=True,
    )
    total = len(images)
    peak_at = WARMUP * total
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min((i + 1) / peak_at, (total - i) / (total - peak_at)),
    )
    loss = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)

    def tensor(x):
        x = scaled(x).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(x))

    test = [tensor(x) for x in np.split(x_test, TESTED // 250)]

    def evaluate():
        network.eval()
        found = []
        with torch.no_grad():
            for x in test:
                found.append(network(x).argmax(-1).numpy())
                reset(network)
        network.train()
        return np.mean(np.concatenate(found) == y_test)

    curve = Curve(evaluate)
    for first in range(0, total, EVERY):
        curve.begin()
        for i in range(first, min(first + EVERY, total)):
            optimizer.zero_grad()
            loss(
                network(tensor(images[i])), torch.from_numpy(labels[i])
            ).backward()
            reset(network)
            optimizer.step()
            schedule.step()
        if curve.end(min(first + EVERY, total)):
            break
    return curve.points


def snntorch_network(weights):
    import snntorch
    from snntorch import surrogate
    from torch import nn

    from benchmarks.torch_program import parameter

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            synapses, before = [], 3
            for i, channels in enumerate(CHANNELS):
                convolution = nn.Conv2d(
                    before, channels, 3, padding=1, bias=False
                )
                convolution.weight = parameter(weights[f"conv{i + 1}"])
                pool = [nn.AvgPool2d(2)] if i % 2 else []
                synapses.append(
                    nn.Sequential(convolution, *pool, nn.BatchNorm2d(channels))
                )
                before = channels
            self.synapses = nn.ModuleList(synapses)
            self.neurons = nn.ModuleList(
                snntorch.Leaky(
                    BETA,
                    spike_grad=surrogate.atan(),
                    reset_mechanism="subtract",
                )
                for _ in CHANNELS
            )
            self.dense = nn.Linear(16 * before, 10)
            self.dense.weight = parameter(weights["dense"], (4, before))

        def forward(self, x):
            potentials = [n.init_leaky() for n in self.neurons]
            first, total = self.synapses[0](x), 0.0
            for _ in range(T):
                x = first
                for i, neurons in enumerate(self.neurons):
                    if i:
                        x = self.synapses[i](x)
                    x, potentials[i] = neurons(x, potentials[i])
                total = total + self.dense(x.flatten(1))
            return total / T

    return Network()


def spikingjelly_network(weights):
    from spikingjelly.activation_based import (
        functional,
        layer,
        neuron,
        surrogate,
    )
    from torch import nn

    from benchmarks.torch_program import parameter

    def neurons():
        return neuron.LIFNode(
            tau=1 / (1 - BETA),
            decay_input=False,
            v_reset=None,
            detach_reset=True,
            surrogate_function=surrogate.ATan(),
            step_mode="m",
        )

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(
                nn.Conv2d(3, CHANNELS[0], 3, padding=1, bias=False),
                nn.BatchNorm2d(CHANNELS[0]),
            )
            self.first[0].weight = parameter(weights["conv1"])
            modules, before = [neurons()], CHANNELS[0]
            for i, channels in enumerate(CHANNELS[1:], 2):
                convolution = layer.Conv2d(
                    before, channels, 3, padding=1, bias=False
                )
                convolution.weight = parameter(weights[f"conv{i}"])
                modules.append(convolution)
                if i % 2 == 0:
                    modules.append(layer.AvgPool2d(2))
                modules += [layer.BatchNorm2d(channels), neurons()]
                before = channels
            self.spiking = nn.Sequential(*modules)
            functional.set_step_mode(self.spiking, "m")
            self.dense = nn.Linear(16 * before, 10)
            self.dense.weight = parameter(weights["dense"], (4, before))

        def forward(self, x):
            currents = self.first(x).unsqueeze(0).repeat(T, 1, 1, 1, 1)
            return self.dense(self.spiking(currents).mean(0).flatten(1))

    return Network()


def run_row(row, folder):
    """Return the points and versions of one row, in this process."""
    import importlib.metadata

    if row in ("rate", "arctan"):
        points, package = run_keras_snn(row, folder), "tensorflow"
    elif row == "snntorch":
        points, package = run_torch(snntorch_network, folder), "snntorch"
    else:
        from spikingjelly.activation_based import functional

        points = run_torch(spikingjelly_network, folder, functional.reset_net)
        package = "spikingjelly"
    versions = {package: importlib.metadata.version(package)}
    return {"points": points, "versions": versions}


def seconds_to(points, mark, name="seconds"):
    """Return the seconds after which an accuracy was first reached, or None."""
    reached = [p[name] for p in points if p["test_accuracy"] >= mark]
    return reached[0] if reached else None


def table(rows):
    """Return seconds to each mark, and of both processors, as Markdown."""
    lines = [
        "| | a step | "
        + " | ".join(f"to {mark:.0%}" for mark in MARKS)
        + " | best accuracy |",
        "|---|---:|" + "---:|" * len(MARKS) + "---:|",
    ]
    for row, found in rows.items():
        points = found["points"]
        cells = []
        for mark in MARKS:
            wall = seconds_to(points, mark)
            busy = seconds_to(points, mark, "processor_seconds")
            cells.append(
                "not reached"
                if wall is None
                else f"{wall:.0f} s ({busy:.0f} s)"
            )
        # The first part has the compilation.
        updates = points[-1]["updates"] - points[0]["updates"]
        step, busy = (
            (points[-1][name] - points[0][name]) / updates
            for name in ("seconds", "processor_seconds")
        )
        best = max(p["test_accuracy"] for p in points)
        lines.append(
            f"| {TITLES[row]} | {step:.2f} s ({busy:.2f} s) "
            f"| {' | '.join(cells)} "
            f"| {best:.1%} |"
        )
    return "\n".join(lines)


def draw(rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for row, found in rows.items():
        points = found["points"]
        axes.plot(
            [p["seconds"] / 60 for p in points],
            [100 * p["test_accuracy"] for p in points],
            label=TITLES[row],
        )
    axes.set_xlabel("minutes of training on two cores")
    axes.set_ylabel("test accuracy, %")
    axes.set_title("CIFAR-10, six spiking convolutions, T = 4")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        result = run_row(args.row, args.folder)
        (args.folder / f"{args.row}.json").write_text(json.dumps(result))
        return
    rows = json.loads(args.output.read_text()) if args.output.exists() else {}
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(args.threads),
        "TF_NUM_INTRAOP_THREADS": str(args.threads),
        "NUMBA_NUM_THREADS": str(args.threads),
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        prepare(folder, args.data_dir, args.updates)
        for row in args.rows:
            if row in rows:
                continue
            peer = row in ("snntorch", "spikingjelly")
            python = args.peer_python if peer else sys.executable
            command = [python, "-m", "benchmarks.time_to_accuracy"]
            command += ["--row", row, "--folder", str(folder)]
            subprocess.run(command, cwd=ROOT, env=environment, check=True)
            result = json.loads((folder / f"{row}.json").read_text())
            rows[row] = {**result, "threads": args.threads}
            args.output.write_text(json.dumps(rows, indent=1) + "\n")
            print(table(rows), flush=True)
    rows = {row: rows[row] for row in ROWS if row in rows}
    draw(rows, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
