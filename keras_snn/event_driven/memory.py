"""Memory of large arrays, which others use after them.

To get memory that is new every time takes a tenth of a training step: the
system fills it with zeros, page by page.

An array takes the smallest room that is free and large enough; what it leaves
of that is room for others, and what is free side by side is one room. Where
there is none, it gets new memory of its own size.
"""

import bisect
import collections
import math
import threading
import weakref

import numpy as np

from keras_snn_runtime.operations import ALIGNMENT, aligned

# Memory that nobody used any of while this many arrays were made is given back
# when more is wanted.
PATIENCE = 1000

_lock = threading.Lock()
_blocks = []
# Rooms that arrays have left: `(block, first, last)`. An array may end at any
# moment, while another one is being made.
_left = collections.deque()
_made = 0


class _Block:
    """Memory, and the rooms in it that are free.

    Attributes:
        free: Sorted list of `(first, last)`, in bytes, no two side by side.
        used: How many arrays had been made when the last one came or went.
        kept: Whether others may use it, once it is free.
    """

    def __init__(self, size):
        self.memory = aligned((size,), "uint8")
        self.free, self.used, self.kept = [(0, size)], 0, True

    @property
    def unused(self):
        return self.free == [(0, self.memory.size)]

    def take(self, room, size):
        """Take the beginning of a free room; return it."""
        first, last = room
        at = bisect.bisect_left(self.free, room)
        rest = (first + size, last)
        self.free[at : at + 1] = [rest] if first + size < last else []
        self.used = _made
        return first, first + size

    def leave(self, first, last):
        """Add a room to those that are free."""
        self.used = _made
        at = bisect.bisect_left(self.free, (first, last))
        before, behind = self.free[:at], self.free[at:]
        if before and before[-1][1] == first:
            first, _ = before.pop()
        if behind and behind[0][0] == last:
            _, last = behind.pop(0)
        self.free = [*before, (first, last), *behind]


def array(shape, dtype="float32"):
    """Return an uninitialized array, as `aligned`.

    Its memory is free for others as soon as nobody refers to it, to a view of
    it or to a tensor made of it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not size:
        return aligned(shape, dtype)
    block, first, last = _room(-(-size // ALIGNMENT) * ALIGNMENT)
    memory = memoryview(block.memory)[first : first + size]
    # All views of it refer to this array: behind it is no other array.
    whole = np.frombuffer(memory, dtype)
    weakref.finalize(whole, _leave, block, first, last).atexit = False
    return whole.reshape(shape)


def _room(size):
    """Return a room that is taken by this, `(block, first, last)`."""
    global _made
    with _lock:
        _made += 1
        _take_back()
        found = [
            (last - first, number, (first, last))
            for number, block in enumerate(_blocks)
            for first, last in block.free
            if last - first >= size
        ]
        if not found:
            _forget()
            _blocks.append(_Block(size))
            found = [(size, -1, (0, size))]
        _, number, room = min(found)
        block = _blocks[number]
        return block, *block.take(room, size)


def _leave(block, first, last):
    if block.kept:
        _left.append((block, first, last))


def _take_back():
    while _left:
        block, first, last = _left.popleft()
        block.leave(first, last)


def clear():
    """Give back what nobody uses, and the rest as soon as nobody does."""
    with _lock:
        for block in _blocks:
            block.kept = False
        _blocks.clear()
        _left.clear()


def _forget():
    """Give back what nobody used for long."""
    _blocks[:] = [
        x for x in _blocks if not x.unused or x.used >= _made - PATIENCE
    ]
