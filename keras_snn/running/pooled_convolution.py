"""A convolution and the average pooling behind it as one convolution.

    y(i) = 1/p sum_{a < p} sum_{m < k} w(m) x(p i + a + m)
         = sum_{n < k + p - 1} w'(n) x(p i + n),   w'(n) = 1/p sum_a w(n - a)

Along each axis it takes `(k + p - 1) / (p k)` of the products, for 3x3 and 2x2
under half of all, and what is pooled is never written to memory.
"""

import math

import keras
from keras import ops

from keras_snn.layers import StandardizedConv2D
from keras_snn.network import kinds

L = keras.layers
_POOLINGS = {
    L.Conv1D: L.AveragePooling1D,
    L.Conv2D: L.AveragePooling2D,
    StandardizedConv2D: L.AveragePooling2D,
    L.Conv3D: L.AveragePooling3D,
}


def fit(convolution, pooling, shape):
    """Return whether two layers are one convolution.

    Args:
        convolution: A layer.
        pooling: The layer that reads what it gives.
        shape: Shape of its input, batch first.
    """
    if type(pooling) is not _POOLINGS.get(type(convolution), ()):
        return False
    size = tuple(pooling.pool_size)
    channels = convolution.data_format
    outputs = convolution.compute_output_shape(shape)
    places = outputs[1:-1] if channels == "channels_last" else outputs[2:]
    return (
        kinds.is_linear(convolution)
        and {*convolution.strides, *convolution.dilation_rate} == {1}
        and convolution.padding in ("same", "valid")
        and tuple(pooling.strides) == size
        and pooling.data_format == channels
        and all(n and n % p == 0 for n, p in zip(places, size))
    )


def layer(convolution, pooling):
    """Return the function of one frame that two layers which `fit` are."""
    size, dtype = tuple(pooling.pool_size), convolution.compute_dtype
    kernel = ops.cast(kernel_of(convolution, pooling), dtype)

    def call(x):
        y = ops.conv(
            ops.cast(x, dtype),
            kernel,
            size,
            convolution.padding,
            convolution.data_format,
        )
        if not convolution.use_bias:
            return y
        shape = [1] * len(y.shape)
        shape[-1 if convolution.data_format == "channels_last" else 1] = -1
        bias = ops.cast(convolution.bias, dtype)
        return y + ops.reshape(bias, shape)

    return call


def kernel_of(convolution, pooling):
    """Return the kernel `w'`, float32."""
    size = tuple(pooling.pool_size)
    kernel = ops.cast(convolution.kernel, "float32")
    for axis, p in enumerate(size):
        kernel = _spread(kernel, axis, p)
    return kernel / math.prod(size)


def _spread(kernel, axis, p):
    """Return the sum of a kernel shifted by 0 to `p - 1` along an axis."""

    def shifted(by):
        width = [(0, 0)] * len(kernel.shape)
        width[axis] = by, p - 1 - by
        return ops.pad(kernel, width)

    return sum(map(shifted, range(p)))
