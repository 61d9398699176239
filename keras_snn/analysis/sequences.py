"""Values of a network's tensors at all steps, computed layer by layer."""

import keras


class Sequences(keras.Model):
    """From inputs to the values of some of a model's tensors, in one pass.

    Args:
        model: A functional `keras_snn.Model` with one input.
        tensors: List of its symbolic tensors, the input perhaps among them.
    """

    def __init__(self, model, tensors):
        super().__init__(name="sequences")
        self.model = model
        self.keys = [id(x) for x in tensors]
        inner = [x for x in tensors if x is not model.inputs[0]]
        self.inner_keys = [id(x) for x in inner]
        self.inner = keras.Model(model.inputs, inner) if inner else None

    def call(self, x):
        self.model._check_pixels(x)
        (x,) = self.model._standardize_inputs(x)
        values = {id(self.model.inputs[0]): x}
        if self.inner is not None:
            found = keras.tree.flatten(self.inner(x, training=False))
            values.update(zip(self.inner_keys, found))
        return [values[key] for key in self.keys]
