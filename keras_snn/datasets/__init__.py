"""Data sets: published images, scaled as published, and event cameras."""

import importlib
from typing import TYPE_CHECKING

# ruff: noqa: F401
if TYPE_CHECKING:
    # What reads and does not run, such as the reference, finds names here.
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
    from keras_snn.datasets.records import (
        RecordBatches,
        RecordFiles,
        record_batches,
    )

_HOMES = {
    "NAMES": "catalogue",
    "DatasetInfo": "catalogue",
    "EventDatasetInfo": "catalogue",
    "import_data": "importing",
    "info": "catalogue",
    "load": "arrays",
    "load_tf": "pipeline",
    "RecordBatches": "records",
    "RecordFiles": "records",
    "record_batches": "records",
}

__all__ = sorted([*_HOMES, "events"])


def __getattr__(name):
    # The command line reads the catalogue before it waits for Keras.
    if name == "events":
        return importlib.import_module(f"{__name__}.events")
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return getattr(home, name)
