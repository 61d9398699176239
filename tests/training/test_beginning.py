"""Where a run begins: weights of a network with ReLUs, layers that fire."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn import models
from keras_snn.training import beginning, recipe, train
from keras_snn.training.building import build_ann, build_model

SMALL = {"width": 1 / 16, "limit": 48, "batch_size": 16, "epochs": 1}


def small(model="vgg5", **given):
    return recipe(model, "digits", **{**SMALL, **given})


def rates_of(model):
    images = snn.datasets.load("digits")[0][0][:64]
    return models.spike_rates(model, images)


def test_the_network_with_relus_trains_first_and_gives_its_weights(
    tmp_path, monkeypatch
):
    begun = {}
    whole = beginning.take_over

    def take_over(model, path):
        whole(model, path)
        begun["weights"] = model.get_weights()

    monkeypatch.setattr(beginning, "take_over", take_over)
    record = train(small(ann_epochs=2), tmp_path / "run")
    ann = keras.saving.load_model(tmp_path / "run" / "ann.keras")
    for ours, theirs in zip(begun["weights"], ann.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(record["ann"]["history"]["val_accuracy"]) == 2
    assert record["ann"]["seconds"] > 0
    assert len(record["history"]["val_accuracy"]) == 1
    assert not (tmp_path / "run" / "backup_ann").exists()


def test_a_resumed_run_does_not_train_the_network_with_relus_again(
    tmp_path, monkeypatch
):
    settings = small(ann_epochs=1)

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("keras_snn.training.fitting._fit", kill)
        with pytest.raises(KeyboardInterrupt):
            train(settings, tmp_path)
    file = tmp_path / "ann.keras"
    before = file.read_bytes()
    record = train(settings, tmp_path, resume=True)
    assert file.read_bytes() == before
    assert record["status"] == "finished"
    assert len(record["ann"]["history"]["val_accuracy"]) == 1


def test_weights_of_a_file_are_taken_over(tmp_path):
    path = str(tmp_path / "net.keras")
    settings = small(from_ann=path, seed=3)
    ann = build_ann(small(seed=4))
    ann.save(path)
    model = build_model(settings)
    beginning.take_over(model, path)
    for ours, theirs in zip(model.get_weights(), ann.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    train(settings, tmp_path / "run")


def test_weights_go_from_more_steps_to_fewer(tmp_path):
    path = tmp_path / "four.keras"
    model = build_model(small(seed=4))
    model.save(path)
    fewer = build_model(small(time_steps=2, seed=5))
    beginning.take_over(fewer, path)
    assert fewer.get_layer("encoder").time_steps == 2
    for ours, theirs in zip(fewer.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "Not found"),
        (lambda path: build_ann(small("vgg7")).save(path), "do not fit 'vgg5'"),
        (
            lambda path: build_ann(small(width=1 / 8)).save(path),
            "same width, norm",
        ),
    ],
)
def test_weights_that_do_not_fit_leave_no_run(tmp_path, make, message):
    path = str(tmp_path / "net.keras")
    make(path)
    with pytest.raises(ValueError, match=message):
        train(small(from_ann=path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_silent_layers_are_scaled_before_training(tmp_path, capsys):
    settings = small(
        "vgg7", norm="none", time_steps=4, width=1 / 8, scale=True, epochs=1
    )
    before = rates_of(build_model(settings))
    assert min(before.values()) < beginning.SILENT
    train(settings, tmp_path / "scaled")
    assert "Silent before training: " in capsys.readouterr().out
    train(small("vgg7", norm="none", time_steps=4, scale=False), tmp_path / "n")
    assert "Silent" not in capsys.readouterr().out


@pytest.mark.parametrize("most", [0.05, 0.001])
def test_layers_that_cannot_fire_as_often_do_not_end_a_run(
    most, tmp_path, capsys, monkeypatch
):
    asked = []

    def scale_to_rate(model, images, rate):
        asked.append(rate)
        if rate > most:
            raise ValueError(f"Layer 'lif' does not reach a rate of {rate}")

    monkeypatch.setattr(beginning.models, "scale_to_rate", scale_to_rate)
    settings = small("vgg7", norm="none", time_steps=4, width=1 / 8)
    assert train(settings, tmp_path)["status"] == "finished"
    assert asked == [rate for rate in beginning.RATES if rate >= most]
    stayed = "They stay as they are. Layer 'lif'" in capsys.readouterr().out
    assert stayed == (most == 0.001)
