"""A recurrent network on spoken digits: Spiking Heidelberg Digits.

    python examples/shd_recurrent.py --data-dir DIR --output OUTPUT
    python examples/shd_recurrent.py --smoke   # made-up sounds, seconds

DIR holds the published shd_train.h5 and shd_test.h5. No accuracy on them is
claimed here: the example was run on made-up sounds in the same layout only.
"""

import argparse
import json
import pathlib
import shlex
import sys
import tempfile

import h5py
import keras
import numpy as np

import keras_snn as snn

events = snn.datasets.events
CLASSES = 20


def write_made_up(path, per_class, seed):
    """Writes sounds in the published layout: a tone that rises or falls."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(CLASSES), per_class))
    with h5py.File(path, "w") as file:
        size = (len(labels),)
        times = file.create_dataset("spikes/times", size, h5py.vlen_dtype("f2"))
        units = file.create_dataset("spikes/units", size, h5py.vlen_dtype("u2"))
        for i, label in enumerate(labels):
            seconds = np.sort(rng.uniform(0, 0.7, 400)).astype("f2")
            # Ten beginnings, and up or down from there: order matters.
            tone = (
                40
                + 60 * (label // 2)
                + (seconds - 0.35) * (160 if label % 2 else -160)
            )
            noise = rng.uniform(0, 700, 400)
            heard = np.where(rng.random(400) < 0.8, tone, noise)
            heard = heard + rng.normal(0, 4, 400)
            times[i], units[i] = seconds, np.clip(heard, 0, 699).astype("u2")
        file["labels"] = labels.astype("u2")


parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--output", type=pathlib.Path)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--time-steps", type=int, default=100)
parser.add_argument("--window", type=int, default=14_000, help="microseconds")
parser.add_argument("--units", type=int, default=128)
parser.add_argument("--learning-rate", type=float, default=1e-3)
parser.add_argument("--smoke", action="store_true")
args = parser.parse_args()
made_up = tempfile.TemporaryDirectory()
if args.smoke:
    args.data_dir = made_up.name
    write_made_up(pathlib.Path(made_up.name, "shd_train.h5"), 8, seed=0)
    write_made_up(pathlib.Path(made_up.name, "shd_test.h5"), 4, seed=1)
    args.epochs, args.time_steps, args.window = 5, 10, 70_000
    args.units, args.learning_rate = 64, 5e-3

keras.utils.set_random_seed(0)
train = events.recordings("shd", "train", args.data_dir)
test = events.recordings("shd", "test", args.data_dir)
in_time = {"time_steps": args.time_steps, "window": args.window}
# Another voice is a little higher or lower, and no two sounds are the same.
augment = events.Augmentation(shift=0 if args.smoke else 20, drop=0.1)
batches = events.Frames(
    train, train.labels, 32, augment=augment, seed=0, **in_time
)
frames = np.stack([events.to_frames(x, 700, **in_time) for x in test])
print(f"{len(train)} sounds to train on, {len(test)} to test")

TimeFold, L = snn.layers.TimeFold, keras.layers
sound = keras.Input((args.time_steps, 700))
s = TimeFold(L.Dense(args.units, use_bias=False))(sound)
s = TimeFold(L.BatchNormalization(momentum=0.9))(s)
s = snn.layers.RecurrentLIF(beta=0.9, alpha=0.7, reset="subtract")(s)
s = TimeFold(L.Dropout(0.0 if args.smoke else 0.2))(s)
s = TimeFold(L.Dense(CLASSES, use_bias=False))(s)
model = snn.Model(sound, snn.layers.MembraneReadout(beta=0.95)(s))
schedule = keras.optimizers.schedules.CosineDecay(
    args.learning_rate, args.epochs * len(batches)
)
model.compile(
    keras.optimizers.Adam(schedule),
    snn.losses.CrossEntropy(),
    metrics=["accuracy"],
)
history = model.fit(batches, epochs=args.epochs, verbose=2)

right = model.predict(frames, verbose=0).argmax(1) == test.labels.argmax(1)
print(f"test accuracy: {right.mean():.2%}, {right.sum()} of {len(right)}")
rates = snn.models.spike_rates(model, frames[:32])
print(f"spikes of a neuron and step: {rates}")

if args.output:
    args.output.mkdir(parents=True, exist_ok=True)
    model.save(args.output / "shd_recurrent.keras")
    record = {
        "command": f"python {shlex.join(sys.argv)}",
        "training_sounds": len(train),
        "test_sounds": len(test),
        "right": int(right.sum()),
        "test_accuracy_last_epoch": float(right.mean()),
        "history": history.history,
        "keras": f"{keras.__version__}, {keras.config.backend()}",
    }
    (args.output / "result.json").write_text(json.dumps(record, indent=2))
made_up.cleanup()
