"""Checks of tensors and arrays."""

import keras
import numpy as np


def dense(what, x):
    """Raise a `ValueError` if `x` is ragged.

    Args:
        what: What `x` goes into, for the message.
        x: What was given.
    """
    if hasattr(x, "row_lengths") or getattr(x, "ragged", False):
        raise ValueError(
            f"{what} expects samples of equal length. Received: a ragged "
            "tensor. Pad it, e.g. with x.to_tensor(-1.0), and mask the padding "
            "with keras.layers.Masking(-1.0)."
        )


def floating(layer, x):
    """Raise a `ValueError` unless `x` is a dense floating point tensor.

    Args:
        layer: The layer that `x` goes into, for the message.
        x: What was given.
    """
    dense(f"{type(layer).__name__} '{layer.name}'", x)
    if not hasattr(x, "dtype"):
        raise ValueError(
            f"{type(layer).__name__} '{layer.name}' expects one tensor. "
            f"Received: {type(x).__name__}. Merge several inputs first, e.g. "
            "with keras.layers.Add()."
        )
    dtype = keras.backend.standardize_dtype(x.dtype)
    if "float" not in dtype:
        raise ValueError(
            f"{type(layer).__name__} '{layer.name}' expects floating point "
            f"input. Received: dtype {dtype}. Cast it first, e.g. "
            'keras.ops.cast(x, "float32"), and scale pixels to [0, 1].'
        )


def tensor(name, x):
    """Raise a `ValueError` unless `x` is a tensor or an array of floats."""
    dtype = getattr(x, "dtype", None)
    if dtype is None or "float" not in keras.backend.standardize_dtype(dtype):
        raise ValueError(
            f"`{name}` must be a floating point tensor. Received: "
            f"{type(x).__name__}{'' if dtype is None else f' of {dtype}'}. "
            'Make one with keras.ops.convert_to_tensor(x, "float32").'
        )


def samples(x, of):
    """Return `x` as one NumPy array of samples, or a structure of them.

    Args:
        x: What was given.
        of: Whose argument `x` is, for the message.
    """
    several = isinstance(x, (list, tuple, dict))
    leaves = keras.tree.flatten(x) if several else [x]
    shapes = [getattr(leaf, "shape", None) for leaf in leaves]
    counts = {shape[0] if shape else None for shape in shapes}
    if len(counts) != 1 or not all(counts):
        got = [
            type(leaf).__name__ if shape is None else f"shape {tuple(shape)}"
            for leaf, shape in zip(leaves[:3], shapes)
        ]
        raise ValueError(
            f"`x` of {of} must be a NumPy array of samples, batch "
            "axis first, e.g. x_test[:64] (of a tf.data.Dataset of (x, y): "
            "next(iter(dataset))[0].numpy()). Received: "
            f"{type(x).__name__} ({', '.join(got) or 'empty'})."
        )
    return keras.tree.map_structure(np.asarray, x) if several else np.asarray(x)
