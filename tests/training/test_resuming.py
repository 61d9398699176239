"""A run that is killed and resumed ends as one that is not, bit for bit."""

import os

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.training import (
    beginning,
    building,
    fitting,
    recipe,
    records,
    train,
)
from keras_snn.training import checkpoint_files as files

TINY = {"limit": 12, "batch_size": 4, "epochs": 2, "time_steps": 3}
RUNS = {
    # A rate that changes with the epoch.
    "adam": {"optimizer": "adam", "cosine": True},
    # Averages of weights, a rate that changes with the update, augmented
    # images; first the network with ReLUs.
    "averages": {"ema": 0.8, "shift": 1, "ann_epochs": 1},
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


@pytest.mark.parametrize("name", RUNS)
def test_killed_at_random_instants_and_resumed(
    name, wholes, tmp_path, monkeypatch
):
    whole_folder, whole = wholes(name)
    random = np.random.default_rng(3)
    kills = 0
    while kills < 2:
        try:
            run(name, tmp_path, random.integers(5, 12), kill)
            break
        except Killed:
            kills += 1
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
    record = run(name, tmp_path)
    assert_same(tmp_path, record, whole_folder, whole)
    assert not [x for x in tmp_path.rglob(".*") if x.name != records.LOCK]


def never(*_):
    return None
