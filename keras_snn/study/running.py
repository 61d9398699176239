"""Train both networks, run them, and compare them."""

import json
import os
import pathlib

import keras
import numpy as np

from keras_snn import conversion, datasets, training
from keras_snn.analysis import latency_curve, profile
from keras_snn.analysis.devices import get_device
from keras_snn.layers import PoissonEncoder, RepeatEncoder
from keras_snn.layers.encoders import Encoder
from keras_snn.study import reporting
from keras_snn.study.twin import ordinary_twin
from keras_snn.training.data import first

RESULT = "study.json"
BATCH_SIZE = 100
# Of training images, from which the conversion takes its thresholds.
CALIBRATION_IMAGES = 1000


def study(
    settings,
    output,
    *,
    data_dir=None,
    weights=None,
    most_steps=256,
    images=1000,
    method="percentile",
    device="45nm-int32",
    ann_epochs=None,
    command=None,
):
    """Compare a spike-trained network with its converted ordinary twin.

    1. Train the spiking network (or take `weights`).
    2. Train its ordinary twin: the same layers with ReLU, the same number of
       epochs; convert it to a spiking network with the same kind of input
       spikes.
    3. Run both step by step: accuracy and spikes against time steps.
    4. Compare at *iso-accuracy*, the first steps at which each reaches what
       both can reach; and each at its *best accuracy*: spikes and operations
       of one inference, layer by layer, and the energy they ask for.

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
        method: Method of `keras_snn.conversion.convert`.
        device: Name in `keras_snn.analysis.DEVICES` of the printed energies;
            `study.json` has all devices.
        ann_epochs: Epochs of the ordinary network; None for those of
            `settings`.
        command: The command line to note in the results.

    Returns:
        Dict, also in `study.json`; `study.md` and pictures stand beside it.

    Raises:
        ValueError: For unknown names and numbers out of range.

    References:
        - [Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119),
          section 4
    """
    get_device(device)
    for name, value in (("most_steps", most_steps), ("images", images)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {value}.")
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    train_data, test_data = datasets.load(settings.dataset, data_dir=data_dir)
    train_data = first(train_data, settings.limit)
    x, y = first(test_data, images)
    spiking = _spike_trained(settings, output, data_dir, weights, command)
    ann = _twin(spiking, settings, output, train_data, test_data, ann_epochs)
    converted = conversion.convert(
        ann,
        np.clip(train_data[0][:CALIBRATION_IMAGES], -1.0, 1.0),
        method,
        time_steps=most_steps,
        encoder=_same_encoder(spiking, most_steps),
    )
    converted.save(output / "converted.keras")
    networks = {"spike-trained": spiking, "converted": converted}
    curves = {
        name: latency_curve(model, x, y, batch_size=BATCH_SIZE, verbose=1)
        for name, model in networks.items()
    }
    scores = ann.predict(x, batch_size=BATCH_SIZE, verbose=0)
    points = _points(curves)
    result = {
        "command": command,
        "settings": settings.to_dict(),
        "weights": None if weights is None else pathlib.Path(weights).name,
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
    _write(output / RESULT, text)
    result = json.loads(text)
    _write(output / "study.md", reporting.markdown(result))
    reporting.pictures(output, result)
    return result


def _spike_trained(settings, output, data_dir, weights, command):
    """Return the spiking network, from a file or trained here."""
    if weights is not None:
        model = keras.models.load_model(weights)
        return training.with_time_steps(model, settings.time_steps)
    folder = output / "spike_trained"
    training.train(
        settings, folder, data_dir=data_dir, resume=True, command=command
    )
    return keras.models.load_model(folder / "best.keras")


def _twin(spiking, settings, output, train_data, test_data, epochs):
    """Return the trained ordinary network."""
    path = output / "ann.keras"
    if path.exists():
        return keras.models.load_model(path)
    keras.utils.set_random_seed(settings.seed)
    ann = ordinary_twin(spiking, settings.seed)
    epochs = epochs or settings.epochs
    steps = epochs * -(-len(train_data[0]) // settings.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    ann.compile(
        keras.optimizers.Adam(rate),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    ann.fit(
        *train_data,
        batch_size=settings.batch_size,
        epochs=epochs,
        validation_data=test_data,
        callbacks=[keras.callbacks.BackupAndRestore(output / "ann_backup")],
    )
    partial = path.with_name("partial.keras")
    ann.save(partial)
    os.replace(partial, path)
    return ann


def _same_encoder(model, time_steps):
    """Return the model's kind of encoder for another number of steps."""
    (encoder,) = (x for x in model.layers if isinstance(x, Encoder))
    if not isinstance(encoder, PoissonEncoder):
        return RepeatEncoder(time_steps, name="encoder")
    # A lower rate would scale the network's input.
    return PoissonEncoder(time_steps, seed=encoder.seed, name="encoder")


def _points(curves):
    """Return the steps at which the networks are compared."""
    best = {name: float(c.accuracy.max()) for name, c in curves.items()}
    iso = dict.fromkeys(curves, min(best.values()))
    return {
        point: {
            name: {
                "accuracy": goals[name],
                # The first step at which it is reached, from 1.
                "time_steps": int((curve.accuracy >= goals[name]).argmax()) + 1,
            }
            for name, curve in curves.items()
        }
        for point, goals in (("iso-accuracy", iso), ("best accuracy", best))
    }


def _profiles(networks, points, x):
    """Return what an inference costs at each point, in plain numbers."""
    found, profiles = {}, {}
    for point, entries in points.items():
        for name, entry in entries.items():
            key = name, entry["time_steps"]
            if key not in found:
                model = training.with_time_steps(networks[name], key[1])
                found[key] = profile(
                    model, x, batch_size=BATCH_SIZE, verbose=1
                ).to_dict()
            profiles.setdefault(point, {})[name] = found[key]
    return profiles


def _comparison(result):
    """Return speed-up, spikes and energy, converted over spike-trained."""
    comparison = {}
    for point, entries in result["points"].items():
        ours, other = entries["spike-trained"], entries["converted"]
        profiles = result["profiles"][point]
        spikes = {name: _spikes(profiles[name]) for name in entries}
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


def _spikes(profile):
    """Return the spikes of all neurons in one inference."""
    return sum(
        layer["spikes"]
        for layer in profile["layers"]
        if layer["membrane_updates"] and layer["spikes"] is not None
    )


def _ratio(a, b):
    return a / b if a is not None and b else None


def _write(path, text):
    partial = path.with_name(f"partial-{path.name}")
    partial.write_text(text, "utf-8")
    os.replace(partial, path)
