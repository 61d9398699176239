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
    """Normalize currents of all steps, and their mean, while training.

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
        currents: Frames `x` of all steps, (time * batch, ...), a constant to
            differentiation; or of one step that stands for all.
        mean: Their mean over time `z`, (batch, ...).

    Returns:
        Tuple of the two results.
    """
    axes, shape = _axes(layer, currents)
    x, z = ops.cast(currents, "float32"), ops.cast(mean, "float32")
    m, v = ops.moments(x, axes)
    m, v = ops.stop_gradient(m), ops.stop_gradient(v)
    _move(layer, m, v)
    mean_z, var_z = ops.moments(z, axes)
    # Where a channel is constant, so is its normalization.
    kappa = ops.stop_gradient(v / ops.maximum(var_z, keras.config.epsilon()))
    gamma, beta = layer.gamma, layer.beta
    gamma = 1.0 if gamma is None else ops.cast(gamma, "float32")
    beta = 0.0 if beta is None else ops.cast(beta, "float32")

    def affine(x, m, v):
        scale = gamma * ops.rsqrt(v + layer.epsilon)
        shift = beta - m * scale
        scale, shift = ops.reshape(scale, shape), ops.reshape(shift, shape)
        return ops.cast(x * scale + shift, layer.compute_dtype)

    normalized = ops.stop_gradient(affine(x, m, v))
    return normalized, affine(z, mean_z, kappa * var_z)


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
