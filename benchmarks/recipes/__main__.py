"""Train one row of the accuracy table on an accelerator.

    KERAS_BACKEND=jax python -m benchmarks.recipes spikingcnn_cifar10 \\
        --data DIR --output OUTPUT

DIR holds the data set's raw files (`data_batch_1.webp`, ...,
`train-images-idx3-ubyte.gz`, ... or `train_32x32.mat`, ...). Only training
images are used, and 1,000 of them are held out to watch; the weights of the
last update are kept, in float16. `python -m benchmarks.publish` then looks at
the test images, once.
The same command goes on behind the last phase that was finished.
"""

import argparse
import json
import pathlib
import time
import tomllib

import jax
import jax.numpy as jnp
import keras
import numpy as np

import keras_snn as snn
from benchmarks.recipes import load, save
from benchmarks.recipes.epochs import Trainer
from keras_snn.datasets import idx_files, svhn_mat, webp_grids
from keras_snn.training import building, records

FOLDER = pathlib.Path(__file__).parent
PHASES = "ann", "spikes", "sparse"
HELD_OUT = 1000


def read(dataset, folder):
    """Return uint8 training images and integer labels."""
    info = snn.datasets.info(dataset)
    readers = {"mnist": idx_files, "svhn": svhn_mat}
    if dataset in readers:
        raw = readers[dataset].read(folder, info).splits["train"]
        return raw.images, raw.labels.astype("int32")
    paths = sorted(folder.glob("data_batch_*.webp"))
    if not paths:
        raise SystemExit(f"No data_batch_1.webp, ... in {folder}.")
    images = np.concatenate([webp_grids.read_grid(x, info) for x in paths])
    labels = np.load(folder / "train_labels.npy", allow_pickle=False)
    return images, labels[: len(images)].astype("int32")


class Row:
    """A row of the table: its recipe, its data, and what it has trained."""

    def __init__(self, name, args):
        self.name, self.output = name, args.output
        self.recipe = tomllib.loads((FOLDER / f"{name}.toml").read_text())
        if args.width:
            self.recipe["network"]["width"] = args.width
        images, labels = read(self.recipe["dataset"], args.data)
        self.info = snn.datasets.info(self.recipe["dataset"])
        self.data = jnp.asarray(images), jnp.asarray(labels), self.info
        order = np.random.default_rng(0).permutation(len(images))
        self.held_out, self.samples = order[:HELD_OUT], order[HELD_OUT:]
        self.end = time.perf_counter() + args.seconds
        self.weights = {}
        self.record = {
            "recipe": self.recipe,
            "device": jax.devices()[0].device_kind,
            "versions": records.versions(),
            "phases": [],
        }
        self._go_on()

    def build(self, seed, **given):
        """Return a new network of the recipe."""
        network = dict(self.recipe["network"])
        build = getattr(snn.models, network.pop("name"))
        shape = self.info.input_shape
        return build(input_shape=shape, seed=seed, **network, **given)

    def fit(self, model, settings, seconds, seed):
        """Train a model; return its weights and history."""
        trainer = Trainer(model, self.recipe, self.data)
        history = trainer.fit(
            self.samples,
            self.held_out,
            settings["epochs"],
            settings["learning_rate"],
            seconds,
            seed,
        )
        return trainer.weights(), history

    def run(self):
        """Train all phases, for each seed."""
        names = [x for x in PHASES if x in self.recipe]
        todo = [(seed, x) for seed in self.recipe["seeds"] for x in names]
        model = None
        while todo:
            shares = sum(self.recipe[x].get("share", 1.0) for _, x in todo)
            seed, name = todo.pop(0)
            title = name if len(self.recipe["seeds"]) == 1 else f"{name}{seed}"
            before = model if name != names[0] else None
            model = self._network(name, seed)
            if title in [x["title"] for x in self.record["phases"]]:
                model.set_weights(self.weights[title] or model.get_weights())
                continue
            if before is not None:
                model.set_weights(before.get_weights())
            self._phase(title, model, self.recipe[name], shares, seed)

    def _network(self, name, seed):
        """Return the network of a phase."""
        if name == "ann":
            return self.build(seed, spiking=False)
        model = self.build(seed, time_steps=self.recipe["time_steps"])
        settings = self.recipe[name]
        if "upper" not in settings:
            return model
        return building.penalized(model, settings["upper"], settings["weight"])

    def _phase(self, title, model, settings, shares, seed):
        """Train one phase within its share of the time that is left."""
        keras.utils.set_random_seed(seed)
        left = self.end - time.perf_counter()
        seconds = max(left * settings.get("share", 1.0) / shares, 1.0)
        self.weights[title], history = self.fit(model, settings, seconds, seed)
        phase = {
            "title": title,
            "seed": seed,
            "history": history,
            "seconds": sum(x["seconds"] for x in history),
        }
        self.record["phases"].append(phase)
        last = history[-1]
        print(
            f"{self.name}, {title}: {last['epoch']:.1f} epochs in "
            f"{phase['seconds']:.0f} s, {last['val_accuracy']:.1%} held out",
            flush=True,
        )
        if title == "spikes" and not self.recipe.get("keep_ann"):
            self.weights["ann"] = []
        save(self.output, self.name, self.weights, self.record)

    def _go_on(self):
        """Take over the phases that an earlier run has finished."""
        if not (self.output / f"{self.name}_0.npz").exists():
            return
        weights, record = load(self.output, self.name)
        if record["recipe"] != self.recipe:
            raise SystemExit(
                f"{self.output} holds a run of another recipe "
                f"'{self.name}'. Choose another --output."
            )
        for phase in record["phases"]:
            self.weights[phase["title"]] = weights.get(phase["title"], [])
        self.record["phases"] = record["phases"]


def compare_rules(row):
    """Train the same network by each rule, for equal epochs."""
    row.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for steps in row.recipe["time_steps"]:
        for rule in row.recipe["rules"]:
            keras.utils.set_random_seed(0)
            # Through time with the rate rule's own surrogate.
            given = "sigmoid" if rule == "bptt" else rule
            model = row.build(0, learning_rule=given, time_steps=steps)
            _, history = row.fit(model, row.recipe, float("inf"), 0)
            rows.append({"rule": rule, "time_steps": steps, "history": history})
            print(rule, steps, history[-1], flush=True)
            path = row.output / f"{row.name}.json"
            path.write_text(json.dumps({**row.record, "rows": rows}, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="end before the epochs do"
    )
    parser.add_argument("--width", type=float, help="for a small trial")
    args = parser.parse_args()
    row = Row(args.recipe, args)
    compare_rules(row) if "rules" in row.recipe else row.run()


if __name__ == "__main__":
    main()
