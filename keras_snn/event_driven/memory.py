"""Memory of large arrays, kept for the next ones.

To get memory that is new every time takes a tenth of a training step: the
system fills it with zeros, page by page.
"""

import collections
import contextlib
import math
import weakref

import numpy as np

from keras_snn_runtime.operations import aligned

# What nobody took while this many arrays were made is given back.
PATIENCE = 1000

# Lists of `(time, memory)` of what nobody uses, the last one that somebody
# used at the end; by their number of bytes.
_free = collections.defaultdict(list)
_made = 0


def array(shape, dtype="float32", brief=False):
    """Return an uninitialized array, as `aligned`.

    Its memory is free for others as soon as nobody refers to it, to a view of
    it or to a tensor made of it.

    Args:
        shape, dtype: Of the array.
        brief: Whether it may take larger memory, which it soon leaves to the
            arrays of that size.
    """
    global _made
    _made += 1
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not size:
        return aligned(shape, dtype)
    memory = _taken(size, brief)
    if memory is None:
        memory = aligned((size,), "uint8")
        _forget()
    # All views of it refer to this array: behind it is no other array.
    first = np.frombuffer(memoryview(memory)[:size], dtype)
    weakref.finalize(first, _keep, memory).atexit = False
    return first.reshape(shape)


def _taken(size, brief):
    """Return the smallest memory that may be taken, or None."""
    sizes = [x for x in sorted(_free) if x >= size] if brief else [size]
    for kept in sizes:
        # Another thread may take the last one meanwhile.
        with contextlib.suppress(IndexError):
            return _free[kept].pop()[1]
    return None


def _keep(memory):
    _free[memory.size].append((_made, memory))


def clear():
    """Give back what nobody uses."""
    _free.clear()


def _forget():
    """Give back what nobody took for long."""
    for kept in list(_free.values()):
        # Another thread may take the last one meanwhile.
        with contextlib.suppress(IndexError):
            while kept[0][0] < _made - PATIENCE:
                kept.pop(0)
