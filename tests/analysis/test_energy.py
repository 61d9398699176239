"""Energy is counts times a table, and the table says where it is from."""

import dataclasses
import json
import re

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.analysis import DEVICES, Device
from keras_snn.analysis.energy import readable
from tests.analysis.networks import images, lenet


@pytest.fixture(scope="module")
def spiking():
    return snn.analysis.profile(lenet(), images())


@pytest.fixture(scope="module")
def analog():
    return snn.analysis.profile(lenet("repeat"), images())


@pytest.fixture
def device():
    device = Device(
        "mine",
        ac=2.0,
        mac=3.0,
        update=5.0,
        weight_access=7.0,
        state_access=11.0,
    )
    yield snn.analysis.register_device(device)
    del DEVICES["mine"]


def test_energy_is_counts_times_the_table(analog, device):
    energy = analog.energy("mine")
    macs, acs = analog.effective_macs, analog.effective_acs
    assert macs > 0 < acs
    pooling = sum(x.effective_acs for x in analog.layers if "Pooling" in x.kind)
    assert energy.synapses == pytest.approx(3 * macs + 2 * acs)
    assert energy.neurons == pytest.approx(5 * analog.membrane_updates)
    # A sum is read and written; a MAC reads its input as well.
    accesses = 3 * macs + 2 * acs + 2 * analog.membrane_updates
    assert energy.memory == pytest.approx(
        7 * (macs + acs - pooling) + 11 * accesses
    )
    assert energy.snn == pytest.approx(
        energy.synapses + energy.neurons + energy.memory
    )
    assert energy.ratio == pytest.approx(energy.ann / energy.snn)


def test_energy_of_the_ordinary_network(analog, device):
    # 6x6 images, 2 and 5 channels, 20 hidden units, 3 classes.
    border = 5 * 6 - 2 * (1 + 2)
    first = 2 * border**2
    second = 10 * 9**2
    macs = first + second + 5 * 20 + 20 * 3
    adds = 2 * 36 + 5 * 4
    assert analog.energy("mine").ann == pytest.approx(
        3 * macs + 2 * adds + 7 * macs + 11 * 3 * (macs + adds)
    )


def test_biases_are_additions(device):
    inputs = keras.Input((4, 3))
    x = snn.layers.TimeFold(keras.layers.Dense(5))(inputs)
    model = snn.Model(inputs, snn.layers.MembraneReadout()(x))
    profile = snn.analysis.profile(model, np.zeros((2, 4, 3), "float32"))
    energy = profile.energy("mine")
    assert (profile.bias_adds, energy.biases) == (20, 40.0)
    assert energy.memory == 20 * (7 + 22) + 20 * 22
    # In one pass 15 products and 5 biases.
    assert energy.ann == 15 * (3 + 7 + 33) + 5 * (2 + 7 + 22)


def test_layers_add_up(spiking):
    names = [layer.name for layer in spiking.layers]
    parts = [spiking.energy("loihi", name).snn for name in names]
    assert sum(parts) == pytest.approx(spiking.energy("loihi").snn)


def test_one_step_without_spikes_costs_both_networks_the_same_memory(device):
    """Analog values in one step are what the ordinary network computes."""
    inputs = keras.Input((1, 3))
    x = snn.layers.TimeFold(keras.layers.Dense(5))(inputs)
    model = snn.Model(inputs, snn.layers.MembraneReadout()(x))
    profile = snn.analysis.profile(model, np.full((2, 1, 3), 0.5, "float32"))
    energy = profile.energy("mine")
    neurons = 5 * (5 + 22)
    assert energy.snn - neurons == energy.ann


def test_a_layer_that_is_used_twice_shows_the_energy_of_each_use(device):
    lif = snn.layers.LIF(threshold=0.5, name="lif")
    inputs = keras.Input((4, 3))
    x = lif(lif(inputs))
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(x))
    profile = snn.analysis.profile(model, np.ones((2, 4, 3), "float32"))
    # Each use adds 12 spikes, at 2 and 22 pJ, to 12 neurons, at 5 and 22 pJ.
    assert profile.energy("mine", "lif").snn == 2 * 12 * (24 + 27)
    lines = []
    profile.summary("mine", print_fn=lines.append)
    rows = [x.split() for x in lines[0].splitlines() if "lif" in x]
    assert [row[0] for row in rows] == ["lif", "lif_call2"]
    assert [row[-2:] for row in rows] == 2 * [["612", "pJ"]]
    assert profile.energy("mine", "lif_call2").snn == 12 * (24 + 27)


def test_published_numbers():
    for name, ac, mac in (
        ("45nm-float32", 0.9, 4.6),
        ("45nm-float16", 0.4, 1.5),
        ("45nm-int32", 0.1, 3.2),
        ("45nm-int8", 0.03, 0.23),
    ):
        assert (DEVICES[name].ac, DEVICES[name].mac) == (ac, mac)
    assert (DEVICES["loihi"].ac, DEVICES["loihi"].update) == (23.6, 81.0)


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_has_a_source(name):
    assert DEVICES[name].source and DEVICES[name].url.startswith("https://")


def test_a_device_without_macs_runs_spikes_only(spiking, analog):
    assert spiking.energy("loihi").snn > 0
    assert spiking.energy("loihi").ann is None
    energy = analog.energy("loihi")
    assert (energy.snn, energy.ann, energy.ratio) == (None, None, None)


def test_unknown_names(spiking):
    with pytest.raises(ValueError, match='one of "45nm-float32".*register_'):
        spiking.energy("abacus")
    with pytest.raises(ValueError, match="`layer` must be one of encoder"):
        spiking.energy(layer="conv9")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(name="x", ac=-1.0), "`ac` must be an energy in pJ"),
        (dict(name="x", ac="much"), "`ac` must be a real number"),
        (dict(name="", ac=1.0), "`name` must be a string"),
    ],
)
def test_bad_devices(arguments, message):
    with pytest.raises(ValueError, match=message):
        Device(**arguments)


def test_registering(device):
    with pytest.raises(ValueError, match="'mine' exists. Choose another"):
        snn.analysis.register_device(dataclasses.replace(device))
    with pytest.raises(ValueError, match="Received: dict"):
        snn.analysis.register_device({"ac": 1.0})


def test_summary_shows_layers_devices_and_sources(spiking, device, capsys):
    spiking.summary()
    text = capsys.readouterr().out
    for word in ("block1_conv1", "Conv2D", "loihi", "mine", "ordinary"):
        assert word in text
    assert f"{spiking.dense:,.0f}" in text
    assert "bias adds" not in text
    lines = []
    snn.analysis.print_devices(lines.append)
    assert "23.6" in lines[0] and "Horowitz" in lines[0]


def test_a_narrow_terminal_gets_whole_numbers(spiking, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    spiking.summary()
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "…" not in text and "MembraneReadout" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert f"{spiking.effective_acs:,.0f}" in text


def test_dict_is_plain_and_in_the_names_of_neurobench(analog, tmp_path):
    path = tmp_path / "profile.json"
    analog.to_json(path)
    found = json.loads(path.read_text())
    assert found == json.loads(json.dumps(analog.to_dict()))
    assert found["synaptic_operations"] == {
        "Effective_MACs": analog.effective_macs,
        "Effective_ACs": analog.effective_acs,
        "Dense": analog.dense,
    }
    for key in ("footprint", "activation_sparsity", "membrane_updates"):
        assert found[key] == getattr(analog, key)
    assert found["energy"]["45nm-float32"]["snn_pj"] > 0


def test_dataframe(spiking):
    pandas = pytest.importorskip("pandas")
    frame = spiking.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.index) == [layer.name for layer in spiking.layers]
    assert frame.effective_acs.sum() == pytest.approx(spiking.effective_acs)


@pytest.mark.parametrize(
    "picojoules, text",
    [(0.0, "0 pJ"), (999, "999 pJ"), (1500, "1.5 nJ"), (2e6, "2 uJ")],
)
def test_units(picojoules, text):
    assert readable(picojoules) == text
