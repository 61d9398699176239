"""LeNet on N-MNIST: first digits that a camera is made to see, then real ones.

    python -m benchmarks.recipes.nmnist --data-dir DIR --output OUTPUT

DIR holds MNIST, prepared by tensorflow-datasets, and the published Train.zip
and Test.zip of N-MNIST or their first 1,000 and 100 recordings. Digits of
MNIST that none of those shows become events by `snn.datasets.events.saccades`;
LeNet learns them, and goes on with 800 recordings. Tested are the other 200
and those of the test set. The same command goes on with a run that was cut
off. A last epoch's weights go to OUTPUT, in float16; `--publish` puts those of
a finished run into the package, with their card.
"""

import argparse
import json
import pathlib
import time

import keras
import numpy as np

import keras_snn as snn
from benchmarks import publish
from benchmarks.recipes import load, save
from keras_snn.models import pretrained
from keras_snn.training.records import versions

events = snn.datasets.events
NAME, SENSOR, STEPS, WINDOW = "lenet_nmnist", (34, 34), 15, 20_000
CAMERA = events.SIMULATORS["n-mnist"]
FIRST_UNSEEN, HELD_OUT = 10_000, 200
IN_TIME = {"time_steps": STEPS, "window": WINDOW}


NETWORK = {"norm": "batch"}
INPUTS = {"input_shape": [*SENSOR, 2], "time_steps": STEPS, "encoder": None}
CARD = """# LeNet on N-MNIST

`keras_snn.models.LeNet(weights="nmnist")`: {parameters:,} numbers, in float16
({size:.1f} MB). It takes {steps} frames of 20 ms, (time, 34, 34, 2), as
`keras_snn.datasets.load("nmnist", ..., time_steps={steps}, window=20_000)` makes
them: how many events of a polarity a pixel saw.

| | |
|---|---|
| 200 recordings held out | {held_out} right |
| 100 recordings of the test set | {test} right |
| of all 300 | {accuracy:.1%} |
| its 95 % interval | {low:.1%} to {high:.1%} |
| mean rate, spikes a neuron and step | {rate:.3f} |
| trained on | {made:,} made recordings, {made_epochs} epochs, then {real} real ones, {real_epochs} epochs |
| seconds of training | {seconds:,.0f} on two CPU cores, beside other work |
| seed | 0 |

The weights are those of the last epoch. The whole set has 60,000 + 10,000
recordings; so few of them say little about small differences.

```sh
{command}
```

| layer | spikes a neuron and step |
|---|---|
{rates}

N-MNIST: G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor, "Converting static image
datasets to spiking neuromorphic datasets using saccades", Frontiers in
Neuroscience 9:437, 2015.
"""  # noqa: E501


class Epochs(keras.callbacks.Callback):
    """Keeps what each epoch measured, and how long it took."""

    def __init__(self):
        super().__init__()
        self.rows, self.since = [], 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.since = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        logs = {k: float(v) for k, v in logs.items()}
        seconds = time.perf_counter() - self.since
        self.rows.append({"epoch": epoch + 1, "seconds": seconds, **logs})


def fit(model, recordings, labels, watched, phase, args):
    """Train one phase; return its record."""
    epochs, rate, batch_size = phase["epochs"], phase["rate"], phase["batch"]
    batches = events.Frames(
        recordings,
        labels,
        batch_size,
        augment=events.Augmentation(shift=1),
        sensor_size=SENSOR,
        seed=0,
        **IN_TIME,
    )
    model.compile(
        snn.training.sgd(rate, epochs * len(batches)),
        snn.losses.CrossEntropy(label_smoothing=0.1),
        metrics=["accuracy"],
    )
    seen, title = Epochs(), phase["title"]
    backup = keras.callbacks.BackupAndRestore(
        str(args.output / f"backup_{title}"), delete_checkpoint=False
    )
    model.fit(
        batches,
        epochs=epochs,
        validation_data=watched,
        verbose=2,
        callbacks=[seen, backup],
    )
    seconds = sum(x["seconds"] for x in seen.rows)
    return {**phase, "seed": 0, "history": seen.rows, "seconds": seconds}


def frames(recordings):
    return np.stack(
        [events.to_frames(x, SENSOR, **IN_TIME) for x in recordings]
    )


def split(data_dir):
    """Return the recordings to learn from, those held out, and the tested."""
    train = events.recordings("nmnist", "train", data_dir)
    order = np.random.default_rng(0).permutation(len(train))
    held_out, train = train[order[:HELD_OUT]], train[order[HELD_OUT:]]
    return train, held_out, events.recordings("nmnist", "test", data_dir)


def measured(model, held_out, test):
    """Return what is told of a network: of held-out and test recordings."""
    watched = frames(held_out)
    result = {
        "time_steps": STEPS,
        "spike_rates": snn.models.spike_rates(model, watched),
    }
    for title, x, labels in (
        ("held out", watched, held_out.labels),
        ("test", frames(test), test.labels),
    ):
        hits = model.predict(x, verbose=0).argmax(-1) == labels.argmax(-1)
        result[title] = {"right": int(hits.sum()), "of": len(hits)}
        print(title, result[title], flush=True)
    parts = result["held out"], result["test"]
    right, of = (sum(x[name] for x in parts) for name in ("right", "of"))
    return {
        **result,
        "test_accuracy": right / of,
        "interval": publish.wilson(right, of),
        "images": of,
        "mean_rate": publish.mean_rate(model, result["spike_rates"]),
    }


def into_package(args):
    """Put the weights of a finished run into the package, with their card.

    What is told of them is measured once more, in float16.
    """
    weights, record = load(args.output, NAME)
    model = snn.models.LeNet(**INPUTS, **NETWORK)
    model.set_weights(weights["spikes"])
    record["published"] = found = measured(model, *split(args.data_dir)[1:])
    path = publish.ACCURACY / f"{NAME}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    pretrained.save("LeNet", "nmnist", model, NETWORK, found, inputs=INPUTS)
    path = pretrained.FOLDER / pretrained.find("LeNet", "nmnist")["file"]
    made, real = record["phases"]
    low, high = found["interval"]
    card = CARD.format(
        parameters=model.count_params(),
        size=path.stat().st_size / 2**20,
        steps=STEPS,
        held_out=found["held out"]["right"],
        test=found["test"]["right"],
        accuracy=found["test_accuracy"],
        low=low,
        high=high,
        rate=found["mean_rate"],
        made=record["made"],
        made_epochs=made["epochs"],
        real=record["recordings"],
        real_epochs=real["epochs"],
        seconds=made["seconds"] + real["seconds"],
        command=record["command"],
        rates="\n".join(
            f"| {name} | {rate:.3f} |"
            for name, rate in found["spike_rates"].items()
        ),
    )
    (publish.SAVED / "lenet_nmnist.md").write_text(card, "utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--publish", action="store_true")
    parser.add_argument("--made", type=int, default=36_000)
    parser.add_argument("--made-epochs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--learning-rule", default="arctan")
    parser.add_argument("--bfloat16", action="store_true")
    args = parser.parse_args()
    if args.bfloat16:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    if args.publish:
        into_package(args)
        return
    args.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    (digits, labels), _ = snn.datasets.load("mnist", args.data_dir)
    chosen = slice(FIRST_UNSEEN, FIRST_UNSEEN + args.made)
    digits, labels = digits[chosen], labels[chosen]
    train, held_out, test = split(args.data_dir)
    watched = frames(held_out), held_out.labels
    model = snn.models.LeNet(
        **INPUTS, **NETWORK, learning_rule=args.learning_rule, seed=0
    )
    start = time.perf_counter()
    made = [
        events.saccades(x, SENSOR, seed=i, **CAMERA)
        for i, x in enumerate(digits)
    ]
    simulated = time.perf_counter() - start
    phases = [
        {
            "title": "made",
            "epochs": args.made_epochs,
            "rate": 0.1,
            "batch": 100,
        },
        {"title": "spikes", "epochs": args.epochs, "rate": 0.01, "batch": 40},
    ]
    data = (made, labels), (list(train), train.labels)
    phases = [
        fit(model, *given, watched, phase, args)
        for phase, given in zip(phases, data)
    ]
    result = measured(model, held_out, test)
    record = {
        "command": "python -m benchmarks.recipes.nmnist --data-dir DIR "
        f"--output OUTPUT --learning-rule {args.learning_rule}"
        f"{' --bfloat16' if args.bfloat16 else ''}",
        "recordings": len(train),
        "made": len(made),
        "simulation_seconds": simulated,
        "camera": CAMERA,
        "versions": versions(),
        "phases": phases,
        "published": result,
    }
    save(args.output, NAME, {"spikes": model.get_weights()}, record)
    path = args.output / f"{NAME}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
