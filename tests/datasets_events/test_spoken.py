"""Sounds: SHD and SSC, from files in the published layout."""

import pickle

import h5py
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.datasets import events
from tests.datasets_events import writers

LABELS = [3, 19, 0, 3]


def sounds(count, first=0, largest=1_200_000):
    """Recordings at times that float16 seconds have."""
    rng = np.random.default_rng(count)
    found = []
    for i in range(count):
        # Multiples of 1/1024 s, of which float16 has all up to 2 s.
        ticks = np.sort(rng.integers(0, largest // 1000, 80))
        x = rng.integers(0, 700, 80)
        zeros = np.zeros(80, int)
        t = np.rint(ticks / 1024 * 1e6).astype(int)
        found.append(events.as_events(x, zeros, t, zeros + 1))
    return found


@pytest.fixture
def folder(tmp_path):
    writers.write_spoken(tmp_path / "shd_train.h5", sounds(4), LABELS)
    writers.write_spoken(tmp_path / "shd_test.h5", sounds(2), [1, 2], "f4")
    return tmp_path


def test_recordings_are_those_of_the_file(folder):
    train = events.recordings("shd", "train", folder)
    assert len(train) == 4 and train.sensor_size == 700
    np.testing.assert_array_equal(train.labels.argmax(1), LABELS)
    assert train.labels.shape == (4, 20)
    for found, expected in zip(train, sounds(4), strict=True):
        np.testing.assert_array_equal(found, expected)
    again = pickle.loads(pickle.dumps(train))[[2, 0]]
    np.testing.assert_array_equal(again[1], sounds(4)[0])
    test = events.recordings("shd", "test", folder)
    np.testing.assert_array_equal(test[1]["t"], sounds(2)[1]["t"])


def test_frames_of_sounds_have_one_axis_of_channels(folder):
    (x, y), (x_test, y_test) = snn.datasets.load("shd", folder)
    assert x.shape == (4, 100, 700) and x_test.shape == (2, 100, 700)
    assert y.shape == (4, 20) and y_test.shape == (2, 20)
    assert snn.datasets.info("shd").input_shape == (700,)
    counted = np.zeros_like(x)
    for i, sound in enumerate(sounds(4)):
        first = sound["t"][0]
        for unit, _, t, _ in sound.tolist():
            if (t - first) // 14_000 < 100:
                counted[i, (t - first) // 14_000, unit] += 1
    np.testing.assert_array_equal(x, counted)
    batches = events.Frames(
        events.recordings("shd", "train", folder), y, 3, 100, window=14_000,
        shuffle=False,
    )  # fmt: skip
    np.testing.assert_array_equal(batches[0][0], x[:3])


def test_changes_of_a_row_of_channels_stay_in_it(folder):
    train = events.recordings("shd", "train", folder)
    augment = events.Augmentation(shift=20, drop=0.1, drop_area=0.2)
    batches = events.Frames(
        train, train.labels, 4, 10, window=140_000, augment=augment, seed=0
    )
    x, _ = batches[0]
    assert x.shape == (4, 10, 700)
    # Some are dropped, and few leave at the ends.
    assert 0.5 * 320 < x.sum() < 0.95 * 320
    rng = np.random.default_rng(0)
    left = events.drop_area(sounds(1)[0], (1, 700), 0.2, rng)
    gone = np.setdiff1d(sounds(1)[0]["x"], left["x"])
    assert len(gone) > 8 and np.ptp(gone) < 140


def test_ssc_has_a_split_more(tmp_path):
    for split in ("train", "valid", "test"):
        path = tmp_path / f"ssc_{split}.h5"
        writers.write_spoken(path, sounds(2), [34, 0])
    for split in ("train", "valid", "test"):
        found = events.recordings("ssc", split, tmp_path)
        assert found.labels.argmax(1).tolist() == [34, 0]
    with pytest.raises(ValueError, match='"train" or "valid" or "test"'):
        events.recordings("ssc", "all", tmp_path)


def test_a_file_that_changes_is_read_anew(folder):
    path = folder / "shd_train.h5"
    assert len(events.recordings("shd", "train", folder)) == 4
    path.unlink()
    writers.write_spoken(path, sounds(5), [1] * 5)
    assert len(events.recordings("shd", "train", folder)) == 5


def test_damaged_files_are_refused(folder, tmp_path):
    path = folder / "shd_train.h5"
    with h5py.File(path, "a") as file:
        file["labels"][1] = 20
    with pytest.raises(ValueError, match="shd_train.*20 of recording 1"):
        events.recordings("shd", "train", folder)
    with h5py.File(path, "a") as file:
        del file["labels"]
        file["labels"] = np.zeros(3, "u2")
    with pytest.raises(ValueError, match="shd_train.*as many labels"):
        events.recordings("shd", "train", folder)
    with h5py.File(path, "a") as file:
        del file["labels"]
    with pytest.raises(ValueError, match="shd_train.*labels"):
        events.recordings("shd", "train", folder)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="shd_train.*truncated"):
        events.recordings("shd", "train", folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="shd_train.h5.gz"):
        events.recordings("shd", "train", folder)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("units", 700, "recording 2: expected x in 0..699.*event 5"),
        ("times", np.nan, "recording 2: `t`.*event 5"),
        ("times", -0.5, "recording 2: `t`.*event 5"),
        ("times", 9.0, "recording 2.*decrease.*event 6"),
    ],
)
def test_spikes_out_of_range_are_refused_with_their_place(
    folder, name, value, message
):
    with h5py.File(folder / "shd_train.h5", "a") as file:
        values = file[f"spikes/{name}"][2]
        values[5] = value
        file[f"spikes/{name}"][2] = values
    train = events.recordings("shd", "train", folder)
    with pytest.raises(ValueError, match=message):
        train[2]


def test_a_whole_set_is_no_recording(folder):
    with pytest.raises(ValueError, match='whole set of sounds.*"shd"'):
        events.read(folder / "shd_train.h5")


@pytest.mark.parametrize("size", [0, True, 2.5, "700"])
def test_a_number_of_channels_is_one(size):
    with pytest.raises(ValueError, match="`sensor_size`"):
        events.to_frames(sounds(1)[0], size, time_steps=3)
