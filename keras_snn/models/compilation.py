"""What TensorFlow has to be told to compile, and JAX compiles anyway."""

import keras


def fused(function):
    """Return `function` as one pass over memory on every backend.

    JAX compiles the whole step anyway. TensorFlow would run one pass an
    operation.
    """
    if keras.config.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


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
