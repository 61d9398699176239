"""CIFAR-10 as lossless WebP grids of tiles with .npy labels."""

import numpy as np

from keras_snn import optional, untrusted
from keras_snn.datasets.cifar_binary import batch_names
from keras_snn.datasets.raw_files import (
    RawData,
    RawSplit,
    check_split,
    locate,
    read_names,
)

DESCRIPTION = "WebP grids (data_batch_1.webp, train_labels.npy, ...)"


def patterns(info):
    """Names of the files this reader takes."""
    grids = [
        f"{name}.webp" for split in batch_names(info).values() for name in split
    ]
    return grids + ["train_labels.npy", "test_labels.npy"]


def read(folder, info):
    """Reads the WebP grids in `folder` into `RawData`."""
    splits = {
        split: _read_split(folder, split, batches, info)
        for split, batches in batch_names(info).items()
    }
    return RawData(splits, read_names(folder, label="batches.meta.txt"))


def _read_split(folder, split, batches, info):
    paths = [locate(folder, f"{name}.webp") for name in batches]
    labels_path = locate(folder, f"{split}_labels.npy")
    images = np.concatenate([read_grid(path, info) for path in paths])
    raw = RawSplit(images, _read_labels(labels_path))
    grids = ", ".join(path.name for path in paths)
    return check_split(raw, info, f"`{labels_path}`, {grids}")


def read_grid(path, info):
    """The tiles of one grid image, row by row.

    Args:
        path: A lossless WebP file.
        info: The `DatasetInfo`; a tile has its `input_shape`.

    Returns:
        uint8 `(N, height, width, 3)`.

    Raises:
        ValueError: If it is not an image or not a whole number of tiles.
    """
    image_module = optional.require("PIL.Image", "datasets")
    with untrusted.reading(path, "a complete WebP image"):
        most = untrusted.limit(path.stat().st_size)
        with image_module.open(path, formats=["WEBP"]) as image:
            if 3 * image.width * image.height > most:
                raise ValueError(f"an image of {image.size} in so few bytes")
            grid = np.asarray(image.convert("RGB"))
    height, width, channels = info.input_shape
    if grid.shape[0] % height or grid.shape[1] % width:
        raise ValueError(
            f"`{path}`: expected a grid of {height}x{width} tiles. Received: "
            f"an image of {grid.shape[0]}x{grid.shape[1]} pixels."
        )
    rows, columns = grid.shape[0] // height, grid.shape[1] // width
    tiles = grid.reshape(rows, height, columns, width, channels)
    return tiles.swapaxes(1, 2).reshape(-1, height, width, channels)


def _read_labels(path):
    with untrusted.reading(path, "a complete .npy file of integers"):
        labels = untrusted.array(path.read_bytes())
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`{path}`: expected integers of shape (N,). Received: "
            f"{labels.dtype} of shape {labels.shape}."
        )
    return labels
