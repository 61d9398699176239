"""The images of a run, as arguments of `fit` and `evaluate`."""

import copy
import dataclasses
from typing import Any

import numpy as np

from keras_snn import datasets
from keras_snn.training.augmentation import AugmentedBatches


@dataclasses.dataclass(frozen=True)
class RunData:
    """The images of a run.

    Attributes:
        train: arrays `(images, labels)`, or `AugmentedBatches` of them.
        watched: arrays `(images, labels)` evaluated after every epoch.
        test: arrays `(images, labels)` of the test set.
    """

    train: Any
    watched: tuple
    test: tuple

    @property
    def watches_test_set(self):
        return self.watched is self.test

    def updates(self, settings):
        """Return the number of updates in an epoch."""
        if isinstance(self.train, tuple):
            return -(-len(self.train[0]) // settings.batch_size)
        return len(self.train)

    def copy(self):
        """Return the same data from the first epoch on."""
        if isinstance(self.train, tuple):
            return self
        return dataclasses.replace(self, train=copy.copy(self.train))


def load_run_data(settings, data_dir=None, first_epoch=0):
    """Return the `RunData` that the settings ask for.

    CIFAR and SVHN training images, and others where `shift` or `cutout` ask
    for it, are augmented batch by batch; everything else is arrays.

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
    data = _array_data(settings, train, test)
    published = info.crop_padding > 0 or info.flip
    asked_for = settings.shift or settings.cutout
    if not settings.augment or not (published or asked_for):
        return data
    batches = AugmentedBatches(
        *data.train,
        settings.batch_size,
        flip=info.flip,
        shift=info.crop_padding if settings.shift is None else settings.shift,
        padding="zeros" if settings.shift is None else "reflect",
        cutout=settings.cutout,
        seed=settings.seed,
        epoch=first_epoch,
    )
    return dataclasses.replace(data, train=batches)


def first(images_and_labels, limit):
    """Return the first `limit` images and labels, all if it is `None`."""
    images, labels = images_and_labels
    return images[:limit], labels[:limit]


def _array_data(settings, train, test):
    if not settings.validation_split:
        return RunData(train, test, test)
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
    )
