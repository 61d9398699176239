"""Functions are compiled when they are called first, and kept on disk."""

import concurrent.futures
import gc
import hashlib
import io
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

numba = pytest.importorskip("numba")
from numba import types  # noqa: E402

from keras_snn_runtime import compiler, crew, kernels  # noqa: E402

NUMBERS = types.Array(types.float32, 1, "C")


@pytest.fixture
def declared(monkeypatch, tmp_path):
    """Forget what a test declares, in memory and on disk."""
    before = list(compiler.KERNELS)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    yield
    compiler.KERNELS[:] = before


def double(numbers):
    """Double them."""
    for k in range(len(numbers)):
        numbers[k] *= np.float32(2)


def halve(numbers):
    for k in range(len(numbers)):
        numbers[k] /= np.float32(2)


def test_it_is_compiled_at_the_first_call(declared):
    kernel = compiler.compiled(NUMBERS)(double)
    assert kernel.__doc__ == "Double them." and kernel.compiled is None
    numbers = np.arange(3, dtype="float32")
    for _ in range(2):
        kernel(numbers)
    np.testing.assert_array_equal(numbers, [0, 4, 8])
    assert len(kernel.compiled.signatures) == 1
    assert compiler.KERNELS[-1] is kernel


def test_other_types_are_errors(declared):
    kernel = compiler.compiled(NUMBERS)(double)
    for wrong in (np.zeros(3), np.zeros((3, 1), "float32"), [1.0]):
        with pytest.raises(TypeError, match="No matching definition"):
            kernel(wrong)


def test_threads_compile_it_once(declared, monkeypatch):
    made, make = [], compiler.Kernel._made

    def counted(self):
        made.append(self)
        return make(self)

    monkeypatch.setattr(compiler.Kernel, "_made", counted)
    kernel = compiler.compiled(NUMBERS)(double)
    each = np.ones((8, 5), "float32")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(kernel, each))
    np.testing.assert_array_equal(each, np.full_like(each, 2))
    assert made == [kernel]


def test_weights_choose_the_kernel(declared):
    def add(out, weights, times):
        for k in range(len(out)):
            out[k] += weights[k] * times

    kernel = compiler.compiled_for_weights((NUMBERS,), 1, (types.intp,))(add)
    out = np.zeros(2, "float32")
    kernel(out, np.array([1, -2], "int8"), 3)
    np.testing.assert_array_equal(out, [3, -6])
    assert kernel.int8.compiled and not kernel.float32.compiled
    kernel(out, np.array([0.5, 0.5], "float32"), 1)
    np.testing.assert_array_equal(out, [3.5, -5.5])


def test_what_is_kept_on_disk_is_of_these_sources_and_types():
    """Numba looks at a function's own file, not at those that it calls.

    And it numbers what it keeps as it comes, which two processes may do in
    different orders: so there is but one signature to a name.
    """
    folder = pathlib.Path(compiler.__file__).parent
    sources = b"".join(
        (folder / x).read_bytes()
        for x in ("kernels.py", "neuron_vectors.py", "vectors.py")
    )
    for function in (kernels.convolve.int8, crew.share, crew._average):
        own = pathlib.Path(function.function.__code__.co_filename)
        given = sources + own.read_bytes() + str(function.signature).encode()
        digest = hashlib.sha256(given).hexdigest()[:16]
        assert function.name.endswith(f"_{digest}")
        kept = function.compile()._cache._cache_file._index_name
        assert function.name in kept
    names = [x.name for x in compiler.KERNELS]
    assert len(set(names)) == len(names)


def test_no_two_functions_have_one_name():
    """What is on the disk would call the one that was compiled first."""
    pytest.importorskip("keras_snn")
    from keras_snn.event_driven import backward_kernels, layer_kernels

    modules = [kernels, crew, backward_kernels, layer_kernels]
    names = {x.__name__ for x in modules}
    functions = {
        x.py_func
        for x in gc.get_objects()
        if issubclass(type(x), numba.core.dispatcher.Dispatcher)
        and x.py_func.__module__ in names
    }
    found = {(x.__module__, x.__qualname__) for x in functions}
    assert len(found) == len(functions) > 20


PROGRAM = """
import sys
import numpy as np
import keras_snn_runtime
from keras_snn_runtime import compiler
network = keras_snn_runtime.load(sys.argv[1])
network.predict(np.ones((2, 5, *network.input_shape), "float32"))
print(*(x.function.__name__ for x in compiler.KERNELS if x.compiled))
"""


def told_by(*command, **environment):
    """Return what a program prints."""
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    ).stdout


def test_a_network_compiles_what_it_needs(tmp_path):
    snn = pytest.importorskip("keras_snn")
    import keras

    frames = keras.Input((5, 6, 6, 2))
    x = snn.layers.TimeFold(keras.layers.Conv2D(4, 3))(frames)
    x = snn.layers.TimeFold(keras.layers.Flatten())(snn.layers.LIF()(x))
    x = snn.layers.TimeFold(keras.layers.Dense(3))(x)
    model = snn.Model(frames, snn.layers.MembraneReadout()(x))
    path = tmp_path / "net.npz"
    snn.export.runtime(model, path)
    compiled = set(told_by("-c", PROGRAM, path).split())
    assert {"list_spikes", "convolve", "multiply"} <= compiled
    assert len(compiled) < 9 and "credit_by_rate" not in compiled


TWICE = """
import ctypes
import sys
import numpy as np
from numba import carray, types
from keras_snn_runtime import compiler

NUMBERS = types.Array(types.float32, 1, "C")

@compiler.compiled(NUMBERS)
def double(numbers):
    before = numbers.copy()
    for k in range(len(numbers)):
        numbers[k] = np.exp(np.log(before[k])) + before[k]

def square(pointer):
    numbers = carray(pointer, 3)
    numbers *= numbers

numbers = np.arange(1, 4, dtype="float32")
double(numbers)
called = compiler.Callback(square, types.void(types.CPointer(types.float32)))
ctypes.CFUNCTYPE(None, ctypes.c_void_p)(called.address)(numbers.ctypes.data)
try:
    double(np.ones(3))
except TypeError:
    print(*numbers.round().astype(int), "numba.np.linalg" in sys.modules)
"""


def test_what_is_kept_is_read_without_what_compiles(tmp_path):
    program = tmp_path / "twice.py"
    program.write_text(TWICE)
    kept = str(tmp_path / "kept")
    told = [told_by(program, NUMBA_CACHE_DIR=kept).split() for _ in range(2)]
    assert told == [["4", "16", "36", "True"], ["4", "16", "36", "False"]]


AND_THEN = """
import sys
import numba
import numpy as np
from numba import types
from keras_snn_runtime import compiler

NUMBERS = types.Array(types.float32, 1, "C")

@compiler.compiled(NUMBERS)
def double(numbers):
    numbers += numbers.copy()

@compiler.compiled(NUMBERS)
def shift(numbers):
    numbers += np.ones(len(numbers), np.float32)

numbers = np.arange(3, dtype="float32")
double(numbers)
if sys.argv[1:] == ["more"]:
    shift(numbers)
    numbers = numba.njit(lambda x: np.sort(x * 2))(numbers[::-1])
    double(numbers)
print(numbers.tolist())
"""


def test_what_is_kept_goes_with_what_is_compiled(tmp_path):
    program = tmp_path / "and_then.py"
    program.write_text(AND_THEN)
    kept = str(tmp_path / "kept")
    for arguments, told in (
        ([], "[0.0, 2.0, 4.0]"),
        (["more"], "[4.0, 12.0, 20.0]"),
        (["more"], "[4.0, 12.0, 20.0]"),
    ):
        found = told_by(program, *arguments, NUMBA_CACHE_DIR=kept)
        assert found.strip() == told


class Terminal(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_says_once_what_one_waits_for(
    declared, monkeypatch, is_terminal
):
    monkeypatch.setattr(compiler, "_news", compiler._News())
    written = Terminal(is_terminal)
    monkeypatch.setattr(sys, "stderr", written)
    for function in (double, halve, halve):
        compiler.compiled(NUMBERS)(function)(np.ones(3, "float32"))
    lines = written.getvalue().splitlines()
    assert len(lines) == is_terminal
    assert all("Compiling the event-driven engine" in x for x in lines)
