"""Weights in fewer operations and fewer bytes.

Each function takes operations and their dict of arrays, and returns new ones.
"""

import collections
import dataclasses
import math

import numpy as np

from keras_snn_runtime.operations import (
    Convolution,
    Depthwise,
    Normalization,
    Pooling,
    Product,
    Reshape,
    as_frame,
)

QUANTIZED = (Convolution, Product)
SYNAPSES = (*QUANTIZED, Depthwise)
LARGEST = 127
# By which averages may make a kernel larger.
MOST_GROWTH = 4


def folded(operations, arrays):
    """Put normalizations into the weights before them.

    Also past an average pooling. Those of a frame that others read, or that
    shift each place by a number of its own, stay.
    """
    arrays, found = dict(arrays), {x.key: x for x in operations}
    readers = _readers(operations)
    for x in operations:
        before = _synapses_before(x, found, readers)
        if before is None:
            continue
        scale, shift = x.scale_and_shift(arrays)
        if shift.ndim > 1:
            continue
        names = f"{x.key} folded kernel", f"{x.key} folded bias"
        bias = arrays.get(before.bias, np.float32(0))
        kernel, factor = arrays[before.kernel], scale
        if isinstance(before, Depthwise):
            factor = scale.reshape(kernel.shape[-2:])
        arrays[names[0]] = kernel * factor
        arrays[names[1]] = (bias * scale + shift).astype("float32")
        found[before.key] = dataclasses.replace(
            before, kernel=names[0], bias=names[1]
        )
        found[x.key] = Reshape(x.source, x.key, x.shape)
    return list(found.values()), arrays


def pooled(operations, arrays):
    """Make one convolution of each convolution and the average behind it.

    With strides s of the convolution, and windows of height h and width w,

        w'[y, x] = 1 / (h w) sum_{i < h, j < w} w[y - i s, x - j s]

    at the product of both strides: a spike then reaches 4 outputs instead of
    9 for a kernel of 3x3 and windows of 2x2. Where this would take more
    products, or a kernel more than `MOST_GROWTH` times as large, both stay.
    """
    arrays, found = dict(arrays), {x.key: x for x in operations}
    readers = _readers(operations)
    for x in operations:
        before = found.get(getattr(x, "source", None))
        if not (
            isinstance(x, Pooling)
            and x.kind == "average"
            and isinstance(before, Convolution)
            and readers[before.key] == 1
            and len(before.shape) == 3
        ):
            continue
        kernel = arrays[before.kernel]
        # Of a dense layer at each pixel it has the channels' axes alone.
        kernel = kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape)
        kernel = _averaged(kernel, before.strides, x.size)
        growth = kernel.size / arrays[before.kernel].size
        fewer = math.prod(x.shape) / math.prod(before.shape)
        if growth > MOST_GROWTH or growth * fewer >= 1:
            continue
        name = f"{x.key} pooled kernel"
        arrays[name] = kernel
        merged = dataclasses.replace(
            before,
            shape=as_frame(x.shape),
            kernel=name,
            strides=tuple(a * b for a, b in zip(before.strides, x.strides)),
        )
        if len(x.shape) == 3:
            found[x.key] = dataclasses.replace(merged, key=x.key)
            del found[before.key]
        else:  # the average of whole frames
            found[before.key] = merged
            found[x.key] = Reshape(before.key, x.key, x.shape)
    return list(found.values()), arrays


def _averaged(kernel, strides, size):
    """Return the kernel of the average over windows of outputs."""
    growth = [(n - 1) * stride for n, stride in zip(size, strides)]
    rows, columns = kernel.shape[:2]
    total = np.zeros(
        (rows + growth[0], columns + growth[1], *kernel.shape[2:]), "float32"
    )
    for i in range(0, growth[0] + 1, strides[0]):
        for j in range(0, growth[1] + 1, strides[1]):
            total[i : i + rows, j : j + columns] += kernel
    return total / np.float32(math.prod(size))


def _readers(operations):
    """Return how many operations read each frame, by key."""
    return collections.Counter(key for x in operations for key in _sources(x))


def _sources(operation):
    if hasattr(operation, "sources"):
        return operation.sources
    return [operation.source] if hasattr(operation, "source") else []


def _synapses_before(operation, found, readers):
    """Return the weights that a normalization alone follows, or None."""
    if not isinstance(operation, Normalization):
        return None
    while readers[operation.source] == 1:
        operation = found[operation.source]
        if isinstance(operation, SYNAPSES):
            return operation
        average = isinstance(operation, Pooling) and operation.kind == "average"
        if not average:
            return None
    return None


def quantized(operations, arrays, without=()):
    """Replace kernels by int8 ones, with a scale of each output.

        scale_c = max |w_c| / 127;   q_c = round(w_c / scale_c)

    Those of depthwise convolutions, few numbers, stay.

    Args:
        operations, arrays: Of a network.
        without: Keys of the frames whose readers stay as they are.

    Raises:
        ValueError: If a weight is not finite.
    """
    arrays, found, without = dict(arrays), [], set(without)
    for x in operations:
        if isinstance(x, Reshape) and x.source in without:
            without.add(x.key)
        if isinstance(x, QUANTIZED) and x.source not in without:
            names = f"{x.kernel} int8", f"{x.kernel} scales"
            kernel = arrays[x.kernel]
            if not np.isfinite(kernel).all():
                raise ValueError(
                    "int8 weights are made of finite numbers. Received: "
                    f"weights of shape {kernel.shape} with "
                    f"{np.sum(~np.isfinite(kernel))} that are not."
                )
            most = np.abs(kernel).reshape(-1, kernel.shape[-1]).max(axis=0)
            scales = np.where(most > 0, most / np.float32(LARGEST), 1)
            scales = scales.astype("float32")
            arrays[names[0]] = np.rint(kernel / scales).astype("int8")
            arrays[names[1]] = scales
            x = dataclasses.replace(x, kernel=names[0], scales=names[1])
        found.append(x)
    return found, arrays


def renamed(operations, arrays):
    """Number keys and arrays in the order of use; leave out what no one uses.

    What learning alone wants to know is left out, too.
    """
    keys = {x.key: i for i, x in enumerate(operations)}
    names, found = {}, []

    def name(value):
        if value in arrays:
            return names.setdefault(value, f"weight{len(names)}")
        return value

    for x in operations:
        changes = {"key": keys[x.key]}
        for field in dataclasses.fields(x):
            value = getattr(x, field.name)
            if field.name == "source":
                changes["source"] = keys[value]
            elif field.name == "sources":
                changes["sources"] = tuple(keys[y] for y in value)
            elif field.name == "weights":
                changes["weights"] = tuple((k, name(v)) for k, v in value)
            elif field.name in ("factor", "surrogate"):
                changes[field.name] = None
            elif isinstance(value, str):
                changes[field.name] = name(value)
        found.append(dataclasses.replace(x, **changes))
    return found, {new: arrays[old] for old, new in names.items()}
