"""A run that is killed and resumed ends as one that is not, bit for bit."""

import errno
import os
import shutil
import signal
import threading

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.training import (
    beginning,
    building,
    checkpoints,
    fitting,
    recipe,
    records,
    stopping,
    train,
)
from keras_snn.training import checkpoint_files as files
from keras_snn.training.callbacks import HistoryFile
from keras_snn.training.data import load_run_data

TINY = {"limit": 12, "batch_size": 4, "epochs": 2, "time_steps": 3}
RUNS = {
    # A rate that changes with the epoch.
    "adam": {"optimizer": "adam", "cosine": True},
    # Averages of weights, a rate that changes with the update, augmented
    # images; first the network with ReLUs.
    "averages": {"ema": 0.8, "shift": 1, "ann_epochs": 1},
    "bfloat16": {"dtype": "mixed_bfloat16", "ann_epochs": 1},
}


def network(settings, spiking=True):
    """Return Poisson spikes, a normalization, and dropout, quickly compiled."""
    T, L = snn.layers.TimeFold, keras.layers
    x = images = keras.Input((8, 8, 1))
    if spiking:
        x = snn.layers.PoissonEncoder(3, seed=1)(x)
        neuron = snn.layers.LIF(learning_rule="rate", name="lif")
        dropout = snn.layers.TimeConstantDropout(0.3, seed=2)
        readout = snn.layers.MembraneReadout()
    else:

        def T(layer):
            return layer

        neuron, dropout = L.ReLU(), L.Dropout(0.3, seed=2)
        readout = L.Identity()
    x = neuron(T(L.BatchNormalization())(T(L.Dense(12))(T(L.Flatten())(x))))
    x = readout(T(L.Dense(10))(dropout(x)))
    return (snn.Model if spiking else keras.Model)(images, x)


def compile_eagerly(model, *arguments):
    building.compile_model(model, *arguments)
    # Else tracing would take most of the time.
    model.run_eagerly = True


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    for module in (fitting, beginning):
        monkeypatch.setattr(module, "compile_model", compile_eagerly)
    monkeypatch.setattr(fitting, "build_model", network)
    monkeypatch.setattr(beginning, "build_ann", lambda x: network(x, False))
    monkeypatch.setattr(fitting, "_export", lambda *_: [])


class Killed(BaseException):
    """What nothing between a kill and the process may catch."""


class Kill(keras.callbacks.Callback):
    """Acts at an instant of `fit`, counted over all events of the run."""

    def __init__(self, instant, act):
        super().__init__()
        self.left, self.act = instant, act

    def _event(self, *_, **__):
        self.left -= 1
        if self.left == -1:
            self.act()

    on_epoch_begin = on_train_batch_begin = on_train_batch_end = _event
    on_test_batch_end = on_epoch_end = _event


def settings_of(name, **more):
    return recipe("vgg5", "digits", **{**TINY, **RUNS[name], **more})


def run(name, folder, instant=None, act=None, **options):
    callbacks = None
    if act:
        callbacks = lambda _: [Kill(instant, act)]  # noqa: E731
    settings = settings_of(name, **options.pop("settings", {}))
    options = {"resume": True, "checkpoint_every": 1, **options}
    return train(settings, folder, callbacks=callbacks, **options)


def numbers_of(record):
    """Return all of a record that is not about time."""
    histories = [record["history"], record.get("ann", {}).get("history", {})]
    for history in histories:
        history.pop("seconds", None)
    return histories, {**record["result"], "seconds": None}


def assert_same(folder, record, whole_folder, whole):
    assert numbers_of(record) == numbers_of(whole)
    ours = files.read_newest(folder / records.BACKUP)
    theirs = files.read_newest(whole_folder / records.BACKUP)
    assert ours[0] == theirs[0]
    for x, y in zip(ours[1], theirs[1], strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    saved = [
        keras.saving.load_model(x / records.BEST, compile=False).get_weights()
        for x in (folder, whole_folder)
    ]
    for x, y in zip(*saved, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Return a function to the folder and record of a run that goes through."""
    done = {}

    def whole(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(name) / "whole"
            done[name] = folder, run(name, folder, checkpoint_every="1h")
        return done[name]

    return whole


def kill():
    raise Killed


def test_killed_at_random_instants_and_resumed(wholes, tmp_path, monkeypatch):
    name = "averages"
    random = np.random.default_rng(3)
    for _ in range(2):
        with pytest.raises(Killed):
            run(name, tmp_path, random.integers(3, 12), kill)
    with monkeypatch.context() as patch:
        # In a write: what the file system has been asked for is done, the
        # rest is not, not even the removal of the draft.
        left = random.integers(2, 6)

        def replace(draft, path, replaced=os.replace):
            nonlocal left
            left -= 1
            if left == 0:
                patch.setattr("tempfile.TemporaryDirectory.__exit__", never)
                raise Killed
            replaced(draft, path)

        patch.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            run(name, tmp_path)
    assert_same(tmp_path, run(name, tmp_path), *wholes(name))
    assert not [x for x in tmp_path.rglob(".*") if x.name != records.LOCK]


def never(*_):
    return None


def position_in(folder):
    return next(iter(files.positions(folder / records.BACKUP)), None)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_a_run_that_loses_nothing(wholes, tmp_path, capfd):
    # Events are an epoch's begin, begin and end of each of 3 updates, the
    # validation's batch, and the epoch's end.
    for instant, position in (
        (1, files.Position(0, 1)),  # the first update's begin
        (5, files.Position(0, 3)),  # the validation, 2 updates later
        (3, files.Position(1)),  # the second epoch's begin
    ):
        with pytest.raises(SystemExit) as stopped:
            run("adam", tmp_path, instant, terminate, checkpoint_every="1h")
        assert stopped.value.code == stopping.EXIT_STOPPED == 75
        assert "once more ends at once" in capfd.readouterr().err
        assert position_in(tmp_path) == position
        assert records.read_record(tmp_path)["status"] == "interrupted"
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert_same(tmp_path, run("adam", tmp_path), *wholes("adam"))


def test_a_later_sigterm_has_its_usual_effect(monkeypatch):
    raised = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    with stopping.Sigterm() as sigterm:
        terminate()
        terminate()  # of the same `timeout` or group of processes
        assert sigterm.received and not raised
        with pytest.raises(stopping.Stopped):
            sigterm.check()
        monkeypatch.setattr(stopping, "ONE_SIGNAL", 0.0)
        terminate()
        assert raised == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_handler_of_the_program_is_left_alone():
    def ours(*_):
        pass

    signal.signal(signal.SIGTERM, ours)
    try:
        with stopping.Sigterm():
            assert signal.getsignal(signal.SIGTERM) is ours
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_a_damaged_checkpoint_costs_what_lies_behind_the_one_before(
    wholes, tmp_path, capsys
):
    with pytest.raises(Killed):
        run("adam", tmp_path, 13, kill)
    newest, before = list(files.positions(tmp_path / records.BACKUP))[:2]
    assert newest > before
    path = files.positions(tmp_path / records.BACKUP)[newest]
    path.write_bytes(path.read_bytes()[:-1])
    record = run("adam", tmp_path)
    assert f"{path} is damaged" in capsys.readouterr().out
    assert_same(tmp_path, record, *wholes("adam"))


def test_numbers_of_a_type_that_numpy_has_not(tmp_path):
    kept = keras.Variable([1.5, -2.0], dtype="bfloat16")
    array = keras.ops.convert_to_numpy(kept)
    files.write(tmp_path, files.Position(0, 1), [array], {}, 1)
    found = files.read_newest(tmp_path)[1]
    restored = keras.Variable([0.0, 0.0], dtype="bfloat16")
    checkpoints.assign([restored], found)
    restored = keras.ops.convert_to_numpy(restored)
    assert restored.dtype == array.dtype
    np.testing.assert_array_equal(
        restored.astype("float32"), np.array([1.5, -2.0], "float32")
    )


def test_a_checkpoint_of_another_network_is_refused():
    variable = keras.Variable(np.zeros(3))
    with pytest.raises(ValueError, match="do not fit the 1 of the run"):
        checkpoints.assign([variable], [np.zeros(4)])


# Checkpoints: updates 1, 2 and 3 of the epoch, or 2 and 3, and its end.
@pytest.mark.parametrize("every, room", [(1, 4), (2, 3)])
def test_a_disk_that_fills_up_costs_what_lies_behind_the_checkpoint(
    wholes, tmp_path, monkeypatch, every, room
):
    with monkeypatch.context() as patch:

        def savez(draft, *_, saved=np.savez, **arrays):
            nonlocal room
            room -= 1
            saved(draft, **arrays)
            if room < 0:
                os.truncate(draft, 100)
                raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(np, "savez", savez)
        message = "No space left .* of the end of epoch 1 is whole: `--resume`"
        with pytest.raises(OSError, match=message):
            run("adam", tmp_path, checkpoint_every=every)
    assert position_in(tmp_path) == files.Position(1)
    assert_same(tmp_path, run("adam", tmp_path), *wholes("adam"))


def test_a_folder_that_vanishes_is_an_error(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(OSError, match="backup is gone.*no checkpoint"):
        run("adam", folder, 2, lambda: shutil.rmtree(folder))
    assert not folder.exists()


def test_a_history_without_checkpoints_is_not_begun_anew(tmp_path):
    with pytest.raises(Killed):
        run("adam", tmp_path, 12, kill)
    shutil.rmtree(tmp_path / records.BACKUP)
    before = records.read_record(tmp_path)
    with pytest.raises(ValueError, match="finished 1 epochs, but there is no"):
        run("adam", tmp_path)
    assert records.read_record(tmp_path) == before


@pytest.mark.parametrize("every, waits", [(1, True), (2, False)])
def test_training_goes_on_while_a_checkpoint_is_written(
    tmp_path, monkeypatch, every, waits
):
    begun, go_on, written = threading.Event(), threading.Event(), files.write

    def write(*arguments):
        begun.set()
        go_on.wait(0.5)
        written(*arguments)

    def look():  # at the end of the update behind the first checkpoint
        assert begun.is_set()
        found.append(position_in(tmp_path))
        go_on.set()

    found = []
    monkeypatch.setattr(files, "write", write)
    run("adam", tmp_path, 2 * every + 2, look, checkpoint_every=every)
    assert found == [files.Position(0, 1) if waits else None]
    assert position_in(tmp_path) == files.Position(2)


def test_updates_between_checkpoints_and_how_many_are_kept(tmp_path):
    with pytest.raises(Killed):
        run("adam", tmp_path, 13, kill, checkpoint_every=2, keep_checkpoints=9)
    # Every second update of the run, and before and behind the validation.
    assert list(files.positions(tmp_path / records.BACKUP))[::-1] == [
        files.Position(0, 2),
        files.Position(0, 3),
        files.Position(1, 0),
        files.Position(1, 1),
    ]


@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_a_run_of_an_earlier_version_goes_on(tmp_path, ema, capsys):
    """Whose state Keras' BackupAndRestore kept at the ends of epochs."""
    settings = settings_of("averages", ann_epochs=0, ema=ema, epochs=1)
    model = network(settings)
    data = load_run_data(settings)
    building.compile_model(model, settings, 6)
    model.run_eagerly = True
    backup = tmp_path / records.BACKUP
    swap = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if ema else []
    keep = keras.callbacks.BackupAndRestore(
        str(backup), double_checkpoint=True, delete_checkpoint=False
    )
    record = records.new_record(settings_of("averages", ann_epochs=0, ema=ema))
    history = HistoryFile(tmp_path, record, lambda: 1.0)
    # Two epochs are asked for, so that the first is not the last.
    model.fit(
        data.train,
        epochs=2,
        shuffle=False,
        validation_data=data.watched,
        callbacks=[*swap, history, keep, StopAfterOne()],
    )
    before = records.read_record(tmp_path)["history"]["loss"]
    assert len(before) == 1 and (backup / "latest.weights.h5").exists()
    weights = [keras.ops.convert_to_numpy(x) for x in model.trainable_variables]
    if ema:
        average = model.optimizer._model_variables_moving_average
        weights = [keras.ops.convert_to_numpy(x) for x in average]
    begun = []
    more = lambda _: [Note(begun)]  # noqa: E731
    settings = settings_of("averages", ann_epochs=0, ema=ema)
    record = train(settings, tmp_path, resume=True, callbacks=more)
    assert "of an earlier version" in capsys.readouterr().out
    assert record["history"]["loss"][:1] == before
    assert len(record["history"]["loss"]) == 2
    for found, expected in zip(begun, weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert not (backup / "latest.weights.h5").exists()
    assert position_in(tmp_path) == files.Position(2)


class StopAfterOne(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


class Note(keras.callbacks.Callback):
    """Notes the weights that the first update begins with."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def on_train_batch_begin(self, batch, logs=None):
        if not self.found:
            variables = self.model.trainable_variables
            self.found += map(keras.ops.convert_to_numpy, variables)


def test_fewer_epochs_than_a_run_stands_at_are_refused(tmp_path):
    for instant in (3, 6):  # within the second epoch, and its validation
        folder = tmp_path / str(instant)
        settings = {"epochs": 5}
        with pytest.raises(SystemExit):
            callbacks = lambda _: [StopInSecond(instant)]  # noqa: B023, E731
            train(settings_of("adam", **settings), folder, callbacks=callbacks)
        before = (folder / records.HISTORY).read_bytes()
        with pytest.raises(ValueError, match="stands at update . of epoch 2"):
            run("adam", folder, settings={"epochs": 1})
        assert (folder / records.HISTORY).read_bytes() == before
        record = run("adam", folder, settings={"epochs": 2})
        assert record["result"]["last_epoch"] == 2


class StopInSecond(keras.callbacks.Callback):
    """Tells the run to stop within its second epoch.

    Args:
        instant: 3 for its first update, 6 for its validation.
    """

    def __init__(self, instant):
        super().__init__()
        self.instant = instant

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, self.instant) == (1, 3):
            terminate()

    def on_test_begin(self, logs=None):
        if (self.epoch, self.instant) == (1, 6):
            terminate()


def test_overwriting_leaves_no_checkpoint_behind(tmp_path):
    folder, elsewhere = tmp_path / "run", tmp_path / "scratch"
    run("adam", folder)
    (folder / records.BACKUP).rename(elsewhere)
    (folder / records.BACKUP).symlink_to(elsewhere)
    settings = {"seed": 7, "epochs": 1}
    given = {"settings": settings, "resume": False, "overwrite": True}
    record = run("adam", folder, **given)
    assert len(record["history"]["val_accuracy"]) == 1
    assert not (folder / records.BACKUP).is_symlink()
    assert files.positions(elsewhere)
    fresh = run("adam", tmp_path / "fresh", settings=settings)
    assert numbers_of(record) == numbers_of(fresh)


def test_what_cannot_be_deleted_is_an_error(tmp_path, monkeypatch):
    run("adam", tmp_path)

    def fail(*_, **__):
        raise PermissionError("not yours")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", fail)
        with pytest.raises(OSError, match="not yours"):
            run("adam", tmp_path, resume=False, overwrite=True)
    assert (tmp_path / records.BEST).exists()


def test_numbers_that_json_has_not_are_null(tmp_path):
    record = records.new_record(settings_of("adam"))
    logs = {"loss": float("nan"), "val_loss": float("inf"), "accuracy": 0.5}
    records.add_epoch(record, 0, logs)
    records.write_record(tmp_path, record)
    text = (tmp_path / records.HISTORY).read_text()
    assert "NaN" not in text and "Infinity" not in text
    found = records.read_record(tmp_path)["history"]
    assert found == {"loss": [None], "val_loss": [None], "accuracy": [0.5]}
