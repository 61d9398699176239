"""Put a finished run of `keras-snn train` into the package, with its card.

    python -m benchmarks.publish runs/spikingcnn-cifar10 --data-dir DIR

Writes the last epoch's weights in float16 to `keras_snn/models/weights/`, the
run's history to `results/accuracy/`, and a model card to `saved_models/`. All
that the card says is measured here, on the network that is published.
"""

import argparse
import json
import math
import os
import pathlib
import shlex

import numpy as np

import keras_snn as snn
from keras_snn.models import pretrained
from keras_snn.training import Settings, building

ROOT = pathlib.Path(__file__).parents[1]
ACCURACY = ROOT / "benchmarks" / "results" / "accuracy"
STEPS = (1, 2, 4, 8)

CARD = """# {network} on {dataset}

`keras_snn.models.{network}(weights="{dataset}")`: {parameters:,} numbers, in
float16 in the package ({size:.1f} MB). It takes images as
`keras_snn.datasets.load` scales them: pixels in [0, 1], minus {mean},
over {std}, channel by channel.

| | |
|---|---|
| test accuracy, {count:,} images, T = {time_steps} | {accuracy:.2%} |
| its 95 % interval | {low:.2%} to {high:.2%} |
| the same before rounding to float16 | {exact:.2%} |
| epochs | {epochs} |
| seconds of training | {seconds:,.0f} on {cores} CPU cores, beside other work |
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

| epoch | {columns} |
|---|{rule}|
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
    for option, name in (("--data-dir", "DIR"), ("--output", "OUTPUT")):
        if option in words:
            words[words.index(option) + 1] = name
    return shlex.join(words)


def accuracy_of(model, x, y):
    scores = model.predict(x, batch_size=250, verbose=0)
    return float(np.mean(scores.argmax(-1) == y.argmax(-1)))


def last_epoch(run, settings):
    """Return the model as it was after the last epoch of a run."""
    model = building.build_model(settings)
    building.compile_model(model, settings, 1)
    model.build(model.input_shape)
    folder = run / "backup"
    found = sorted(folder.rglob("*.weights.h5"), key=os.path.getmtime)
    model.load_weights(found[-1])
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--data-dir")
    args = parser.parse_args()
    record = json.loads((args.run / "history.json").read_text("utf-8"))
    settings = Settings.from_dict(record["settings"])
    record["commands"] = [public(x) for x in record["commands"]]
    network, dataset = settings.model, settings.dataset
    _, (x, y) = snn.datasets.load(dataset, args.data_dir)
    model = last_epoch(args.run, settings)
    exact = accuracy_of(model, x, y)
    info = snn.datasets.info(dataset)
    arguments = {"width": settings.width, "classes": info.classes}
    if settings.norm is not None:
        arguments["norm"] = settings.norm
    pretrained.save(network, dataset, model, arguments, {})
    published = getattr(snn.models, network)(
        weights=dataset,
        time_steps=settings.time_steps,
        encoder=settings.encoder,
        beta=settings.beta,
    )
    accuracy = accuracy_of(published, x, y)
    low, high = wilson(round(accuracy * len(x)), len(x))
    curve = {
        t: accuracy_of(snn.training.with_time_steps(published, t), x, y)
        for t in STEPS
    }
    rates = snn.models.spike_rates(published, x[:1000], 250)
    result = {
        "test_accuracy": accuracy,
        "interval": [low, high],
        "before_rounding": exact,
        "images": len(x),
        "time_steps": settings.time_steps,
        "accuracy_at": {str(t): a for t, a in curve.items()},
        "spike_rates": rates,
        "cores": len(os.sched_getaffinity(0)),
    }
    pretrained.save(network, dataset, model, arguments, result)
    name = f"{network.lower()}_{dataset}"
    ACCURACY.mkdir(exist_ok=True)
    (ACCURACY / f"{name}.json").write_text(
        json.dumps({**record, "published": result}, indent=1) + "\n", "utf-8"
    )
    card = card_of(record, settings, model, result, name)
    (ROOT / "saved_models" / f"{name}.md").write_text(card, "utf-8")
    print(card)


def card_of(record, settings, model, result, name):
    """Return the text of the model card."""
    history = record["history"]
    columns = ("accuracy", "val_accuracy", "seconds")
    ann = record.get("ann", {"seconds": 0.0})
    rows = "\n".join(
        f"| {i} | {a:.2%} | {b:.2%} | {s:,.0f} s |"
        for i, (a, b, s) in enumerate(zip(*(history[c] for c in columns)), 1)
    )
    size = (pretrained.FOLDER / f"{name}.npz").stat().st_size / 1e6
    low, high = result["interval"]
    epochs = f"{settings.epochs}"
    if settings.ann_epochs:
        epochs = f"{settings.ann_epochs} with ReLUs, then {epochs} with spikes"
    return CARD.format(
        network=settings.model,
        dataset=settings.dataset,
        parameters=model.count_params(),
        size=size,
        mean=snn.datasets.info(settings.dataset).mean,
        std=snn.datasets.info(settings.dataset).std,
        count=result["images"],
        time_steps=result["time_steps"],
        accuracy=result["test_accuracy"],
        low=low,
        high=high,
        exact=result["before_rounding"],
        epochs=epochs,
        seconds=sum(history["seconds"]) + ann["seconds"],
        cores=result["cores"],
        seed=settings.seed,
        held_out=f"{settings.validation_split:.0%} of the",
        command="\n".join(record["commands"]),
        curve="\n".join(
            f"| {t} | {a:.2%} |" for t, a in result["accuracy_at"].items()
        ),
        rates="\n".join(
            f"| {layer} | {r:.3f} |"
            for layer, r in result["spike_rates"].items()
        ),
        columns="training | held out | time",
        rule="---|---|---",
        history=rows,
        licence=LICENCES[settings.dataset],
    )


if __name__ == "__main__":
    main()
