"""Batch normalization in a network's one pass on means over time."""

import keras
from keras import ops


def obstacle(layer):
    """Return why a normalization cannot train on means over time, or None."""
    if getattr(layer, "renorm", False):
        return "renormalizes (renorm=True)"
    if getattr(layer, "synchronized", False):
        return "shares its statistics among replicas (synchronized=True)"
    return None


def normalize(layer, currents, mean):
    """Say how to normalize currents; normalize their mean, while training.

        y = gamma * (x - m) / sqrt(v + epsilon) + beta

    with the mean `m` and the variance `v` of a channel over samples, steps
    and places. The same of the mean over time `z`, whose mean over samples is
    `m` and whose variance is smaller, by a constant `kappa = v / var z` to
    differentiation:

        gamma * (z - m) / sqrt(kappa * var z + epsilon) + beta

    Gradients go through `m`, `var z`, `gamma` and `beta`. Moving averages
    move once.

    Args:
        layer: A `keras.layers.BatchNormalization`.
        currents: List of the frames `x` of all steps, (batch, ...), constants
            to differentiation; or of one step that stands for all.
        mean: Their mean over time `z`, (batch, ...).

    Returns:
        Tuple: a pair `(scale, shift)` of float32 tensors, constants, for
        `scale * x + shift` of each frame; and the normalized mean.
    """
    z = ops.cast(mean, "float32")
    axes, shape = _axes(layer, z)
    m, v = _moments([ops.cast(x, "float32") for x in currents], axes)
    m, v = ops.stop_gradient(m), ops.stop_gradient(v)
    _move(layer, m, v)
    mean_z, var_z = ops.moments(z, axes)
    # Where a channel is constant, so is its normalization.
    kappa = ops.stop_gradient(v / ops.maximum(var_z, keras.config.epsilon()))
    gamma, beta = layer.gamma, layer.beta
    gamma = 1.0 if gamma is None else ops.cast(gamma, "float32")
    beta = 0.0 if beta is None else ops.cast(beta, "float32")

    def affine(m, v):
        scale = gamma * ops.rsqrt(v + layer.epsilon)
        shift = beta - m * scale
        return ops.reshape(scale, shape), ops.reshape(shift, shape)

    scale, shift = affine(mean_z, kappa * var_z)
    normalized = ops.cast(z * scale + shift, layer.compute_dtype)
    return tuple(map(ops.stop_gradient, affine(m, v))), normalized


def _moments(frames, axes):
    """Return mean and variance over the axes of all frames together."""
    found = [ops.moments(x, axes) for x in frames]
    m = sum(mean for mean, _ in found) / len(found)
    v = sum(var + ops.square(mean - m) for mean, var in found) / len(found)
    return m, v


def _axes(layer, x):
    """Return the axes of the statistics, and the shape of one a channel."""
    rank = len(x.shape)
    axis = layer.axis % rank
    shape = [1] * rank
    shape[axis] = x.shape[axis]
    return [i for i in range(rank) if i != axis], shape


def _move(layer, m, v):
    """Move the layer's averages, as Keras does."""
    for average, now in ((layer.moving_mean, m), (layer.moving_variance, v)):
        now = ops.cast(now, average.dtype)
        average.assign(average * layer.momentum + now * (1.0 - layer.momentum))
