"""Train a model, with everything a long run needs around `model.fit`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_snn import atomic, models
from keras_snn.running import processes
from keras_snn.training import beginning, diagnosis, records, stopping
from keras_snn.training import checkpoint_files as files
from keras_snn.training.building import (
    InFloat32,
    build_model,
    compile_model,
    learning_rate_at,
    policy,
)
from keras_snn.training.callbacks import BestModel, HistoryFile
from keras_snn.training.checkpoints import Checkpoints
from keras_snn.training.data import load_run_data
from keras_snn.training.epochs import EVALUATION_BATCH_SIZE, fit

SPIKE_RATE_IMAGES = 256


def train(
    settings: Any,
    output: Path,
    *,
    data_dir: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    command: str | None = None,
    callbacks: Any = None,
    checkpoint_every: int | str = files.EVERY,
    keep_checkpoints: int = files.KEEP,
    on_nan: str = "stop",
) -> dict[str, Any]:
    """Train a model and keep its files in one folder.

    The folder holds `history.json` (settings, versions, metrics of every
    epoch, result), `best.keras` (the model of the epoch with the highest
    validation accuracy), `saved_model/` (a SavedModel of the model after the
    last epoch) and `backup/` (the checkpoints a resumed run continues from),
    with `ann_epochs` also `ann.keras`, the network with ReLUs. A kill at any
    moment leaves a folder that `resume=True` continues from the last
    checkpoint, on a CPU to the same numbers as without the kill.
    SIGTERM ends the run after the current update, with a checkpoint.

    After `distribute` on JAX all processes call it with the same arguments.
    The first one reads and writes the folder; the others need not see it.

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
            `fit`. What they keep for themselves is not in checkpoints.
        checkpoint_every: updates, as `100`, or time, as `"30s"`, `"5m"` or
            `"1h"`, from one checkpoint to the next. There is one at the end
            of each epoch, too.
        keep_checkpoints: number of checkpoints to keep.
        on_nan: `"stop"` ends a run whose loss is NaN or infinite, and says at
            which update and in which layer it began; the updates since the
            last checkpoint are made again for that. `"warn"` warns once an
            epoch and goes on; checkpoints then hold what there is.

    Raises:
        ValueError: For settings that do not fit the run in the folder, a
            folder that another run is writing into, checkpoints that are all
            damaged, or a loss that is no number.
        OSError: If the disk or the folder takes no files. The checkpoints
            before are whole.
        ConnectionError: If another process of the training has gone.
        SystemExit: With code 75, after SIGTERM and a checkpoint.

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
    stopping.check_on_nan(on_nan)
    sigterm = stopping.Sigterm()
    kept, kept_ann = (
        Checkpoints(output / name, checkpoint_every, keep_checkpoints, sigterm)
        for name in (records.BACKUP, records.ANN_BACKUP)
    )

    def find():
        found = records.find_run(output, resume=resume, overwrite=overwrite)
        found = _start(found, settings, command)
        begun = resume and kept.exist()
        _check_kept(found, begun, kept.folder)
        return json.dumps([found, begun]).encode()

    record, begun = json.loads(processes.from_first(find))
    data = load_run_data(settings, data_dir)
    keras.utils.set_random_seed(settings.seed)
    with policy(settings.dtype):
        model = build_model(settings)
    if settings.from_ann and not begun:
        beginning.take_over(model, settings.from_ann)
    with (
        _folder(output, overwrite),
        sigterm,
        _kept(output, record, kept),
    ):
        kept.open()
        _check_position(kept.position, settings.epochs)
        if not kept.are_earlier():
            records.cut(record, kept.position.epoch)
        _write(output, record)
        more = callbacks(data.watched[0]) if callbacks else []
        if not begun:
            beginning.set_weights(
                model, data, settings, output, record, kept_ann, on_nan
            )
        compile_model(model, settings, settings.epochs * len(data.train))
        saved = InFloat32(model, settings, build_model)
        more = [*more, diagnosis.NaNCheck(on_nan)]
        _fit(saved, data, settings, output, record, more, kept)
        record["result"] = _result(saved, data, output, record, sigterm)
        record["status"] = "finished"
        _write(output, record)
    return record


@contextlib.contextmanager
def _folder(output, overwrite):
    """Hold the folder of a run, in the first process for all of them."""
    with contextlib.ExitStack() as held:

        def take():
            output.mkdir(parents=True, exist_ok=True)
            held.enter_context(records.locked(output))
            records.make_folder(output, overwrite)
            return b""

        processes.from_first(take)
        yield


def _write(output, record):
    if processes.is_first():
        records.write_record(output, record)


@contextlib.contextmanager
def _kept(output, record, checkpoints):
    """Say of a run that does not reach its end what is left of it."""
    try:
        yield
    except (KeyboardInterrupt, stopping.Stopped):
        record["status"] = "interrupted"
        _write(output, record)
        raise
    except ConnectionError:
        raise
    except Exception as error:
        if not _is_of_files(error, output):
            raise
        raise OSError(
            f"The run could not write its files: {error}. "
            f"{_what_is_kept(checkpoints)} See to the disk and the folder."
        ) from error


def _is_of_files(error, output):
    """Return whether an error is about writing to the run's folder.

    TensorFlow, which writes for TensorBoard and SavedModels, has errors of its
    own for that; of others, they name the file.
    """
    theirs = type(error).__module__.startswith("tensorflow.")
    return isinstance(error, OSError) or (theirs and str(output) in str(error))


def _what_is_kept(checkpoints):
    newest = next(iter(files.positions(checkpoints.folder)), None)
    if newest is None:
        return f"There is no checkpoint in {checkpoints.folder}."
    return f"The checkpoint of {newest} is whole: `--resume` goes on there."


def _check_kept(record, begun, folder):
    done = records.epochs_done(record)
    if done and not begun:
        raise ValueError(
            f"The run has finished {done} epochs, but there is no checkpoint "
            f"in {folder} to go on from. Start again with `--overwrite`, or in "
            "another `--output`."
        )


def _check_position(position, epochs):
    """Raise a `ValueError` if a run stands within a later epoch."""
    if position > files.Position(epochs):
        raise ValueError(
            f"The run stands at {position}. Received: epochs={epochs}. Ask "
            f"for {position.epoch + 1} or more, or start a new run in another "
            "`--output`."
        )


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
    ann = {"ann": record["ann"]} if "ann" in record else {}
    return {
        **fresh,
        **ann,
        "commands": record["commands"] + fresh["commands"],
        "history": record["history"],
    }


def _fit(saved, data, settings, output, record, more, checkpoints):
    callbacks = [*more]
    if settings.optimizer != "nesterov":  # whose schedule is the optimizer's
        callbacks.append(
            keras.callbacks.LearningRateScheduler(
                lambda epoch: learning_rate_at(epoch, settings)
            )
        )
    callbacks += [
        BestModel(output / records.BEST, record, saved.model),
        HistoryFile(output, record, checkpoints.seconds),
    ]
    model, epochs = saved.trained, settings.epochs
    fit(model, data, settings, epochs, callbacks, checkpoints)


def _result(saved, data, output, record, sigterm):
    history = record["history"]
    best = int(np.argmax(history["val_accuracy"]))
    model = saved.model()
    if data.watches_test_set and model is saved.trained:
        last_accuracy = history["val_accuracy"][-1]
        best_accuracy = history["val_accuracy"][best]
    else:
        last_accuracy = _accuracy(model, data.test)
        best_accuracy = _accuracy_of_best(model, data.test, output)
    _check(sigterm)
    rates = models.spike_rates(
        model,
        data.test[0][:SPIKE_RATE_IMAGES],
        batch_size=EVALUATION_BATCH_SIZE,
    )
    _check(sigterm)
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


def _check(sigterm):
    if processes.any_of_all(sigterm.received):
        raise stopping.Stopped


def _accuracy_of_best(model, test, output):
    best = processes.arrays_from_first(
        lambda: models.load_model(output / records.BEST).get_weights()
    )
    last = model.get_weights()
    model.set_weights(best)
    accuracy = _accuracy(model, test)
    model.set_weights(last)
    return accuracy


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
    with atomic.written(directory) as draft:
        model.export(str(draft), verbose=False)
    return []
