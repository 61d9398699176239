"""Recordings of event cameras: files -> events -> frames and batches."""

from keras_snn.datasets.events.aedat import read_aedat2, read_aedat3
from keras_snn.datasets.events.array import EVENT_DTYPE, as_events
from keras_snn.datasets.events.augmentation import (
    Augmentation,
    drop_area,
    drop_events,
    drop_time,
    flip,
    flip_polarity,
    shift,
)
from keras_snn.datasets.events.batches import Frames
from keras_snn.datasets.events.finding import Recordings, recordings
from keras_snn.datasets.events.frames import split_windows, to_frames
from keras_snn.datasets.events.live import Live, packets, play
from keras_snn.datasets.events.nmnist import read_nmnist
from keras_snn.datasets.events.reading import read, sensor_size_of
from keras_snn.datasets.events.simulation import (
    SIMULATORS,
    saccades,
    simulate,
)

__all__ = [
    "EVENT_DTYPE",
    "SIMULATORS",
    "Augmentation",
    "Frames",
    "Live",
    "Recordings",
    "as_events",
    "drop_area",
    "drop_events",
    "drop_time",
    "flip",
    "flip_polarity",
    "packets",
    "play",
    "read",
    "read_aedat2",
    "read_aedat3",
    "read_nmnist",
    "recordings",
    "saccades",
    "sensor_size_of",
    "shift",
    "simulate",
    "split_windows",
    "to_frames",
]
