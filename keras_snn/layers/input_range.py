"""A warning where what an encoder is given lies far outside of its range.

A Keras model casts integer images to its input's type before any layer sees
them, so that only the values tell pixels of 0..255 from scaled ones.
"""

import warnings

import keras
from keras import ops

# Standardized images may reach beyond 1; only far outside is a mistake.
MOST = 3.0
# The compiled functions in which Keras' trainers call a model. Under another
# name there is no warning.
TRAINERS_STEPS = {
    "multi_step_on_data",
    "multi_step_on_iterator",
    "one_step_on_data",
    "one_step_on_data_distributed",
    "predict_step",
    "test_step",
    "train_step",
}


class InputRange:
    """Looks at the inputs of one encoder, until it has warned once.

    Values are there to be looked at in eager calls, and in the functions that
    `fit`, `evaluate` and `predict` compile. Those look where they need not be
    exported, nor compiled by XLA on TensorFlow, which cannot call Python.

    Args:
        encoder: The layer.
    """

    def __init__(self, encoder):
        self.encoder = encoder
        self.has_warned = False

    def look(self, inputs):
        """Warn once if a value of `inputs` is far outside of [-1, 1]."""
        if self.has_warned or isinstance(inputs, keras.KerasTensor):
            return
        look = LOOKS.get(keras.config.backend())
        if look is not None:
            look(ops.cast(ops.stop_gradient(inputs), "float32"), self)

    def warn(self, largest):
        """Warn if `largest` is too large, unless it has been done."""
        largest = float(largest)
        if self.has_warned or not largest > MOST:
            return
        self.has_warned = True
        encoder = self.encoder
        warnings.warn(
            f"{type(encoder).__name__} '{encoder.name}' takes values in "
            f"[-1, 1]. Received values of up to {largest:.4g} in size, which "
            "all count as 1. Scale the inputs first, e.g. "
            'images.astype("float32") / 255.',
            stacklevel=2,
        )


def _look_on_tensorflow(x, range_):
    import tensorflow as tf

    largest = tf.reduce_max(tf.abs(x))
    if tf.executing_eagerly():
        range_.warn(largest)
        return
    # The model that the trainer calls; Keras has no public name for it.
    model = range_.encoder._get_call_context().entry_layer
    if getattr(model, "jit_compile", True) or not _in_trainers_graph(tf):
        return

    def call_python():
        done = tf.py_function(range_.warn, [largest], [])
        with tf.control_dependencies([done]):
            return tf.constant(True)

    tf.cond(largest > MOST, call_python, lambda: tf.constant(False))


def _in_trainers_graph(tf):
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        if getattr(graph, "name", None) in TRAINERS_STEPS:
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _look_on_jax(x, range_):
    import jax

    largest = abs(x).max(initial=0.0)
    if not isinstance(x, jax.core.Tracer):
        range_.warn(largest)
        return
    frame = getattr(getattr(x, "_trace", None), "frame", None)
    traced = getattr(frame, "debug_info", None)
    if getattr(traced, "func_name", None) not in TRAINERS_STEPS:
        return
    jax.lax.cond(
        largest > MOST,
        lambda x: jax.debug.callback(range_.warn, x),
        lambda x: None,
        largest,
    )


LOOKS = {"tensorflow": _look_on_tensorflow, "jax": _look_on_jax}
