"""Runs under another dtype policy, whose files compute in float32."""

import keras
import pytest

import keras_snn as snn
from keras_snn.training import beginning, evaluate, fitting, recipe, train

SMALL = {
    "limit": 128,
    "batch_size": 8,
    "epochs": 2,
    "ann_epochs": 1,
    "learning_rate": 0.1,
}


def network(settings, spiking=True):
    """Return a network without noise that is quickly compiled."""
    inputs, L = keras.Input((8, 8, 1)), keras.layers
    if spiking:
        x, T = snn.layers.RepeatEncoder(3)(inputs), snn.layers.TimeFold
        neuron = snn.layers.LIF(learning_rule="rate")
        readout = snn.layers.MembraneReadout()
    else:
        x, T, neuron, readout = inputs, lambda y: y, L.ReLU(), L.Identity()
    x = neuron(T(L.Dense(16))(T(L.Flatten())(x)))
    x = readout(T(L.Dense(10))(x))
    return (snn.Model if spiking else keras.Model)(inputs, x)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setattr(fitting, "build_model", network)
    monkeypatch.setattr(beginning, "build_ann", lambda x: network(x, False))


def small(**given):
    return recipe("vgg5", "digits", **{**SMALL, **given})


def types_in(path):
    """Return the types that the layers of a file's model compute in."""
    _, *layers = snn.models.load_model(path).layers  # without the InputLayer
    return {getattr(x, "layer", x).compute_dtype for x in layers}


@pytest.mark.parametrize("split", [0.0, 0.25])
def test_what_is_saved_and_measured_computes_in_float32(split, tmp_path):
    before = keras.config.dtype_policy()
    settings = small(dtype="mixed_bfloat16", validation_split=split)
    result = train(settings, tmp_path)["result"]
    assert keras.config.dtype_policy() == before
    for name in ("ann", "best"):
        path = tmp_path / f"{name}.keras"
        assert types_in(path) == {"float32"}
        model = snn.models.load_model(path)
        assert int(model.optimizer.iterations) > 0
    found = evaluate(tmp_path / "best.keras", limit=128)
    assert found["accuracy"] == result["best_epoch_test_accuracy"] > 0.2
    assert found["spike_rates"].keys() == result["spike_rates"].keys()


def test_it_learns_in_it(tmp_path):
    runs = [
        train(small(dtype=dtype), tmp_path / dtype)["history"]["loss"]
        for dtype in ("float32", "mixed_bfloat16")
    ]
    assert runs[0] != runs[1] == pytest.approx(runs[0], rel=0.1)


def test_a_model_is_built_in_it_whatever_the_global_policy(
    mixed_bfloat16, tmp_path
):
    train(small(epochs=1, ann_epochs=0), tmp_path)
    assert types_in(tmp_path / "best.keras") == {"float32"}
    assert keras.config.dtype_policy().name == "mixed_bfloat16"


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "bfloat16"])
def test_others_are_refused(dtype):
    with pytest.raises(ValueError, match="`dtype` must be one of float32"):
        small(dtype=dtype)
