"""`evaluate` measures saved models however they are built."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.training import evaluate, with_time_steps
from keras_snn.training.evaluation import time_steps_of

L, TimeFold = keras.layers, snn.layers.TimeFold


def chain():
    """Return the layers of a small network for digits."""
    return [
        snn.layers.RateEncoder(4, name="encoder"),
        TimeFold(L.Flatten(name="flatten")),
        TimeFold(L.Dense(16, name="dense")),
        snn.layers.LIF(threshold=0.3, name="lif"),
        TimeFold(L.Dense(10, name="scores")),
        snn.layers.MembraneReadout(name="readout"),
    ]


def functional():
    x = inputs = keras.Input((8, 8, 1))
    for layer in chain():
        x = layer(x)
    return snn.Model(inputs, x)


def sequential():
    return keras.Sequential([keras.Input((8, 8, 1)), *chain()])


def nested():
    """Return a model whose encoder and neurons are in models of its own."""
    inner = keras.Sequential([keras.Input((8, 8, 1)), *chain()[:3]])
    inputs = keras.Input((8, 8, 1))
    return snn.Model(
        inputs,
        keras.Sequential([keras.Input((4, 16)), *chain()[3:]])(inner(inputs)),
    )


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)
    return [rng.normal(0.05, 0.3, w.shape) for w in functional().weights]


@pytest.mark.parametrize("time_steps", [None, 7])
@pytest.mark.parametrize("build", [sequential, nested])
def test_a_file_of_any_style_is_measured(build, time_steps, weights, tmp_path):
    found = []
    for make in (functional, build):
        model = make()
        model.set_weights(weights)
        path = tmp_path / f"{make.__name__}.keras"
        model.save(path)
        found.append(evaluate(path, "digits", limit=64, time_steps=time_steps))
    plain, styled = found
    assert styled["time_steps"] == plain["time_steps"] == (time_steps or 4)
    assert list(styled["spike_rates"]) == ["lif"]
    assert 0.01 < styled["spike_rates"]["lif"] < 0.99
    for key in ("accuracy", "loss"):
        assert styled[key] == pytest.approx(plain[key], rel=1e-5)
    assert styled["spike_rates"]["lif"] == pytest.approx(
        plain["spike_rates"]["lif"], rel=1e-5
    )


def test_a_copy_with_other_steps_leaves_the_model_as_it_is(weights):
    model = nested()
    model.set_weights(weights)
    copy = with_time_steps(model, 9)
    assert (time_steps_of(model), time_steps_of(copy)) == (4, 9)
    assert type(copy) is snn.Model
    copy.set_weights([0 * w for w in copy.get_weights()])
    assert np.abs(model.get_weights()[0]).max() > 0


def test_another_program_s_history_is_no_record(tmp_path):
    functional().save(tmp_path / "net.keras")
    functional().save_weights(tmp_path / "net.weights.h5")
    (tmp_path / "history.json").write_text('{"accuracy": [0.1]}')
    found = evaluate(tmp_path / "net.keras", "digits", limit=20)
    assert found["images"] == 20
    for name, given in (("net.keras", ()), ("net.weights.h5", ("digits",))):
        with pytest.raises(ValueError, match="pass `--dataset`"):
            evaluate(tmp_path / name, *given, limit=20)


def test_a_folder_is_not_taken_for_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    rng = np.random.default_rng(0)
    data = rng.random((8, 28, 28, 1), "float32"), np.eye(10)[:8]
    monkeypatch.setattr(snn.datasets, "load", lambda *_, **__: (data, data))
    assert evaluate("mnist", batch_size=8)["dataset"] == "mnist"
