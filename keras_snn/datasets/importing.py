"""Raw files to a prepared TensorFlow Datasets directory, without network."""

from __future__ import annotations

import pathlib
import tempfile
import warnings

from keras_snn import optional, progress
from keras_snn.datasets import (
    cifar_binary,
    cifar_python,
    idx_files,
    svhn_mat,
    webp_grids,
)
from keras_snn.datasets.catalogue import image_info
from keras_snn.datasets.raw_files import find
from keras_snn.typing import Path

_READERS = {
    "mnist": (idx_files,),
    "fashion_mnist": (idx_files,),
    "svhn": (svhn_mat,),
    "cifar10": (cifar_python, cifar_binary, webp_grids),
    "cifar100": (cifar_python, cifar_binary),
}
_CHUNK = 1000


def import_data(
    name: str,
    source: Path,
    data_dir: Path | None = None,
    overwrite: bool = False,
) -> pathlib.Path:
    """Prepares a data set from raw files that are already on disk.

    Afterwards `keras_snn.datasets.load(name, data_dir)` and `tfds.load(...,
    data_dir=data_dir)` read it without network. Images keep the order of the
    raw files. The kind of file is found out by name:

    - MNIST, Fashion-MNIST: the four idx files, gzip-compressed or not.
    - CIFAR-10, CIFAR-100: python batches (read without running code from
      them) or binary batches.
    - CIFAR-10: also WebP grids `data_batch_1.webp` ... `test_batch.webp` of
      32x32 tiles with `train_labels.npy` and `test_labels.npy`.
    - SVHN: `train_32x32.mat` and `test_32x32.mat`. The split "extra" is not
      imported.

    Everything is read and checked before anything is written, and written
    aside before it is moved into place: a failure leaves no data set behind
    and an old one untouched.

    Args:
        name: One of `"mnist"`, `"fashion_mnist"`, `"svhn"`, `"cifar10"`,
            `"cifar100"`.
        source: Folder with the raw files.
        data_dir: Folder of prepared data sets, made if missing; `None` for
            the default folder of TensorFlow Datasets.
        overwrite: Whether to replace an already prepared data set.

    Returns:
        `pathlib.Path` of the prepared directory, such as
        `data_dir/mnist/3.0.1`.

    Raises:
        ValueError: If the name is unknown or needs no import, or a file is
            truncated, of another kind, or does not fit the others.
        FileNotFoundError: If `source` or a file in it is missing.
        FileExistsError: If the data set is already prepared in `data_dir`
            and `overwrite` is false.
        ImportError: If a package of the extra `datasets` is missing.

    Warns:
        UserWarning: If a split has not the published number of images.

    Example:

    >>> keras_snn.datasets.import_data("mnist", "downloads/mnist", "data")
    >>> keras_snn.datasets.load("mnist", data_dir="data")
    """
    info = image_info(name)
    if info.tfds_name is None:
        raise ValueError(
            f'"{name}" comes with scikit-learn and needs no import. Use '
            f'`keras_snn.datasets.load("{name}")`.'
        )
    tfds = optional.require("tensorflow_datasets", "datasets")
    target = _local_path(tfds.builder(info.tfds_name, data_dir=data_dir))
    if target.exists() and not overwrite:
        raise FileExistsError(
            f'`{target}` exists: "{name}" is already prepared. Load it with '
            f'`keras_snn.datasets.load("{name}", data_dir=...)`, or replace '
            "it with overwrite=True."
        )
    data = _read(info, pathlib.Path(source))
    _warn_about_counts(info, data)
    _write(tfds, info, data, target)
    return target


def _local_path(builder):
    return pathlib.Path(builder.data_dir)


def _read(info, folder):
    if not folder.is_dir():
        raise FileNotFoundError(
            f"`source` must be a folder with the raw files. Received: "
            f"`{folder}`, which is not a folder."
        )
    readers = _READERS[info.name]
    for reader in readers:
        if any(find(folder, pattern) for pattern in reader.patterns(info)):
            return reader.read(folder, info)
    kinds = "; or ".join(reader.DESCRIPTION for reader in readers)
    present = sorted(entry.name for entry in folder.iterdir())
    raise FileNotFoundError(
        f'No raw files of "{info.name}" in `{folder}`. Expected {kinds}. The '
        f"folder holds: {', '.join(present[:20]) or 'nothing'}. Unpack "
        "archives first and name the folder that holds the files themselves."
    )


def _warn_about_counts(info, data):
    for split, published in info.sizes.items():
        count = len(data.splits[split].images)
        if count != published:
            warnings.warn(
                f'"{info.name}", split "{split}": {count} images, where the '
                f"published set has {published}. Results will not be "
                "comparable with published ones.",
                UserWarning,
                stacklevel=3,
            )


def _write(tfds, info, data, target):
    data_dir = target.parent.parent
    data_dir.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that moving it into place is one rename.
    with tempfile.TemporaryDirectory(
        prefix=f".{info.tfds_name}-import-", dir=data_dir
    ) as workspace:
        builder = tfds.builder(info.tfds_name, data_dir=workspace)
        fresh = _local_path(builder)
        fresh.mkdir(parents=True)
        _write_examples(tfds, builder.info, data)
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            target.rename(pathlib.Path(workspace, "replaced"))
        fresh.rename(target)


def _write_examples(tfds, tfds_info, data):
    for feature, names in data.label_names.items():
        tfds_info.features[feature].names = names
    # One shard per split, as the published sets have: reading interleaves
    # shards and would lose the order.
    writer = tfds.core.SequentialWriter(tfds_info, max_examples_per_shard=10**9)
    writer.initialize_splits(list(data.splits))
    for split_name, split in data.splits.items():
        starts = range(0, len(split.images), _CHUNK)
        doing = f"Importing {split_name}"
        for start in progress.display().track(starts, doing):
            chunk = range(start, min(start + _CHUNK, len(split.images)))
            examples = [
                _example(tfds_info.features, split_name, split, index)
                for index in chunk
            ]
            writer.add_examples({split_name: examples})
    writer.close_all()


def _example(features, split_name, split, index):
    example = {
        # The PNG encoder wants contiguous memory.
        "image": split.images[index].copy(order="C"),
        "label": int(split.labels[index]),
    }
    if "id" in features:
        example["id"] = f"{split_name}_{index:05d}"
    if "coarse_label" in features:
        example["coarse_label"] = int(split.coarse_labels[index])
    return example
