"""Where a run of `fit` stands, kept in files and taken up again."""

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np

from keras_snn import checks
from keras_snn.running import processes
from keras_snn.training import background, stopping
from keras_snn.training import checkpoint_files as files
from keras_snn.training.building import variables_of

# What Keras' BackupAndRestore wrote in runs of earlier versions.
EARLIER = (
    "latest.weights.h5",
    "latest.weights.h5.bkp",
    "training_metadata.json",
    "training_metadata.json.bkp",
)


@dataclasses.dataclass(frozen=True)
class Kept:
    """The state of a run that is held in memory.

    Attributes:
        position: The `Position`.
        arrays: Values of all `variables_of` the model.
    """

    position: files.Position
    arrays: list


class Checkpoints(keras.callbacks.Callback):
    """Writes checkpoints of a `fit`, and begins it where the last one stands.

    A checkpoint has every number that the rest of the run depends on: weights,
    statistics of normalizations, the optimizer with its averages, the states
    of random generators, and the epoch's metrics so far. One is written every
    `every`, after the last update of an epoch, before the validation, and at
    the epoch's end.

    The state is copied, and a thread writes the copy while training goes on.
    The next checkpoint waits for the one before, and with one after each
    update so does the update. An error of the thread is raised in all
    processes, after the update behind it or where the training ends.

    Goes to `epochs.fit`, which puts it behind all other callbacks, so that no
    epoch is over for it but not for them.

    Of several processes the first one writes and reads; what it reads goes to
    all of them.

    Args:
        folder: Folder of the checkpoints.
        every: What `checkpoint_files.Interval.of` takes.
        keep: Number of checkpoints to keep.
        sigterm: A `stopping.Sigterm` that ends the run after an update, or
            `None`.

    Attributes:
        position: The `Position` that the run stands at.
        kept: The last state that was written or begun with, a `Kept`.
    """

    def __init__(
        self, folder, every=files.EVERY, keep=files.KEEP, sigterm=None
    ):
        super().__init__()
        self.folder = Path(folder)
        self.interval = files.Interval.of(every)
        self.keep = checks.integer("keep_checkpoints", keep, 1, "files")
        self.sigterm = sigterm or stopping.Sigterm()
        self.position = files.Position()
        self.epoch_updates = None
        self.kept = None
        self._found = None
        self._began = self._saved = time.monotonic()
        self._background = background.Background()

    def exist(self):
        """Return whether there is something to go on from, whole or not."""
        return bool(files.positions(self.folder)) or self.are_earlier()

    def are_earlier(self):
        """Return whether only an earlier version's backup is there."""
        if processes.current() is not None:
            return False  # they were of one process
        is_one = (self.folder / EARLIER[0]).exists()
        return is_one and not files.positions(self.folder)

    def open(self):
        """Make the folder and read the newest checkpoint, if there is one.

        Raises:
            ValueError: If all of them are damaged.
        """
        if processes.current() is None:
            files.clean(self.folder)
            found = files.read_newest(self.folder)
        else:
            found = self._found_by_first()
        if found:
            self.position, *self._found = found

    def _found_by_first(self):
        """Return what the first process finds, in all of them."""

        def name_and_content():
            files.clean(self.folder)
            found = files.read_newest(self.folder)
            if not found:
                return b""
            path = files.positions(self.folder)[found[0]]
            return path.name.encode() + b"\0" + path.read_bytes()

        found = processes.from_first(name_and_content)
        name, _, content = found.partition(b"\0")
        if not name:
            return None
        name = name.decode()
        return files.position_of(name), *files.parse(content, name)

    def wait(self):
        """Wait until the last checkpoint is written, or raise its error."""
        self._background.wait()

    def seconds(self):
        """Return the seconds that the current epoch has taken."""
        return time.monotonic() - self._began

    def restore(self, model):
        """Give the model and its optimizer what they had."""
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        if self._found:
            arrays, notes = self._found
            assign(variables_of(model), arrays[: notes["variables"]])
        elif self.are_earlier():
            _restore_earlier(model, self.folder)
        self.kept = Kept(self.position, _arrays(variables_of(model)))

    def begin(self, model, epoch):
        """Begin an epoch; return the number of updates to skip in it."""
        self._began = self._saved = time.monotonic()
        if epoch != self.position.epoch or not self._found:
            self.position, self._found = files.Position(epoch), None
            return 0
        arrays, notes = self._found
        self._found = None
        self._began -= notes["seconds"]
        if self.position.update:
            _build_metrics(model)
            metrics = arrays[notes["variables"] :]
            assign(model.metrics_variables, metrics)
        return self.position.update

    def _has_to_stop(self):
        """Return whether a process is told to stop, or could not write."""
        failed = self._background.has_failed()
        return processes.any_of_all(self.sigterm.received or failed)

    def _wait_together(self):
        """Have all processes wait for the first one's file, or its error."""
        processes.from_first(lambda: self.wait() or b"")

    def _stop(self):
        self._wait_together()
        raise stopping.Stopped

    def on_epoch_begin(self, epoch, logs=None):
        if self._has_to_stop():
            self._stop()

    def on_train_batch_begin(self, batch, logs=None):
        if self.interval.updates == 1:
            self._background.join()

    def on_train_batch_end(self, batch, logs=None):
        self.position = files.Position(self.position.epoch, batch + 1)
        stops = self._has_to_stop()
        if self._is_due() or stops:
            self._save()
        if stops:
            self._stop()

    def on_test_batch_end(self, batch, logs=None):
        # The state before the validation has been kept. Of several processes
        # each would have to ask the others after every batch.
        if processes.current() is None:
            self.sigterm.check()

    def on_epoch_end(self, epoch, logs=None):
        self.position = files.Position(epoch + 1)
        self._save()
        if self._has_to_stop():
            self._stop()

    def on_train_end(self, logs=None):
        self._wait_together()

    def _is_due(self):
        update, interval = self.position.update, self.interval
        if update == self.epoch_updates:
            return True
        if interval.seconds:
            return time.monotonic() - self._saved >= interval.seconds
        made = self.position.epoch * self.epoch_updates + update
        return made % interval.updates == 0

    def _save(self):
        if not processes.is_first():
            return
        model = self.model
        variables = variables_of(model)
        metrics = model.metrics_variables if self.position.update else []
        arrays = _arrays([*variables, *metrics])
        seconds = self.seconds() if self.position.update else 0.0
        notes = {"variables": len(variables), "seconds": seconds}
        self._background.start(self._write, self.position, arrays, notes)
        self.kept = Kept(self.position, arrays[: len(variables)])
        self._saved = time.monotonic()

    def _write(self, position, arrays, notes):
        files.write(self.folder, position, arrays, notes, self.keep)
        for name in EARLIER:
            (self.folder / name).unlink(missing_ok=True)


def load(model, folder):
    """Give a compiled model the weights of a run's newest checkpoint.

    Where the optimizer averages weights, those are the averages.

    Raises:
        ValueError: If there is none, or none is whole.
    """
    found = Checkpoints(folder)
    if not found.exist():
        raise ValueError(f"There is no checkpoint in {folder}.")
    found.open()
    is_averaged = found.are_earlier()
    found.restore(model)
    if not is_averaged:
        model.optimizer.finalize_variable_values(model.trainable_variables)


def _arrays(variables):
    # Copies: TensorFlow's arrays may be views of what the next update writes.
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def assign(variables, arrays):
    """Give variables what a checkpoint has for them.

    Raises:
        ValueError: If their shapes are others.
    """
    theirs = [array.shape for array in arrays]
    ours = [tuple(variable.shape) for variable in variables]
    if theirs != ours:
        raise ValueError(
            f"The checkpoint holds {len(theirs)} variables that do not fit "
            f"the {len(ours)} of the run one to one; it is one of another "
            "version of the network. Start again with `--overwrite`, or in "
            "another `--output`."
        )
    for variable, array in zip(variables, arrays):
        if array.dtype.kind == "V":  # a type of its backend's, as bfloat16
            kind = keras.ops.convert_to_numpy(variable).dtype
            array = array.view(kind)
        variable.assign(array)


def _build_metrics(model):
    """Make the variables of metrics, which else come with the first batch."""
    scores = np.zeros((1, *model.output_shape[1:]), "float32")
    scores = keras.ops.convert_to_tensor(scores)
    model.compute_metrics(None, scores, scores, None)
    model.reset_metrics()


def _restore_earlier(model, folder):
    """Give the model the state at an epoch's end of an earlier version's run.

    `fit` begins at that epoch by itself.
    """
    print(
        f"{folder} is of an earlier version: the run goes on from the end of "
        "an epoch, with its images in another order.",
        flush=True,
    )
    backup = keras.callbacks.BackupAndRestore(
        str(folder), double_checkpoint=True, delete_checkpoint=False
    )
    backup.set_model(model)
    backup.on_train_begin()
