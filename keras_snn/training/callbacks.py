"""Callbacks that keep the files of a run complete whatever happens."""

import time
from pathlib import Path

import keras
import numpy as np

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


class AveragedWeights(keras.callbacks.SwapEMAWeights):
    """Keras' exchange of weights and averages, in a resumed run too.

    A backup of the end of an epoch has the averages in the model, and the
    weights where the optimizer keeps averages.
    """

    def on_train_begin(self, logs=None):
        self._first = True

    def on_epoch_begin(self, epoch, logs=None):
        if self._first and epoch:
            self._ema_weights_in_model = True
        self._first = False
        super().on_epoch_begin(epoch, logs)


class StopAtNaN(keras.callbacks.Callback):
    """Ends a training whose loss is no finite number, and says where."""

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if np.isfinite(loss):
            return
        lost = {
            w.path.rpartition("/")[0]: None
            for w in self.model.trainable_variables
            if not np.isfinite(keras.ops.convert_to_numpy(w)).all()
        }
        where = f" Weights that are none: {', '.join(lost)}." if lost else ""
        raise ValueError(
            f"The loss is {loss} at update {batch + 1} of epoch "
            f"{self._epoch + 1}.{where} Lower the learning rate and start "
            "again; the epochs before are kept."
        )


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
