"""Prepared TensorFlow Datasets directories."""

import contextlib
import os
import socket
import urllib.request

from keras_snn import optional

# Some that data sets come from.
HOSTS = ("storage.googleapis.com", "www.cs.toronto.edu")


def prepared_builder(info, data_dir=None, download=True):
    """The TensorFlow Datasets builder of a data set that is on disk.

    Args:
        info: The `DatasetInfo` of the data set.
        data_dir: Folder of prepared data sets; `None` for the default folder
            of TensorFlow Datasets (`TFDS_DATA_DIR`, `~/tensorflow_datasets`).
        download: Whether a data set that is not there may be downloaded.

    Returns:
        A `tfds.core.DatasetBuilder` whose `is_prepared()` is true.

    Raises:
        FileNotFoundError: If it is not there and was not, or could not be,
            downloaded.
        ImportError: If TensorFlow Datasets is not installed.
    """
    tfds = optional.require("tensorflow_datasets", "datasets")
    builder = tfds.builder(info.tfds_name, data_dir=data_dir)
    if builder.is_prepared():
        return builder
    if not download:
        raise FileNotFoundError(_advice(info, builder, "`download` is False"))
    if data_dir is not None and not os.path.isdir(os.path.expanduser(data_dir)):
        # Perhaps mistyped. It is not made, and nothing fetched into it.
        reason = "there is no such folder; make it to download into it"
        raise FileNotFoundError(_advice(info, builder, reason))
    if _is_offline():
        reason = "there is no network to download it from"
        raise FileNotFoundError(_advice(info, builder, reason))
    try:
        builder.download_and_prepare()
    # The downloader lets many unrelated types through: `requests` errors,
    # checksum mismatches, missing optional modules, full disks.
    except Exception as error:
        reason = f"downloading it failed: {type(error).__name__}: {error}"
        raise FileNotFoundError(_advice(info, builder, reason)) from error
    return builder


def _is_offline():
    """Return whether no host has an address, where downloads try for minutes.

    Behind a proxy that may be so, and they work.
    """
    if urllib.request.getproxies():
        return False
    for host in HOSTS:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(host, 443)
            return False
    return True


def _advice(info, builder, reason):
    version_dir = builder.data_path
    data_dir = version_dir.parent.parent
    return (
        f'The data set "{info.name}" is not prepared: looked for '
        f"`{version_dir}` in data_dir `{data_dir}`, and {reason}. If you have "
        "the published raw files in a folder, run "
        f"`keras-snn import-data {info.name} FOLDER --data-dir {data_dir}`."
    )
