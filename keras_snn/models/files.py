"""Reading `.keras` and `.weights.h5` files, whole or not at all."""

from __future__ import annotations

import json
import os
import pathlib
import zipfile

import keras

from keras_snn import untrusted
from keras_snn.models import pretrained
from keras_snn.typing import Path

PARTS = ("config.json", "metadata.json", "model.weights.h5")


def load_model(path: Path) -> keras.Model:
    """Return the model of a `.keras` file, or say what is wrong with it.

    `keras.models.load_model` reads the same files, but of one that is cut off,
    damaged or of another kind it says little, or builds what it can. No code
    of the file is run: Keras' `safe_mode` is on.

    Args:
        path: Path of the file.

    Returns:
        The model, as it was saved.

    Raises:
        ValueError: If it is cut off, damaged or another kind of file, or if
            its model has classes that are not known here.
        FileNotFoundError: If there is no such file.

    Example:

    >>> model = keras_snn.models.load_model("saved_models/lenet_mnist.keras")
    """
    return read_model(pathlib.Path(path))


def read_model(path, compile=True):
    """Do what `load_model` does, with or without the optimizer and loss."""
    if path.suffix != ".keras":
        raise ValueError(
            f"A model is read from a `.keras` file. Received: '{path}'. Save "
            "it as one: Keras' older files may run code when they are read."
        )
    check_file(path)
    try:
        return keras.models.load_model(path, compile=compile, safe_mode=True)
    except Exception as error:
        raise ValueError(
            f"'{path}' holds no model that can be built here: "
            f"{untrusted.summary(_first_cause(error))}. Layers and surrogates "
            "of your own have to be imported before, and registered with "
            "keras.saving.register_keras_serializable."
        ) from error


def load_weights(model, path):
    """Load the weights of a `.keras` or `.weights.h5` file into `model`.

    Args:
        model: The model; what it holds after an error is undefined.
        path: Path of the file.

    Raises:
        ValueError: If the file is cut off, damaged or another kind of file,
            or has the weights of another network.
    """
    path = pathlib.Path(path)
    check_file(path)
    try:
        model.load_weights(path)
    except Exception as error:
        raise ValueError(
            f"'{path}' does not hold the weights of this '{model.name}': "
            f"{untrusted.summary(error)}. Build it with the arguments that the "
            "saved one was built with (e.g. `width`, `classes`, "
            "`input_shape`)."
        ) from error


def load_weights_of_argument(model, weights, names, include_top=True):
    """Load what the argument `weights` of a builder says.

    Args:
        model: The model.
        weights: Path of a file.
        names: Names of weights that would have been known.
        include_top: Whether the model has all layers of its builder.
    """
    is_path = isinstance(weights, (str, os.PathLike))
    if not is_path or not os.path.exists(weights):
        known = "".join(f', or "{name}"' for name in names)
        raise ValueError(
            "`weights` must be None or the path of a `.weights.h5`, `.keras` "
            f"or `.npz` file of this architecture{known}. Not found: {weights}."
        )
    if pathlib.Path(weights).suffix == ".npz":
        pretrained.load_file(model, weights, include_top)
    else:
        load_weights(model, weights)


def check_file(path):
    """Raise a `ValueError` unless a file is whole and of its kind."""
    check = _check_archive if path.suffix == ".keras" else _check_hdf5
    reason = check(path)
    if reason is not None:
        raise ValueError(
            f"'{path}' cannot be read: {reason}. Expected a `.keras` file, "
            f"which is a zip archive of {', '.join(PARTS)}, or a `.weights.h5` "
            f"file, which is HDF5. Received: {path.stat().st_size} bytes that "
            f"start with {_first_bytes(path)!r}. Was it copied in full?"
        )


def _check_archive(path):
    """Return what is wrong with a `.keras` file, or None."""
    if not zipfile.is_zipfile(path):
        return "it is no zip archive, or the end of it is missing"
    try:
        with zipfile.ZipFile(path) as archive:
            return _check_parts(archive, path.stat().st_size)
    except Exception as error:
        return f"it is damaged ({untrusted.summary(error)})"


def _check_parts(archive, size):
    missing = [name for name in PARTS if name not in archive.namelist()]
    if missing:
        return f"it is a zip archive without {', '.join(missing)}"
    untrusted.check_archive(archive, size)
    damaged = archive.testzip()
    if damaged is not None:
        return f"its {damaged} is damaged"
    try:
        json.loads(archive.read("config.json"))
    except (ValueError, RecursionError) as error:
        return f"its config.json is no JSON ({untrusted.summary(error)})"
    with archive.open("model.weights.h5") as weights:
        return _check_hdf5(weights, archive.getinfo(PARTS[2]).file_size)


def _check_hdf5(file, size=None):
    """Return what is wrong with an HDF5 file, or None."""
    import h5py

    size = file.stat().st_size if size is None else size
    try:
        with h5py.File(file, "r") as opened:
            untrusted.check_hdf5(opened, size)
            return None
    # What is damaged can fail anywhere in the library.
    except Exception as error:
        summary = untrusted.summary(error)
        return f"its weights are no whole HDF5 file ({summary})"


def _first_cause(error):
    """Return what went wrong innermost: Keras wraps it, with whole configs."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return error


def _first_bytes(path):
    with open(path, "rb") as file:
        return file.read(8)
