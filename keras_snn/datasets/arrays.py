"""Whole data sets as NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_snn import optional
from keras_snn.datasets.catalogue import EventDatasetInfo
from keras_snn.datasets.catalogue import info as info_of
from keras_snn.datasets.digits import digits_arrays
from keras_snn.datasets.events.arrays import load_frames
from keras_snn.datasets.prepared import prepared_builder
from keras_snn.datasets.scaling import one_hot, scale
from keras_snn.typing import Path


def load(
    name: str,
    data_dir: Path | None = None,
    *,
    download: bool = True,
    **event_options: Any,
) -> Any:
    """Loads a data set as NumPy arrays, scaled as in the published work.

    Grey sets (`"digits"`, `"mnist"`, `"fashion_mnist"`) are scaled to 0..1.
    Colour sets (`"svhn"`, `"cifar10"`, `"cifar100"`) are divided by 255 and
    then normalised per channel, `(x - mean) / std`, with mean (0.4914,
    0.4822, 0.4465) and std (0.557, 0.549, 0.5534): about -0.9..1 (a full blue
    pixel is 1.0002), so that a signed Poisson encoder can use |x| as a spike
    probability.

    `"digits"` is part of scikit-learn; the others are read by TensorFlow
    Datasets and are kept in memory as a whole: 0.7 GB for CIFAR. No
    augmentation; for that see `keras_snn.datasets.load_tf`.

    Event cameras (`"nmnist"`, `"dvs_gesture"`, `"cifar10_dvs"`): the
    published files in `data_dir` are read as they lie, see
    `keras_snn.datasets.events.recordings`, and each recording becomes T
    frames that count its events, pixel by pixel and polarity by polarity,
    see `keras_snn.datasets.events.to_frames`. N-MNIST is cut into 15 windows
    of 20 ms, the others into 16 and 10 equal parts, unless told otherwise.
    All frames are kept in memory: 8.3 GB for the whole N-MNIST, a quarter
    with `dtype="uint8"`; `keras_snn.datasets.events.Frames` keeps a batch.

    Sounds (`"shd"`, `"ssc"`): 700 channels of a cochlea, as 100 frames of
    14 ms unless told otherwise. Whole sets take 2.3 and 21 GB as float32.

    Args:
        name: One of `"digits"`, `"mnist"`, `"fashion_mnist"`, `"svhn"`,
            `"cifar10"`, `"cifar100"`, `"nmnist"`, `"dvs_gesture"`,
            `"cifar10_dvs"`, `"shd"`, `"ssc"`.
        data_dir: Folder of prepared data sets; `None` for the default folder
            of TensorFlow Datasets. See `keras_snn.datasets.import_data` for
            preparing one from raw files, without network. For event cameras
            the folder of the published files.
        download: Whether a data set that is not in `data_dir` may be
            downloaded into it. Those of event cameras never are.
        **event_options: For event cameras: `time_steps`, `window`
            (microseconds), `events_per_frame`, `representation` (`"count"`
            or `"binary"`), `polarity_channels` (2 or 1), `dtype`
            (`"float32"` or `"uint8"`) and `sort`.

    Returns:
        `((x_train, y_train), (x_test, y_test))`: float32 images `(N, height,
        width, channels)`, or frames `(N, T, height, width, polarity)`, of
        sounds `(N, T, channels)`, and float32 one-hot labels `(N, classes)`.

    Raises:
        ValueError: If the name is unknown, an option does not fit, or a
            recording is damaged.
        FileNotFoundError: If the data set is neither prepared nor can be
            downloaded.
        ImportError: If a package of the extra `datasets` is missing.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = keras_snn.datasets.load("digits")
    >>> x_train.shape, y_train.shape
    ((1437, 8, 8, 1), (1437, 10))
    >>> (x_train, y_train), (x_test, y_test) = keras_snn.datasets.load(
    ...     "nmnist", "data/nmnist", time_steps=15, window=20_000)
    >>> x_train.shape[1:]
    (15, 34, 34, 2)

    References:
        Lee et al., "Enabling spike-based backpropagation for training deep
        neural network architectures", Frontiers in Neuroscience 14:119, 2020.
    """
    info = info_of(name)
    if isinstance(info, EventDatasetInfo):
        return load_frames(info, data_dir, **event_options)
    if event_options:
        raise ValueError(
            f"{', '.join(sorted(event_options))}: for recordings of events "
            f'only. Received: "{name}", which holds images.'
        )
    return tuple(
        (scale(pixels.astype("float32"), info), one_hot(labels, info.classes))
        for pixels, labels in (
            raw_arrays(info, split, data_dir, download)
            for split in ("train", "test")
        )
    )


def raw_arrays(info, split, data_dir=None, download=True):
    """Unscaled pixels and class numbers of one split.

    Args:
        info: The `DatasetInfo` of the data set.
        split: `"train"` or `"test"`.
        data_dir: See `load`.
        download: See `load`.

    Returns:
        `(pixels, labels)`: uint8 `(N, height, width, channels)` with values
        0..`info.peak`, and int64 `(N,)`.
    """
    if info.tfds_name is None:
        pixels, labels = digits_arrays()[split]
    else:
        builder = prepared_builder(info, data_dir, download)
        tfds = optional.require("tensorflow_datasets", "datasets")
        # One batch of everything: decoded in parallel by tf.data.
        pixels, labels = tfds.as_numpy(
            builder.as_dataset(split=split, batch_size=-1, as_supervised=True)
        )
    return pixels.astype("uint8", copy=False), np.asarray(labels, "int64")
