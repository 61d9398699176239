"""LeNet on N-MNIST: trained on an event camera's recordings, then run live.

    python examples/nmnist_events.py --data-dir DIR --output OUTPUT
    python examples/nmnist_events.py --smoke   # made-up recordings, seconds

DIR holds the published Train.zip and Test.zip, or their first 1,000 and 100
recordings: expect 98 or 99 %, in some ten minutes on two cores. With OUTPUT a
run that was cut off goes on. The last epoch counts; nothing is chosen on the
test set. `--held-out N` tests on N training recordings (200: 93.5 %) instead.
"""

import argparse
import json
import pathlib
import shlex
import sys
import tempfile

import keras
import numpy as np

import keras_snn as snn

events = snn.datasets.events
SENSOR, CLASSES = (34, 34), 10
WINDOW = 20_000  # microseconds, one time step of the network


def write_made_up(folder, per_class=8):
    """Writes recordings in the published format: a bar, placed by class."""
    rng = np.random.default_rng(0)
    for split, digit in np.ndindex(2, CLASSES):
        path = folder / ("Train", "Test")[split] / str(digit)
        path.mkdir(parents=True)
        for number in range(1, per_class + 1):
            x, y = rng.integers(0, 34, (2, 500))
            x[::2] = x[::2] % 3 + 3 * digit  # the others are noise
            time = np.sort(rng.integers(0, 100_000, 500))
            high = rng.integers(0, 2, 500) << 7 | time >> 16
            columns = [x, y, high, time >> 8 & 255, time & 255]
            content = np.stack(columns, axis=1).astype("uint8")
            content.tofile(path / f"{number:05d}.bin")


def wilson(hits, count, z=1.96):
    """95 % confidence interval of a proportion."""
    centre = (hits + z**2 / 2) / (count + z**2)
    half = (hits * (count - hits) / count + z**2 / 4) ** 0.5
    half *= z / (count + z**2)
    return centre - half, centre + half


def run_live(model, recording, label, time_steps):
    """Runs the network on events as they arrive; returns the last answer."""
    step = snn.streaming(model)
    state = step.initial_state(batch_size=1)
    answers = []
    for start, part in events.split_windows(recording, WINDOW, time_steps):
        frame = events.to_frames(
            part, SENSOR, time_steps=1, window=WINDOW, start=start
        )
        scores, *state = step([frame, *state])
        scores = keras.ops.convert_to_numpy(scores)
        answers.append(str(scores.argmax()))
    print(f"a {label}, every {WINDOW // 1000} ms: {' '.join(answers)}")
    return scores


parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--output", type=pathlib.Path)
parser.add_argument("--epochs", type=int, default=16)
parser.add_argument("--time-steps", type=int, default=15)
parser.add_argument("--learning-rule", default="arctan")
parser.add_argument("--learning-rate", type=float, default=3e-3)
parser.add_argument("--held-out", type=int, default=0, metavar="N")
parser.add_argument("--smoke", action="store_true")
args = parser.parse_args()
made_up = tempfile.TemporaryDirectory()
if args.smoke:
    write_made_up(pathlib.Path(made_up.name))
    args.data_dir, args.epochs, args.time_steps = made_up.name, 3, 5
keras.utils.set_random_seed(0)
train = events.recordings("nmnist", "train", args.data_dir)
test = events.recordings("nmnist", "test", args.data_dir)
if args.held_out:
    order = np.random.default_rng(0).permutation(len(train))
    train, test = train[order[args.held_out :]], train[order[: args.held_out]]
in_time = {"time_steps": args.time_steps, "window": WINDOW}
# Digits look the same a pixel further. They do not when mirrored.
augment = events.Augmentation(shift=1)
batches = events.Frames(
    train, train.labels, 32, augment=augment, seed=0, **in_time
)
frames = np.stack([events.to_frames(x, SENSOR, **in_time) for x in test])
print(f"{len(train)} recordings to train on, {len(test)} to test")

model = snn.models.LeNet(
    input_shape=(*SENSOR, 2),
    classes=CLASSES,
    time_steps=args.time_steps,
    encoder=None,
    learning_rule=args.learning_rule,
    beta=0.9,
    width=0.2 if args.smoke else 1.0,
    seed=0,
)
# Events are sparse: as initialised, the deep layers would be silent.
snn.models.scale_to_rate(model, batches[0][0])
schedule = keras.optimizers.schedules.CosineDecay(
    args.learning_rate, args.epochs * len(batches)
)
model.compile(
    keras.optimizers.Adam(schedule),
    snn.losses.SummedSquaredError(),
    metrics=["accuracy"],
)
callbacks = []
if args.output:
    callbacks += [keras.callbacks.BackupAndRestore(str(args.output / "backup"))]
history = model.fit(batches, epochs=args.epochs, callbacks=callbacks, verbose=2)

right = model.predict(frames, verbose=0).argmax(1) == test.labels.argmax(1)
low, high = wilson(right.sum(), len(right))
print(
    f"test accuracy: {right.mean():.2%}, {right.sum()} of {len(right)} "
    f"(95 % confidence: {low:.1%} to {high:.1%})"
)
for i in (0, len(test) // 2, len(test) - 1):
    scores = run_live(model, test[i], test.labels[i].argmax(), args.time_steps)
    whole = model.predict(frames[i : i + 1], verbose=0)
    np.testing.assert_allclose(scores, whole, rtol=1e-4, atol=1e-5)
print("the last answer of each stream equals predict on the whole recording")

if args.output:
    args.output.mkdir(parents=True, exist_ok=True)
    model.save(args.output / "nmnist_lenet.keras")
    record = {
        "command": f"python {shlex.join(sys.argv)}",
        "training_recordings": len(train),
        "test_recordings": len(test),
        "right": int(right.sum()),
        "test_accuracy_last_epoch": float(right.mean()),
        "wilson_95": [low, high],
        "history": history.history,
        "keras": f"{keras.__version__}, {keras.config.backend()}",
    }
    (args.output / "result.json").write_text(json.dumps(record, indent=2))
made_up.cleanup()
