"""AEDAT 2.0 and 3.1 of the cameras of jAER and cAER, upright as they stood."""

import re

import numpy as np

from keras_snn.datasets.events.aedat import DVS128, decode_aedat3
from keras_snn.datasets.events.array import EVENT_DTYPE

# (height, width) by the number in the name of jAER's class of the camera.
_DAVIS = {
    "208": (192, 208),
    "240": (180, 240),
    "346": (260, 346),
    "640": (480, 640),
}
_END_OF_HEADER = re.compile(rb"^# ?End Of ASCII Header\r?\n", re.M)
_LINE = re.compile(rb"#[\t\x20-\x7e\x80-\xff]*\r?\n")


def read_aedat3(path, sensor_size):
    """Reads the polarity events of AEDAT 3.1, and what its header says."""
    events, header = decode_aedat3(path)
    camera = re.search(rb"^#Source \d+: (\S+)", header, re.M)
    return events, _size(camera[1].decode("latin-1")) if camera else None


def _size(name):
    """Returns the (height, width) of a camera by its name, or None."""
    if name.upper().startswith("DVS128"):
        return DVS128
    found = re.match(r"davis(\d+)", name, re.I)
    return _DAVIS.get(found[1]) if found else None


def read_aedat2(path, sensor_size):
    """Reads the polarity events of a DVS128 or a DAVIS.

    Events are 8 big-endian bytes, address and microseconds. The header names
    the camera; where it does not, addresses of 16 bits are a DVS128's, and
    of a DAVIS `sensor_size` has to be given.

    Columns are mirrored and rows counted from below, as jAER's extractors
    turn them round. Of a DAVIS, bit 31 marks samples of pictures and of the
    accelerometer, bit 10 signals; of a DVS128 bit 15 does. They are left out.

    References:
        iniVation AG, "AEDAT 2.0",
        https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-2.0.html
    """
    header, body = _split_header(path.read_bytes())
    if len(body) % 8:
        raise ValueError(
            f"`{path}`: expected a whole number of 8-byte events after the "
            f"header. Received: {len(body)} bytes. The file is truncated; "
            "fetch it again."
        )
    words = np.frombuffer(body, ">u4").reshape(-1, 2)
    camera = re.search(rb"# ?AEChip: (\S+)", header)
    name = camera[1].decode("latin-1").rpartition(".")[2] if camera else ""
    is_wide = bool(np.any(words[:, 0] >> 16))
    if _size(name) == DVS128 or not (camera or is_wide):
        return _dvs128(words[words[:, 0] < 1 << 15]), DVS128
    size = _size(name) or sensor_size
    if size is None or camera and not name.upper().startswith("DAVIS"):
        raise ValueError(
            f"`{path}`: expected a recording of a DVS128, or of a DAVIS whose "
            "size the header or `sensor_size`, (height, width), says. "
            f"Received: {name or 'no name of a camera'} in the header."
        )
    return _davis(words[(words[:, 0] & (1 << 31 | 1 << 10)) == 0], size), size


def _dvs128(words):
    address = words[:, 0].astype("int64")
    x, y = 127 - (address >> 1 & 0x7F), 127 - (address >> 8 & 0x7F)
    return _events(x, y, words[:, 1], 1 - (address & 1))


def _davis(words, size):
    address = words[:, 0].astype("int64")
    y = size[0] - 1 - (address >> 22 & 0x1FF)
    x = size[1] - 1 - (address >> 12 & 0x3FF)
    return _events(x, y, words[:, 1], address >> 11 & 1)


def _events(x, y, t, p):
    # Signed: an address beyond the sensor is met by the checks of all readers.
    fields = [(name, "i8") for name in EVENT_DTYPE.names]
    events = np.empty(len(t), fields)
    for name, values in zip("xytp", (x, y, t, p)):
        events[name] = values
    return events


def _split_header(content):
    if found := _END_OF_HEADER.search(content):
        end = found.end()
    else:
        # An address may begin with the byte of a # but is no line of text.
        end = 0
        while line := _LINE.match(content, end):
            end = line.end()
    return content[:end], content[end:]
