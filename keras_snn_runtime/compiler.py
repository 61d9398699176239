"""Kernels: functions that Numba compiles at their first call, kept on disk.

All of them take a minute to compile, those of one network some seconds.
"""

import contextlib
import functools
import hashlib
import pathlib
import sys
import threading
from typing import Any

import llvmlite.binding as llvm
from numba import njit, types
from numba.core import caching, ccallback, event, sigutils
from numba.core.runtime import nrt

# Files whose functions those of others call.
_CALLED = "kernels.py", "neuron_vectors.py", "vectors.py"

# All that was declared in the modules imported so far.
KERNELS = []

_lock = threading.Lock()

# Python divisions look for zeros, and keep loops from running in vectors.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

# Compiles a function for what calls it, with which it is kept on disk. Of its
# own, files there could be mixed up: Numba numbers those of a function as its
# signatures come, which two processes may do in different orders.
inlined = njit(**_OPTIONS)


@functools.cache
def _hashed(path):
    """Return the hash of what functions of a file are compiled from."""
    called = (pathlib.Path(__file__).with_name(x) for x in _CALLED)
    sources = (x.read_bytes() for x in (*called, pathlib.Path(path)))
    return hashlib.sha256(b"".join(sources))


@functools.cache
def _name_runtime():
    """Tell the linker where Numba's runtime is, as Numba's compiler would."""
    for name, address in nrt._nrt.c_helpers.items():
        prefix = "" if name.startswith("_") else "NRT_"
        llvm.add_symbol(prefix + name, address)


class _Kept(caching.FunctionCache):
    """What is kept on disk of a function, read without what compiles.

    Numba itself first gets ready to compile all that it knows, 45 MB. It does
    so, too, before it compiles anything. Only a function that calls itself
    could not be read without.
    """

    def load_overload(self, sig, target_context):
        _name_runtime()
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def inlined_variant(*variant):
    """Do what `inlined` does, for one of several functions of one name.

    What is on the disk knows what it calls by a name, types, and a number that
    depends on what a process compiled before.

    Args:
        variant: What this one has of its own.
    """

    def decorate(function):
        function.__qualname__ = "_".join(
            [function.__name__, *map(str, variant)]
        )
        return inlined(function)

    return decorate


class _Function:
    """A function of arguments of given types, which `compile` compiles.

    Args:
        function: It.
        signature: Numba's, of its arguments and what it returns.

    Attributes:
        name: What Numba keeps it by. It looks at the function's own file, when
            it compiles, not at those of what it calls: so the name has a digest
            of all, as they are now, and of the signature.
    """

    def __init__(self, function, signature):
        self.function, self.signature = function, signature
        self.__doc__ = function.__doc__
        hashed = _hashed(sys.modules[function.__module__].__file__).copy()
        hashed.update(str(signature).encode())
        self.name = f"{function.__name__}_{hashed.hexdigest()[:16]}"
        self.compiled = None
        KERNELS.append(self)

    def compile(self):
        """Compile it, or read it from the disk, unless that was done."""
        with _lock:
            if self.compiled is None:
                self.function.__qualname__ = self.name
                self.compiled = self._made()
        return self.compiled

    def _compile_and_tell(self):
        with event.install_listener("numba:compile", _news):
            self.compile()


class Kernel(_Function):
    """A function that is compiled when it is called."""

    def __call__(self, *arguments):
        if self.compiled is None:
            self._compile_and_tell()
        return self.compiled(*arguments)

    def _made(self):
        dispatcher = njit(**_OPTIONS)(self.function)
        dispatcher._cache = _Kept(self.function)
        dispatcher.compile(self.signature)
        # Of other types it is an error.
        dispatcher.disable_compile()
        return dispatcher


class Callback(_Function):
    """A function that others call by its address."""

    @property
    def address(self):
        if self.compiled is None:
            self._compile_and_tell()
        return self.compiled.address

    def _made(self):
        signature = sigutils.normalize_signature(self.signature)
        callback = ccallback.CFunc(self.function, signature, {}, _OPTIONS)
        callback._cache = _Kept(self.function)
        callback.compile()
        return callback


class KernelFor:
    """Kernels of one function, by the size of the elements of one argument.

    Args:
        function: As of `Kernel`.
        before: Types of the arguments before that one.
        arrays: Types that it may have.
        after: Types of the arguments after it.
        returns: Type of what is returned.
    """

    def __init__(self, function, before, arrays, after, returns=types.void):
        self.function, self.__doc__ = function, function.__doc__
        self.kernels = {
            x.dtype.bitwidth // 8: Kernel(function, returns(*before, x, *after))
            for x in arrays
        }
        self._place = len(before)

    def __call__(self, *arguments):
        return self.kernels[arguments[self._place].itemsize](*arguments)


class KernelForWeights(KernelFor):
    """A kernel for weights of float32, and one for those of int8.

    Args:
        function, before, after: As of `KernelFor`.
        ndim: Number of axes of the weights.
    """

    def __init__(self, function, before, ndim, after):
        kinds = types.float32, types.int8
        arrays = [types.Array(x, ndim, "C", readonly=True) for x in kinds]
        super().__init__(function, before, arrays, after)
        self.float32, self.int8 = self.kernels[4], self.kernels[1]


def compiled(*arguments, returns=types.void):
    """Make a `Kernel` for arguments of these types."""
    return lambda function: Kernel(function, returns(*arguments))


def compiled_for(before, arrays, after, returns=types.void):
    """Make a `KernelFor`, whose arguments these are."""
    return lambda function: KernelFor(function, before, arrays, after, returns)


def compiled_for_weights(before, ndim, after):
    """Make a `KernelForWeights`, whose arguments these are."""
    return lambda function: KernelForWeights(function, before, ndim, after)


def inner(kernel):
    """Return a kernel's function, `inlined`: kernels cannot call kernels."""
    return inlined(kernel.function)


class _News(event.Listener):
    """Tells whoever waits at a terminal what for, once."""

    def __init__(self):
        self._told = False

    def on_start(self, event):
        if not self._told:
            self._told = True
            with contextlib.suppress(OSError, ValueError):
                if sys.stderr and sys.stderr.isatty():
                    print(
                        "Compiling the event-driven engine, once on this "
                        "machine ...",
                        file=sys.stderr,
                        flush=True,
                    )

    def on_end(self, event):
        pass


_news = _News()
