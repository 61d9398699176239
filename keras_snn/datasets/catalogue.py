"""What is known about each data set without loading it."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Facts about one data set; get one from `keras_snn.datasets.info`.

    Attributes:
        name: The name `keras_snn.datasets.load` takes.
        tfds_name: Its name in TensorFlow Datasets, or `None` if it does not
            come from there.
        input_shape: Shape `(height, width, channels)` of one image.
        classes: Number of classes.
        train_size: Published number of training images.
        test_size: Published number of test images.
        peak: The largest raw pixel value; pixels are divided by it.
        mean: Per-channel mean subtracted after the division.
        std: Per-channel divisor applied after that.
        crop_padding: Width of the black border of the training-time random
            crop, in pixels; 0 for no crop.
        flip: Whether training images are mirrored at random.
        class_names: Names of the classes in order; empty for CIFAR-100.
    """

    name: str
    tfds_name: str | None
    input_shape: tuple[int, int, int]
    classes: int
    train_size: int
    test_size: int
    peak: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    crop_padding: int = 0
    flip: bool = False
    class_names: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Published number of images by split, `{"train": .., "test": ..}`."""
        return {"train": self.train_size, "test": self.test_size}


@dataclasses.dataclass(frozen=True)
class EventDatasetInfo:
    """Facts about one set of events; get one from `keras_snn.datasets.info`.

    Attributes:
        name: The name `keras_snn.datasets.load` takes.
        sensor_size: `(height, width)` of the camera in pixels; of sounds the
            number of channels.
        classes: Number of classes.
        train_size: Published, or usual, number of training recordings.
        test_size: Published, or usual, number of test recordings.
        time_steps: Number of frames unless told otherwise.
        window: Duration of a frame in microseconds unless told otherwise;
            `None` for an equal share of each recording.
    """

    name: str
    sensor_size: tuple[int, int] | int
    classes: int
    train_size: int
    test_size: int
    time_steps: int
    window: int | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one frame: `(height, width, 2)`, of sounds `(channels,)`."""
        if isinstance(self.sensor_size, int):
            return (self.sensor_size,)
        return (*self.sensor_size, 2)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of recordings by split, `{"train": .., "test": ..}`."""
        return {"train": self.train_size, "test": self.test_size}


# The standard deviations are those of the published program, about twice
# the true ones: they keep every |value| at or below 1 (a full blue pixel:
# 1.0002), so that a signed Poisson encoder can use it as a probability.
_COLOUR: dict[str, Any] = {
    "input_shape": (32, 32, 3),
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.557, 0.549, 0.5534),
    "crop_padding": 4,
}
_DIGITS = tuple("0123456789")
_CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker"
_CLOTHES += ",Bag,Ankle boot"
_PHOTOGRAPHS = "airplane automobile bird cat deer dog frog horse ship truck"
_GREY: dict[str, Any] = {
    "input_shape": (28, 28, 1),
    "train_size": 60000,
    "test_size": 10000,
}
_CIFAR: dict[str, Any] = {
    **_COLOUR,
    "train_size": 50000,
    "test_size": 10000,
    "flip": True,
}

_CATALOGUE = {
    entry.name: entry
    for entry in (
        DatasetInfo(
            *("digits", None, (8, 8, 1), 10, 1437, 360),
            peak=16.0,
            class_names=_DIGITS,
        ),
        DatasetInfo("mnist", "mnist", classes=10, class_names=_DIGITS, **_GREY),
        DatasetInfo(
            "fashion_mnist",
            "fashion_mnist",
            classes=10,
            class_names=tuple(_CLOTHES.split(",")),
            **_GREY,
        ),
        # A mirrored house number is another number: no flip.
        DatasetInfo(
            "svhn",
            "svhn_cropped",
            classes=10,
            train_size=73257,
            test_size=26032,
            class_names=_DIGITS,
            **_COLOUR,
        ),
        DatasetInfo(
            "cifar10",
            "cifar10",
            classes=10,
            class_names=tuple(_PHOTOGRAPHS.split()),
            **_CIFAR,
        ),
        DatasetInfo("cifar100", "cifar100", classes=100, **_CIFAR),
    )
}

_EVENT_CATALOGUE = {
    entry.name: entry
    for entry in (
        # 300 ms in three saccades.
        EventDatasetInfo("nmnist", (34, 34), 10, 60000, 10000, 15, 20_000),
        EventDatasetInfo("dvs_gesture", (128, 128), 11, 1176, 288, 16),
        EventDatasetInfo("cifar10_dvs", (128, 128), 10, 9000, 1000, 10),
        # 1.4 s, the longest.
        EventDatasetInfo("shd", 700, 20, 8156, 2264, 100, 14_000),
        EventDatasetInfo("ssc", 700, 35, 75466, 20382, 100, 14_000),
    )
}

IMAGE_NAMES = tuple(_CATALOGUE)
EVENT_NAMES = tuple(_EVENT_CATALOGUE)
NAMES = IMAGE_NAMES + EVENT_NAMES


def info(name: str) -> DatasetInfo | EventDatasetInfo:
    """Facts about a data set, without loading or downloading anything.

    Args:
        name: One of `"digits"`, `"mnist"`, `"fashion_mnist"`, `"svhn"`,
            `"cifar10"`, `"cifar100"`; or, of event cameras, `"nmnist"`,
            `"dvs_gesture"`, `"cifar10_dvs"`, and of sounds `"shd"`, `"ssc"`.

    Returns:
        A frozen `DatasetInfo` or `EventDatasetInfo`.

    Raises:
        ValueError: If the name is unknown.

    Example:

    >>> keras_snn.datasets.info("cifar10").input_shape
    (32, 32, 3)
    """
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(
            f"`name` must be one of {_listed(NAMES)}. Received: {name!r}."
        )
    return _CATALOGUE.get(name) or _EVENT_CATALOGUE[name]


def image_info(name):
    """Like `info`, but refuses recordings of event cameras.

    Raises:
        ValueError: If the name is unknown or that of recordings.
    """
    found = info(name)
    if name in EVENT_NAMES:
        raise ValueError(
            f"Expected a data set of images, {_listed(IMAGE_NAMES)}. "
            f'Received: "{name}", recordings of {_source(found)}. Load them '
            f'with keras_snn.datasets.load("{name}", data_dir) or, batch by '
            "batch, with keras_snn.datasets.events.Frames, and build the "
            "network with encoder=None; examples/nmnist_events.py does."
        )
    return found


def event_info(name):
    """Like `info`, but refuses images.

    Raises:
        ValueError: If the name is unknown or that of images.
    """
    found = info(name)
    if name not in EVENT_NAMES:
        raise ValueError(
            f"Expected recordings of events, {_listed(EVENT_NAMES)}. "
            f'Received: "{name}", images. Load them with '
            f'keras_snn.datasets.load("{name}").'
        )
    return found


def _source(info):
    is_sound = isinstance(info.sensor_size, int)
    return "sounds" if is_sound else "an event camera"


def _listed(names):
    return ", ".join(f'"{name}"' for name in names)
