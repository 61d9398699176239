"""A file is replaced whole or not at all."""

import os

import pytest

from keras_snn import atomic


def test_text_replaces_what_was_there(tmp_path):
    path = tmp_path / "deep" / "history.json"
    atomic.write_text(path, "old")
    atomic.write_text(str(path), "new é")
    assert path.read_bytes() == "new é".encode()
    assert os.listdir(path.parent) == [path.name]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "best.keras"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        with atomic.written(path) as draft:
            draft.write_text("ne")
            raise OSError("disk full")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "saved_model"
    path.mkdir()
    (path / "old.pb").write_text("old")
    with atomic.written(path) as draft:
        draft.mkdir()
        (draft / "new.pb").write_text("new")
    assert os.listdir(path) == ["new.pb"]


def test_the_content_is_on_disk_before_the_name_changes(tmp_path, monkeypatch):
    order, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (order.append("sync"), sync(f)))
    monkeypatch.setattr(
        os, "replace", lambda *x: (order.append("replace"), replace(*x))
    )
    atomic.write_text(tmp_path / "study.json", "{}")
    # The content, the renaming, and then the folder that has the new name.
    folder = ["sync"] if os.name == "posix" else []
    assert order == ["sync", "replace", *folder]
    assert (tmp_path / "study.json").read_text() == "{}"


def test_what_a_kill_has_left_is_removed(tmp_path):
    left = tmp_path / ".history.json-a1b2c3d4"
    left.mkdir()
    (left / "history.json").write_text("ha")
    (tmp_path / "history.json").write_text("whole")
    (tmp_path / ".other.json-a1b2c3d4").mkdir()
    atomic.remove_drafts(tmp_path / "history.json")
    assert sorted(os.listdir(tmp_path)) == [
        ".other.json-a1b2c3d4",
        "history.json",
    ]
