"""Memory of large arrays, kept for the next ones of the same size.

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

# What no call uses as room for itself.
_rooms = []


def array(shape, dtype="float32"):
    """Return an uninitialized array, as `aligned`.

    Its memory is free for others as soon as nobody refers to it, to a view of
    it or to a tensor made of it.
    """
    global _made
    _made += 1
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not size:
        return aligned(shape, dtype)
    try:
        _, memory = _free[size].pop()
    except IndexError:
        # Another thread may have taken the last one meanwhile.
        memory = aligned((size,), "uint8")
        _forget()
    # All views of it refer to this array: behind it is no other array.
    first = np.frombuffer(memoryview(memory), dtype)
    weakref.finalize(first, _keep, size, memory).atexit = False
    return first.reshape(shape)


def _keep(size, memory):
    _free[size].append((_made, memory))


@contextlib.contextmanager
def room(shape):
    """Lend uninitialized memory, the same to one call after the other.

    Args:
        shape: Of an array of float32, to which nobody refers afterwards.
    """
    size, memory = math.prod(shape), None
    with contextlib.suppress(IndexError):
        # Another branch of the network may take it at the same time.
        memory = _rooms.pop()
    if memory is None or memory.size < size:
        memory = aligned((size,))
    yield memory[:size].reshape(shape)
    _rooms.append(memory)


def clear():
    """Give back what nobody uses."""
    _free.clear()
    _rooms.clear()


def _forget():
    """Give back what nobody took for long."""
    for kept in list(_free.values()):
        # Another thread may take the last one meanwhile.
        with contextlib.suppress(IndexError):
            while kept[0][0] < _made - PATIENCE:
                kept.pop(0)
