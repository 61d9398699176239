"""Files of checkpoints: whole or not there, and damage is noticed."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from keras_snn.training import checkpoint_files as files

ARRAYS = [np.arange(3, dtype="float32"), np.array(7), np.zeros((2, 0), "int64")]


def write(folder, epoch=0, update=1, keep=3, arrays=ARRAYS):
    files.write(folder, files.Position(epoch, update), arrays, {"a": 1}, keep)


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path):
    write(tmp_path, 2, 5)
    position, arrays, notes = files.read_newest(tmp_path)
    assert (position, notes) == (files.Position(2, 5), {"a": 1})
    for found, given in zip(arrays, ARRAYS, strict=True):
        assert found.dtype == given.dtype
        np.testing.assert_array_equal(found, given)


def test_the_newest_are_kept(tmp_path):
    for epoch, update in ((0, 9), (0, 10), (1, 0), (1, 2)):
        write(tmp_path, epoch, update, keep=2)
    assert list(files.positions(tmp_path)) == [
        files.Position(1, 2),
        files.Position(1, 0),
    ]
    assert len(files_in(tmp_path)) == 2


def test_an_empty_folder_has_none(tmp_path):
    assert files.read_newest(tmp_path) is None


def test_no_changed_byte_and_no_cut_goes_unnoticed(tmp_path):
    write(tmp_path)
    (path,) = files.positions(tmp_path).values()
    whole = path.read_bytes()
    changed = (
        whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :]
        for i in range(0, len(whole), 7)
    )
    cuts = (whole[:i] for i in range(0, len(whole), 7))
    for content in (*changed, *cuts, whole + b"0"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged: its checksum"):
            files.read(path)
    path.write_bytes(whole)
    files.read(path)


def test_numpy_reads_it(tmp_path):
    write(tmp_path)
    (path,) = files.positions(tmp_path).values()
    with np.load(path) as found:
        np.testing.assert_array_equal(found["000000"], ARRAYS[0])


def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, capsys):
    write(tmp_path, 0, 1)
    write(tmp_path, 0, 2)
    newest = files.positions(tmp_path)[files.Position(0, 2)]
    newest.write_bytes(newest.read_bytes()[:-30])
    assert files.read_newest(tmp_path)[0] == files.Position(0, 1)
    said = capsys.readouterr().out
    assert newest.name in said and "The one before is taken" in said
    # It does not count any more, and is not lost.
    assert newest.name + files.DAMAGED in files_in(tmp_path)
    assert list(files.positions(tmp_path)) == [files.Position(0, 1)]


def test_all_damaged_is_an_error_that_changes_nothing(tmp_path):
    for update in (1, 2):
        write(tmp_path, 0, update)
    for path in files.positions(tmp_path).values():
        path.write_bytes(b"")
    before = files_in(tmp_path)
    with pytest.raises(ValueError, match="None of the 2 .*--overwrite"):
        files.read_newest(tmp_path)
    assert files_in(tmp_path) == before


def test_pickles_are_not_read(tmp_path):
    write(tmp_path, arrays=[np.array([{}], dtype=object)])
    with pytest.raises(ValueError, match="None of the 1"):
        files.read_newest(tmp_path)


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_full_disk_leaves_those_before(tmp_path, monkeypatch, fails):
    write(tmp_path, 0, 1)
    before = files_in(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, fails, full)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path, 0, 2, keep=1)
    assert files_in(tmp_path) == before
    assert files.read_newest(tmp_path)[0] == files.Position(0, 1)


def test_a_folder_that_is_gone_is_not_made_anew(tmp_path):
    folder = tmp_path / "backup"
    with pytest.raises(FileNotFoundError, match="backup is gone"):
        write(folder)
    assert not folder.exists()


KILLED_EVERYWHERE = """
import os, pathlib, signal, sys
import numpy as np

sys.argv[0] = "keras-snn"  # which waits with the import of Keras
from keras_snn.training import checkpoint_files as files

folder = pathlib.Path(sys.argv[1])
arrays = [np.arange(5000.0)]

def write(update):
    files.write(folder, files.Position(0, update), arrays, {"n": update}, 2)

def killed_at(line, update):
    # Dies before the given line of Python that the write runs through.
    left = line
    def trace(frame, event, argument):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    child = os.fork()
    if not child:
        sys.settrace(trace)
        write(update)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0

files.clean(folder)
write(1)
line, update, kills = 0, 1, 0
while True:
    killed = killed_at(line, update + 1)
    position, found, notes = files.read_newest(folder)
    assert position.update in (update, update + 1), position
    assert notes == {"n": position.update} and (found[0] == arrays[0]).all()
    update = position.update
    files.clean(folder)
    assert len(os.listdir(folder)) == len(files.positions(folder))
    if not killed:
        break
    kills, line = kills + 1, line + 1 + line // 10
write(update + 1)
assert len(os.listdir(folder)) == 2
print(kills, update)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_kill_anywhere_in_a_write_loses_at_most_that_write(tmp_path):
    """SIGKILL before one line of the write after the other, in a child."""
    found = subprocess.run(
        [sys.executable, "-c", KILLED_EVERYWHERE, tmp_path],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    kills, updates = map(int, found.stdout.split())
    assert kills > 40 and updates > 2


@pytest.mark.parametrize(
    "value, expected",
    [
        (100, files.Interval(updates=100)),
        ("1", files.Interval(updates=1)),
        ("30s", files.Interval(seconds=30.0)),
        ("0.5m", files.Interval(seconds=30.0)),
        ("2h", files.Interval(seconds=7200.0)),
    ],
)
def test_intervals(value, expected):
    assert files.Interval.of(value) == expected


@pytest.mark.parametrize("value", [0, -1, "0s", "s", "3 days", 1.5, None])
def test_what_is_no_interval_is_refused(value):
    with pytest.raises(ValueError, match="as 30s, 5m or 1h"):
        files.Interval.of(value)
