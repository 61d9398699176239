"""DVS128 Gesture: eleven gestures of 29 people in front of a camera."""

import csv
import functools

import numpy as np

from keras_snn import untrusted
from keras_snn.datasets.events.aedat import read_aedat3

GESTURES = 11
_COLUMNS = ["class", "startTime_usec", "endTime_usec"]


def find(roots, split):
    """Finds the recordings of a split.

    `trials_to_train.txt` and `trials_to_test.txt` name the `.aedat` files of
    a split; each has a `*_labels.csv` beside it, in which a line is a class
    1..11 and the first and last microsecond of one gesture.

    Args:
        roots: Folders; the first that has the list is taken.
        split: `"train"` or `"test"`.

    Returns:
        List of `(path, row, start, end, class number 0..10)`, in the order
        of the lists.

    Raises:
        FileNotFoundError: If the list, or a file it names, is missing.
        ValueError: If a table of labels is damaged, or all are empty.
    """
    name = f"trials_to_{split}.txt"
    root = next((root for root in roots if (root / name).is_file()), None)
    if root is None:
        looked = ", ".join(f"`{root}`" for root in roots)
        raise FileNotFoundError(
            f'No recordings of "dvs_gesture", split "{split}": no `{name}` in '
            f"{looked}. Unpack DvsGesture.tar.gz and name the folder with "
            "that file as `data_dir`."
        )
    lines = [x.strip() for x in untrusted.read_lines(root / name)]
    paths = [_within(root, line, name) for line in lines if line]
    found = [entry for path in paths for entry in _gestures(path)]
    if not found:
        raise ValueError(
            f"`{root / name}`: expected trials with at least one gesture. "
            f"Received: {len(paths)} trials without any. Unpack the archive "
            "again."
        )
    return found


def _within(root, line, name):
    """Return the path of a file that a list names, below the folder."""
    path = root / line
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(
            f"`{root / name}`: expected names of files beside it. Received: "
            f"{line!r}, which lies elsewhere. Unpack the archive again."
        )
    return path


def _gestures(path):
    table = path.with_name(f"{path.stem}_labels.csv")
    for needed in (path, table):
        if not needed.is_file():
            raise FileNotFoundError(
                f"Expected the file `{needed}`, which the list of trials "
                "names. Unpack the archive again."
            )
    with untrusted.reading(table, "a table of labels"):
        with open(table, encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.reader(lines) if row]
    if not rows or [name.strip() for name in rows[0]] != _COLUMNS:
        raise ValueError(
            f"`{table}`: expected the columns {','.join(_COLUMNS)}. Received: "
            f"{','.join(rows[0]) if rows else 'an empty file'}."
        )
    for number, row in enumerate(rows[1:], 2):
        yield path, number, *_gesture(row, f"`{table}`, line {number}")


def _gesture(row, source):
    try:
        kind, start, end = map(int, row)
    except ValueError:
        kind = start = end = 0
    if not 1 <= kind <= GESTURES or not 0 <= start < end:
        raise ValueError(
            f"{source}: expected a class 1..{GESTURES}, then the start and "
            f"the later end of the gesture. Received: {','.join(row)}."
        )
    return start, end, kind - 1


def read_entry(entry, sort):
    """Events of one entry of `find`, `start <= t < end`.

    A file holds about twelve recordings. The last file stays in memory, so
    that reading them in order reads it once.
    """
    path, row, start, end, _ = entry
    events = _read_file(path, sort)
    first, last = np.searchsorted(events["t"], (start, end))
    if first == last:
        raise ValueError(
            f"`{path}`: expected events of the gesture in line {row} of its "
            f"labels, t={start}..{end}. Received: none, the file has t="
            f"{events['t'][0]}..{events['t'][-1]}. It is truncated, or the "
            "labels are of another file."
        )
    # The file's own stay what they are, whatever is done to these.
    return events[first:last].copy()


_read_file = functools.lru_cache(maxsize=1)(read_aedat3)
