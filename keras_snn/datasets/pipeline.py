"""Data sets as `tf.data` pipelines."""

from __future__ import annotations

from typing import Any

from keras_snn import checks
from keras_snn.datasets.arrays import raw_arrays
from keras_snn.datasets.augmentation import random_crop, random_flip
from keras_snn.datasets.catalogue import image_info
from keras_snn.datasets.scaling import scale
from keras_snn.typing import Path


def load_tf(
    name: str,
    split: str = "train",
    batch_size: int = 64,
    data_dir: Path | None = None,
    *,
    augment: Any = None,
    shuffle: bool | None = None,
    seed: int | None = None,
    drop_remainder: bool = False,
    download: bool = True,
) -> Any:
    """Loads one split as a batched, augmented and prefetched pipeline.

    Images are scaled as `keras_snn.datasets.load` does. Augmentation is that
    of the published program: CIFAR images are padded with 4 black pixels on
    each side, cropped to 32x32 at random and mirrored with probability one
    half; SVHN images are cropped so but not mirrored; grey sets are left as
    they are. The raw pixels stay in memory as uint8 (154 MB for CIFAR).

    Args:
        name: One of `"digits"`, `"mnist"`, `"fashion_mnist"`, `"svhn"`,
            `"cifar10"`, `"cifar100"`.
        split: `"train"` or `"test"`.
        batch_size: Images in a batch.
        data_dir: Folder of prepared data sets; `None` for the default folder
            of TensorFlow Datasets.
        augment: Whether to augment; `None` for: colour sets, split
            `"train"`.
        shuffle: Whether to draw a new order of all images in each epoch;
            `None` for: split `"train"`.
        seed: Integer that makes orders, crops and flips repeatable: two
            pipelines with one seed give the same epochs. `None` for a new
            seed each time.
        drop_remainder: Whether to leave out a last batch that is not full.
        download: Whether a data set that is not in `data_dir` may be
            downloaded into it.

    Returns:
        A `tf.data.Dataset` of known length with elements `(images, labels)`:
        float32 `(batch, height, width, channels)` and float32 one-hot
        `(batch, classes)`.

    Raises:
        ValueError: If `name`, `split` or `batch_size` is not valid, or
            `augment=True` for a data set that has no augmentation.
        FileNotFoundError: If the data set is neither prepared nor can be
            downloaded.
        ImportError: If a package of the extra `datasets` is missing.

    Example:

    >>> train = keras_snn.datasets.load_tf("cifar10", "train", seed=0)
    >>> model.fit(train, validation_data=keras_snn.datasets.load_tf(
    ...     "cifar10", "test"))

    References:
        Lee et al., "Enabling spike-based backpropagation for training deep
        neural network architectures", Frontiers in Neuroscience 14:119, 2020.
    """
    import tensorflow as tf

    info = image_info(name)
    _check_arguments(info, split, batch_size, augment)
    training = split == "train"
    if augment is None:
        augment = training and _has_augmentation(info)
    if shuffle is None:
        shuffle = training
    pixels, labels = raw_arrays(info, split, data_dir, download)
    # tf.data runs on the CPU; a copy on the accelerator would be copied back
    # for every batch.
    with tf.device("CPU:0"):
        pixels, labels = tf.constant(pixels), tf.constant(labels)
    # Only indices are shuffled, so the buffer holds the whole set at no cost.
    indices = tf.data.Dataset.range(len(labels))
    if shuffle:
        indices = indices.shuffle(len(labels), seed=seed)
    indices = indices.batch(batch_size, drop_remainder=drop_remainder)
    # Two seeds of two numbers for each batch: a stateless draw stays
    # repeatable in a parallel map, a stateful generator does not.
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    seeds = seeds.batch(4, drop_remainder=True)

    def make_batch(batch, seed):
        images = tf.gather(pixels, batch)
        if augment:
            images = _augment(images, info, seed)
        images = scale(tf.cast(images, "float32"), info)
        return images, tf.one_hot(tf.gather(labels, batch), info.classes)

    return (
        tf.data.Dataset.zip(indices, seeds)
        .map(make_batch, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def _augment(images, info, seed):
    if info.crop_padding:
        images = random_crop(images, info.crop_padding, seed[:2])
    if info.flip:
        images = random_flip(images, seed[2:])
    return images


def _has_augmentation(info):
    return info.crop_padding > 0 or info.flip


def _check_arguments(info, split, batch_size, augment):
    if split not in ("train", "test"):
        raise ValueError(
            f'`split` must be "train" or "test". Received: {split!r}. For '
            "part of a split use `take` and `skip` of the pipeline."
        )
    if not checks.is_integer(batch_size, 1):
        raise ValueError(
            "`batch_size` must be a positive integer. "
            f"Received: {batch_size!r}."
        )
    if augment and not _has_augmentation(info):
        raise ValueError(
            f'"{info.name}" has no published augmentation. Received: '
            "augment=True. Leave it out, or `map` your own over the pipeline."
        )
