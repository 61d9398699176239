"""Whole event-camera data sets as arrays of frames."""

import numpy as np

from keras_snn.datasets.events.finding import recordings
from keras_snn.datasets.events.frames import to_frames


def load_frames(
    info,
    data_dir,
    *,
    time_steps=None,
    window=None,
    events_per_frame=None,
    representation="count",
    polarity_channels=2,
    dtype="float32",
    sort=False,
):
    """Loads both splits as frames; see `keras_snn.datasets.load`.

    Args:
        info: The `EventDatasetInfo` of the data set.
        data_dir: Folder of the published files, see `recordings`.
        time_steps: Frames of a recording; `None` for `info.time_steps`.
        window: See `to_frames`; `None` for `info.window` if neither
            `time_steps` nor `events_per_frame` is given.
        events_per_frame: See `to_frames`.
        representation: See `to_frames`.
        polarity_channels: See `to_frames`.
        dtype: See `to_frames`.
        sort: See `recordings`.

    Returns:
        `((x_train, y_train), (x_test, y_test))`.
    """
    if time_steps is None and window is None and events_per_frame is None:
        window = info.window
    options = {
        "time_steps": info.time_steps if time_steps is None else time_steps,
        "window": window,
        "events_per_frame": events_per_frame,
        "representation": representation,
        "polarity_channels": polarity_channels,
        "dtype": dtype,
    }
    splits = [
        recordings(info.name, split, data_dir, sort=sort)
        for split in ("train", "test")
    ]
    return tuple((stack(split, **options), split.labels) for split in splits)


def stack(recordings, **options):
    """Frames of all recordings, read one by one, as one array.

    Args:
        recordings: `Recordings`.
        **options: Arguments of `to_frames`, `time_steps` among them.

    Returns:
        Array `(N, T, height, width, channels)`.
    """
    frames = None
    for i, events in enumerate(recordings):
        some = to_frames(events, recordings.sensor_size, **options)
        if frames is None:
            frames = np.empty((len(recordings), *some.shape), some.dtype)
        frames[i] = some
    return frames
