"""`fit` on the images of a run, and what lets it go on after a kill."""

import sys

import keras

from keras_snn.training.callbacks import AveragedWeights

# Independent of the training batch: it changes the speed, not the result.
EVALUATION_BATCH_SIZE = 128


def fit(model, data, settings, epochs, callbacks):
    """Call `model.fit` on the training images, watching the others."""
    is_arrays = isinstance(data.train, tuple)
    images, labels = data.train if is_arrays else (data.train, None)
    if settings.ema:
        # First, so that all others see and save the averages.
        callbacks = [AveragedWeights(swap_on_epoch=True), *callbacks]
    return model.fit(
        images,
        labels,
        batch_size=settings.batch_size if is_arrays else None,
        epochs=epochs,
        shuffle=is_arrays,  # batches shuffle themselves
        validation_data=data.watched,
        validation_batch_size=EVALUATION_BATCH_SIZE,
        callbacks=callbacks,
        verbose=1 if sys.stdout.isatty() else 2,
    )


def backup(folder):
    """Return the callback that keeps a run's state in a folder.

    Two checkpoints, in case of a kill while one is being written; kept at
    the end, so that more epochs can be added later.
    """
    return keras.callbacks.BackupAndRestore(
        str(folder), double_checkpoint=True, delete_checkpoint=False
    )
