"""Callbacks that keep the files of a run complete whatever happens."""

import time
from pathlib import Path

import keras

from keras_snn import atomic
from keras_snn.training import records


class HistoryFile(keras.callbacks.Callback):
    """Write `history.json` after every epoch.

    Args:
        directory: the output folder of the run.
        record: the record to extend, see `records.new_record`.
    """

    def __init__(self, directory, record):
        super().__init__()
        self.directory = directory
        self.record = record
        self._started = None

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self._started
        records.add_epoch(self.record, epoch, {**logs, "seconds": seconds})
        records.write_record(self.directory, self.record)


class BestModel(keras.callbacks.Callback):
    """Save the model of the epoch with the highest validation accuracy.

    Unlike `keras.callbacks.ModelCheckpoint`, the file is replaced only once
    the new one is complete, so that a kill cannot destroy the best model, and
    the best accuracy so far is read from the record of the run, so that it
    survives a restart. Goes before `HistoryFile`.

    Args:
        path: the `.keras` file.
        record: the record of the run.
    """

    def __init__(self, path, record):
        super().__init__()
        self.path = Path(path)
        self.record = record

    def on_epoch_end(self, epoch, logs=None):
        earlier = self.record["history"].get("val_accuracy", [])[:epoch]
        best = max(earlier, default=float("-inf"))
        if logs["val_accuracy"] <= best and self.path.exists():
            return
        with atomic.written(self.path) as draft:
            self.model.save(draft)
