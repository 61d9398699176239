"""AEDAT 2.0 and 3.1, the file formats of jAER and cAER, for the DVS128."""

from __future__ import annotations

import pathlib
import struct

import numpy as np

from keras_snn.datasets.events.array import EVENT_DTYPE, finish_reading
from keras_snn.typing import Path

DVS128 = (128, 128)
_POLARITY_EVENT = 1
_PACKET_HEADER = struct.Struct("<hhiiiiii")
_END_OF_HEADER = b"#!END-HEADER\r\n"


def read_aedat3(path: Path, sort: bool = False) -> np.ndarray:
    """Reads the polarity events of an AEDAT 3.1 file of a DVS128.

    After text lines that begin with `#` and end with `#!END-HEADER` come
    packets: 28 little-endian bytes (type and source int16; size of an event,
    offset of its time, overflow count of its time, capacity, number, number
    of valid events int32), then the events. A polarity event (type 1) is
    int32 data and int32 microseconds; bit 0 of the data says whether it is
    valid, bit 1 is polarity (1 = ON), bits 2..16 are y, bits 17..31 are x,
    and (0, 0) is the upper left pixel. Packets of other types are skipped,
    as are events that are not valid.

    Args:
        path: The `.aedat` file.
        sort: Whether to sort events by time. By default decreasing times
            are refused.

    Returns:
        Structured array with the fields x, y, t and p.

    Raises:
        ValueError: If the file is truncated, empty or of another kind, times
            decrease, or coordinates lie outside of 128x128 pixels.

    References:
        - iniVation AG, "AEDAT 3.1",
          https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-3.1.html
        - Amir et al., "A low power, fully event-based gesture recognition
          system", CVPR 2017, whose data set describes the packets.
    """
    events, _ = decode_aedat3(path)
    return finish_reading(events, DVS128, f"`{path}`", sort)


def decode_aedat3(path):
    """Returns the events of any camera, and the bytes of the header."""
    source, content = f"`{path}`", pathlib.Path(path).read_bytes()
    _check_version(content, b"#!AER-DAT3.1", source)
    offset = content.find(_END_OF_HEADER)
    if offset < 0:
        raise ValueError(
            f"{source}: expected a line `#!END-HEADER` after the header. "
            "Received: none. The file is truncated; fetch it again."
        )
    offset += len(_END_OF_HEADER)
    header = content[:offset]
    packets = [np.zeros(0, EVENT_DTYPE)]
    while offset < len(content):
        kind, size, overflow, number = _packet(content, offset, source)
        offset += _PACKET_HEADER.size
        if kind == _POLARITY_EVENT:
            words = np.frombuffer(content, "<u4", 2 * number, offset)
            packets.append(_decode_packet(words.reshape(-1, 2), overflow))
        offset += size * number
    return np.concatenate(packets), header


def _packet(content, offset, source):
    """Returns `(type, event size, time overflow, number)` of a packet."""
    try:
        header = _PACKET_HEADER.unpack_from(content, offset)
    except struct.error:
        header = None
    if header is not None:
        kind, _, size, _, overflow, capacity, number, _ = header
        is_sane = size > 0 and overflow >= 0 and 0 <= number == capacity
        is_sane = is_sane and (kind != _POLARITY_EVENT or size == 8)
        end = offset + _PACKET_HEADER.size + size * number
        if is_sane and end <= len(content):
            return kind, size, overflow, number
    raise ValueError(
        f"{source}: expected a complete packet of events at byte {offset}. "
        f"Received: header {header}, and {len(content) - offset} bytes to the "
        "end of the file. The file is truncated or damaged; fetch it again."
    )


def _decode_packet(words, overflow):
    data, low = words[:, 0], words[:, 1].astype("int64")
    events = np.empty(len(words), EVENT_DTYPE)
    events["x"] = data >> 17
    events["y"] = (data >> 2) & 0x7FFF
    events["p"] = (data >> 1) & 1
    events["t"] = low + (overflow << 31)
    return events[(data & 1) == 1]


def read_aedat2(path: Path, sort: bool = False) -> np.ndarray:
    """Reads an AEDAT 2.0 file of a DVS128, as CIFAR10-DVS has them.

    After text lines that begin with `#` come events of 8 big-endian bytes:
    address and microseconds, int32 each. Bits 1..7 of the address are one
    coordinate, bits 8..14 the other, counted from the lower left of the
    camera, bit 0 is polarity (0 = ON, as jAER reads it) and bit 15 marks a
    signal that is no event and is left out. The camera of CIFAR10-DVS was
    turned; `x = 127 - bits 8..14` and `y = 127 - bits 1..7` put the pictures
    upright, as SpikingJelly does.

    Args:
        path: The `.aedat` file.
        sort: Whether to sort events by time. By default decreasing times
            are refused.

    Returns:
        Structured array with the fields x, y, t and p.

    Raises:
        ValueError: If the file is truncated, empty or of another kind or
            camera, or times decrease.

    References:
        - iniVation AG, "AEDAT 2.0",
          https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-2.0.html
        - Li et al., "CIFAR10-DVS: an event-stream dataset for object
          classification", Frontiers in Neuroscience 11:309, 2017.
    """
    source, content = f"`{path}`", pathlib.Path(path).read_bytes()
    _check_version(content, b"#!AER-DAT2.0", source)
    body = _after_comments(content)
    if len(body) % 8:
        raise ValueError(
            f"{source}: expected a whole number of 8-byte events after the "
            f"header. Received: {len(body)} bytes. The file is truncated; "
            "fetch it again."
        )
    words = np.frombuffer(body, ">i4").reshape(-1, 2)
    address = words[:, 0]
    if np.any(address >> 16):
        raise ValueError(
            f"{source}: expected addresses of 16 bits, as the DVS128 has "
            f"them. Received: {int(address.max()):#x}. Is it a recording of "
            "another camera?"
        )
    words, address = words[address < 1 << 15], address[address < 1 << 15]
    events = np.empty(len(words), EVENT_DTYPE)
    events["x"] = 127 - (address >> 8)
    events["y"] = 127 - ((address >> 1) & 0x7F)
    events["p"] = 1 - (address & 1)
    events["t"] = words[:, 1]
    return finish_reading(events, DVS128, source, sort)


def _after_comments(content):
    # An address of the DVS128 begins with a zero byte, never with "#".
    offset = 0
    while content[offset : offset + 1] == b"#":
        end = content.find(b"\n", offset)
        offset = len(content) if end < 0 else end + 1
    return content[offset:]


def _check_version(content, version, source):
    if not content.startswith(version):
        raise ValueError(
            f"{source}: expected a file that begins with "
            f"`{version.decode()}`. Received: {content[:16]!r}. It is empty "
            "or of another kind."
        )
