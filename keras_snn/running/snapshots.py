"""A model as a function of its weights: what keeps those of one moment."""

import keras
from keras import ops

from keras_snn.running.scopes import in_turn


class Snapshots:
    """A model, compiled once, with the weights that it has at some moments.

    Args:
        model: A functional model.
    """

    def __init__(self, model):
        self._model = model
        self._run = _compiled(self._outputs, model)

    def take(self):
        """Return a function of inputs that uses the weights of today.

        It takes a list of arrays and returns a list of NumPy arrays.
        """
        with in_turn():
            weights = [ops.copy(v) for v in self._model.variables]

        def run(inputs):
            return list(map(ops.convert_to_numpy, self._run(weights, inputs)))

        return run

    def _outputs(self, weights, inputs):
        pairs = zip(self._model.variables, weights, strict=True)
        with keras.StatelessScope(list(pairs)):
            return keras.tree.flatten(self._model(inputs, training=False))


def _compiled(function, model):
    if keras.config.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=model.jit_compile, autograph=False)
