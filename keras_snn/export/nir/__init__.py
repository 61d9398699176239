"""NIR, the Neuromorphic Intermediate Representation, both ways."""

from keras_snn.export.nir.reading import from_nir
from keras_snn.export.nir.writing import to_nir

__all__ = ["from_nir", "to_nir"]
