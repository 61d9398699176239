"""Train a model, with everything a long run needs around `model.fit`."""

from pathlib import Path

import keras
import numpy as np

from keras_snn import models
from keras_snn.training import beginning, records
from keras_snn.training.building import (
    build_model,
    compile_model,
    learning_rate_at,
)
from keras_snn.training.callbacks import BestModel, HistoryFile, StopAtNaN
from keras_snn.training.data import load_run_data
from keras_snn.training.epochs import EVALUATION_BATCH_SIZE, backup, fit

SPIKE_RATE_IMAGES = 256


def train(
    settings,
    output,
    *,
    data_dir=None,
    resume=False,
    overwrite=False,
    command=None,
    callbacks=None,
):
    """Train a model and keep its files in one folder.

    The folder holds `history.json` (settings, versions, metrics of every
    epoch, result), `best.keras` (the model of the epoch with the highest
    validation accuracy), `saved_model/` (a SavedModel of the model after the
    last epoch) and `backup/` (the state a resumed run continues from), with
    `ann_epochs` also `ann.keras`, the network with ReLUs. A kill at any
    moment leaves a folder that `resume=True` continues.

    Args:
        settings: a `Settings`, for instance `recipe("lenet", "digits")`.
        output: the folder; it must be empty or missing, unless one of the
            two following arguments is set.
        data_dir: where the datasets are kept.
        resume: whether to continue the run in `output`. Its settings must be
            the same, except the number of epochs. An empty folder starts a
            new run.
        overwrite: whether to replace the run in `output`.
        command: the command line to note in `history.json`.
        callbacks: function from the watched images to further callbacks of
            `fit`.

    Raises:
        ValueError: For settings that do not fit the run in the folder, a
            folder that another run is writing into, or a loss that is no
            number.

    Returns:
        The content of `history.json` as a dictionary. Its `"result"` has
        `last_epoch`, `last_epoch_test_accuracy`, `best_epoch`,
        `best_epoch_test_accuracy`, `best_epoch_chosen_on` (`"test set"` or
        `"held-out training images"`), `spike_rates` (layer name to spikes
        per neuron and step), `seconds` and `notes`.

    Example:

    >>> from keras_snn.training import recipe, train
    >>> record = train(recipe("lenet", "digits"), "runs/lenet-digits")
    >>> record["result"]["last_epoch_test_accuracy"]
    """
    output = Path(output)
    record = records.find_run(output, resume=resume, overwrite=overwrite)
    record = _start(record, settings, command)
    done = records.epochs_done(record)
    data = load_run_data(settings, data_dir, first_epoch=done)
    # A resumed run must not repeat the shuffling of its first epochs.
    keras.utils.set_random_seed(settings.seed + done)
    model = build_model(settings)
    if settings.from_ann and not done:
        beginning.take_over(model, settings.from_ann)
    output.mkdir(parents=True, exist_ok=True)
    with records.locked(output):
        records.make_folder(output, overwrite)
        records.write_record(output, record)
        more = callbacks(data.watched[0]) if callbacks else []
        try:
            if not done:
                beginning.set_weights(model, data, settings, output, record)
            updates = settings.epochs * data.updates(settings)
            compile_model(model, settings, updates)
            _fit(model, data, settings, output, record, more)
        except KeyboardInterrupt:
            record["status"] = "interrupted"
            records.write_record(output, record)
            raise
        record["result"] = _result(model, data, settings, output, record)
        record["status"] = "finished"
        records.write_record(output, record)
    return record


def _start(record, settings, command):
    fresh = records.new_record(settings, command)
    if record is None:
        return fresh
    records.check_same_settings(record, settings)
    done = records.epochs_done(record)
    if done > settings.epochs:
        raise ValueError(
            f"The run has finished {done} epochs already. "
            f"Received: epochs={settings.epochs}. Ask for more, or start a "
            "new run in another `--output`."
        )
    kept = {"ann": record["ann"]} if "ann" in record else {}
    return {
        **fresh,
        **kept,
        "commands": record["commands"] + fresh["commands"],
        "history": record["history"],
    }


def _fit(model, data, settings, output, record, more):
    callbacks = [*more, StopAtNaN()]
    if settings.optimizer != "nesterov":  # whose schedule is the optimizer's
        callbacks.append(
            keras.callbacks.LearningRateScheduler(
                lambda epoch: learning_rate_at(epoch, settings)
            )
        )
    callbacks += [
        BestModel(output / records.BEST, record),
        HistoryFile(output, record),
        # Last, so that no epoch is backed up but missing in the history.
        backup(output / records.BACKUP),
    ]
    fit(model, data, settings, settings.epochs, callbacks)


def _result(model, data, settings, output, record):
    history = record["history"]
    best = int(np.argmax(history["val_accuracy"]))
    if data.watches_test_set:
        last_accuracy = history["val_accuracy"][-1]
        best_accuracy = history["val_accuracy"][best]
    else:
        last_accuracy = _accuracy(model, data.test)
        best_model = keras.models.load_model(output / records.BEST)
        best_accuracy = _accuracy(best_model, data.test)
    rates = models.spike_rates(
        model,
        data.test[0][:SPIKE_RATE_IMAGES],
        batch_size=EVALUATION_BATCH_SIZE,
    )
    notes = _export(model, output / records.SAVED_MODEL)
    return {
        "last_epoch": records.epochs_done(record),
        "last_epoch_test_accuracy": float(last_accuracy),
        "best_epoch": best + 1,
        "best_epoch_test_accuracy": float(best_accuracy),
        "best_epoch_chosen_on": (
            "test set" if data.watches_test_set else "held-out training images"
        ),
        "spike_rates": {name: float(rate) for name, rate in rates.items()},
        "seconds": sum(history["seconds"]),
        "notes": notes,
    }


def _accuracy(model, images_and_labels):
    images, labels = images_and_labels
    metrics = model.evaluate(
        images,
        labels,
        batch_size=EVALUATION_BATCH_SIZE,
        verbose=0,
        return_dict=True,
    )
    return metrics["accuracy"]


def _export(model, directory):
    """Export a SavedModel; return a note in a list where that is impossible."""
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        return ["no SavedModel: it needs `pip install tensorflow`"]
    if keras.config.backend() != "tensorflow":
        return [
            "no SavedModel: it needs the TensorFlow backend "
            "(load best.keras with KERAS_BACKEND=tensorflow and export it)"
        ]
    model.export(str(directory), verbose=False)
    return []
