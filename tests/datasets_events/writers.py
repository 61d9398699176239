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
