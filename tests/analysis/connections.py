"""Synapses written down one by one, to count operations the slow way."""

import itertools

import numpy as np


def matrix(inputs, outputs):
    """Return a matrix without synapses, from flat inputs to flat outputs."""
    return np.zeros((int(np.prod(inputs)), int(np.prod(outputs))), "int64")


def padding(size, kernel, stride, mode, dilation=1):
    """Return `(before, outputs)` along one axis, as TensorFlow defines it."""
    reach = (kernel - 1) * dilation + 1
    if mode == "valid":
        return 0, (size - reach) // stride + 1
    outputs = -(-size // stride)
    return max((outputs - 1) * stride + reach - size, 0) // 2, outputs


def windows(shape, kernel, stride, mode, dilation=1):
    """Yield `(input position, output position)` of every tap of a kernel."""
    axes = []
    for size, k in zip(shape, kernel):
        before, outputs = padding(size, k, stride, mode, dilation)
        axes.append(
            [
                (o * stride + tap * dilation - before, o)
                for o in range(outputs)
                for tap in range(k)
                if 0 <= o * stride + tap * dilation - before < size
            ]
        )
    for pairs in itertools.product(*axes):
        yield tuple(i for i, _ in pairs), tuple(o for _, o in pairs)


def convolution(
    shape, filters, kernel, stride=1, mode="same", dilation=1, groups=1
):
    """Return the synapses of a convolution, channels last."""
    *space, channels = shape
    out = [
        padding(n, k, stride, mode, dilation)[1] for n, k in zip(space, kernel)
    ]
    m = matrix(shape, (*out, filters))
    for i, o in windows(space, kernel, stride, mode, dilation):
        for c, f in itertools.product(range(channels), range(filters)):
            if c * groups // channels == f * groups // filters:
                row = np.ravel_multi_index((*i, c), shape)
                column = np.ravel_multi_index((*o, f), (*out, filters))
                m[row, column] += 1
    return m


def depthwise(shape, kernel, stride, mode, multiplier=1):
    """Return the synapses of a depthwise convolution or a pooling."""
    *space, channels = shape
    out = [padding(n, k, stride, mode)[1] for n, k in zip(space, kernel)]
    outputs = (*out, channels * multiplier)
    m = matrix(shape, outputs)
    for i, o in windows(space, kernel, stride, mode):
        for c, d in itertools.product(range(channels), range(multiplier)):
            row = np.ravel_multi_index((*i, c), shape)
            column = np.ravel_multi_index((*o, c * multiplier + d), outputs)
            m[row, column] += 1
    return m


def operations(trains, synapses):
    """Return operations per sample: every spike along every synapse."""
    count = 0
    for train in trains:
        for frame in train:
            active = np.flatnonzero(frame)
            for i in active:
                count += int(synapses[i].sum())
    return count / len(trains)
