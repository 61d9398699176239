"""The files of checkpoints: written whole, checked when read, few kept.

A checkpoint is one `.npz` file of NumPy arrays, without pickles. Among them
is one of notes in JSON, where the run stood. Behind it stands the SHA-256 of
all before, since the checksums of ZIP leave out names and shapes; so any file
that was cut short or changed is known as such, and `numpy.load` reads it.
"""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np

from keras_snn import atomic, untrusted

EVERY = "5m"
KEEP = 3
NOTES = "notes"
DAMAGED = ".damaged"
DIGEST = 32  # bytes
_NAME = re.compile(r"epoch(\d+)-update(\d+)\.npz")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclasses.dataclass(frozen=True, order=True)
class Position:
    """Where a run stands.

    Attributes:
        epoch: Epochs that are finished.
        update: Updates made in the epoch that has begun.
    """

    epoch: int = 0
    update: int = 0

    def __str__(self):
        if self.update:
            return f"update {self.update} of epoch {self.epoch + 1}"
        return f"the end of epoch {self.epoch}"


@dataclasses.dataclass(frozen=True)
class Interval:
    """How often checkpoints are written.

    Attributes:
        updates: Updates from one to the next, or `None`.
        seconds: Seconds from one to the next, or `None`.
    """

    updates: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, value):
        """Return what `100`, `"100"`, `"30s"`, `"5m"` or `"1h"` asks for.

        Raises:
            ValueError: For anything else, and for no time at all.
        """
        text = str(value).strip().lower()
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
        if found and float(found[1]):
            return cls(seconds=float(found[1]) * _UNITS[found[2]])
        if text.isdecimal() and int(text):
            return cls(updates=int(text))
        raise ValueError(
            "`checkpoint_every` expects updates, as 100, or a time, as 30s, "
            f"5m or 1h. Received: checkpoint_every={value!r}."
        )


def positions(folder):
    """Return a dictionary from positions to files, newest first."""
    paths = Path(folder).glob("*.npz")
    found = {position_of(path.name): path for path in paths}
    found.pop(None, None)
    return dict(sorted(found.items(), reverse=True))


def position_of(name):
    """Return the `Position` that a file's name tells, or None."""
    found = _NAME.fullmatch(name)
    return found and Position(int(found[1]), int(found[2]))


def write(folder, position, arrays, notes, keep):
    """Write a checkpoint; then let go of all but the `keep` newest.

    Args:
        folder: Folder of the run's checkpoints.
        position: The `Position`.
        arrays: List of arrays.
        notes: What JSON can hold.
        keep: Number of files to keep, this one included.

    Raises:
        OSError: If it cannot be written. Those before are as they were.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"The folder {folder} is gone.")
    path = folder / f"epoch{position.epoch:05d}-update{position.update:08d}.npz"
    named = {f"{i:06d}": array for i, array in enumerate(arrays)}
    text = np.frombuffer(json.dumps(notes).encode(), "uint8")
    with atomic.written(path) as draft:
        np.savez(draft, **named, **{NOTES: text})
        with open(draft, "r+b") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.write(digest)
    for old in list(positions(folder).values())[keep:]:
        old.unlink(missing_ok=True)


def read(path):
    """Return the arrays and the notes of a file.

    Raises:
        ValueError: If the file is damaged or cannot be read.
    """
    try:
        content = memoryview(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    return parse(content, path)


def parse(content, path):
    """Return the arrays and the notes of a file's content.

    Raises:
        ValueError: If it is damaged.
    """
    content, digest = content[:-DIGEST], content[-DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} is damaged: its checksum is another")
    with untrusted.reading(Path(path), "a checkpoint"):
        arrays = untrusted.arrays(content)
        notes = dict(json.loads(arrays.pop(NOTES).tobytes()))
    return [arrays[name] for name in sorted(arrays)], notes


def read_newest(folder):
    """Return position, arrays and notes of the newest whole checkpoint.

    Damaged ones are said to be so and get another name, so that they neither
    count nor are lost. Without any file, the result is `None`.

    Raises:
        ValueError: If there are files, and all are damaged.
    """
    found = positions(folder)
    damaged = []
    for position, path in found.items():
        try:
            arrays, notes = read(path)
        except ValueError as error:
            print(f"Checkpoint {error}. The one before is taken.", flush=True)
            damaged.append(path)
            continue
        for path in damaged:
            path.replace(path.with_name(path.name + DAMAGED))
        return position, arrays, notes
    if not found:
        return None
    raise ValueError(
        f"None of the {len(found)} checkpoints in {folder} is whole. Start "
        "again with `--overwrite`, or in another `--output`."
    )


def clean(folder):
    """Make the folder, and remove what kills have left half-written."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.remove_drafts(folder / "*.npz")
