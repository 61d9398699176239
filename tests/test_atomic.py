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


def test_a_failed_renaming_leaves_the_old_folder(tmp_path, monkeypatch):
    path, replace = tmp_path / "saved_model", os.replace
    path.mkdir()
    (path / "old.pb").write_text("old")

    def fail(old, new):
        if str(old).endswith("saved_model") and new == path:
            raise OSError("no more")
        replace(old, new)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no more"):
        with atomic.written(path) as draft:
            draft.mkdir()
    assert os.listdir(tmp_path) == ["saved_model"]
    assert os.listdir(path) == ["old.pb"]


def test_a_folder_replaces_a_file_and_a_link(tmp_path):
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "old.pb").write_text("old")
    (tmp_path / "current").symlink_to("v1")
    (tmp_path / "file").write_text("x")
    for name in ("current", "file"):
        path = atomic.target(tmp_path / name, overwrite=True)
        with atomic.written(path) as draft:
            draft.mkdir()
        assert path.is_dir() and not path.is_symlink()
        assert not os.listdir(path)
    assert os.listdir(tmp_path / "v1") == ["old.pb"]
    assert sorted(os.listdir(tmp_path)) == ["current", "file", "v1"]


@pytest.mark.parametrize("path", [".", "..", "", "../work"])
def test_the_current_folder_is_not_replaced(path, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("x")
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(ValueError, match="is the current folder or holds it"):
        atomic.target(path, overwrite=True)
    assert atomic.target("new", overwrite=True).name == "new"


def test_a_path_with_dots_is_where_it_leads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic.written("a/../b") as draft:
        draft.mkdir()
    assert os.listdir(tmp_path) == ["b"]


def test_what_a_kill_left_without_a_place_goes_back_to_it(tmp_path):
    left = tmp_path / ".saved_model-a1b2c3d4"
    (left / "saved_model-replaced").mkdir(parents=True)
    (left / "saved_model").mkdir()
    atomic.remove_drafts(tmp_path / "saved_model")
    assert os.listdir(tmp_path) == ["saved_model"]
