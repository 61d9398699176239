"""Data sets: published images, scaled as published, and event cameras."""

from keras_snn.datasets import events
from keras_snn.datasets.arrays import load
from keras_snn.datasets.catalogue import (
    NAMES,
    DatasetInfo,
    EventDatasetInfo,
    info,
)
from keras_snn.datasets.importing import import_data
from keras_snn.datasets.pipeline import load_tf

__all__ = [
    "NAMES",
    "DatasetInfo",
    "EventDatasetInfo",
    "events",
    "import_data",
    "info",
    "load",
    "load_tf",
]
