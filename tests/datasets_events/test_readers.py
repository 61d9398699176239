"""Published files of event cameras: written by hand, read back."""

import os
import pathlib
import pickle

import numpy as np
import pytest

from keras_snn import datasets
from keras_snn.datasets import events
from tests.datasets_events import writers
from tests.datasets_events.writers import random_events

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED_DATA = pathlib.Path(
    os.environ.get("KERAS_SNN_TEST_DATA", ROOT.parent / "shared" / "data")
)
NMNIST_NAMES = [
    "Train/0/00002.bin",
    "Train/9/00005.bin",
    "Train/5/00001.bin",
    "Test/7/00001.bin",
    "Test/2/00002.bin",
]


@pytest.fixture(scope="module")
def nmnist():
    """Recordings by the names of their files."""
    rng = np.random.default_rng(0)
    return {name: random_events(rng, (34, 34)) for name in NMNIST_NAMES}


@pytest.fixture(scope="module")
def dvs():
    rng = np.random.default_rng(1)
    return random_events(rng, (128, 128), 60)


# The bytes of one file -------------------------------------------------------


def test_nmnist_bytes_are_read_as_published(tmp_path):
    # x=1, y=2, ON, t = 0x010203; x=33, y=0, OFF, t = 0x7fffff
    path = tmp_path / "00001.bin"
    path.write_bytes(bytes([1, 2, 0x81, 2, 3, 33, 0, 0x7F, 0xFF, 0xFF]))
    first, second = events.read_nmnist(path).tolist()
    assert first == (1, 2, 0x010203, 1)
    assert second == (33, 0, 0x7FFFFF, 0)


def test_nmnist_row_240_advances_the_clock(tmp_path):
    path = tmp_path / "00001.bin"
    path.write_bytes(
        bytes([1, 1, 0, 0, 9, 0, 240, 0, 0, 9, 2, 2, 0, 0, 8, 0, 240, 0, 0, 8])
        + bytes([3, 3, 128, 0, 7])
    )
    recording = events.read_nmnist(path)
    assert recording["t"].tolist() == [9, 8 + 8192, 7 + 2 * 8192]
    assert recording["x"].tolist() == [1, 2, 3]


def test_aedat3_bits_are_read_as_published(tmp_path):
    path = tmp_path / "one.aedat"
    event = (127 << 17 | 5 << 2 | 1 << 1 | 1).to_bytes(4, "little")
    event += (1234).to_bytes(4, "little")
    packet = writers.aedat3_packet(event, 1, overflow=1)
    path.write_bytes(writers.GESTURE_HEADER + packet)
    recording = events.read_aedat3(path)
    assert recording.tolist() == [(127, 5, 1234 + 2**31, 1)]


def test_aedat3_skips_other_packets_and_invalid_events(tmp_path, dvs):
    path = tmp_path / "one.aedat"
    invalid = writers.polarity_packet(dvs[-2:], valid=False)
    path.write_bytes(writers.aedat3_bytes(dvs) + invalid)
    np.testing.assert_array_equal(events.read_aedat3(path), dvs)


def test_aedat2_bits_are_read_as_published(tmp_path):
    # Coordinates 3 (bits 1..7) and 10 (bits 8..14), bit 0 clear: ON.
    path = tmp_path / "one.aedat"
    words = writers.aedat2_words([10 << 8 | 3 << 1, 1], [77, 78])
    path.write_bytes(writers.JAER_HEADER + words)
    on, off = events.read_aedat2(path).tolist()
    assert on == (127 - 10, 127 - 3, 77, 1)
    assert off == (127, 127, 78, 0)


def test_aedat2_leaves_external_signals_out(tmp_path, dvs):
    path = tmp_path / "one.aedat"
    signal = writers.aedat2_words([1 << 15], [0])
    content = writers.aedat2_bytes(dvs)
    cut = len(writers.JAER_HEADER)
    path.write_bytes(content[:cut] + signal + content[cut:])
    np.testing.assert_array_equal(events.read_aedat2(path), dvs)


# Data sets ------------------------------------------------------------------


def by_class(nmnist, split):
    """Names and recordings of a split, by class and number."""
    names = sorted(name for name in nmnist if name.startswith(split))
    return [(int(name.split("/")[1]), nmnist[name]) for name in names]


def check_nmnist(data_dir, nmnist):
    for split in ("Train", "Test"):
        found = events.recordings("nmnist", split.lower(), data_dir)
        expected = by_class(nmnist, split)
        assert len(found) == len(expected)
        assert found.sensor_size == (34, 34)
        for recording, label, (digit, events_) in zip(
            found, found.labels, expected, strict=True
        ):
            np.testing.assert_array_equal(recording, events_)
            assert label[digit] == label.sum() == 1


def test_nmnist_from_folders(tmp_path, nmnist):
    writers.write_nmnist(tmp_path, nmnist)
    check_nmnist(tmp_path, nmnist)


def test_nmnist_from_a_folder_of_its_name(tmp_path, nmnist):
    writers.write_nmnist(tmp_path / "nmnist", nmnist)
    check_nmnist(tmp_path, nmnist)


def test_nmnist_from_one_archive(tmp_path, nmnist):
    writers.write_nmnist_zip(tmp_path / "nmnist_small.zip", nmnist)
    check_nmnist(tmp_path, nmnist)
    check_nmnist(tmp_path / "nmnist_small.zip", nmnist)


def test_nmnist_from_the_published_archives(tmp_path, nmnist):
    for split in ("Train", "Test"):
        part = {n: nmnist[n] for n in nmnist if n.startswith(split)}
        # What macOS adds to archives is no recording.
        part[f"__MACOSX/{split}/0/._00002.bin"] = nmnist[NMNIST_NAMES[0]]
        writers.write_nmnist_zip(tmp_path / f"{split}.zip", part)
    check_nmnist(tmp_path, nmnist)


def test_nmnist_as_arrays(tmp_path, nmnist):
    writers.write_nmnist(tmp_path, nmnist)
    (x_train, y_train), (x_test, y_test) = datasets.load("nmnist", tmp_path)
    assert x_train.shape == (3, 15, 34, 34, 2)
    assert y_train.argmax(1).tolist() == [0, 5, 9]
    assert y_test.argmax(1).tolist() == [2, 7]
    assert x_train.dtype == y_train.dtype == np.float32
    expected = [
        events.to_frames(recording, (34, 34), time_steps=15, window=20_000)
        for _, recording in by_class(nmnist, "Test")
    ]
    np.testing.assert_array_equal(x_test, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"time_steps": 4},
        {"time_steps": 3, "window": 50_000, "representation": "binary"},
        {"events_per_frame": 7, "polarity_channels": 1, "dtype": "uint8"},
    ],
)
def test_arrays_take_the_options_of_frames(tmp_path, nmnist, options):
    writers.write_nmnist(tmp_path, nmnist)
    (x_train, _), _ = datasets.load("nmnist", tmp_path, **options)
    options = {"time_steps": 15, **options}
    expected = [
        events.to_frames(recording, (34, 34), **options)
        for _, recording in by_class(nmnist, "Train")
    ]
    np.testing.assert_array_equal(x_train, expected)
    assert x_train.dtype == expected[0].dtype


def test_some_recordings_can_be_chosen(tmp_path, nmnist):
    writers.write_nmnist(tmp_path, nmnist)
    found = events.recordings("nmnist", "train", tmp_path)
    for chosen in (found[1:], found[[1, 2]], found[np.array([1, 2])]):
        assert isinstance(chosen, events.Recordings) and len(chosen) == 2
        np.testing.assert_array_equal(chosen[0], found[1])
        np.testing.assert_array_equal(chosen.labels, found.labels[1:])
        assert chosen.sensor_size == (34, 34)
    np.testing.assert_array_equal(found[-1], found[2])
    with pytest.raises(IndexError):
        found[3]


def test_recordings_can_be_sent_to_other_processes(tmp_path, nmnist):
    writers.write_nmnist_zip(tmp_path / "Train.zip", nmnist)
    found = events.recordings("nmnist", "train", tmp_path)
    copy = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(copy[2], found[2])


def test_gestures_are_cut_out_of_their_trials(tmp_path):
    rng = np.random.default_rng(2)
    one = random_events(rng, (128, 128), 400, last=5_000_000)
    two = random_events(rng, (128, 128), 400, last=5_000_000)
    # As in the published set, windows may overlap.
    rows = [(1, 1_000_000, 2_000_000), (11, 1_900_000, 4_000_000)]
    writers.write_gestures(
        tmp_path,
        {
            "train": {"user01_led": (one, rows)},
            "test": {"user24_lab": (two, rows[:1]), "user24_led": (one, rows)},
        },
    )
    train = events.recordings("dvs_gesture", "train", tmp_path)
    assert train.labels.argmax(1).tolist() == [0, 10]
    assert train.labels.shape == (2, 11) and train.sensor_size == (128, 128)
    for recording, (_, start, end) in zip(train, rows, strict=True):
        inside = (one["t"] >= start) & (one["t"] < end)
        np.testing.assert_array_equal(recording, one[inside])
    changed = train[0]
    changed["t"] -= changed["t"][0]
    inside = (one["t"] >= rows[0][1]) & (one["t"] < rows[0][2])
    np.testing.assert_array_equal(train[0], one[inside])
    test = events.recordings("dvs_gesture", "test", tmp_path)
    assert test.labels.argmax(1).tolist() == [0, 0, 10]
    assert np.isin(test[0], two).all() and np.isin(test[1], one).all()
    (x_train, _), (x_test, _) = datasets.load(
        "dvs_gesture", tmp_path, dtype="uint8"
    )
    assert x_train.shape == (2, 16, 128, 128, 2) and len(x_test) == 3
    assert x_train[1].sum() == len(train[1])


def test_cifar10_dvs_is_split_by_number(tmp_path, dvs):
    written = {
        (name, number): dvs[: 10 + number % 7]
        for name in ("airplane", "truck")
        for number in (0, 10, 9, 899, 900, 999)
    }
    writers.write_cifar10_dvs(tmp_path, written)
    train = events.recordings("cifar10_dvs", "train", tmp_path)
    assert train.labels.argmax(1).tolist() == [0] * 4 + [9] * 4
    for recording, number in zip(train[:4], (0, 9, 10, 899), strict=True):
        np.testing.assert_array_equal(recording, written["airplane", number])
    test = events.recordings("cifar10_dvs", "test", tmp_path)
    assert len(test) == 4
    np.testing.assert_array_equal(test[3], written["truck", 999])
    (x_train, _), _ = datasets.load("cifar10_dvs", tmp_path)
    assert x_train.shape == (8, 10, 128, 128, 2)


# Bad files ------------------------------------------------------------------


def overwrite(content):
    return lambda path: path.write_bytes(content)


def cut(count):
    return lambda path: path.write_bytes(path.read_bytes()[:-count])


ONE_EVENT = bytes([1, 1, 0, 0, 9])
BAD_NMNIST = [
    pytest.param(cut(2), "whole number of 5-byte events.*248", id="truncated"),
    pytest.param(overwrite(b""), "no events.*empty", id="empty"),
    pytest.param(
        overwrite(bytes([0, 240, 0, 0, 9])), "no events", id="no-events"
    ),
    pytest.param(
        overwrite(b"\x89PNG\r\n\x1a\n\x00\x00"),
        r"x in 0\.\.33 .* x=137, y=80 in event 0.*another camera or kind",
        id="foreign",
    ),
    pytest.param(
        overwrite(ONE_EVENT + bytes([1, 34, 0, 0, 9])),
        "y=34 in event 1",
        id="outside",
    ),
    pytest.param(
        overwrite(ONE_EVENT + bytes([1, 1, 0, 0, 8])),
        "do not decrease.*t=8 after t=9 in event 1.*sort=True",
        id="time",
    ),
]


@pytest.mark.parametrize("damage, message", BAD_NMNIST)
def test_damaged_nmnist_files_are_named(tmp_path, nmnist, damage, message):
    writers.write_nmnist(tmp_path, nmnist)
    path = tmp_path / "Train" / "5" / "00001.bin"
    damage(path)
    with pytest.raises(ValueError, match=rf"00001\.bin`: .*{message}"):
        events.read_nmnist(path)
    with pytest.raises(ValueError, match=rf"00001\.bin`: .*{message}"):
        datasets.load("nmnist", tmp_path)


def test_events_out_of_order_are_sorted_where_asked(tmp_path):
    path = tmp_path / "00001.bin"
    path.write_bytes(bytes([1, 1, 0, 0, 9, 2, 2, 0, 0, 8, 3, 3, 0, 0, 9]))
    recording = events.read_nmnist(path, sort=True)
    assert recording["x"].tolist() == [2, 1, 3]
    (tmp_path / "Test" / "0").mkdir(parents=True)
    path.rename(tmp_path / "Test" / "0" / "00001.bin")
    found = events.recordings("nmnist", "test", tmp_path, sort=True)
    np.testing.assert_array_equal(found[0], recording)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_broken_archives_are_named(tmp_path, nmnist, content):
    path = tmp_path / "Train.zip"
    writers.write_nmnist_zip(path, nmnist)
    if content is None:  # truncated
        content = path.read_bytes()[:-100]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Train\.zip`: .*complete zip"):
        events.recordings("nmnist", "train", tmp_path)


def test_damaged_members_are_named(tmp_path, nmnist):
    path = tmp_path / "Train.zip"
    writers.write_nmnist_zip(path, nmnist)
    content = bytearray(path.read_bytes())
    # Behind the first member's header and name: its compressed bytes.
    content[60:120] = bytes(60)
    path.write_bytes(content)
    found = events.recordings("nmnist", "train", tmp_path)
    with pytest.raises(
        ValueError, match="Train.zip`, member `Train/0/00002.bin`: .*fetch"
    ):
        found[0]
    assert len(found[1]) == 50


GESTURE = writers.GESTURE_HEADER
BAD_AEDAT3 = [
    pytest.param(b"", r"begins with `#!AER-DAT3\.1`.*b''", id="empty"),
    pytest.param(writers.JAER_HEADER, "AER-DAT3.1`.*AER-DAT2.0", id="version"),
    pytest.param(GESTURE[:40], "line `#!END-HEADER`", id="header"),
    pytest.param(GESTURE, "no events", id="no-events"),
    pytest.param(GESTURE + bytes(20), "complete packet", id="packet-header"),
    pytest.param(
        GESTURE + writers.aedat3_packet(bytes(12), 2),
        "complete packet of events at byte 105.*truncated",
        id="packet",
    ),
    pytest.param(
        GESTURE + writers.aedat3_packet(bytes(16), 2, size=16),
        "complete packet",
        id="event-size",
    ),
    pytest.param(
        GESTURE + writers.aedat3_packet(bytes(16), 1, capacity=2),
        "complete packet",
        id="capacity",
    ),
    pytest.param(
        GESTURE + writers.polarity_packet([(128, 0, 5, 1)]),
        r"x in 0\.\.127 .* x=128",
        id="outside",
    ),
    pytest.param(
        GESTURE + writers.polarity_packet([(1, 0, 5, 1), (1, 0, 4, 1)]),
        "t=4 after t=5",
        id="time",
    ),
]


@pytest.mark.parametrize("content, message", BAD_AEDAT3)
def test_damaged_aedat3_files_are_named(tmp_path, content, message):
    path = tmp_path / "user01.aedat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"(?s)user01\.aedat`: .*{message}"):
        events.read_aedat3(path)


BAD_AEDAT2 = [
    pytest.param(b"", r"begins with `#!AER-DAT2\.0`", id="empty"),
    pytest.param(GESTURE, "AER-DAT2.0`.*AER-DAT3.1", id="version"),
    pytest.param(b"#!AER-DAT2.0\r\n# cut", "no events", id="header"),
    pytest.param(
        writers.JAER_HEADER + bytes(12), "whole number of 8-byte", id="body"
    ),
    pytest.param(
        writers.JAER_HEADER + writers.aedat2_words([1 << 22], [0]),
        "16 bits.*Received: 0x400000.*another camera",
        id="camera",
    ),
    pytest.param(
        writers.JAER_HEADER + writers.aedat2_words([0, 0], [5, 4]),
        "t=4 after t=5",
        id="time",
    ),
]


@pytest.mark.parametrize("content, message", BAD_AEDAT2)
def test_damaged_aedat2_files_are_named(tmp_path, content, message):
    path = tmp_path / "cat_1.aedat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"(?s)cat_1\.aedat`: .*{message}"):
        events.read_aedat2(path)


@pytest.mark.parametrize(
    "table, message",
    [
        ("", "columns class,startTime_usec,endTime_usec.*an empty file"),
        ("a,b\n1,2", "columns class,.*Received: a,b"),
        (",".join(["class", "startTime_usec", "endTime_usec"]) + "\n0,1,2",
         r"line 2: expected a class 1\.\.11.*Received: 0,1,2"),
        ("class,startTime_usec,endTime_usec\n1,5,5", "line 2: .*later end"),
        ("class,startTime_usec,endTime_usec\n1,x,5", "line 2: .*1,x,5"),
        ("class,startTime_usec,endTime_usec\n1,5", "line 2: .*Received: 1,5"),
    ],
)  # fmt: skip
def test_damaged_tables_of_gestures_are_named(tmp_path, dvs, table, message):
    writers.write_gestures(tmp_path, {"train": {"user01": (dvs, [])}})
    (tmp_path / "user01_labels.csv").write_text(table)
    with pytest.raises(ValueError, match=rf"user01_labels\.csv`.*{message}"):
        events.recordings("dvs_gesture", "train", tmp_path)


def test_a_gesture_without_events_is_named(tmp_path, dvs):
    rows = [(3, 10**9, 10**9 + 5)]
    writers.write_gestures(tmp_path, {"train": {"user01": (dvs, rows)}})
    found = events.recordings("dvs_gesture", "train", tmp_path)
    with pytest.raises(ValueError, match="user01.aedat`: .*line 2 .* none"):
        found[0]


def test_trials_without_gestures_are_refused(tmp_path, dvs):
    writers.write_gestures(tmp_path, {"test": {"user01": (dvs, [])}})
    with pytest.raises(ValueError, match="to_test.txt`: .*1 trials without"):
        events.recordings("dvs_gesture", "test", tmp_path)


def test_a_missing_trial_is_named(tmp_path, dvs):
    writers.write_gestures(tmp_path, {"test": {"user01": (dvs, [])}})
    (tmp_path / "user01.aedat").unlink()
    with pytest.raises(FileNotFoundError, match="user01.aedat`, which the li"):
        events.recordings("dvs_gesture", "test", tmp_path)


def test_cifar10_dvs_names_end_in_a_number(tmp_path, dvs):
    writers.write_cifar10_dvs(tmp_path, {("cat", "x"): dvs})
    with pytest.raises(ValueError, match="cat_x.aedat`: .*ends in a number"):
        events.recordings("cifar10_dvs", "train", tmp_path)


# Wrong arguments ------------------------------------------------------------


@pytest.mark.parametrize(
    "name, message",
    [
        ("nmnist", "Train and Test with DIGIT/NUMBER.bin"),
        ("dvs_gesture", "no `trials_to_train.txt`.*Unpack DvsGesture"),
        ("cifar10_dvs", "CLASS/cifar10_CLASS_NUMBER.aedat.*Unpack"),
    ],
)
def test_a_folder_without_recordings_says_what_was_expected(
    tmp_path, name, message
):
    with pytest.raises(FileNotFoundError, match=f'"{name}".*{message}'):
        datasets.load(name, tmp_path)


def test_recordings_are_never_downloaded():
    with pytest.raises(ValueError, match="never downloaded: .*`data_dir`"):
        datasets.load("nmnist")


def test_unknown_splits_and_image_sets_are_refused(tmp_path):
    with pytest.raises(ValueError, match='"train" or "test". .*=\'val\''):
        events.recordings("nmnist", "val", tmp_path)
    with pytest.raises(ValueError, match='"nmnist", .*Received: "mnist", im'):
        events.recordings("mnist", "train", tmp_path)


@pytest.mark.parametrize(
    "function",
    [datasets.load_tf, lambda name: datasets.import_data(name, ".")],
)
def test_functions_for_images_refuse_recordings(function):
    with pytest.raises(ValueError, match='"digits", .*encoder=None'):
        function("nmnist")


def test_images_have_no_event_options():
    with pytest.raises(ValueError, match="time_steps, window: for recordings"):
        datasets.load("digits", window=10, time_steps=3)


def test_info_of_an_event_camera():
    info = datasets.info("dvs_gesture")
    assert info.input_shape == (128, 128, 2)
    assert info.sizes == {"train": 1176, "test": 288}


def test_the_command_line_refuses_recordings(tmp_path):
    from keras_snn.training import recipe, train

    with pytest.raises(ValueError, match="data set of images.*nmnist_events"):
        train(recipe("lenet", "nmnist"), tmp_path / "run", data_dir=tmp_path)
    assert not (tmp_path / "run").exists()


# Real recordings ------------------------------------------------------------

TRAIN_COUNTS = [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]


def test_recordings_of_nmnist_are_what_they_should_be():
    if not (SHARED_DATA / "nmnist").is_dir():
        pytest.skip(f"no N-MNIST files in {SHARED_DATA}")
    train = events.recordings("nmnist", "train", SHARED_DATA)
    assert train.labels.sum(0).tolist() == TRAIN_COUNTS
    some = list(train[::50])
    # The paper: about 4,100 events, three saccades of 100 ms.
    assert 3000 < np.mean([len(one) for one in some]) < 5500
    assert all(280_000 < np.ptp(one["t"]) < 330_000 for one in some)
