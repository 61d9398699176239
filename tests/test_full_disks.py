"""A disk that is full, a folder that is none: an error, and old files whole."""

import contextlib
import os
import shutil

import numpy as np
import pytest

import keras_snn as snn
from keras_snn import atomic
from keras_snn.callbacks import summaries
from keras_snn.models import pretrained
from keras_snn.training import recipe, records
from tests import damage

resource = pytest.importorskip("resource")


def write_profile(path):
    x = np.ones((2, 3, 2), "float32")
    snn.analysis.profile(damage.network(), x).to_json(path)


def write_record(path):
    record = records.new_record(recipe("lenet", "digits"))
    records.write_record(path.parent, record)


def write_model(path):
    with atomic.written(path) as draft:
        damage.network().save(draft)


def write_runtime(path):
    pytest.importorskip("numba")
    snn.export.runtime(damage.network(), path, overwrite=True)


def write_checkpoint(path):
    damage.write_checkpoint(path.parent)


WRITERS = {
    "checkpoint": (damage.CHECKPOINT, write_checkpoint),
    "history": (records.HISTORY, write_record),
    "model": ("best.keras", write_model),
    "weights": (
        "net.npz",
        lambda path: pretrained.write(path, damage.network()),
    ),
    "runtime": ("net.npz", write_runtime),
    "profile": ("profile.json", write_profile),
}


@contextlib.contextmanager
def files_of_at_most(size):
    """Have the operating system refuse to write files beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_an_error_that_leaves_the_old_file(name, tmp_path):
    file, write = WRITERS[name]
    path = tmp_path / file
    write(path)
    whole = path.read_bytes()
    assert len(whole) > 300
    with files_of_at_most(200):
        with pytest.raises(OSError):
            write(path)
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == [file]
    write(path)
    assert os.listdir(tmp_path) == [file]


def test_nir_files_are_there_whole_or_not_at_all(tmp_path):
    pytest.importorskip("nir")
    model = damage.network()
    with files_of_at_most(200):
        with pytest.raises(OSError):
            snn.export.to_nir(model, tmp_path / "net.nir")
    assert os.listdir(tmp_path) == []
    snn.export.to_nir(model, tmp_path / "net.nir")
    assert os.listdir(tmp_path) == ["net.nir"]


@pytest.mark.parametrize("name", ["history", "model", "runtime", "weights"])
def test_a_folder_that_is_a_file_is_an_error(name, tmp_path):
    file, write = WRITERS[name]
    (tmp_path / "folder").write_text("mine")
    with pytest.raises(OSError):
        write(tmp_path / "folder" / file)
    assert (tmp_path / "folder").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("name", ["history", "model", "runtime", "checkpoint"])
def test_a_read_only_folder_is_an_error(name, tmp_path):
    file, write = WRITERS[name]
    write(tmp_path / file)
    whole = (tmp_path / file).read_bytes()
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OSError):
            write(tmp_path / file)
    finally:
        tmp_path.chmod(0o755)
    assert (tmp_path / file).read_bytes() == whole


def test_a_folder_that_vanishes_within_a_write_is_an_error(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(OSError):
        with atomic.written(folder / "history.json") as draft:
            shutil.rmtree(folder)
            draft.write_text("{}")
    assert not folder.exists()


def test_a_saved_model_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "saved_model"
    path.mkdir()
    (path / "old.pb").write_text("old")
    with pytest.raises(OSError, match="No space"):
        with atomic.written(path) as draft:
            draft.mkdir()
            (draft / "half.pb").write_text("ha")
            raise OSError(28, "No space left on device")
    assert [x.name for x in tmp_path.rglob("*")] == ["saved_model", "old.pb"]


def test_files_of_tensorboard_that_cannot_be_written_are_an_error(tmp_path):
    pytest.importorskip("tensorboard")
    file = summaries.EventFile(tmp_path)
    with files_of_at_most(200):
        with pytest.raises(OSError, match="TensorBoard's file in"):
            for step in range(50):
                file.scalar("loss", 0.5, step)
                file.flush()
    with contextlib.suppress(OSError):
        file.close()


def test_errors_of_tensorflow_s_files_are_those_of_the_run(tmp_path):
    from keras_snn.training import fitting

    class Full(Exception):
        pass

    Full.__module__ = "tensorflow.python.framework.errors_impl"
    in_run = Full(f"{tmp_path}/logs/events.out; No space left on device")
    assert fitting._is_of_files(in_run, tmp_path)
    assert fitting._is_of_files(OSError("full"), tmp_path)
    assert not fitting._is_of_files(Full("OOM when allocating"), tmp_path)
    assert not fitting._is_of_files(ValueError(str(tmp_path)), tmp_path)


def test_a_run_without_room_says_what_is_kept(tmp_path, monkeypatch):
    """By the operating system; `test_resuming.py` has the other cases."""
    from keras_snn.training import fitting, train
    from tests.training import test_diagnosis, test_resuming

    monkeypatch.setattr(fitting, "build_model", test_resuming.network)
    monkeypatch.setattr(fitting, "compile_model", test_resuming.compile_eagerly)
    settings = recipe("vgg5", "digits", **test_diagnosis.SETTINGS)
    with files_of_at_most(1500):  # history.json fits, a checkpoint does not
        with pytest.raises(OSError, match="could not write.*no checkpoint in"):
            train(settings, tmp_path / "run")
    left = [x.name for x in (tmp_path / "run").rglob("*") if x.is_file()]
    assert sorted(left) == [records.LOCK, records.HISTORY]
