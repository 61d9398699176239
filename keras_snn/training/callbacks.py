"""Callbacks that keep the files of a run complete whatever happens."""

from pathlib import Path

import keras

from keras_snn import atomic
from keras_snn.running import processes
from keras_snn.training import records


class HistoryFile(keras.callbacks.Callback):
    """Write `history.json` after every epoch.

    Args:
        directory: the output folder of the run.
        record: the record to extend, see `records.new_record`.
        seconds: function that returns the seconds the epoch has taken.
    """

    def __init__(self, directory, record, seconds):
        super().__init__()
        self.directory = directory
        self.record = record
        self.seconds = seconds

    def on_epoch_end(self, epoch, logs=None):
        logs = {**logs, "seconds": self.seconds()}
        records.add_epoch(self.record, epoch, logs)
        if processes.is_first():
            records.write_record(self.directory, self.record)


class AveragedWeights(keras.callbacks.SwapEMAWeights):
    """Keras' exchange of weights and averages, each epoch's end alike.

    Keras leaves the averages in the model until the next epoch, and after the
    last one the weights are lost. `back` puts them back, and `fit` ends with
    the averages.

    Args:
        in_model: whether the model has the averages to begin with.
    """

    def __init__(self, in_model=False):
        super().__init__(swap_on_epoch=True)
        self._ema_weights_in_model = in_model

    def on_epoch_end(self, epoch, logs=None):
        if not self._ema_weights_in_model:
            self._swap_variables()
            self._ema_weights_in_model = True

    def back(self, epoch, logs=None):
        """Put the weights back, behind all that is to see the averages."""
        super().on_epoch_begin(epoch, logs)


class BestModel(keras.callbacks.Callback):
    """Save the model of the epoch with the highest validation accuracy.

    Unlike `keras.callbacks.ModelCheckpoint`, the file is replaced only once
    the new one is complete, so that a kill cannot destroy the best model, and
    the best accuracy so far is read from the record of the run, so that it
    survives a restart. Goes before `HistoryFile`.

    Args:
        path: the `.keras` file.
        record: the record of the run.
        saved: function that returns the model to save; by default the one
            that is trained.
    """

    def __init__(self, path, record, saved=None):
        super().__init__()
        self.path = Path(path)
        self.record = record
        self.saved = saved or (lambda: self.model)

    def on_epoch_end(self, epoch, logs=None):
        earlier = self.record["history"].get("val_accuracy", [])[:epoch]
        best = max(earlier, default=float("-inf"))
        if not processes.is_first():
            return
        if logs["val_accuracy"] <= best and self.path.exists():
            return
        with atomic.written(self.path) as draft:
            self.saved().save(draft)
