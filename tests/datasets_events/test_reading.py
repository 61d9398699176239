"""Files of any usual format, at one door.

Files of AEDAT 4 and Event Stream are written by the libraries of their users,
the others from the published descriptions of their formats.
"""

import pathlib
import sys

import h5py
import numpy as np
import pytest

from keras_snn.datasets import events
from keras_snn.datasets.events import reading
from tests.datasets_events import writers

SIZE = (180, 240)


@pytest.fixture(scope="module")
def recording():
    rng = np.random.default_rng(0)
    return writers.random_events(rng, SIZE, 60, first=5_000)


def needs_faery():
    return pytest.importorskip("faery", reason="no faery for this Python")


def raw(version, words):
    header = writers.RAW_HEADER % (version, version)
    return lambda path, r, _: path.write_bytes(header + words(r))


def columns(path, recording, **changed):
    given = {n: recording[n] for n in "xytp"} | changed
    with h5py.File(path, "w") as file:
        for name, values in given.items():
            file[f"events/{name}"] = values


def write_davis(path, recording, size):
    words = writers.davis_words(recording, size)
    path.write_bytes(writers.JAER_DAVIS_HEADER + words)


def write_metavision(path, recording, size):
    with h5py.File(path, "w") as file:
        file["CD/events"] = recording
        file["CD/indexes"] = np.zeros(3, [("id", "u8"), ("ts", "i8")])
        file.attrs["geometry"] = f"{size[1]}x{size[0]}"


def write_mvsec(path, r, _):
    table = np.stack([r["x"], r["y"], r["t"] * 1e-6, r["p"] * 2.0 - 1], 1)
    with h5py.File(path, "w") as file:
        file["davis/left/events"] = table
        file["davis/left/image_raw"] = np.zeros((2, 4), "u1")


def write_v2e(path, r, _):
    table = np.stack([r[n] for n in "txyp"], 1).astype("u4")
    with h5py.File(path, "w") as file:
        file["events"] = table


def write_dsec(path, r, _):
    columns(path, r, t=(r["t"] - 5_000).astype("u4"))
    with h5py.File(path, "a") as file:
        file["t_offset"] = 5_000
        file["ms_to_idx"] = np.zeros(4, "u8")


def write_plural(path, r, _):
    with h5py.File(path, "w") as file:
        for name, values in {**{n: r[n] for n in "xy"}}.items():
            file[f"events/{name}s"] = values
        file["events/ts"] = r["t"] * 1e-6
        file["events/ps"] = r["p"].astype(bool)


# Name of the file, the function that writes it, and whether it says the
# sensor's size.
FILES = {
    "AEDAT 4": ("a.aedat4", writers.write_with_faery, True),
    "Event Stream": ("a.es", writers.write_with_faery, True),
    "EVT 2": ("a.raw", raw(2, writers.evt2_words), "720p"),
    "EVT 3": ("a.raw", raw(3, writers.evt3_words), "720p"),
    "DAT": (
        "a_td.dat",
        lambda path, r, _: path.write_bytes(writers.dat_bytes(r)),
        "ATIS",
    ),
    "AEDAT 2, DAVIS": ("a.aedat", write_davis, True),
    "AEDAT 3.1": (
        "a.aedat",
        lambda path, r, _: path.write_bytes(
            writers.aedat3_bytes(r).replace(b"DVS128", b"DAVIS240C")
        ),
        True,
    ),
    "HDF5 of Metavision": ("a.hdf5", write_metavision, True),
    "HDF5 of MVSEC": ("a.hdf5", write_mvsec, False),
    "HDF5 of v2e": ("a.h5", write_v2e, False),
    "HDF5 of DSEC": ("a.h5", write_dsec, False),
    "HDF5 with plurals": ("a.h5", write_plural, False),
    "a structured array": ("a.npy", lambda p, r, _: np.save(p, r), False),
    "arrays": (
        "a.npz",
        lambda p, r, _: np.savez(p, **{n: r[n] for n in "xytp"}),
        False,
    ),
    "N-Caltech101": (
        "a.bin",
        lambda p, r, _: p.write_bytes(writers.nmnist_bytes(r)),
        False,
    ),
}
SIZES = {True: SIZE, False: None, "720p": (720, 1280), "ATIS": (240, 304)}
BY_FAERY = ("AEDAT 4", "Event Stream", "EVT 2", "EVT 3", "DAT")


def written(kind, folder, recording):
    if kind in BY_FAERY:
        needs_faery()
    name, write, _ = FILES[kind]
    write(folder / name, recording, SIZE)
    return folder / name


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_read_as_it_was_written(kind, tmp_path, recording):
    path = written(kind, tmp_path, recording)
    expected = recording
    if kind == "Event Stream":  # it counts from the first event
        expected = recording.copy()
        expected["t"] -= recording["t"][0]
    found = events.read(path)
    assert found.dtype == events.EVENT_DTYPE
    np.testing.assert_array_equal(found, expected)
    assert events.sensor_size_of(path) == SIZES[FILES[kind][2]]


@pytest.mark.parametrize("kind", FILES)
def test_a_file_whose_end_is_missing_is_refused(kind, tmp_path, recording):
    path = written(kind, tmp_path, recording)
    content = path.read_bytes()
    # The table after the packets of AEDAT 4 is of no use, the packets are.
    cut = len(content) // 2 if kind in ("AEDAT 4", "Event Stream") else 1
    path.write_bytes(content[:-cut])
    if kind == "Event Stream":
        assert len(events.read(path)) < len(recording)  # it cannot be told
        return
    with pytest.raises(ValueError, match=path.name):
        events.read(path)


@pytest.mark.parametrize("kind", FILES)
def test_damaged_bytes_give_events_or_an_error_that_names_the_file(
    kind, tmp_path, recording
):
    path = written(kind, tmp_path, recording)
    content = np.fromfile(path, "u1")
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(25):
        damaged = content.copy()
        places = rng.integers(0, len(content), 4)
        damaged[places] = rng.integers(0, 256, 4)
        damaged.tofile(path)
        try:
            found = events.read(path)
        except (ValueError, ImportError) as error:
            assert path.name in str(error)
            refused += 1
        else:
            assert found.dtype == events.EVENT_DTYPE
            assert np.all(np.diff(found["t"]) >= 0)
    assert refused


def test_aedat4_of_dv_processing_is_read(tmp_path, recording):
    needs_faery()
    dv = pytest.importorskip("dv_processing", reason="dv-processing is large")
    path = tmp_path / "a.aedat4"
    config = dv.io.MonoCameraWriter.EventOnlyConfig("DVXplorer", SIZE[::-1])
    writer = dv.io.MonoCameraWriter(str(path), config)
    store = dv.EventStore()
    for x, y, t, p in recording.tolist():
        store.push_back(t, x, y, bool(p))
    writer.writeEvents(store)
    del writer
    np.testing.assert_array_equal(events.read(path), recording)
    assert events.sensor_size_of(path) == SIZE


def test_aedat4_cut_between_packets_is_refused(tmp_path, recording):
    needs_faery()
    path = written("AEDAT 4", tmp_path, recording)
    content = path.read_bytes()
    # A packet: 4 bytes of stream, 4 of size. Keep the first of two.
    header = 14 + 4 + int.from_bytes(content[14:18], "little")
    size = int.from_bytes(content[header + 4 : header + 8], "little")
    path.write_bytes(content[: header + 8 + size])
    with pytest.raises(ValueError, match="a.aedat4.*truncated"):
        events.read(path)


def test_evt3_vectors_hold_an_event_a_bit(tmp_path):
    needs_faery()
    words = [
        0x8001,  # time, high: 4096
        0x6010,  # time, low: 16
        0x0005,  # y = 5
        0x3864,  # vector from x = 100, ON
        0x4005,  # 12 pixels, the first and the third
        0x5081,  # 8 pixels, the first and the last
    ]
    path = tmp_path / "a.raw"
    header = writers.RAW_HEADER % (3, 3)
    path.write_bytes(header + np.array(words, "<u2").tobytes())
    found = events.read(path).tolist()
    assert found == [(x, 5, 4112, 1) for x in (100, 102, 112, 119)]


def test_times_of_evt3_go_on_where_its_clock_begins_again(tmp_path):
    needs_faery()
    # Its 24 bits last 16.8 s.
    times = np.arange(16_000_000, 36_000_000, 500_000)
    zeros = np.zeros_like(times)
    long = events.as_events(zeros, zeros, times, zeros)
    path = tmp_path / "a.raw"
    header = writers.RAW_HEADER % (3, 3)
    path.write_bytes(header + writers.evt3_words(long))
    np.testing.assert_array_equal(events.read(path)["t"], times)


def test_what_a_header_does_not_say_the_caller_does(tmp_path, recording):
    needs_faery()
    path = tmp_path / "a.raw"
    path.write_bytes(b"% evt 2.0\n% end\n" + writers.evt2_words(recording))
    np.testing.assert_array_equal(events.read(path), recording)
    assert events.sensor_size_of(path) is None
    found = events.read(path, sensor_size=SIZE)
    np.testing.assert_array_equal(found, recording)
    with pytest.raises(ValueError, match="a.raw"):
        events.read(path, sensor_size=(100, 100))
    path.write_bytes(b"% evt 2.1\n% end\n" + bytes(8))
    with pytest.raises(ValueError, match="expected a header that says.*evt2.1"):
        events.read(path)


def test_aedat2_of_a_dvs128_stands_as_the_camera_stood(tmp_path):
    # Bits 1..7 count columns from the right, bits 8..14 rows from below.
    path = tmp_path / "a.aedat"
    words = writers.aedat2_words([10 << 8 | 3 << 1, 1, 1 << 15], [77, 78, 79])
    path.write_bytes(writers.JAER_HEADER + words)
    assert events.read(path).tolist() == [
        (127 - 3, 127 - 10, 77, 1),
        (127, 127, 78, 0),
    ]
    assert events.sensor_size_of(path) == (128, 128)


def test_aedat2_of_an_unknown_camera_needs_its_size(tmp_path, recording):
    path = tmp_path / "a.aedat"
    words = writers.davis_words(recording, SIZE)
    path.write_bytes(writers.JAER_HEADER + words)
    np.testing.assert_array_equal(
        events.read(path, sensor_size=SIZE), recording
    )
    with pytest.raises(ValueError, match="a.aedat.*sensor_size.*says"):
        events.read(path)
    other = writers.JAER_DAVIS_HEADER.replace(b"davis.DAVIS240C", b"Cochlea")
    path.write_bytes(other + words)
    with pytest.raises(ValueError, match="Received: Cochlea"):
        events.read(path, sensor_size=SIZE)


def test_an_address_that_begins_like_a_comment_is_none(tmp_path):
    # y = 140 from below: the address begins with the byte of a #.
    one = events.as_events([9, 9], [SIZE[0] - 1 - 140] * 2, [5, 6], [1, 1])
    path = tmp_path / "a.aedat"
    words = writers.davis_words(one, SIZE)
    assert words.startswith(b"#")
    for end in (b"", b"#End Of ASCII Header\r\n"):
        path.write_bytes(writers.JAER_DAVIS_HEADER + end + words)
        np.testing.assert_array_equal(events.read(path), one)


def test_order_and_places_are_checked_as_by_all_readers(tmp_path, recording):
    path = tmp_path / "a.h5"
    shuffled = recording[::-1]
    columns(path, shuffled)
    with pytest.raises(ValueError, match="a.h5.*decrease.*in event 1.*sort"):
        events.read(path)
    found = events.read(path, sort=True)
    np.testing.assert_array_equal(found["t"], recording["t"])
    outside = recording["x"].astype(int)
    outside[7] = -3
    columns(path, recording, x=outside)
    with pytest.raises(ValueError, match="a.h5.*`x`.*-3 in event 7"):
        events.read(path)
    columns(path, recording, p=np.full(60, 3))
    with pytest.raises(ValueError, match="a.h5.*`p`.*3 in event 0"):
        events.read(path)
    columns(path, recording, t=recording["t"][:5])
    with pytest.raises(ValueError, match="a.h5.*one shape"):
        events.read(path)
    write_metavision(path, recording, SIZE)
    with pytest.raises(ValueError, match="expected a sensor of.*90, 240"):
        events.read(path, sensor_size=(90, 240))


def test_a_file_of_several_recordings_or_none_is_refused(tmp_path, recording):
    path = tmp_path / "a.h5"
    write_mvsec(path, recording, SIZE)
    with h5py.File(path, "a") as file:
        file["davis/right/events"] = np.zeros((3, 4))
    with pytest.raises(ValueError, match="2 of them, davis/left/events"):
        events.read(path)
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((3, 4))
    with pytest.raises(ValueError, match=r"none, the file holds \['images'\]"):
        events.read(path)


def test_a_filter_that_is_missing_is_named_with_the_extra(tmp_path, recording):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in "xytp":
            file.create_dataset(
                f"events/{name}", data=recording[name], compression="lzf"
            )
    # Number 32000 is LZF; no filter has number 32766.
    content = path.read_bytes()
    assert content.count(b"\x00\x7d\x08\x00") == 4
    changed = content.replace(b"\x00\x7d\x08\x00", b"\xfe\x7f\x08\x00")
    path.write_bytes(changed)
    with pytest.raises(ImportError, match=r"a.h5.*keras-snn\[hdf5\]"):
        events.read(path)


@pytest.mark.parametrize("kind", ("EVT 2", "DAT"))
def test_a_library_that_is_missing_is_named_with_its_extra(
    kind, tmp_path, recording, monkeypatch
):
    name, write, _ = FILES[kind]
    write(tmp_path / name, recording, SIZE)
    monkeypatch.setitem(sys.modules, "faery", None)
    with pytest.raises(ImportError, match=r"keras-snn\[events\]"):
        events.read(tmp_path / name)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.bag", b"#ROSBAG V2.0\n", "bag of ROS.*as_events"),
        ("a.mcap", b"\x89MCAP0\r\n", "bag of ROS.*EventArray"),
        ("a.db3", b"SQLite format 3\x00", "bag of ROS"),
        ("a.raw", b"\x00\x80\x01\x02", "a.raw.*another format"),
        ("a.dat", b"", "a.dat.*It is empty"),
        ("a.txt", b"0 1 2 3\n", "a.txt.*as_events"),
        ("a.npz", b"PK\x03\x04", "a.npz.*complete"),
        ("a.npy", b"\x93NUMPY\x01", "a.npy.*complete"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "a.h5.*truncated"),
        ("a.aedat4", b"#!AER-DAT4.0\r\n", "a.aedat4.*truncated"),
        ("a.bin", b"", "a.bin.*no events"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        events.read(path)


def test_the_page_has_every_format():
    page = pathlib.Path(__file__).parents[2] / "docs" / "events.md"
    table = page.read_text("utf-8").partition("| format | written by |")[2]
    endings = {x for known in reading.FORMATS for x in known.endings[:1]}
    assert {x for x in endings if f"`{x}`" not in table} == set()


def test_a_file_that_is_not_there_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        events.read(tmp_path / "a.raw")
