"""Raw pixels and class numbers to what a network takes."""

import numpy as np


def scale(pixels, info):
    """Scales raw pixels as the published experiments did.

    `(pixels / peak - mean) / std`, channel by channel: 0..1 for the grey
    sets, about -0.9..1 for the colour sets.

    Args:
        pixels: Float32 NumPy array or tensor `(batch, height, width,
            channels)` of raw values 0..`info.peak`.
        info: The `DatasetInfo` of the data set.

    Returns:
        Scaled images of the same type and shape.

    References:
        Lee et al., "Enabling spike-based backpropagation for training deep
        neural network architectures", Frontiers in Neuroscience 14:119, 2020.
    """
    # Augmented assignment works in place on arrays, where a 50,000-image
    # set would otherwise be held three times, and rebinds for tensors.
    images = pixels / np.float32(info.peak)
    images -= np.asarray(info.mean, "float32")
    images /= np.asarray(info.std, "float32")
    return images


def one_hot(labels, classes):
    """Class numbers `(batch,)` as float32 one-hot rows `(batch, classes)`."""
    return np.eye(classes, dtype="float32")[labels]
