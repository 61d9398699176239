"""Kernels in NIR's axes, and padding that NIR can say."""

import numpy as np


def to_channels_first(kernel):
    """Return a Keras kernel (..., in, out) as (out, in, ...)."""
    axes = (kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))
    return np.ascontiguousarray(np.transpose(kernel, axes))


def to_channels_last(weight):
    """Return a NIR weight (out, in, ...) as a Keras kernel."""
    axes = (*range(2, weight.ndim), 1, 0)
    return np.ascontiguousarray(np.transpose(weight, axes))


def ungrouped(weight, groups):
    """Return the weight (out, in, ...) of a convolution in groups without."""
    (outputs, inputs), rest = weight.shape[:2], weight.shape[2:]
    whole = np.zeros((groups, outputs // groups, groups, inputs, *rest))
    parts = weight.reshape(groups, -1, inputs, *rest)
    for n, part in enumerate(parts):
        whole[n, :, n] = part
    return whole.reshape(outputs, groups * inputs, *rest).astype(weight.dtype)


def order_of(image):
    """Return where in a flat image of channels last NIR's order is.

    Args:
        image: Shape `(..., channels)`.

    Returns:
        Integer array: entry i is the position, in Keras' flat vector, of
        what NIR's flat (channels, ...) vector has at i.
    """
    numbers = np.arange(np.prod(image)).reshape(image)
    return np.moveaxis(numbers, -1, 0).reshape(-1)


def values_to_channels_last(values, image=None):
    """Return one value a neuron, (channels, ...), in Keras' order.

    Args:
        values: Array of a frame's shape in NIR.
        image: For neurons behind a flatten, the image's shape.
    """
    values = np.moveaxis(values, 0, -1)
    if image and values.ndim == 1:
        values = values[np.argsort(order_of(image))]
    return values


def same_padding(size, kernel, stride, dilation):
    """Return `(before, after)` of Keras' "same" along one axis."""
    outputs = -(-size // stride)
    reach = (kernel - 1) * dilation + 1
    total = max((outputs - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def symmetric(weight, padding, dilation):
    """Return `(weight, padding)` of the same convolution, padded evenly.

    NIR pads both ends of an axis by the same number, and its type inference
    takes kernels for square. Zeros around the kernel, and as much more
    padding, change neither the result nor its shape.

    Args:
        weight: Array (out, in, height, width).
        padding: Pair of pairs `(before, after)`.
        dilation: Pair of integers.

    Returns:
        The new weight and a pair of integers; or `(None, reason)`.
    """
    uneven = [after - before for before, after in padding]
    if any(n % d for n, d in zip(uneven, dilation)):
        return None, (
            f"its padding {padding} is uneven by no multiple of its dilation "
            f"{tuple(dilation)}"
        )
    # Along each axis: zeros in front minus zeros behind.
    shift = [n // d for n, d in zip(uneven, dilation)]
    sizes = weight.shape[2:]
    size = max(k + abs(n) for k, n in zip(sizes, shift))
    spare = [size - k - abs(n) for k, n in zip(sizes, shift)]
    if any(n % 2 for n in spare):
        return None, (
            f"its kernel {sizes} with padding {padding} fits no square kernel "
            "that is padded evenly"
        )
    zeros = [
        (rest // 2 + max(n, 0), rest // 2 + max(-n, 0))
        for rest, n in zip(spare, shift)
    ]
    even = tuple(
        before + front * d
        for (before, _), (front, _), d in zip(padding, zeros, dilation)
    )
    return np.pad(weight, ((0, 0), (0, 0), *zeros)), even
