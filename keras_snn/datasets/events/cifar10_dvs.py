"""CIFAR10-DVS: images of CIFAR-10 moved in front of a camera."""

import re

from keras_snn.datasets.events.aedat import read_aedat2

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
TRAIN_PER_CLASS = 900


def find(roots, split):
    """Finds the recordings of a split.

    The set has no published split. Usual, and done here, is to train on
    numbers 0..899 of each class, by the number in the file's name, and to
    test on 900..999.

    Args:
        roots: Folders with `airplane/cifar10_airplane_0.aedat` and so on;
            the first that has any is taken.
        split: `"train"` or `"test"`.

    Returns:
        List of `(path, class number)`, by class and number.

    Raises:
        FileNotFoundError: If there are none.
    """
    for root in roots:
        numbered = [
            (label, number, path)
            for label, name in enumerate(CLASSES)
            for number, path in _numbered(root / name)
        ]
        found = [
            (path, label)
            for label, number, path in sorted(numbered)
            if (number < TRAIN_PER_CLASS) == (split == "train")
        ]
        if found:
            return found
    looked = ", ".join(f"`{root}`" for root in roots)
    raise FileNotFoundError(
        f'No recordings of "cifar10_dvs", split "{split}", in {looked}. '
        "Expected CLASS/cifar10_CLASS_NUMBER.aedat, numbers 0..899 to train "
        "on and 900..999 to test on. Unpack the ten archives and name the "
        "folder that holds the ten folders as `data_dir`."
    )


def _numbered(folder):
    for path in folder.glob("*.aedat"):
        number = re.search(r"(\d+)$", path.stem)
        if number is None:
            raise ValueError(
                f"`{path}`: expected a name that ends in a number, such as "
                f"cifar10_{folder.name}_0.aedat, by which the split is made."
            )
        yield int(number[1]), path


def read_entry(entry, sort):
    """Events of one entry of `find`."""
    return read_aedat2(entry[0], sort)
