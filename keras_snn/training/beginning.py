"""The weights that a run begins with: scaled, or of a network with ReLUs."""

import dataclasses
import pathlib
import shutil

import keras

from keras_snn import atomic, models, progress
from keras_snn.models import files
from keras_snn.network import parts
from keras_snn.running import Model, processes
from keras_snn.training import diagnosis, epochs, records
from keras_snn.training.building import (
    InFloat32,
    build_ann,
    compile_model,
    policy,
)
from keras_snn.training.recipes import FEW_STEPS

# Neurons that fire less seldom learn anything, spikes a neuron and step.
SILENT = 0.005
# Those that silent layers are scaled to: the first that all can reach.
RATES = (0.1, 0.05, 0.02)
IMAGES = 64


def set_weights(
    model, data, settings, output, record, checkpoints, on_nan="stop"
):
    """Give an untrained model the weights that its settings ask for.

    Args:
        model: The spiking model, changed in place.
        data: The `RunData`.
        settings: The `Settings`. With `ann_epochs` the network with ReLUs is
            trained first, in the folder, and goes on there after a kill. What
            `from_ann` names has been taken over.
        output: The run's folder.
        record: The run's record; gets the network's history as `"ann"`.
        checkpoints: The `Checkpoints` of the network with ReLUs.
        on_nan: See `train`.
    """
    if settings.ann_epochs:
        path = output / records.ANN
        if not processes.from_first(lambda: b"1" if path.exists() else b""):
            _train_ann(data, settings, output, record, checkpoints, on_nan)
        if processes.is_first():
            shutil.rmtree(checkpoints.folder, ignore_errors=True)
        take_over(model, path)
    fresh = not (settings.ann_epochs or settings.from_ann)
    if settings.norm == "weight" and fresh:
        models.calibrate(model, data.watched[0][:IMAGES])
    elif settings.scale and not _is_normalized(model):
        _scale_if_silent(model, data.watched[0][:IMAGES])


def take_over(model, path):
    """Give a spiking model the weights of its network with ReLUs.

    Raises:
        ValueError: If there is no such file, or its weights do not fit one to
            one.
    """
    model.set_weights(
        processes.arrays_from_first(lambda: _weights_for(model, path))
    )


def _weights_for(model, path):
    """Return the weights in a file, if they fit a model."""
    if not pathlib.Path(path).is_file():
        raise ValueError(
            "A network with ReLUs is read from a `.keras` file, e.g. the "
            f"ann.keras of a run with `ann_epochs`. Not found: {path}."
        )
    ann = files.read_model(pathlib.Path(path), compile=False)
    theirs = [w.shape for w in ann.weights]
    ours = [w.shape for w in model.weights]
    if theirs != ours:
        raise ValueError(
            f"The weights in {path} do not fit '{model.name}' one to one: "
            f"{len(theirs)} weights against {len(ours)}, "
            f"{ann.count_params():,} numbers against "
            f"{model.count_params():,}. Build it by the same builder, with "
            "`spiking=False` and the same width, norm, classes and input."
        )
    return ann.get_weights()


def _train_ann(data, settings, output, record, checkpoints, on_nan):
    with policy(settings.dtype):
        ann = trained = build_ann(settings)
    if processes.current() is not None:
        # The same layers, in a model that each process feeds its share.
        trained = Model(ann.inputs, ann.outputs)
    rate = settings.learning_rate
    if settings.optimizer == "nesterov":
        rate = FEW_STEPS["learning_rate"]
    ours = dataclasses.replace(settings, learning_rate=rate)
    if settings.norm == "weight":
        models.calibrate(ann, data.watched[0][:IMAGES])
    compile_model(trained, ours, settings.ann_epochs * len(data.train))
    saved = InFloat32(trained, settings, build_ann)
    display = progress.display()
    display.say(f"The network with ReLUs, {settings.ann_epochs} epochs")
    checkpoints.open()
    history = _History(output, record, checkpoints.seconds)
    callbacks = [diagnosis.NaNCheck(on_nan), history]
    last = settings.ann_epochs
    epochs.fit(trained, data, settings, last, callbacks, checkpoints)
    if processes.is_first():
        with atomic.written(output / records.ANN) as draft:
            model = saved.model()
            (ann if model is trained else model).save(draft)
    display.say("The spiking network")


class _History(keras.callbacks.Callback):
    """Keeps the metrics of the network with ReLUs in the run's record."""

    def __init__(self, output, record, seconds):
        super().__init__()
        self.output, self.record, self.seconds = output, record, seconds
        record.setdefault("ann", {"history": {}, "seconds": 0.0})

    def on_epoch_end(self, epoch, logs=None):
        ann = self.record["ann"]
        records.add_epoch(ann, epoch, {**logs, "seconds": self.seconds()})
        ann["seconds"] = sum(ann["history"]["seconds"])
        if processes.is_first():
            records.write_record(self.output, self.record)


def _is_normalized(model):
    """Return whether a normalization would take away what weights scale."""
    return any(map(parts.normalizes, model.network.nodes))


def _scale_if_silent(model, images):
    rates = models.spike_rates(model, images)
    silent = [name for name, rate in rates.items() if rate < SILENT]
    if not silent:
        return
    print(
        f"Silent before training: {', '.join(silent)}. Their weights are "
        "scaled until they fire; `--no-scale` leaves them.",
        flush=True,
    )
    for rate in RATES:
        try:
            models.scale_to_rate(model, images, rate)
            return
        except ValueError as error:
            reason = error
    print(f"They stay as they are. {reason}", flush=True)
