"""What every reader of raw files returns, and the checks they share."""

import dataclasses

import numpy as np

from keras_snn import untrusted

# Of CIFAR-100.
SUPERCLASSES = 20


@dataclasses.dataclass(frozen=True)
class RawSplit:
    """One split as read from raw files.

    Attributes:
        images: uint8 `(N, height, width, channels)`.
        labels: Integers `(N,)`, 0..classes - 1.
        coarse_labels: Superclass numbers `(N,)` of CIFAR-100, else `None`.
    """

    images: np.ndarray
    labels: np.ndarray
    coarse_labels: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class RawData:
    """A data set as read from raw files.

    Attributes:
        splits: `RawSplit` by split name.
        label_names: Class names by feature (`"label"`, `"coarse_label"`);
            features without names in the raw files are left out.
    """

    splits: dict[str, RawSplit]
    label_names: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def locate(folder, pattern):
    """The first file in `folder` that matches a glob pattern.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = find(folder, pattern)
    if path is None:
        present = sorted(entry.name for entry in folder.iterdir())
        raise FileNotFoundError(
            f"Expected a file `{pattern}` in `{folder}`. The folder holds: "
            f"{', '.join(present[:20]) or 'nothing'}."
        )
    return path


def find(folder, pattern):
    """Like `locate`, but `None` if there is no such file."""
    matches = (path for path in folder.glob(pattern) if path.is_file())
    return min(matches, default=None)


def read_names(folder, **files):
    """Class names, one a line, by feature, from those files that exist."""
    names = {}
    for feature, name in files.items():
        path = folder / name
        if path.is_file():
            lines = untrusted.read_lines(path)
            names[feature] = [line for line in lines if line]
    return names


def check_split(split, info, source):
    """Refuses a split whose parts do not fit each other or the data set.

    Args:
        split: The `RawSplit`.
        info: The `DatasetInfo` of the data set it should belong to.
        source: The file or files it came from, for the message.

    Returns:
        `split`.

    Raises:
        ValueError: If a shape, a count or a label does not fit.
    """
    shape, count = split.images.shape[1:], len(split.images)
    if shape != info.input_shape:
        raise ValueError(
            f'{source}: expected images of shape {info.input_shape} for "'
            f'{info.name}". Received: {shape}. Is it another data set?'
        )
    if count == 0 or len(split.labels) != count:
        raise ValueError(
            f"{source}: expected as many labels as images, at least one. "
            f"Received: {count} images and {len(split.labels)} labels. "
            "Fetch the files again."
        )
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= info.classes:
        raise ValueError(
            f'{source}: expected labels 0..{info.classes - 1} for "'
            f'{info.name}". Received: labels {low}..{high}. Is it another '
            "data set?"
        )
    coarse = split.coarse_labels
    if coarse is not None and not _are_coarse_labels(coarse, count):
        raise ValueError(
            f"{source}: expected a superclass 0..{SUPERCLASSES - 1} of each of "
            f"{count} images. Received: shape {coarse.shape}, "
            f"{coarse.min(initial=0)}..{coarse.max(initial=0)}. Fetch the "
            "files again."
        )
    return split


def _are_coarse_labels(labels, count):
    fits = labels.shape == (count,)
    return fits and 0 <= labels.min() and labels.max() < SUPERCLASSES
