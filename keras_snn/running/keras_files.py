"""Files in which a model keeps its type."""

import functools
import os

import keras


class KerasFiles:
    """A mixin before `keras.Model` that is not saved as HDF5.

    Keras writes types without their package there: a `keras_snn.Model` would
    come back as a `keras.Model`, others not at all.
    """

    @functools.wraps(keras.Model.save)
    def save(self, filepath, *args, **kwargs):
        if os.fspath(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"'{self.name}' ({type(self).__name__}) expects to be saved in "
                "a file that ends in .keras: in HDF5 Keras would lose its "
                f"type. Received: filepath='{filepath}'. For the weights alone "
                'use save_weights("model.weights.h5").'
            )
        return super().save(filepath, *args, **kwargs)
