"""The study on the embedded digits, small and short."""

import dataclasses
import json

import keras
import numpy as np
import pytest

pytest.importorskip("matplotlib")

import keras_snn as snn  # noqa: E402
from keras_snn.study import ordinary_twin, study  # noqa: E402
from keras_snn.training import recipe  # noqa: E402

NETWORK = {"input_shape": (8, 8, 1), "width": 0.2, "time_steps": 3}


@pytest.mark.parametrize("name", ["LeNet", "VGG5", "ResNet7"])
def test_twin_has_the_same_weights_shapes_and_no_spikes(name):
    model = getattr(snn.models, name)(dropout=0.2, **NETWORK)
    twin = ordinary_twin(model, seed=3)
    shapes = [w.shape for w in model.get_weights()]
    assert [w.shape for w in twin.get_weights()] == shapes
    assert not any(isinstance(x, snn.layers.LIF) for x in twin.layers)
    again = ordinary_twin(model, seed=3).get_weights()
    for a, b in zip(twin.get_weights(), again, strict=True):
        np.testing.assert_array_equal(a, b)
    x = np.random.default_rng(0).random((2, 8, 8, 1)).astype("float32")
    assert np.ptp(twin.predict(x, verbose=0)) > 0


def test_twin_computes_the_rates_of_a_linear_network():
    # Analog input, one layer and the readout: nothing spikes, so that both
    # networks are the same linear map.
    images = keras.Input((6,))
    x = snn.layers.RepeatEncoder(4)(images)
    x = snn.layers.TimeFold(keras.layers.Dense(3, use_bias=False))(x)
    model = snn.Model(images, snn.layers.MembraneReadout(beta=1.0)(x))
    twin = ordinary_twin(model)
    twin.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    np.testing.assert_allclose(
        twin.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6
    )


def test_twin_refuses_what_has_no_counterpart():
    images = keras.Input((6,))
    x = snn.layers.RepeatEncoder(4)(images)
    x = keras.layers.LSTM(3)(x)
    with pytest.raises(ValueError, match=r"\(LSTM\) has no counterpart"):
        ordinary_twin(keras.Model(images, x))
    spikes = keras.Input((4, 6))
    outputs = snn.layers.SpikeCountReadout()(spikes)
    with pytest.raises(ValueError, match="with an encoder"):
        ordinary_twin(snn.Model(spikes, outputs))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    settings = recipe(
        "lenet", "digits", epochs=2, time_steps=6, limit=256, width=0.2
    )
    arguments = {"most_steps": 12, "images": 60, "ann_epochs": 3}
    result = study(settings, folder, **arguments)
    return folder, settings, arguments, result


def test_study_measures_both_networks(finished):
    folder, _, _, result = finished
    curves = result["curves"]
    assert len(curves["spike-trained"]["accuracy"]) == 6
    assert len(curves["converted"]["accuracy"]) == 12
    iso = result["points"]["iso-accuracy"]
    goal = min(max(c["accuracy"]) for c in curves.values()) - 0.002
    for name, entry in iso.items():
        accuracy = curves[name]["accuracy"]
        assert entry["goal"] == pytest.approx(goal)
        step = next(t for t, a in enumerate(accuracy, 1) if a >= entry["goal"])
        assert entry["time_steps"] == step
        assert entry["accuracy"] == accuracy[step - 1]
        best = result["points"]["best accuracy"][name]
        assert best["accuracy"] == max(accuracy)
    compared = result["comparison"]["iso-accuracy"]
    assert compared["speed_up"] == (
        iso["converted"]["time_steps"] / iso["spike-trained"]["time_steps"]
    )
    for name, profile in result["profiles"]["iso-accuracy"].items():
        assert profile["time_steps"] == iso[name]["time_steps"]
        lif = [x for x in profile["layers"] if x["kind"] in ("LIF", "IF")]
        spikes = sum(layer["spikes"] for layer in lif)
        assert 0 < compared["spikes"][name] == pytest.approx(spikes)
        energy = profile["energy"][result["device"]]
        assert compared["energy_pj"][name] == energy["snn_pj"]
        assert compared["ann_pj"] == energy["ann_pj"] > 0
    pj = compared["energy_pj"]
    assert compared["energy_ratio"] == pj["converted"] / pj["spike-trained"]
    assert json.loads((folder / "study.json").read_text()) == result
    text = (folder / "study.md").read_text()
    assert "| iso-accuracy | spike-trained |" in text
    for name in ("error", "spikes", "energy"):
        assert (folder / f"{name}.png").stat().st_size > 5000


def test_study_given_again_trains_nothing(finished, monkeypatch):
    folder, settings, arguments, result = finished

    def never(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(keras.Model, "fit", never)
    again = study(settings, folder, **arguments)
    assert again["ann_accuracy"] == result["ann_accuracy"]


@pytest.mark.parametrize("change", ["width", "ann_epochs", "weights"])
def test_study_does_not_mix_networks(finished, change):
    folder, settings, arguments, _ = finished
    arguments = dict(arguments)
    if change == "width":
        settings = dataclasses.replace(settings, width=0.3)
    elif change == "ann_epochs":
        arguments["ann_epochs"] = 1
    else:
        arguments["weights"] = folder / "spike_trained" / "best.keras"
    with pytest.raises(ValueError, match="a study of other networks"):
        study(settings, folder, **arguments)


def test_study_takes_a_trained_network(finished, tmp_path):
    folder, settings, arguments, _ = finished
    weights = folder / "spike_trained" / "best.keras"
    result = study(settings, tmp_path, **arguments, weights=weights)
    assert result["origin"]["weights"] == "best.keras"
    assert not (tmp_path / "spike_trained").exists()
    assert "as it came" in (tmp_path / "study.md").read_text()


def test_study_refuses_bad_arguments(tmp_path):
    settings = recipe("lenet", "digits")
    with pytest.raises(ValueError, match="`images` must be at least 1"):
        study(settings, tmp_path, images=0)
    with pytest.raises(ValueError, match="`device` must be one of"):
        study(settings, tmp_path, device="abacus")
    with pytest.raises(ValueError, match="`method` must be one of"):
        study(settings, tmp_path, method="qcfs")
    assert not any(tmp_path.iterdir())
