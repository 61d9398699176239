"""AEDAT 4, Prophesee's RAW and DAT, and Event Stream, by the library faery."""

import re
import struct

import numpy as np

from keras_snn import optional
from keras_snn.datasets.events.array import EVENT_DTYPE

# Coordinates of EVT have 11 bits, those of DAT 14.
_LARGEST = {"evt": (2048, 2048), "dat": (16384, 16384)}
# Bytes of the smallest unit of a file.
_WORDS = {"evt2": 4, "evt3": 2}


def read_aedat4(path, sensor_size):
    """Reads the first stream of events of an AEDAT 4 file."""
    end = _table_position(path)
    if end > path.stat().st_size:
        raise _truncated(path, f"{end} bytes of packets, as its header says")
    return _decoded(path, "aedat")


def read_es(path, sensor_size):
    """Reads an Event Stream of a DVS or an ATIS."""
    return _decoded(path, "es")


def read_dat(path, sensor_size):
    """Reads the events of a DAT file, version 2."""
    header, body = _split_header(path)
    # Two bytes say what the events are, and their size.
    if body < 2 or (body - 2) % 8:
        raise _truncated(path, "a whole number of 8-byte events")
    return _decoded(path, "dat", "dat2", _size(header, sensor_size))


def read_raw(path, sensor_size):
    """Reads the events of a RAW file in EVT 2 or EVT 3."""
    header, body = _split_header(path)
    found = re.search(r"^% (?:evt (\S+)|format EVT(\d+))", header, re.M)
    version = ""
    if found:
        version = "evt" + (found[1] or found[2]).removesuffix(".0")
    if version not in _WORDS:
        raise ValueError(
            f"`{path}`: expected a header that says `% evt 2.0` or `% evt "
            f"3.0`. Received: {version or header[:200]!r}. Convert the file "
            "with Prophesee's metavision_file_to_dat or _to_hdf5."
        )
    if body % _WORDS[version]:
        raise _truncated(path, f"whole words of {_WORDS[version]} bytes")
    return _decoded(path, "evt", version, _size(header, sensor_size))


def _decoded(path, file_type, version=None, size=None):
    """Returns the events of a file and the sensor's (height, width)."""
    faery = optional.require("faery", "events")
    fallback = _LARGEST.get(file_type)
    options = {"version_fallback": version, "file_type": file_type}
    if fallback:
        options["dimensions_fallback"] = size[::-1] if size else fallback
    try:
        stream = faery.events_stream_from_file(path, **options)
        packets = [_columns(packet) for packet in stream]
        width, height = stream.dimensions()
    except OSError:
        raise
    except BaseException as error:
        # A panic in Rust is no `Exception`; an interrupt is none of ours.
        is_panic = type(error).__name__ == "PanicException"
        if not isinstance(error, Exception) and not is_panic:
            raise
        raise ValueError(
            f"`{path}`: expected a complete file of events. Received: {error} "
            "(says the library faery). The file is truncated, damaged, or of "
            "another kind."
        ) from error
    said = None if (width, height) == fallback else (height, width)
    return np.concatenate([np.zeros(0, EVENT_DTYPE), *packets]), said


def _columns(packet):
    events = np.empty(len(packet), EVENT_DTYPE)
    for ours, theirs in zip("xytp", ("x", "y", "t", "on")):
        events[ours] = packet[theirs]
    return events


def _split_header(path):
    """Returns the lines that begin with %, and the number of bytes after."""
    with open(path, "rb") as file:
        lines, length = [], 0
        for line in file:
            if not line.startswith(b"% "):
                break
            length += len(line)
            lines.append(line.decode("latin-1").strip())
            if lines[-1] == "% end":
                break
    return "\n".join(lines), path.stat().st_size - length


def _size(header, sensor_size):
    """Returns the sensor's (height, width) as a header says it, or a given."""
    both = re.search(r"^% geometry (\d+)x(\d+)", header, re.M)
    if both:
        return int(both[2]), int(both[1])
    sides = [
        re.search(rf"^%.*\b{name}[ =](\d+)", header, re.M | re.I)
        for name in ("height", "width")
    ]
    return tuple(int(x[1]) for x in sides) if all(sides) else sensor_size


def _table_position(path):
    """Returns where the table of packets begins, -1 if it was not written.

    The header is a FlatBuffer whose second field says so: a file whose
    recording was cut off between packets looks complete otherwise.
    """
    with open(path, "rb") as file:
        file.readline()
        content = file.read(4)
        content = file.read(int.from_bytes(content, "little"))
    try:
        (root,) = struct.unpack_from("<I", content)
        (back,) = struct.unpack_from("<i", content, root)
        (place,) = struct.unpack_from("<H", content, root - back + 6)
        if not place:
            return -1
        return struct.unpack_from("<q", content, root + place)[0]
    except struct.error:
        raise _truncated(path, "a header of AEDAT 4") from None


def _truncated(path, expected):
    return ValueError(
        f"`{path}`: expected {expected}. Received: a file of "
        f"{path.stat().st_size} bytes. It is truncated or damaged; fetch it "
        "again."
    )
