"""Memory that a training keeps from one step to the next.

The arrays of a step are as large as those of the step before. glibc gives
large ones back to the system when they are freed, and what is new from there
is filled with zeros, page by page. Since version 2.21 TensorFlow sees to this
for whoever trains on a generator, a `keras.utils.PyDataset` among them.
"""

import ctypes
import functools
import os
import platform
import sys

import keras

# Of glibc's <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# In bytes. Some versions of glibc take no more than `_MOST` for the second.
# What it comes to by itself, when large arrays are freed, is twice that, and
# that.
_KEPT, _MOST = 2**30, 2**25


class KeepMemory(keras.callbacks.Callback):
    """Keeps freed memory in this process while a model trains.

    Nothing is done where one of glibc's variables, such as
    `MALLOC_TRIM_THRESHOLD_`, says what to do.
    """

    async_safe = True

    def __init__(self):
        super().__init__()
        # TensorFlow has its way when the first batches are made.
        self.left = 2

    def on_train_batch_end(self, batch, logs=None):
        if self.left:
            self.left -= 1
            _choose(_KEPT, _KEPT)


def give_back():
    """Give memory that is free back to the system, behind a training."""
    engine = sys.modules.get("keras_snn.event_driven.memory")
    if engine is not None:
        engine.clear()
    library = _library()
    if library is not None:
        _choose(2 * _MOST, _MOST)
        library.malloc_trim(0)


def _choose(trim, mmap):
    library = _library()
    if library is not None:
        library.mallopt(_TRIM_THRESHOLD, trim)
        if not library.mallopt(_MMAP_THRESHOLD, mmap):
            library.mallopt(_MMAP_THRESHOLD, _MOST)


def _library():
    """Return glibc, or None where there is another or the user chose."""
    chosen = any(x.startswith("MALLOC_") for x in os.environ)
    if chosen or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    return _glibc()


@functools.cache
def _glibc():
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)
