"""Writers of the published file formats, from their descriptions."""

import struct
import zipfile

import numpy as np

from keras_snn.datasets import events

GESTURE_HEADER = (
    b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n"
    b"#Start-Time: 2016-03-07 10:00:00 (TZ+0000)\r\n#!END-HEADER\r\n"
)
JAER_HEADER = (
    b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
    b"# Data format is int32 address, int32 timestamp (8 bytes total)\r\n"
)


def random_events(rng, sensor_size, count=50, last=300_000, first=0):
    height, width = sensor_size
    return events.as_events(
        rng.integers(0, width, count),
        rng.integers(0, height, count),
        np.sort(rng.integers(first, last, count)),
        rng.integers(0, 2, count),
    )


def nmnist_bytes(recording):
    """x, y, then polarity in the highest of 24 bits and the time below."""
    return b"".join(
        bytes([x, y]) + (int(p) << 23 | int(t)).to_bytes(3, "big")
        for x, y, t, p in recording
    )


def write_nmnist(folder, recordings):
    """Writes `{"Train/3/00001.bin": events}` as files."""
    for name, recording in recordings.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(nmnist_bytes(recording))


def write_nmnist_zip(path, recordings):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, recording in recordings.items():
            archive.writestr(name, nmnist_bytes(recording))


def aedat3_packet(body, number, kind=1, size=8, overflow=0, capacity=None):
    capacity = number if capacity is None else capacity
    header = (kind, 1, size, 4, overflow, capacity, number, number)
    return struct.pack("<hhiiiiii", *header) + body


def polarity_packet(recording, overflow=0, valid=True):
    body = b"".join(
        struct.pack("<Ii", int(x) << 17 | int(y) << 2 | int(p) << 1 | valid, t)
        for x, y, t, p in recording
    )
    return aedat3_packet(body, len(recording), overflow=overflow)


def aedat3_bytes(recording):
    """Two packets of polarity events, one of another type between them."""
    half = len(recording) // 2
    other = aedat3_packet(bytes(2 * 36), number=2, kind=3, size=36)
    return (
        GESTURE_HEADER
        + polarity_packet(recording[:half])
        + other
        + polarity_packet(recording[half:])
    )


def aedat2_words(addresses, times):
    pairs = zip(addresses, times, strict=True)
    return b"".join(struct.pack(">ii", *map(int, pair)) for pair in pairs)


def aedat2_bytes(recording):
    """The camera's own bits: bit 0 is 0 for ON, coordinates are turned."""
    low, high = 127 - recording["y"], 127 - recording["x"]
    address = high.astype(int) << 8 | low.astype(int) << 1
    address |= 1 - recording["p"]
    return JAER_HEADER + aedat2_words(address, recording["t"])


def write_gestures(folder, trials):
    """Writes `{"train": {trial: (events, rows of labels)}, "test": ..}`."""
    for split, by_name in trials.items():
        names = "".join(f"{name}.aedat\n" for name in by_name)
        (folder / f"trials_to_{split}.txt").write_text(names)
        for name, (recording, rows) in by_name.items():
            (folder / f"{name}.aedat").write_bytes(aedat3_bytes(recording))
            table = ["class,startTime_usec,endTime_usec"]
            table += [",".join(map(str, row)) for row in rows]
            (folder / f"{name}_labels.csv").write_text("\n".join(table))


def write_cifar10_dvs(folder, recordings):
    """Writes `{("airplane", 0): events}` as files."""
    for (name, number), recording in recordings.items():
        path = folder / name / f"cifar10_{name}_{number}.aedat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(aedat2_bytes(recording))


JAER_DAVIS_HEADER = JAER_HEADER + (
    b"# Timestamps tick is 1 us\r\n# HardwareInterface: DAVIS FX3\r\n"
    b"# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"
)


def davis_words(recording, size):
    """Rows from below, columns from the right; pictures and signals between."""
    height, width = size
    address = (height - 1 - recording["y"].astype(int)) << 22
    address |= (width - 1 - recording["x"].astype(int)) << 12
    address |= recording["p"].astype(int) << 11
    words = np.stack([address, recording["t"]], 1).astype(">u4")
    middle = len(words) // 2
    time = words[middle, 1]
    others = np.array([[1 << 31 | 77, time], [1 << 10, time]], ">u4")
    return np.insert(words, [middle, middle], others, axis=0).tobytes()


# As Metavision writes it; the formats are those of docs.prophesee.ai.
RAW_HEADER = (
    b"%% camera_integrator_name Prophesee\n%% date 2024-01-31 10:00:00\n"
    b"%% evt %d.0\n%% format EVT%d;height=720;width=1280\n"
    b"%% geometry 1280x720\n%% serial_number 00001\n%% end\n"
)
DAT_HEADER = (
    b"% Data file containing CD events.\n% Version 2\n"
    b"% Date 2017-05-30 09:00:00\n% Height 240\n% Width 304\n"
)


def evt2_words(recording):
    """EV_TIME_HIGH whenever the upper 28 bits of the time change."""
    words, high = [], None
    for x, y, t, p in recording.tolist():
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    return np.array(words, "<u4").tobytes()


def evt3_words(recording):
    """The time's 12 high bits (each value of it, as a camera does), 12 low."""
    words, high = [], int(recording["t"][0] >> 12)
    words.append(8 << 12 | high & 0xFFF)
    for x, y, t, p in recording.tolist():
        while high < t >> 12:
            high += 1
            words.append(8 << 12 | high & 0xFFF)
        words += [6 << 12 | t & 0xFFF, y, 2 << 12 | p << 11 | x]
    return np.array(words, "<u2").tobytes()


def dat_bytes(recording):
    """Type 12 (CD), size 8, then time and x, y, polarity in 14, 14, 4 bits."""
    place = recording["x"].astype("u4") | recording["y"].astype("u4") << 14
    place |= recording["p"].astype("u4") << 28
    words = np.stack([recording["t"].astype("u4"), place], 1)
    return DAT_HEADER + bytes([12, 8]) + words.astype("<u4").tobytes()


def write_with_faery(path, recording, size):
    import faery
    from faery.file_encoder import events_to_file

    theirs = np.empty(len(recording), faery.EVENTS_DTYPE)
    for name, other in zip("xytp", ("x", "y", "t", "on")):
        theirs[other] = recording[name]
    events_to_file([theirs[:20], theirs[20:]], path, size[::-1])


def write_spoken(path, recordings, labels, times="f2"):
    """The layout of SHD and SSC: lists of seconds and of channels."""
    import h5py

    with h5py.File(path, "w") as file:
        count = len(recordings)
        lists = {
            "times": [(r["t"] / 1e6).astype(times) for r in recordings],
            "units": [r["x"] for r in recordings],
        }
        for name, kind in (("times", times), ("units", "u2")):
            place = file.create_dataset(
                f"spikes/{name}", (count,), h5py.vlen_dtype(np.dtype(kind))
            )
            for i, values in enumerate(lists[name]):
                place[i] = values
        file["labels"] = np.array(labels, "u2")
        file["extra/speaker"] = np.zeros(count, "u2")
        file["extra/keys"] = np.array([b"zero", b"one"])
