"""The binary batches of CIFAR-10 and CIFAR-100."""

import numpy as np

from keras_snn.datasets.raw_files import (
    RawData,
    RawSplit,
    check_split,
    locate,
    read_names,
)

DESCRIPTION = "CIFAR binary batches (data_batch_1.bin or train.bin, ...)"
IMAGE_BYTES = 3 * 32 * 32


def batch_names(info):
    """Published batch names by split, without file ending."""
    if info.name == "cifar100":
        return {"train": ["train"], "test": ["test"]}
    return {
        "train": [f"data_batch_{i}" for i in range(1, 6)],
        "test": ["test_batch"],
    }


def patterns(info):
    """Names of the files this reader takes."""
    return [
        f"{name}.bin" for split in batch_names(info).values() for name in split
    ]


def read(folder, info):
    """Reads the binary batches in `folder` into `RawData`."""
    if info.name == "cifar100":
        names = read_names(
            folder,
            label="fine_label_names.txt",
            coarse_label="coarse_label_names.txt",
        )
    else:
        names = read_names(folder, label="batches.meta.txt")
    splits = {
        split: join_batches(
            _read_batch(locate(folder, f"{name}.bin"), info) for name in batches
        )
        for split, batches in batch_names(info).items()
    }
    return RawData(splits, names)


def planes_to_images(planes):
    """Rows of red, green and blue planes `(N, 3072)` as `(N, 32, 32, 3)`."""
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def join_batches(batches):
    """Several `RawSplit` one after the other as one."""
    batches = list(batches)
    coarse = [batch.coarse_labels for batch in batches]
    return RawSplit(
        np.concatenate([batch.images for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
        None if coarse[0] is None else np.concatenate(coarse),
    )


def _read_batch(path, info):
    # CIFAR-100 has the superclass in front of the class.
    label_bytes = 2 if info.name == "cifar100" else 1
    record = label_bytes + IMAGE_BYTES
    content = np.fromfile(path, "uint8")
    if content.size == 0 or content.size % record:
        raise ValueError(
            f"`{path}`: expected a whole number of {record}-byte records. "
            f"Received: {content.size} bytes. The file is truncated or of "
            "another kind; fetch it again."
        )
    records = content.reshape(-1, record)
    split = RawSplit(
        planes_to_images(records[:, label_bytes:]),
        records[:, label_bytes - 1],
        records[:, 0] if label_bytes == 2 else None,
    )
    return check_split(split, info, f"`{path}`")
