"""The images of a run, as arguments of `fit` and `evaluate`."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_snn import datasets


@dataclass(frozen=True)
class RunData:
    """The images of a run.

    Attributes:
        train: arrays `(images, labels)`, or a `tf.data.Dataset` of batches.
        watched: arrays `(images, labels)` evaluated after every epoch.
        test: arrays `(images, labels)` of the test set.
        notes: what the user should know about them, one string each.
    """

    train: Any
    watched: tuple
    test: tuple
    notes: tuple = ()

    @property
    def watches_test_set(self):
        return self.watched is self.test


def load_run_data(settings, data_dir=None, first_epoch=0):
    """Return the `RunData` that the settings ask for.

    CIFAR and SVHN training images are augmented on the fly by a `tf.data`
    pipeline where TensorFlow is the backend; everything else is arrays.

    Args:
        settings: the `Settings` of the run.
        data_dir: where the datasets are kept.
        first_epoch: number of epochs that have been trained already, so that
            a resumed run does not repeat their shuffling and augmentation.
    """
    info = datasets.info(settings.dataset)
    if isinstance(info, datasets.EventDatasetInfo):
        raise ValueError(
            "Expected a data set of images, which the encoder turns into "
            f'spikes. Received: "{info.name}", recordings of an event camera. '
            "Train on them in Python: examples/nmnist_events.py does."
        )
    train, test = datasets.load(settings.dataset, data_dir=data_dir)
    train, test = first(train, settings.limit), first(test, settings.limit)
    notes = []
    has_augmentation = info.crop_padding > 0 or info.flip
    if settings.augment and has_augmentation and _can_augment(settings, notes):
        seed = settings.seed + first_epoch
        return RunData(_augmented(settings, data_dir, seed), test, test)
    return _array_data(settings, train, test, notes)


def first(images_and_labels, limit):
    """Return the first `limit` images and labels, all if it is `None`."""
    images, labels = images_and_labels
    return images[:limit], labels[:limit]


def _can_augment(settings, notes):
    if keras.config.backend() != "tensorflow":
        notes.append("no augmentation: it needs the TensorFlow backend")
        return False
    if settings.validation_split:
        notes.append("no augmentation: it needs `--validation-split 0`")
        return False
    return True


def _augmented(settings, data_dir, seed):
    batches = datasets.load_tf(
        settings.dataset,
        split="train",
        batch_size=settings.batch_size,
        data_dir=data_dir,
        seed=seed,
    )
    if settings.limit is None:
        return batches
    return batches.take(-(-settings.limit // settings.batch_size))


def _array_data(settings, train, test, notes):
    if not settings.validation_split:
        return RunData(train, test, test, tuple(notes))
    images, labels = train
    held_out = round(settings.validation_split * len(images))
    if not 0 < held_out < len(images):
        raise ValueError(
            f"`validation_split={settings.validation_split}` of "
            f"{len(images)} training images leaves no image to "
            f"{'train on' if held_out else 'hold out'}. Use another share."
        )
    order = np.random.default_rng(settings.seed).permutation(len(images))
    watched, kept = order[:held_out], order[held_out:]
    return RunData(
        (images[kept], labels[kept]),
        (images[watched], labels[watched]),
        test,
        tuple(notes),
    )
