"""Augmentation of recordings, and batches of frames for `fit`."""

import keras
import numpy as np
import pytest

from keras_snn.datasets import events
from tests.datasets_events.writers import random_events

SENSOR = (6, 8)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def recording():
    rng = np.random.default_rng(1)
    return random_events(rng, SENSOR, 2000, last=100_000)


@pytest.fixture(scope="module")
def recordings():
    rng = np.random.default_rng(2)
    return [random_events(rng, SENSOR, 40, last=10_000) for _ in range(10)]


LABELS = np.eye(10, dtype="float32")


# Augmentation ---------------------------------------------------------------


def test_shift_moves_all_events_by_one_offset(recording, rng):
    before = events.to_frames(recording, SENSOR, time_steps=1)[0]
    offsets = set()
    for _ in range(100):
        moved = events.shift(recording, SENSOR, 1, rng)
        after = events.to_frames(moved, SENSOR, time_steps=1)[0]
        padded = np.pad(before, [(1, 1), (1, 1), (0, 0)])
        matches = [
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if np.array_equal(
                after, padded[1 - down : 7 - down, 1 - right : 9 - right]
            )
        ]
        assert len(matches) == 1
        offsets.update(matches)
    assert len(offsets) == 9


def test_drop_events_keeps_each_with_its_probability(recording, rng):
    left = events.drop_events(recording, 0.3, rng)
    # Four standard deviations of 2,000 throws.
    assert abs(len(left) / 2000 - 0.7) < 4 * np.sqrt(0.21 / 2000)
    assert np.isin(left, recording).all()


def test_drop_time_leaves_one_gap_of_that_length(recording, rng):
    for _ in range(20):
        left = events.drop_time(recording, 0.2, rng)
        dropped = recording[~np.isin(recording, left)]
        assert np.ptp(dropped["t"]) <= 20_000
        inside = (left["t"] > dropped["t"][0]) & (left["t"] < dropped["t"][-1])
        assert not inside.any()
        assert 300 < len(dropped) < 500


def test_drop_area_leaves_one_rectangle_empty(recording, rng):
    before = events.to_frames(recording, SENSOR, time_steps=1)[0]
    corners = set()
    for _ in range(50):
        left = events.drop_area(recording, SENSOR, 0.5, rng)
        after = events.to_frames(left, SENSOR, time_steps=1)[0]
        rows, columns, _ = np.nonzero(before != after)
        assert np.ptp(rows) == 2 and np.ptp(columns) == 3  # 3 of 6, 4 of 8
        top, first = rows.min(), columns.min()
        assert not after[top : top + 3, first : first + 4].any()
        corners.add((int(top), int(first)))
    assert len(corners) > 10


def test_flips(recording):
    before = events.to_frames(recording, SENSOR, time_steps=1)
    mirrored = events.flip(recording, SENSOR)
    np.testing.assert_array_equal(
        events.to_frames(mirrored, SENSOR, time_steps=1), before[:, :, ::-1]
    )
    inverted = events.flip_polarity(recording)
    np.testing.assert_array_equal(
        events.to_frames(inverted, SENSOR, time_steps=1), before[..., ::-1]
    )


def test_nothing_is_changed_unless_asked_for(recording, rng):
    kept = events.Augmentation()(recording, SENSOR, rng)
    np.testing.assert_array_equal(kept, recording)


def test_half_of_the_recordings_are_flipped(recording, rng):
    augment = events.Augmentation(flip=True)
    count = sum(
        not np.array_equal(augment(recording, SENSOR, rng), recording)
        for _ in range(200)
    )
    assert abs(count - 100) < 4 * np.sqrt(50)


def test_a_changed_recording_is_one(recording, rng):
    """All at once: still events in the order of time, on the sensor."""
    before = recording.copy()
    augment = events.Augmentation(2, 0.1, 0.1, 0.3, True, True)
    for _ in range(20):
        changed = augment(recording, SENSOR, rng)
        frames = events.to_frames(changed, SENSOR, window=1000)
        assert 0 < frames.sum() == len(changed) < len(recording)
    np.testing.assert_array_equal(recording, before)


def test_a_recording_without_events_stays_one(rng):
    none = events.as_events([], [], [], [])
    augment = events.Augmentation(2, 0.1, 0.1, 0.3, True, True)
    assert len(augment(none, SENSOR, rng)) == 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"shift": -1}, "`shift` must be a number of pixels"),
        ({"shift": 0.1}, "`shift` must be a number of pixels.*=0.1"),
        ({"drop": 1.0}, r"`drop` must be a fraction in \[0, 1\)"),
        ({"drop_time": -0.1}, "`drop_time` must be"),
        ({"drop_area": 2}, "`drop_area` must be"),
    ],
)
def test_augmentation_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        events.Augmentation(**options)


# Batches --------------------------------------------------------------------


def make(recordings, **options):
    options = {"time_steps": 4, "sensor_size": SENSOR, "seed": 0, **options}
    return events.Frames(recordings, LABELS, 4, **options)


def epoch(batches):
    """All frames and labels of one epoch."""
    pairs = [batches[i] for i in range(len(batches))]
    batches.on_epoch_end()
    frames, labels = zip(*pairs, strict=True)
    return np.concatenate(frames), np.concatenate(labels)


def test_unshuffled_batches_are_the_frames_in_order(recordings):
    batches = make(recordings, shuffle=False, window=2000)
    assert len(batches) == 3 and len(batches[2][0]) == 2
    frames, labels = epoch(batches)
    expected = [
        events.to_frames(one, SENSOR, time_steps=4, window=2000)
        for one in recordings
    ]
    np.testing.assert_array_equal(frames, expected)
    np.testing.assert_array_equal(labels, LABELS)


def test_every_epoch_has_all_recordings_in_a_new_order(recordings):
    batches = make(recordings)
    first, second = epoch(batches)[1], epoch(batches)[1]
    assert not np.array_equal(first, second)
    for labels in (first, second):
        assert sorted(labels.argmax(1)) == list(range(10))


def test_frames_stay_with_their_labels(recordings):
    expected = epoch(make(recordings, shuffle=False))[0]
    frames, labels = epoch(make(recordings))
    np.testing.assert_array_equal(frames, expected[labels.argmax(1)])


def test_a_seed_repeats_the_epochs(recordings):
    augment = events.Augmentation(shift=1, drop=0.2)
    same, again, other = (
        make(recordings, augment=augment, seed=seed) for seed in (7, 7, 8)
    )
    first = epoch(same)
    np.testing.assert_array_equal(first[0], epoch(again)[0])
    assert not np.array_equal(first[0], epoch(other)[0])
    second = epoch(same)
    assert not np.array_equal(first[0], second[0])
    fresh = make(recordings, augment=augment, seed=7)
    fresh.epoch = 1  # a run that was cut off goes on
    np.testing.assert_array_equal(second[0], epoch(fresh)[0])


def test_a_recordings_changes_do_not_depend_on_its_batch(recordings):
    augment = events.Augmentation(shift=1, drop=0.2)
    one = make(recordings, augment=augment, shuffle=False)
    two = events.Frames(
        recordings,
        LABELS,
        3,
        4,
        sensor_size=SENSOR,
        seed=0,
        augment=augment,
        shuffle=False,
    )
    np.testing.assert_array_equal(epoch(one)[0], epoch(two)[0])


def test_windows_do_not_move_with_a_dropped_first_event(recordings):
    def without_first(recording, sensor_size, rng):
        return recording[1:]

    options = {"window": 1000, "shuffle": False}
    kept = epoch(make(recordings, **options))[0]
    dropped = epoch(make(recordings, augment=without_first, **options))[0]
    difference = kept - dropped
    assert difference.min() == 0
    assert difference[:, 0].sum() == difference.sum() == len(recordings)


def test_a_model_trains_on_the_batches(recordings):
    batches = make(recordings, augment=events.Augmentation(shift=1))
    frames = keras.Input((4, *SENSOR, 2))
    scores = keras.layers.Dense(10)(keras.layers.Flatten()(frames))
    model = keras.Model(frames, scores)
    model.compile("sgd", "mse")
    history = model.fit(batches, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert batches.epoch == 3
    assert model.predict(batches, verbose=0).shape == (10, 10)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"time_steps": None, "window": 9}, "`time_steps` must be a positive"),
        ({"time_steps": 0}, "`time_steps` must be a positive"),
        ({"sensor_size": None}, r"must be \(height, width\)"),
        ({"representation": "voxel"}, "`representation` must be one of"),
        ({"polarity_channels": 3}, "`polarity_channels` must be one of"),
    ],
)
def test_batches_refuse_wrong_arguments(recordings, options, message):
    with pytest.raises(ValueError, match=message):
        make(recordings, **options)


def test_batches_need_a_label_for_each_recording(recordings):
    with pytest.raises(ValueError, match="Received: 10 recordings and 9 lab"):
        events.Frames(recordings, LABELS[:9], 4, 4, sensor_size=SENSOR)
    with pytest.raises(ValueError, match="at least one.*0 recordings"):
        events.Frames([], [], 4, 4, sensor_size=SENSOR)


def test_batch_size_is_positive(recordings):
    with pytest.raises(ValueError, match="`batch_size` must be a positive"):
        events.Frames(recordings, LABELS, 0, 4, sensor_size=SENSOR)


def test_an_augmentation_in_place_leaves_recordings_as_they_are(recordings):
    def moved(found, sensor_size, rng):
        found["x"] = (found["x"] + 1) % sensor_size[1]
        return found

    own = [one.copy() for one in recordings]
    batches = make(own, augment=moved, shuffle=False)
    first, again = (batches[0][0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(own[0], recordings[0])
