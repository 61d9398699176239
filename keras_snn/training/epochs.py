"""`fit` on the images of a run, from any update on."""

import sys

import keras

from keras_snn import progress
from keras_snn.running import processes, shared_model
from keras_snn.training import diagnosis
from keras_snn.training.callbacks import AveragedWeights

# Independent of the training batch: it changes the speed, not the result.
EVALUATION_BATCH_SIZE = 128


def fit(model, data, settings, epochs, callbacks, checkpoints):
    """Call `model.fit` on the training images, watching the others.

    Args:
        model: The compiled model.
        data: The `RunData`.
        settings: The `Settings`.
        epochs: Number of the last epoch.
        callbacks: List of callbacks.
        checkpoints: The `Checkpoints` to begin from and to write to.

    Raises:
        ValueError: If a `diagnosis.NaNCheck` among the callbacks finds a loss
            that is no number; with where it began.
        OSError: If a checkpoint cannot be written.
    """
    try:
        return _fit(model, data, settings, epochs, callbacks, checkpoints)
    except diagnosis.NotANumber as error:
        began = ""
        # The first process alone has the state that was kept.
        if processes.current() is None:
            began = diagnosis.where_it_began(
                model, data.train, error, checkpoints.kept
            )
        raise ValueError(
            f"{error}{began and ' ' + began} Lower the learning rate and "
            "start again; the epochs before are kept."
        ) from None
    finally:
        checkpoints.wait()


def _fit(model, data, settings, epochs, callbacks, checkpoints):
    batches = _Batches(data.train)
    checkpoints.epoch_updates = len(batches)
    if settings.ema:
        averages = AveragedWeights(in_model=checkpoints.are_earlier())
        # First, so that all others see and save the averages, except for the
        # checkpoints.
        back = keras.callbacks.LambdaCallback(on_epoch_end=averages.back)
        callbacks = [averages, *callbacks, back]
    callbacks = shared_model.of_process(callbacks)
    verbose = progress.display().fit_verbose
    if verbose is None:
        verbose = 1 if sys.stdout.isatty() else 2
    if not processes.is_first():
        verbose = 0
    has_bar = any(isinstance(x, Bar) for x in callbacks)
    bar = [] if has_bar else [Bar()]
    return model.fit(
        batches,
        epochs=epochs,
        initial_epoch=checkpoints.position.epoch,
        shuffle=False,  # batches shuffle themselves
        validation_data=data.watched,
        validation_batch_size=EVALUATION_BATCH_SIZE,
        callbacks=_Callbacks(
            [*callbacks, *bar, checkpoints],
            batches,
            checkpoints,
            add_history=True,
            model=model,
            verbose=verbose,
            epochs=epochs,
            steps=len(batches),
        ),
        verbose=verbose,
    )


class Bar(keras.callbacks.ProgbarLogger):
    """A bar with room for the metrics beside it, in 80 columns."""

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self.progbar.width = 8


class _Batches(keras.utils.PyDataset):
    """Batches of the epoch that is set, less those that are skipped.

    Keras asks for all batches of an epoch. In place of one whose update was
    made before, it gets a small one.

    Attributes:
        epoch: The epoch, from 0.
        skipped: How many of its batches are skipped.
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches
        self.skipped = 0

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        if index < self.skipped:
            return self.batches.x[:1], self.batches.y[:1]
        return self.batches[index]


class _Callbacks(keras.callbacks.CallbackList):
    """All callbacks of a `fit` that begins within an epoch.

    Keras knows no such beginning: the updates made before are run through
    without effect, and no callback hears of them.
    """

    def __init__(self, callbacks, batches, checkpoints, **kwargs):
        super().__init__(callbacks, **kwargs)
        self._batches = batches
        self._checkpoints = checkpoints

    def on_train_begin(self, logs=None):
        self._checkpoints.restore(self.model)
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._batches.batches.epoch = epoch
        self._batches.skipped = self._checkpoints.begin(self.model, epoch)
        if self._batches.skipped:
            _skip(self.model, self._batches.skipped)
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        if batch >= self._batches.skipped:
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        if batch >= self._batches.skipped:
            super().on_train_batch_end(batch, logs)


def _skip(model, updates):
    """Have the next updates of a `fit` take their batch and do nothing."""
    update, left = model.train_function, iter(range(updates))
    logs = model.get_metrics_result()

    def train_function(*arguments):
        if next(left, None) is None:
            model.train_function = update
            return update(*arguments)
        next(arguments[-1])
        # On JAX the state goes in before the batches, and comes out.
        return (logs, *arguments[:-1]) if arguments[:-1] else logs

    model.train_function = train_function
