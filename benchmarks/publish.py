"""Put trained weights into the package, with their card.

    python -m benchmarks.publish runs/spikingcnn-cifar10 --data-dir DIR
    python -m benchmarks.publish OUTPUT --recipe spikingcnn_cifar10 \\
        --data-dir DIR

The first takes a finished run of `keras-snn train`, the second what
`python -m benchmarks.recipes` wrote. A run may have begun with the weights of
another row, `--begun vgg9_cifar10 --first COMMAND`. Writes the last weights in
float16 to `keras_snn/models/weights/` (larger ones to `saved_models/`), their
history to `results/accuracy/`, and a model card to `saved_models/`. All that
the card says is measured here, on the network that is published.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import shlex
import string

import numpy as np

import keras_snn as snn
from benchmarks import recipes
from keras_snn.models import pretrained
from keras_snn.training import Settings, building, checkpoints

ROOT = pathlib.Path(__file__).parents[1]
ACCURACY = ROOT / "benchmarks" / "results" / "accuracy"
SAVED = ROOT / "saved_models"
STEPS = (1, 2, 4, 8)
# Of a file in the package, and in the repository.
LARGEST, LARGEST_KEPT = 6 * 2**20, 16 * 2**20

# What commands on a card have for paths.
PUBLIC = {
    "--data-dir": "DIR",
    "--output": "OUTPUT",
    "--from-ann": "start.keras",
}

CARD = """# {network} on {dataset}

`keras_snn.models.{network}(weights="{weights}")`: {parameters:,} numbers, in
float16 ({size:.1f} MB). It takes images as `keras_snn.datasets.load` scales
them: pixels in [0, 1], minus {mean}, over {std}, channel by channel.

| | |
|---|---|
| test accuracy, {count:,} images, T = {time_steps} | {accuracy:.2%} |
| its 95 % interval | {low:.2%} to {high:.2%} |
| mean rate, spikes a neuron and step | {rate:.3f} |
| epochs | {epochs} |
| seconds of training | {seconds:,.0f} on {where} |
| seed | {seed} |

The weights are those of the last epoch. Held out from training were {held_out}
training images, to watch it; the test images were looked at once, at the end.

```sh
{command}
```

| T | test accuracy |
|---|---|
{curve}

| layer | spikes a neuron and step |
|---|---|
{rates}

| epoch | training | held out | time |
|---|---|---|---|
{history}

{licence}
"""
LICENCES = {
    "cifar10": 'CIFAR-10: A. Krizhevsky, "Learning Multiple Layers of Features '
    'from Tiny Images", 2009.\nIts photographs come from the web and are '
    "for research; ten classes of 32x32 pixels say little\nabout other "
    "images.",
    "mnist": "The MNIST database: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "
    '"Gradient-based learning\napplied to document recognition", Proceedings '
    "of the IEEE 86(11):2278-2324, 1998.",
}


@dataclasses.dataclass
class Trained:
    """A trained network, and how it came to be.

    Attributes:
        network: Name of its builder.
        dataset: Name of its data.
        weights: Name that its weights are to have.
        model: The model.
        arguments: Of the builder: those that shapes depend on.
        given: Further arguments of the builder, of time.
        epochs, seconds, where, seed, held_out, command: For the card.
        history: Rows of epoch, accuracy, accuracy on held out, seconds.
        record: All that is known, for the JSON file.
        others: Weights of the same network from other seeds, by title.
    """

    network: str
    dataset: str
    weights: str
    model: object
    arguments: dict
    given: dict
    epochs: str
    seconds: float
    where: str
    seed: int
    held_out: str
    command: str
    history: list
    record: dict
    others: dict = dataclasses.field(default_factory=dict)


def wilson(hits, count, z=1.959964):
    """Return the 95 % interval of a share."""
    p = hits / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    spread = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count**2))
    spread /= 1 + z * z / count
    return centre - spread, centre + spread


def public(command):
    """Return a command without the paths of the machine that it ran on."""
    words = shlex.split(command)
    for option, name in PUBLIC.items():
        if option in words:
            words[words.index(option) + 1] = name
    return shlex.join(words)


def accuracy_of(model, x, y):
    scores = model.predict(x, batch_size=250, verbose=0)
    return float(np.mean(scores.argmax(-1) == y.argmax(-1)))


def of_run(run, begun=None, first=None):
    """Return what a run of `keras-snn train` has trained.

    Args:
        run: Its folder.
        begun: Name of the row whose weights it began with, or None.
        first: The command that made a file of these.
    """
    record = json.loads((run / "history.json").read_text("utf-8"))
    settings = Settings.from_dict(record["settings"])
    record["commands"] = [public(x) for x in record["commands"]]
    if bool(settings.from_ann) != bool(begun and first):
        raise SystemExit(
            "Of a run with --from-ann, and of no other, say what it began "
            "with: --begun and --first."
        )
    if begun:
        record["begun"] = begun
        record["commands"].insert(0, public(first))
        record["settings"]["from_ann"] = PUBLIC["--from-ann"]
    model = building.build_model(settings)
    building.compile_model(model, settings, 1)
    model.build(model.input_shape)
    checkpoints.load(model, run / "backup")
    info = snn.datasets.info(settings.dataset)
    arguments = {"width": settings.width, "classes": info.classes}
    if settings.norm is not None:
        arguments["norm"] = settings.norm
    history = record["history"]
    columns = ("accuracy", "val_accuracy", "seconds")
    ann = record.get("ann", {"seconds": 0.0})
    epochs = f"{settings.epochs}"
    if settings.ann_epochs:
        epochs = f"{settings.ann_epochs} with ReLUs, then {epochs} with spikes"
    if begun:
        epochs = f"those of {begun}, then {epochs} more"
    return Trained(
        settings.model,
        settings.dataset,
        settings.dataset + ("" if settings.spike_rate is None else "_sparse"),
        model,
        arguments,
        {
            name: getattr(settings, name)
            for name in ("time_steps", "encoder", "beta")
        },
        epochs,
        sum(history["seconds"]) + ann["seconds"],
        f"{len(os.sched_getaffinity(0))} CPU cores, beside other work"
        + (", after those before" if begun else ""),
        settings.seed,
        f"{settings.validation_split:.0%} of the",
        "\n".join(record["commands"]),
        list(zip(range(1, 1000), *(history[c] for c in columns))),
        record,
    )


def of_recipe(folder, name, title):
    """Return what a recipe has trained, in the phase of this title."""
    weights, record = recipes.load(folder, name)
    recipe = record["recipe"]
    network = dict(recipe["network"])
    builder = network.pop("name")
    steps = recipe["time_steps"]
    info = snn.datasets.info(recipe["dataset"])
    given = {"time_steps": steps}
    model = getattr(snn.models, builder)(
        input_shape=info.input_shape, **network, **given
    )
    model.set_weights(weights[title])
    titles = [x["title"] for x in record["phases"]]
    last = record["phases"][titles.index(title)]
    several = len(recipe["seeds"]) > 1
    phases = [last] if several else record["phases"][: titles.index(title) + 1]
    kinds = {"ann": "with ReLUs", "sparse": "to fewer spikes"}
    return Trained(
        builder,
        recipe["dataset"],
        recipe["dataset"] + ("_sparse" if title == "sparse" else ""),
        model,
        {"width": 1.0, "classes": info.classes, **network},
        given,
        ", then ".join(
            f"{x['history'][-1]['epoch']:.0f} "
            + kinds.get(x["title"], "with spikes")
            for x in phases
        ),
        sum(x["seconds"] for x in phases),
        f"one {record['device']}, shared with four other runs",
        last["seed"],
        "1,000 of the",
        f"KERAS_BACKEND=jax python -m benchmarks.recipes {name} "
        "--data DIR --output OUTPUT",
        [
            (
                f"{x['epoch']:.1f}",
                *(x[c] for c in ("accuracy", "val_accuracy", "seconds")),
            )
            for x in last["history"]
        ],
        record,
        {x: w for x, w in weights.items() if several and x != title},
    )


def mean_rate(model, rates):
    """Return the spikes of all layers a neuron and step."""
    sizes = {
        layer.name: math.prod(layer.output.shape[2:])
        for layer in model.layers
        if layer.name in rates
    }
    spikes = sum(rates[name] * size for name, size in sizes.items())
    return spikes / sum(sizes.values())


def publish(trained, data_dir):
    """Write weights, history and card; return the card's text."""
    _, (x, y) = snn.datasets.load(trained.dataset, data_dir)
    name = f"{trained.network.lower()}_{trained.weights}"
    file = SAVED / f"{name}.npz"
    pretrained.write(file, trained.model)
    info = snn.datasets.info(trained.dataset)
    published = getattr(snn.models, trained.network)(
        weights=file,
        input_shape=info.input_shape,
        **trained.arguments,
        **trained.given,
    )
    accuracy = accuracy_of(published, x, y)
    low, high = wilson(round(accuracy * len(x)), len(x))
    steps = trained.given["time_steps"]
    curve = {steps: accuracy}
    for t in sorted({*STEPS} - {steps}):
        other = snn.training.with_time_steps(published, t)
        curve[t] = accuracy_of(other, x, y)
    rates = snn.models.spike_rates(published, x[:1000], 250)
    result = {
        "test_accuracy": accuracy,
        "interval": [low, high],
        "images": len(x),
        "time_steps": steps,
        "accuracy_at": {str(t): curve[t] for t in sorted(curve)},
        "spike_rates": rates,
        "mean_rate": mean_rate(published, rates),
    }
    if trained.others:
        result["seeds"] = {str(trained.seed): accuracy}
    for title, weights in trained.others.items():
        published.set_weights(weights)
        result["seeds"][title.lstrip(string.ascii_lowercase)] = accuracy_of(
            published, x, y
        )
    size, shown = file.stat().st_size, f"saved_models/{file.name}"
    if size > LARGEST_KEPT:
        print(f"{file} is large: keep it elsewhere, and train it from here.")
    if size <= LARGEST:
        file.unlink()
        shown = trained.weights
        pretrained.save(
            trained.network,
            trained.weights,
            trained.model,
            trained.arguments,
            result,
        )
    ACCURACY.mkdir(exist_ok=True)
    (ACCURACY / f"{name}.json").write_text(
        json.dumps({**trained.record, "published": result}, indent=1) + "\n",
        "utf-8",
    )
    card = card_of(trained, result, shown, size)
    if (SAVED / f"{name}.keras").exists():
        name += "_weights"  # The card of that name is of that file.
    (SAVED / f"{name}.md").write_text(card, "utf-8")
    return card


def card_of(trained, result, shown, size):
    """Return the text of the model card."""
    info = snn.datasets.info(trained.dataset)
    low, high = result["interval"]
    return CARD.format(
        network=trained.network,
        dataset=trained.dataset,
        weights=shown,
        parameters=trained.model.count_params(),
        size=size / 1e6,
        mean=info.mean,
        std=info.std,
        count=result["images"],
        time_steps=result["time_steps"],
        accuracy=result["test_accuracy"],
        low=low,
        high=high,
        rate=result["mean_rate"],
        epochs=trained.epochs,
        seconds=trained.seconds,
        where=trained.where,
        seed=trained.seed,
        held_out=trained.held_out,
        command=trained.command,
        curve="\n".join(
            f"| {t} | {a:.2%} |" for t, a in result["accuracy_at"].items()
        ),
        rates="\n".join(
            f"| {layer} | {r:.3f} |"
            for layer, r in result["spike_rates"].items()
        ),
        history="\n".join(
            f"| {epoch} | {a:.2%} | {b:.2%} | {s:,.1f} s |"
            for epoch, a, b, s in trained.history
        ),
        licence=LICENCES[trained.dataset],
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--data-dir")
    parser.add_argument("--recipe", help="name of a recipe that ran there")
    parser.add_argument("--phase", default="spikes", help="of the recipe")
    parser.add_argument("--begun", help="name of the row that a run began with")
    parser.add_argument("--first", help="the command before that of the run")
    args = parser.parse_args()
    if args.recipe:
        trained = of_recipe(args.folder, args.recipe, args.phase)
    else:
        trained = of_run(args.folder, args.begun, args.first)
    print(publish(trained, args.data_dir))


if __name__ == "__main__":
    main()
