"""Runs killed by SIGKILL at random instants, beside one that goes through.

    python -m benchmarks.kills --kills 50
    KERAS_BACKEND=jax python -m benchmarks.kills --kills 50

Trains LeNet on the digits with Poisson spikes, dropout, Adam, shifted images
and averaged weights, with a checkpoint after every update. A process is killed
a random time after its training begins, and another one goes on, until as many
have been killed as asked for; the last one finishes. Processes are forked off
one that has imported everything, and run nothing, to save that time.

Writes `benchmarks/results/kills_BACKEND.json`: how many updates kills have
lost, how many kills came in the middle of a write, and whether all numbers are
those of the run that was let alone.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import struct
import sys
import tempfile
import time

import keras
import numpy as np

from keras_snn.training import checkpoint_files as files
from keras_snn.training import fitting, recipe, records

RESULTS = pathlib.Path(__file__).parent / "results"
SETTINGS = recipe(
    "lenet",
    "digits",
    **{"width": 0.2, "time_steps": 4, "dropout": 0.2, "norm": "batch"},
    **{"encoder": "poisson", "ema": 0.9, "shift": 1, "optimizer": "adam"},
    **{"limit": 160, "batch_size": 8, "epochs": 12},
)
# From the first update of a process to its kill, at most; about ten updates.
SECONDS = 1.0


class Report(keras.callbacks.Callback):
    """Says to the killer how many updates of the run have been made."""

    def __init__(self, pipe, updates):
        super().__init__()
        self.pipe, self.updates = pipe, updates

    def on_epoch_begin(self, epoch, logs=None):
        self.made = epoch * self.updates

    def on_train_batch_end(self, batch, logs=None):
        os.write(self.pipe, struct.pack("q", self.made + batch + 1))


def begin(folder):
    """Return a process that goes on with the run, and what it reports on."""
    ours, its = os.pipe()
    child = os.fork()
    if child:
        os.close(its)
        return child, ours
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    updates = -(-SETTINGS.limit // SETTINGS.batch_size)
    fitting.train(
        SETTINGS,
        folder,
        resume=True,
        checkpoint_every=1,
        callbacks=lambda _: [Report(its, updates)],
    )
    os._exit(0)


def kill(folder, seconds):
    """Kill a process, and return what it has lost, or `None` if it was late.

    Args:
        seconds: Time from its first update to its end.
    """
    child, pipe = begin(folder)
    reports = os.read(pipe, 8)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while more := os.read(pipe, 8 * 1024):
        reports = more
    os.close(pipe)
    if not os.WIFSIGNALED(status):
        return None
    (made,) = struct.unpack("q", reports[-8:])
    newest = next(iter(files.positions(folder / records.BACKUP)))
    updates = -(-SETTINGS.limit // SETTINGS.batch_size)
    drafts = [x for x in folder.rglob(".*") if x.is_dir()]
    return {
        "updates_lost": made - (newest.epoch * updates + newest.update),
        "in_a_write": bool(drafts),
    }


def finish(folder):
    child, pipe = begin(folder)
    while os.read(pipe, 8 * 1024):
        pass
    os.close(pipe)
    if os.waitpid(child, 0)[1]:
        sys.exit("A process failed.")


def numbers(folder):
    """Return all numbers of a finished run that are not about time."""
    record = records.read_record(folder)
    record["history"].pop("seconds")
    record["result"].pop("seconds")
    _, arrays, _ = files.read_newest(folder / records.BACKUP)
    best = keras.saving.load_model(folder / records.BEST, compile=False)
    return record["history"], record["result"], arrays, best.get_weights()


def main():
    global SETTINGS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=SETTINGS.epochs)
    parser.add_argument("--output", type=pathlib.Path)
    args = parser.parse_args()
    SETTINGS = dataclasses.replace(SETTINGS, epochs=args.epochs)
    random = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder) / "whole"
        killed = pathlib.Path(folder) / "killed"
        finish(whole)
        found = []
        while len(found) < args.kills:
            one = kill(killed, random.uniform(0, SECONDS))
            if one is None:
                sys.exit("The run is over; ask for fewer kills.")
            found.append(one)
            print(len(found), one, flush=True)
        finish(killed)
        (history, result, *arrays), others = numbers(killed), numbers(whole)
        equal = (history, result) == others[:2] and all(
            x.dtype == y.dtype and np.array_equal(x, y)
            for ours, theirs in zip(arrays, others[2:], strict=True)
            for x, y in zip(ours, theirs, strict=True)
        )
    lost = [x["updates_lost"] for x in found]
    summary = {
        "kills": len(found),
        "updates_lost": {str(n): lost.count(n) for n in sorted(set(lost))},
        "kills_in_a_write": sum(x["in_a_write"] for x in found),
        "all_numbers_equal": equal,
        "updates": SETTINGS.epochs * -(-SETTINGS.limit // SETTINGS.batch_size),
        "settings": SETTINGS.to_dict(),
        "versions": records.versions(),
        "seed": args.seed,
    }
    path = args.output or RESULTS / f"kills_{keras.config.backend()}.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    print(json.dumps(summary, indent=2))
    if not equal or max(lost) > 1:
        sys.exit("Numbers differ, or more than an update was lost.")


if __name__ == "__main__":
    main()
