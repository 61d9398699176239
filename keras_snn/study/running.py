"""Train both networks, run them, and compare them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import keras
import numpy as np

from keras_snn import (
    atomic,
    checks,
    conversion,
    optional,
    progress,
    training,
    untrusted,
)
from keras_snn.analysis import latency_curve, profile
from keras_snn.analysis.devices import get_device
from keras_snn.layers import LatencyEncoder
from keras_snn.layers.encoders import Encoder
from keras_snn.models import load_model
from keras_snn.running import tracing
from keras_snn.study import reporting
from keras_snn.study.twin import ordinary_twin
from keras_snn.training import records
from keras_snn.training.callbacks import BestModel, HistoryFile
from keras_snn.training.checkpoints import Checkpoints
from keras_snn.training.data import first, load_run_data
from keras_snn.training.diagnosis import NaNCheck
from keras_snn.training.epochs import fit
from keras_snn.typing import Path

RESULT = "study.json"
ORIGIN = "origin.json"
METHODS = ("max", "percentile", "threshold_balancing")
BATCH_SIZE = 100
# Of training images, from which the conversion takes its thresholds.
CALIBRATION_IMAGES = 1000
# Share of the training images that chooses the best epoch of both networks.
HELD_OUT = 0.1
# One image in a thousand tips over now and then; what both networks can reach
# is taken this much lower.
TOLERANCE = 0.002


def study(
    settings: Any,
    output: Path,
    *,
    data_dir: Path | None = None,
    weights: Path | None = None,
    most_steps: int = 256,
    images: int = 1000,
    method: str = "percentile",
    device: Any = "45nm-int32",
    ann_epochs: int | None = None,
    command: str | None = None,
) -> Any:
    """Compare a spike-trained network with its converted ordinary twin.

    1. Train the spiking network (or take `weights`), without augmentation.
    2. Train its ordinary twin: the same layers with ReLU, the same images and
       number of epochs, with Adam and a cosine schedule from 1e-3; convert it
       to a spiking network with the same kind of input spikes. Of both the
       best epoch counts, chosen on a tenth of the training images held out.
    3. Run both step by step: accuracy and spikes against time steps.
    4. Compare at *iso-accuracy*, the first steps at which each reaches the
       lower of the two best accuracies, less 0.2 points; and each at its
       *best accuracy*: spikes and operations of one inference, layer by
       layer, and the energy they ask for.

    What has been trained is kept in `output` and not trained again.

    Args:
        settings: A `keras_snn.training.Settings`, e.g. of `recipe`.
        output: Folder of the results.
        data_dir: Where the datasets are kept.
        weights: `.keras` file of a trained spiking network, instead of
            training one.
        most_steps: Time steps that the converted network is run for; the
            spike-trained one is run for those of `settings`.
        images: Test images of the comparison.
        method: Method of `keras_snn.conversion.convert`: `"max"`,
            `"percentile"` or `"threshold_balancing"`.
        device: Name in `keras_snn.analysis.DEVICES` of the printed energies;
            `study.json` has all devices.
        ann_epochs: Epochs of the ordinary network; None for those of
            `settings`.
        command: The command line to note in the results.

    Returns:
        Dict, also in `study.json`; `study.md` and pictures stand beside it.

    Raises:
        ValueError: For unknown names and numbers out of range, or if `output`
            holds a study of other networks.
        ImportError: If matplotlib is missing, which draws the pictures.

    References:
        - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119),
          section 4
    """
    ann_epochs = settings.epochs if ann_epochs is None else ann_epochs
    _check(method, device, most_steps, images, ann_epochs)
    optional.require("matplotlib.figure", "plot")
    settings = dataclasses.replace(
        settings, validation_split=HELD_OUT, augment=False
    )
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    origin = _claim(output, settings, weights, ann_epochs)
    data = load_run_data(settings, data_dir)
    x, y = first(data.test, images)
    spiking = _spike_trained(settings, output, data_dir, weights, command)
    ann = _twin(spiking, settings, output, data, ann_epochs)
    converted = conversion.convert(
        ann,
        data.train.x[:CALIBRATION_IMAGES],
        method,
        time_steps=most_steps,
        encoder=_same_encoder(spiking, most_steps),
    )
    with atomic.written(output / "converted.keras") as draft:
        converted.save(draft)
    networks = {"spike-trained": spiking, "converted": converted}
    curves = {
        name: latency_curve(model, x, y, batch_size=BATCH_SIZE)
        for name, model in networks.items()
    }
    with tracing.in_tool():
        scores = ann.predict(x, batch_size=BATCH_SIZE, verbose=0)
    points = _points(curves)
    result = {
        "command": command,
        "settings": settings.to_dict(),
        "origin": origin,
        "method": method,
        "images": len(x),
        "device": device,
        "ann_accuracy": float(np.mean(scores.argmax(-1) == y.argmax(-1))),
        "curves": {
            name: {
                "accuracy": curve.accuracy.tolist(),
                "spikes": curve.spikes.tolist(),
            }
            for name, curve in curves.items()
        },
        "points": points,
        "profiles": _profiles(networks, points, x),
    }
    result["comparison"] = _comparison(result)
    text = json.dumps(result, indent=1) + "\n"
    atomic.write_text(output / RESULT, text)
    result = json.loads(text)
    atomic.write_text(output / "study.md", reporting.markdown(result))
    reporting.pictures(output, result)
    return result


def _check(method, device, most_steps, images, ann_epochs):
    """Raise a `ValueError` before the long part, not after it."""
    get_device(device)
    checks.choice("method", method, METHODS)
    numbers = {
        "most_steps": most_steps,
        "images": images,
        "ann_epochs": ann_epochs,
    }
    for name, value in numbers.items():
        if not checks.is_integer(value, 1):
            raise ValueError(
                f"`{name}` must be at least 1, an integer. Received: "
                f"{name}={value!r}."
            )


def _claim(output, settings, weights, ann_epochs):
    """Return what the networks come from; refuse a folder of others."""
    digest = None
    if weights is not None:
        digest = hashlib.sha256(pathlib.Path(weights).read_bytes()).hexdigest()
    origin = {
        "settings": settings.to_dict(),
        "weights": None if weights is None else pathlib.Path(weights).name,
        "sha256": digest,
        "ann_epochs": ann_epochs,
    }
    path = output / ORIGIN
    before = origin
    if path.exists():
        before = untrusted.read_json(path, "the origin of a study")
        if not isinstance(before, dict):
            raise ValueError(f"`{path}`: expected the origin of a study.")
    changed = [name for name in origin if origin[name] != before.get(name)]
    if changed:
        raise ValueError(
            f"{output} holds a study of other networks; different: "
            f"{', '.join(changed)}. Choose another `--output`."
        )
    atomic.write_text(path, json.dumps(origin, indent=1) + "\n")
    return origin


def _spike_trained(settings, output, data_dir, weights, command):
    """Return the spiking network, from a file or trained here."""
    if weights is not None:
        model = load_model(weights)
        return training.with_time_steps(model, settings.time_steps)
    folder = output / "spike_trained"
    record = records.read_record(folder)
    if record is None or record["status"] != "finished":
        progress.display().say("The spiking network")
        training.train(
            settings, folder, data_dir=data_dir, resume=True, command=command
        )
    return load_model(folder / records.BEST)


def _twin(spiking, settings, output, data, epochs):
    """Return the trained ordinary network."""
    folder = output / "ordinary"
    record = records.read_record(folder) or records.new_record(settings)
    if record["status"] == "finished":
        return load_model(folder / records.BEST)
    keras.utils.set_random_seed(settings.seed)
    ann = ordinary_twin(spiking, settings.seed)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-3, epochs * len(data.train)
    )
    ann.compile(
        keras.optimizers.Adam(rate),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    records.make_folder(folder)
    checkpoints = Checkpoints(folder / records.BACKUP)
    checkpoints.open()
    callbacks = [
        NaNCheck(),
        BestModel(folder / records.BEST, record),
        HistoryFile(folder, record, checkpoints.seconds),
    ]
    plain = dataclasses.replace(settings, ema=0.0)
    progress.display().say("The ordinary network")
    fit(ann, data, plain, epochs, callbacks, checkpoints)
    record["status"] = "finished"
    records.write_record(folder, record)
    return load_model(folder / records.BEST)


def _same_encoder(model, time_steps):
    """Return the model's kind of encoder for another number of steps."""
    (encoder,) = (x for x in model.layers if isinstance(x, Encoder))
    if isinstance(encoder, LatencyEncoder):
        raise ValueError(
            "A latency code cannot be cut short, since its spike times depend "
            'on T. Use the encoder "poisson", "rate" or "repeat".'
        )
    config = {**encoder.get_config(), "name": "encoder"}
    config["time_steps"] = time_steps
    if "max_rate" in config:
        # A lower rate would scale the network's input.
        config["max_rate"] = 1.0
    return type(encoder).from_config(config)


def _points(curves):
    """Return the steps at which the networks are compared."""
    best = {name: float(c.accuracy.max()) for name, c in curves.items()}
    # Of random answers nothing is lower.
    goal = max(min(best.values()) - TOLERANCE, 0.0)
    goals = {"iso-accuracy": dict.fromkeys(curves, goal), "best accuracy": best}
    points = {}
    for point, wanted in goals.items():
        points[point] = {}
        for name, curve in curves.items():
            step = int((curve.accuracy >= wanted[name]).argmax())
            points[point][name] = {
                "goal": wanted[name],
                "accuracy": float(curve.accuracy[step]),
                "time_steps": step + 1,
            }
    return points


def _profiles(networks, points, x):
    """Return what an inference costs at each point, in plain numbers."""
    found, profiles = {}, {}
    for point, entries in points.items():
        for name, entry in entries.items():
            key = name, entry["time_steps"]
            if key not in found:
                model = training.with_time_steps(networks[name], key[1])
                found[key] = profile(model, x, batch_size=BATCH_SIZE).to_dict()
            profiles.setdefault(point, {})[name] = found[key]
    return profiles


def _comparison(result):
    """Return speed-up, spikes and energy, converted over spike-trained."""
    comparison = {}
    for point, entries in result["points"].items():
        ours, other = entries["spike-trained"], entries["converted"]
        profiles = result["profiles"][point]
        spikes = {
            name: sum(
                layer["spikes"]
                for layer in reporting.spiking_layers(profiles[name])
            )
            for name in entries
        }
        energy = {
            name: profiles[name]["energy"][result["device"]] for name in entries
        }
        comparison[point] = {
            "speed_up": other["time_steps"] / ours["time_steps"],
            "spikes": spikes,
            "spikes_ratio": _ratio(
                spikes["converted"], spikes["spike-trained"]
            ),
            "energy_pj": {name: e["snn_pj"] for name, e in energy.items()},
            "energy_ratio": _ratio(
                energy["converted"]["snn_pj"], energy["spike-trained"]["snn_pj"]
            ),
            "ann_pj": energy["spike-trained"]["ann_pj"],
            "ann_over_spike_trained": _ratio(
                energy["spike-trained"]["ann_pj"],
                energy["spike-trained"]["snn_pj"],
            ),
        }
    return comparison


def _ratio(a, b):
    return a / b if a is not None and b else None
