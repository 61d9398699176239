"""Image data sets of the published experiments, scaled as published."""

from keras_snn.datasets.arrays import load
from keras_snn.datasets.catalogue import NAMES, DatasetInfo, info
from keras_snn.datasets.importing import import_data
from keras_snn.datasets.pipeline import load_tf

__all__ = ["NAMES", "DatasetInfo", "import_data", "info", "load", "load_tf"]
