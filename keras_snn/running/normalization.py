"""Batch normalization in a network's one pass on means over time."""

import functools
import operator

import keras
from keras import ops

from keras_snn.neurons import means
from keras_snn.running.compilation import fused


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
    axes, shape = _axes(layer, mean)
    z, m, v, var_z = map(ops.stop_gradient, _statistics(currents, axes))
    move(layer, *(ops.squeeze(x, axes) for x in (m, v)))
    gamma, beta = scale_and_shift(layer, shape)
    # Where a channel is constant, so is its normalization.
    kappa = v / ops.maximum(var_z, keras.config.epsilon())
    inverse = ops.rsqrt(kappa * var_z + layer.epsilon)
    z = means.known(ops.cast(mean, "float32"), z)
    normalized = _normalized(z, gamma, beta, m, inverse, kappa)
    affine = affine_of(gamma, beta, m, v, layer.epsilon)
    return affine, ops.cast(normalized, layer.compute_dtype)


def affine_of(gamma, beta, m, v, epsilon):
    """Return the pair `(scale, shift)` of `normalize`."""
    scale = ops.stop_gradient(gamma) * ops.rsqrt(v + epsilon)
    return scale, ops.stop_gradient(beta) - m * scale


def scale_and_shift(layer, shape):
    """Return `gamma` and `beta` of a layer, in a shape, float32."""
    channels = layer.moving_mean.shape
    return [
        ops.reshape(
            ops.full(channels, value, "float32")
            if weight is None
            else ops.cast(weight, "float32"),
            shape,
        )
        for weight, value in ((layer.gamma, 1.0), (layer.beta, 0.0))
    ]


@ops.custom_gradient
def _normalized(z, gamma, beta, m, inverse, kappa):
    """Return `gamma * (z - m) * inverse + beta`, as `normalize` derives it."""

    def grad(*args, upstream=None):
        (upstream,) = args or (upstream,)
        axes = [i for i, n in enumerate(gamma.shape) if n == 1]
        credit, along = _credits(upstream, z, m, axes)
        count = _count(z, axes)
        of_mean = -credit / count
        of_spread = -kappa * ops.square(inverse) * along / count
        apply = _affine(tuple(z.shape))
        of_z = apply(upstream, z, m, gamma * inverse, of_mean, of_spread)
        zeros = map(ops.zeros_like, (m, inverse, kappa))
        return of_z, along * inverse, credit, *zeros

    return gamma * inverse * (z - m) + beta, grad


@functools.cache
def _affine(shape):
    """Return the function that `_normalized` credits its input by."""
    return fused(
        lambda upstream, z, m, scale, shift, slope: (
            scale * (upstream + shift + slope * (z - m))
        )
    )


def _credits(upstream, z, m, axes):
    """Return the sums of `upstream` and of `upstream * (z - m)`."""
    sums = _sums_of_credit(tuple(axes[1:]), tuple(z.shape))
    return [ops.sum(x, 0, keepdims=True) for x in sums(upstream, z, m)]


@functools.cache
def _sums_of_credit(within, shape):
    def sums(upstream, z, m):
        each = upstream, upstream * (z - m)
        return [ops.sum(x, within, keepdims=True) for x in each]

    return fused(sums)


def _statistics(frames, axes):
    """Return `z`, `m`, `v` and `var z` of `normalize`."""
    sums = _sums_of_samples(tuple(axes), tuple(frames[0].shape))
    z, pivot, *found = sums(frames)
    count = _count(z, axes)
    mean, square, square_z = (
        ops.sum(x, 0, keepdims=True) / count for x in found
    )
    variances = (
        ops.maximum(x - ops.square(mean), 0.0) for x in (square, square_z)
    )
    return z, pivot + mean, *variances


@functools.cache
def _sums_of_samples(axes, shape):
    """Return what `_statistics` reads all frames for.

    From each value the mean of the first sample is taken, so that squares of
    what is left have the size of the variance.
    """

    def sums(frames):
        frames = [ops.cast(x, "float32") for x in frames]
        pivot = ops.mean(frames[0][:1], axes, keepdims=True)
        frames = [x - pivot for x in frames]
        z = sum(frames) / len(frames)
        each = z, sum(map(ops.square, frames)) / len(frames), ops.square(z)
        sums = [ops.sum(x, axes[1:], keepdims=True) for x in each]
        return z + pivot, pivot, *sums

    return fused(sums)


def _count(x, axes):
    """Return the number of values along some axes, float32."""
    sizes = ops.shape(x)
    return ops.cast(
        functools.reduce(operator.mul, (sizes[i] for i in axes)), "float32"
    )


def _axes(layer, x):
    """Return the axes of the statistics, and the shape of one a channel."""
    rank = len(x.shape)
    axis = layer.axis % rank
    shape = [1] * rank
    shape[axis] = x.shape[axis]
    return [i for i in range(rank) if i != axis], shape


def move(layer, m, v):
    """Move the layer's averages, as Keras does."""
    for average, now in ((layer.moving_mean, m), (layer.moving_variance, v)):
        now = ops.cast(now, average.dtype)
        average.assign(average * layer.momentum + now * (1.0 - layer.momentum))
