"""What a `keras.Model` needs for data that several processes share."""

import functools
import inspect
import math

import keras

from keras_snn.running import processes as processes_
from keras_snn.running import shares
from keras_snn.running.keras_files import KerasFiles
from keras_snn.running.tracing import TracedOnce

# Callbacks that write files, and do nothing else that processes have to do
# together.
WRITERS = (
    keras.callbacks.CSVLogger,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
)


class SharedModel(KerasFiles, TracedOnce):
    """A mixin before `keras.Model` in the bases of a model.

    Under a `keras.distribution.DataParallel` of several devices `fit`,
    `evaluate` and `predict` take what one process would be given, and give
    what one process would: all of it, in every process; the first one saves.
    Elsewhere it changes nothing but what TensorFlow warns of.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._rows = {}

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **kwargs):
        processes = processes_.current()
        if processes is None:
            return super().fit(*args, **kwargs)
        given = _bound(super().fit, args, kwargs)
        with processes.hands_over(), processes_.peers_watched():
            given = self._shared_fit(processes, given)
            return super().fit(**given)

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args, **kwargs):
        processes = processes_.current()
        if processes is None or kwargs.get("_use_cached_eval_dataset"):
            return super().evaluate(*args, **kwargs)
        given = _bound(super().evaluate, args, kwargs)
        with processes.hands_over(), processes_.peers_watched():
            given = self._with_shares(processes, "test", given, "steps")
            return super().evaluate(**_quiet(processes, given))

    @functools.wraps(keras.Model.predict)
    def predict(self, *args, **kwargs):
        processes = processes_.current()
        if processes is None:
            return super().predict(*args, **kwargs)
        given = _bound(super().predict, args, kwargs)
        with processes.hands_over(), processes_.peers_watched():
            given = self._with_shares(processes, "predict", given, "steps")
            return super().predict(**_quiet(processes, given))

    @functools.wraps(keras.Model.train_on_batch)
    def train_on_batch(self, *args, **kwargs):
        return super().train_on_batch(
            *self._shared_batch("train", args, kwargs)
        )

    @functools.wraps(keras.Model.test_on_batch)
    def test_on_batch(self, *args, **kwargs):
        return super().test_on_batch(*self._shared_batch("test", args, kwargs))

    @functools.wraps(keras.Model.save)
    def save(self, *args, **kwargs):
        return self._save(super().save, args, kwargs)

    @functools.wraps(keras.Model.save_weights)
    def save_weights(self, *args, **kwargs):
        return self._save(super().save_weights, args, kwargs)

    def _save(self, save, args, kwargs):
        """Have the first process save, for all of them."""
        if not processes_.is_first():
            return None
        # Keras makes an optimizer as it saves, whose variables would wait for
        # the other processes to make theirs.
        with processes_.alone():
            return save(*args, **kwargs)

    def train_step(self, *arguments):
        return super().train_step(*self._put_together("train", arguments))

    def test_step(self, *arguments):
        return super().test_step(*self._put_together("test", arguments))

    def predict_step(self, *arguments):
        arguments = self._put_together("predict", arguments)
        processes = processes_.current()
        if processes is None:
            return super().predict_step(*arguments)
        outputs, state = super().predict_step(*arguments)
        return processes.replicated(outputs), state

    def _put_together(self, kind, arguments):
        processes, rows = processes_.current(), self._rows.get(kind)
        if processes is None or rows is None:
            return arguments
        *state, batch = arguments
        return *state, shares.put_together(processes, rows, batch)

    def _take_rows(self, kind, rows):
        """Have a step made for the shares of these batches."""
        if self._rows.get(kind) != rows:
            self._rows[kind] = rows
            setattr(self, f"{kind}_function", None)

    def _with_shares(self, processes, kind, given, steps):
        """Return arguments of a method with shares in place of the data."""
        x, found = shares.shared(
            processes,
            given.pop("x", None),
            given.pop("y", None),
            given.pop("sample_weight", None),
            given.pop("batch_size", None),
            given.pop("shuffle", False),
            given.get(steps),
        )
        self._take_rows(kind, found.rows)
        return {**given, "x": x}

    def _shared_fit(self, processes, given):
        given = _split_off(given)
        batch_size = given.get("batch_size")
        arrays = not isinstance(given.get("x"), keras.utils.PyDataset)
        keeps = {} if arrays else {"shuffle": given.get("shuffle", True)}
        given.setdefault("shuffle", True)
        watched = given.pop("validation_data", None)
        watched_size = given.pop("validation_batch_size", None) or batch_size
        given = self._with_shares(processes, "train", given, "steps_per_epoch")
        given.update({"shuffle": False, **keeps})
        if watched is not None:
            parts = keras.utils.unpack_x_y_sample_weight(watched)
            steps = given.get("validation_steps")
            x, found = shares.shared(
                processes, *parts, watched_size, False, steps
            )
            self._take_rows("test", found.rows)
            given["validation_data"] = x
        given["callbacks"] = of_process(given.get("callbacks"))
        return _quiet(processes, given)

    def _shared_batch(self, kind, args, kwargs):
        """Return the arguments of a method that takes one batch."""
        method = getattr(super(), f"{kind}_on_batch")
        bound = inspect.signature(method).bind(*args, **kwargs)
        bound.apply_defaults()
        processes = processes_.current()
        if processes is None:
            return bound.args
        given = bound.arguments
        names = ("x", "y", "sample_weight")
        batch = tuple(given[name] for name in names)
        size = len(keras.tree.flatten(batch)[0])
        _, found = shares.shared(processes, *batch, size, False)
        self._take_rows(kind, found.rows)
        given.update(zip(names, found.of(batch)))
        return bound.args


def _bound(method, args, kwargs):
    return dict(inspect.signature(method).bind(*args, **kwargs).arguments)


def _split_off(given):
    """Return arguments of `fit` with the last samples as validation data.

    `validation_split` as Keras reads it.
    """
    part = given.pop("validation_split", 0.0)
    if not part or given.get("validation_data") is not None:
        return given
    names = [n for n in ("x", "y", "sample_weight") if given.get(n) is not None]
    leaves = keras.tree.flatten([given[name] for name in names])
    if not all(hasattr(leaf, "shape") for leaf in leaves):
        raise ValueError(
            "`validation_split` is for arrays. Pass `validation_data`."
        )
    first = math.floor(len(leaves[0]) * (1.0 - part))
    if not 0 < first < len(leaves[0]):
        raise ValueError(
            f"`validation_split={part}` of {len(leaves[0])} samples leaves "
            "none to train on or none to validate on."
        )

    def cut(which):
        return {
            name: keras.tree.map_structure(lambda x: x[which], given[name])
            for name in names
        }

    held_out = tuple(cut(slice(first, None)).values())
    return {**given, **cut(slice(first)), "validation_data": held_out}


def _quiet(processes, given):
    """Return arguments with which only the first process shows progress."""
    return given if processes.id == 0 else {**given, "verbose": 0}


def of_process(callbacks):
    """Return those of the callbacks that this process has to run."""
    processes = processes_.current()
    is_made_up = isinstance(callbacks, keras.callbacks.CallbackList)
    if processes is None or is_made_up:
        return callbacks
    found = [c for c in keras.tree.flatten(callbacks) if c is not None]
    for callback in found:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "BackupAndRestore knows one process only. "
                "keras_snn.training.train and `keras-snn train --workers` "
                "keep checkpoints of several, and go on from them."
            )
    if processes.id == 0:
        return found
    return [c for c in found if not isinstance(c, WRITERS)]
