"""The images of a run, as arguments of `fit` and `evaluate`."""

import dataclasses

import numpy as np

from keras_snn import datasets
from keras_snn.datasets.scaling import scale
from keras_snn.training.augmentation import AugmentedBatches


@dataclasses.dataclass(frozen=True)
class RunData:
    """The images of a run.

    Attributes:
        train: `AugmentedBatches`, whose batches depend on the seed, the epoch
            and their index alone.
        watched: arrays `(images, labels)` evaluated after every epoch.
        test: arrays `(images, labels)` of the test set.
    """

    train: AugmentedBatches
    watched: tuple
    test: tuple

    @property
    def watches_test_set(self):
        return self.watched is self.test


def load_run_data(settings, data_dir=None):
    """Return the `RunData` that the settings ask for.

    CIFAR and SVHN training images, and others where `shift` or `cutout` ask
    for it, are augmented batch by batch; others are only shuffled.

    Args:
        settings: the `Settings` of the run.
        data_dir: where the datasets are kept.
    """
    info = datasets.info(settings.dataset)
    if isinstance(info, datasets.EventDatasetInfo):
        raise ValueError(
            "Expected a data set of images, which the encoder turns into "
            f'spikes. Received: "{info.name}", recordings of events, as of an '
            "event camera. Train on them in Python: examples/nmnist_events.py "
            "and examples/shd_recurrent.py do."
        )
    train, test = datasets.load(settings.dataset, data_dir=data_dir)
    train, test = first(train, settings.limit), first(test, settings.limit)
    train, watched = _split(settings, train, test)
    batches = AugmentedBatches(
        *train,
        settings.batch_size,
        seed=settings.seed,
        **_augmentation(settings, info),
    )
    return RunData(batches, watched, test)


def _augmentation(settings, info):
    published = info.crop_padding > 0 or info.flip
    asked_for = settings.shift or settings.cutout
    if not settings.augment or not (published or asked_for):
        return {"flip": False, "shift": 0}
    return {
        "flip": info.flip,
        "shift": info.crop_padding
        if settings.shift is None
        else settings.shift,
        "padding": "zeros" if settings.shift is None else "reflect",
        "border": scale(np.zeros(info.input_shape[-1:], "float32"), info),
        "cutout": settings.cutout,
    }


def first(images_and_labels, limit):
    """Return the first `limit` images and labels, all if it is `None`."""
    images, labels = images_and_labels
    return images[:limit], labels[:limit]


def _split(settings, train, test):
    """Return what is trained on and what is watched."""
    if not settings.validation_split:
        return train, test
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
    return (images[kept], labels[kept]), (images[watched], labels[watched])
