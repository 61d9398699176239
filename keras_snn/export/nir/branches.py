"""Parallel branches as one, for programs that run nodes depth first.

A residual block whose shortcut has a layer,

    spikes -> convolution -> neurons -> convolution -> sum
       `---------------> 1x1 convolution ---------------^

is the same as one path in which the spikes pass by as more channels,

    spikes -> convolution -> neurons -> convolution
                 copies        0.5       shortcut

where the first convolution copies them (one weight of 1 in the middle of the
kernel), neurons of threshold 0.5 fire with them, and the second convolution
has the shortcut's weights in the middle of its kernel.
"""

import numpy as np

from keras_snn.layers import IF, LIF


def joined(found):
    """Return the operations with all such blocks joined, others as they were.

    Args:
        found: List of `primitives.Operation`, which are changed.
    """
    for block in filter(None, [_block(x, found) for x in found]):
        _join(*block)
        found = [x for x in found if x is not block[-1]]
    return found


def _block(end, found):
    """Return `(first, neurons, second, end, shortcut)` of a block, or None."""
    if len(end.inputs) != 2:
        return None
    for second, shortcut in (end.inputs, end.inputs[::-1]):
        (neurons, first, start) = _path(second)
        inner = (first, neurons, second, shortcut)
        if (
            start is not None
            and start.kind == "neuron"
            and type(neurons.layer) in (LIF, IF)
            and neurons.layer.reset == "zero"
            and shortcut.inputs == (start,)
            and all(len(_consumers(x, found)) == 1 for x in inner)
            and _is_aligned(first)
            and _is_aligned(second)
            and _matches(shortcut, first, second)
        ):
            return first, neurons, second, end, shortcut
    return None


def _path(second):
    """Return what leads to a convolution: neurons, a convolution, a start."""
    found = []
    x = second
    for kind in ("convolution", "neuron", "convolution"):
        if x.kind != kind or len(x.inputs) != 1:
            return None, None, None
        (x,) = x.inputs
        found.append(x)
    return found


def _consumers(x, found):
    return [y for y in found if x in y.inputs]


def _is_aligned(convolution):
    """Return whether output i sees the input's `stride * i` in the middle."""
    reach = [
        (size - 1) * dilation
        for size, dilation in zip(
            convolution.weight.shape[2:], convolution.dilation
        )
    ]
    return all(
        before == after == n / 2
        for n, (before, after) in zip(reach, convolution.padding)
    ) and all(size % 2 for size in convolution.weight.shape[2:])


def _matches(shortcut, first, second):
    """Return whether a shortcut only picks positions and mixes channels."""
    if shortcut.kind not in ("pool", "convolution"):
        return False
    is_pool = shortcut.kind == "pool"
    size = (
        getattr(shortcut.layer, "pool_size", None)
        if is_pool
        else shortcut.weight.shape[2:]
    )
    steps = (
        getattr(shortcut.layer, "strides", None)
        if is_pool
        else shortcut.strides
    )
    strides = tuple(a * b for a, b in zip(first.strides, second.strides))
    return (
        size is not None
        and tuple(size) == (1, 1)
        and shortcut.padding == ((0, 0), (0, 0))
        and tuple(steps) == strides
        and first.groups == second.groups == shortcut.groups == 1
    )


def _join(first, neurons, second, end, shortcut):
    (start,) = first.inputs
    channels = start.shape[-1]
    copies = np.eye(channels, dtype="float32")
    weight = copies if shortcut.weight is None else shortcut.weight[:, :, 0, 0]
    first.weight = np.concatenate([first.weight, _in_middle(copies, first)])
    if first.bias is not None:
        zeros = np.zeros(channels, "float32")
        first.bias = np.concatenate([first.bias, zeros])
    for x in (first, neurons):
        x.shape = (*x.shape[:-1], x.shape[-1] + channels)
    neurons.passing = channels
    second.weight = np.concatenate(
        [second.weight, _in_middle(weight, second)], axis=1
    )
    if shortcut.bias is not None:
        bias = 0.0 if second.bias is None else second.bias
        second.bias = bias + shortcut.bias
    end.inputs = (second,)


def _in_middle(weight, convolution):
    """Return a (out, in) weight as a kernel of the convolution's size."""
    height, width = convolution.weight.shape[2:]
    kernel = np.zeros((*weight.shape, height, width), "float32")
    kernel[:, :, height // 2, width // 2] = weight
    return kernel
