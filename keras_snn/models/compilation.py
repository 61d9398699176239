"""What TensorFlow has to be told to compile, and JAX compiles anyway."""

import contextlib
import functools
import threading

import keras

_scope = threading.local()


@contextlib.contextmanager
def portable():
    """Within this scope graphs get plain operations only.

    Any program that reads an exported graph knows those, and not every one
    can compile.
    """
    before = getattr(_scope, "portable", False)
    _scope.portable = True
    try:
        yield
    finally:
        _scope.portable = before


def fused(function):
    """Return `function` as one pass over memory on every backend.

    JAX compiles the whole step anyway. TensorFlow would run one pass an
    operation, which it does in the scope of `portable`.
    """
    if keras.config.backend() != "tensorflow":
        return function
    import tensorflow as tf

    compiled = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def run(*args):
        plain = getattr(_scope, "portable", False)
        return (function if plain else compiled)(*args)

    return run


def traced_once(function):
    """Return `function`, which Python runs once for arguments of one shape.

    Within a TensorFlow graph later calls refer to the graph of the first.
    """
    if keras.config.backend() != "tensorflow":
        return function
    import tensorflow as tf

    if not tf.inside_function():
        return function
    return tf.function(function, autograph=False)
