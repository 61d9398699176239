"""Measure a saved model, also with another number of time steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from keras_snn import datasets, layers, models, progress
from keras_snn.models import files, pretrained
from keras_snn.network import copied, read
from keras_snn.training import (
    optimizers,  # noqa: F401 a file may hold one
    records,
)
from keras_snn.training.building import build_model
from keras_snn.training.data import first
from keras_snn.training.recipes import recipe
from keras_snn.training.settings import Settings

ENCODERS = tuple(
    getattr(layers, name)
    for name in (
        "PoissonEncoder",
        "RateEncoder",
        "LatencyEncoder",
        "RepeatEncoder",
    )
)
SPIKE_RATE_IMAGES = 256


def evaluate(
    path: Path,
    dataset: str | None = None,
    *,
    model: Any = None,
    time_steps: int | None = None,
    data_dir: Path | None = None,
    batch_size: int = 64,
    limit: int | None = None,
    **builder_settings: Any,
) -> dict[str, Any]:
    """Return the test accuracy, loss and spike rates of a saved model.

    Args:
        path: a `.keras` file, a `.weights.h5` file of a model that `model`
            and `builder_settings` describe; or `"mnist"` (LeNet) or
            `"cifar10"` (SpikingCNN), networks that come with the package.
        dataset: name of the dataset; by default the one in the
            `history.json` beside the file.
        model: name of the model, for a weights file without `history.json`.
        time_steps: number of simulation steps; by default as trained.
        data_dir: where the datasets are kept.
        batch_size: images per batch.
        limit: use only the first `limit` test images.
        **builder_settings: further fields of `Settings` that the weights of
            a weights file depend on, such as `width`.

    Returns:
        A dictionary with `dataset`, `images`, `time_steps`, `accuracy`,
        `loss` (squared error summed over the classes, per image) and
        `spike_rates` (layer name to spikes per neuron and step).
    """
    network, settings = open_model(
        path, dataset, model=model, time_steps=time_steps, **builder_settings
    )
    _, test = datasets.load(settings.dataset, data_dir=data_dir)
    images, labels = first(test, limit)
    scores = network.predict(
        images, batch_size=batch_size, verbose=0, callbacks=[_Bar()]
    )
    hits = scores.argmax(axis=-1) == labels.argmax(axis=-1)
    rates = models.spike_rates(
        network, images[:SPIKE_RATE_IMAGES], batch_size=batch_size
    )
    return {
        "dataset": settings.dataset,
        "images": len(images),
        # Without an encoder the input has a time axis.
        "time_steps": time_steps_of(network) or images.shape[1],
        "accuracy": float(hits.mean()),
        "loss": float(((scores - labels) ** 2).sum(axis=-1).mean()),
        "spike_rates": {name: float(rate) for name, rate in rates.items()},
    }


class _Bar(keras.callbacks.Callback):
    """Shows how far a `predict` is."""

    def on_predict_begin(self, logs=None):
        steps = range(self.params["steps"])
        self._batches = iter(progress.display().track(steps, "Classifying"))

    def on_predict_batch_begin(self, batch, logs=None):
        next(self._batches)

    def on_predict_end(self, logs=None):
        next(self._batches, None)


def open_model(
    path: Path,
    dataset: str | None = None,
    *,
    model: Any = None,
    time_steps: int | None = None,
    **builder_settings: Any,
) -> tuple[keras.Model, Any]:
    """Return a saved model, and the `Settings` of the run it belongs to.

    Arguments are those of `evaluate`.
    """
    trained_on = str(path)
    builder = pretrained.builder_of(trained_on)
    if builder is not None and not Path(path).is_file():
        settings = recipe(builder, dataset or trained_on)
        network = getattr(models, builder)(weights=trained_on)
    else:
        settings = _settings_of(Path(path), dataset, model, builder_settings)
        network = _load(Path(path), settings)
    if time_steps is not None:
        network = with_time_steps(network, time_steps)
    return network, settings


def time_steps_of(model):
    """Return the number of time steps of the model's encoder, or `None`."""
    for layer in read(model, "evaluate").layers:
        if isinstance(layer, ENCODERS):
            return layer.time_steps
    return None


def with_time_steps(model: keras.Model, time_steps: int) -> keras.Model:
    """Return the model with the same weights and another number of steps.

    Args:
        model: a functional, Sequential or nested model with an encoder.
        time_steps: the new number of simulation steps, at least 1.
    """
    if time_steps < 1:
        raise ValueError(
            f"`time_steps` must be at least 1. Received: {time_steps}."
        )
    if time_steps_of(model) is None:
        raise ValueError(
            f"Model {model.name!r} has no encoder among its layers, so its "
            "number of time steps is that of its input. Pass spike trains "
            f"of {time_steps} steps instead."
        )

    network = read(model, "with_time_steps")
    inputs = [
        keras.Input(batch_shape=x.shape, dtype=x.symbol.dtype, name=x.name)
        for x in network.inputs
    ]
    # Models within the model have the old number in their inputs' shapes, so
    # that the copy has none.
    inputs, outputs, copies = copied(
        network, inputs, lambda node: _copy(node, time_steps)
    )
    kind = models.Model if isinstance(model, models.Model) else keras.Model
    changed = kind(inputs, outputs, name=model.name)
    for layer, copy in copies.items():
        if isinstance(layer, keras.Layer):
            copy.set_weights(layer.get_weights())
    return changed


def _copy(node, time_steps):
    """Return a layer like a node's, an encoder with other steps."""
    if not isinstance(node.layer, keras.Layer):
        return node.layer
    config = {**node.layer.get_config(), "name": node.name}
    if isinstance(node.layer, ENCODERS):
        config["time_steps"] = time_steps
    return type(node.layer).from_config(config)


def _settings_of(path, dataset, model, builder_settings):
    if not path.is_file():
        raise FileNotFoundError(
            f"No such file: {path}. Expected a `.keras` or `.weights.h5` "
            "file, such as best.keras of a training run."
        )
    needed = dataset is None or model is None and path.suffix != ".keras"
    record = _record_of(path, needed) if model is None else None
    if record is not None:
        values = {**record["settings"], **builder_settings}
        values["dataset"] = dataset or values["dataset"]
        return Settings.from_dict(values)
    if dataset is None:
        raise ValueError(
            f"Which dataset is {path} for? No record of a run is read that "
            "would tell: pass `--dataset`."
        )
    if model is None and not path.name.endswith(".keras"):
        raise ValueError(
            f"{path} holds weights only, and no record of a run, history.json, "
            "lies beside it: pass `--model`, and what else the model was built "
            "with."
        )
    return recipe(model or "lenet", dataset, **builder_settings)


def _record_of(path, needed):
    """Return the record of the run that a file belongs to, or None.

    Another program's history.json is none; it is refused if one is needed.
    """
    in_backup = path.resolve().parent.name == records.BACKUP
    directory = path.resolve().parents[1 if in_backup else 0]
    try:
        return records.read_record(directory)
    except ValueError as error:
        if not needed:
            return None
        raise ValueError(
            f"Which dataset and model is {path} for? The history.json beside "
            "it is not the record of a run: pass `--dataset`, and for weights "
            "`--model`."
        ) from error


def _load(path, settings):
    if path.name.endswith(".weights.h5"):
        network = build_model(settings)
        files.load_weights(network, path)
        return network
    if path.suffix == ".keras":
        return models.load_model(path)
    raise ValueError(
        f"Expected a `.keras` or `.weights.h5` file. Received: {path}."
    )
