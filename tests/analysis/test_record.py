"""Recordings are the layers' spikes and a plain loop's potentials."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.analysis.networks import images, lenet, neurons


@pytest.fixture(scope="module")
def recorded():
    """Return a network, its input and its recording, in two batches."""
    model, x = lenet(), images()
    return model, x, snn.analysis.record(model, x, batch_size=3)


def plain_loop(currents, beta, threshold, reset, v):
    """Return `(u, s)` of one neuron, step by step."""
    trace, spikes = [], []
    for current in currents:
        u = v + current
        s = 1.0 if u > threshold else 0.0
        v = beta * (u * (1 - s) if reset == "zero" else u - threshold * s)
        trace.append(u)
        spikes.append(s)
    return trace, spikes


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("beta, start", [(0.9, 0.0), (1.0, 0.25)])
def test_potentials_are_those_of_a_plain_loop(reset, beta, start):
    options = {"beta": beta, "reset": reset, "initial_potential": start}
    currents = np.random.default_rng(0).normal(0.4, 0.4, (2, 9, 3))
    currents = currents.astype("float32")
    recording = snn.analysis.record(neurons(**options), currents)
    for b, n in np.ndindex(2, 3):
        u, s = plain_loop(currents[b, :, n], beta, 1.0, reset, start)
        np.testing.assert_allclose(
            recording.potentials["lif"][b, :, n], u, atol=1e-6
        )
        np.testing.assert_array_equal(recording.spikes["lif"][b, :, n], s)
    np.testing.assert_array_equal(recording.spikes["current"], currents)
    assert recording.thresholds == {"lif": 1.0}
    assert recording.time_steps == 9


def test_the_potential_is_above_the_threshold_where_the_layer_spikes():
    recording = snn.analysis.record(lenet("poisson"), images())
    for name, u in recording.potentials.items():
        np.testing.assert_array_equal(
            u > recording.thresholds[name], recording.spikes[name] == 1
        )
        assert recording.spikes[name].any()


def test_spikes_are_the_outputs_of_the_layers(recorded):
    model, x, recording = recorded
    names = list(recording.spikes)
    assert names[0] == "encoder"
    assert set(recording.potentials) == set(names[1:])
    tensors = [model.get_layer(name).output for name in names]
    for name, train in zip(
        names, keras.Model(model.input, tensors).predict(x, verbose=0)
    ):
        np.testing.assert_array_equal(recording.spikes[name], train)


def test_all_layers_belong_to_one_draw():
    model = lenet("poisson")
    recording = snn.analysis.record(model, images())
    currents = model.get_layer("block1_conv1")(recording.spikes["encoder"])
    spikes = model.get_layer("block1_lif1")(currents)
    np.testing.assert_array_equal(recording.spikes["block1_lif1"], spikes)


def test_the_running_output_ends_in_the_models_output(recorded):
    model, x, recording = recorded
    outputs = recording.outputs["readout"]
    assert outputs.shape == (5, 7, 3)
    np.testing.assert_allclose(
        outputs[:, -1], model.predict(x, verbose=0), atol=1e-6
    )


def test_profile_counts_the_spikes_of_record(recorded):
    model, x, recording = recorded
    spikes = {
        layer.name: layer.spikes
        for layer in snn.analysis.profile(model, x).layers
        if layer.spikes is not None
    }
    assert spikes == pytest.approx(
        {name: train.sum() / 5 for name, train in recording.spikes.items()}
    )
    rates = snn.models.spike_rates(model, x)
    found = recording.rates()
    assert {name: found[name] for name in rates} == pytest.approx(rates)


def test_some_layers(recorded):
    model, x, _ = recorded
    recording = snn.analysis.record(model, x, ["fc1_lif", "readout"])
    assert list(recording.spikes) == list(recording.potentials) == ["fc1_lif"]
    assert list(recording.outputs) == ["readout"]
    currents = np.ones((1, 4, 3), "float32")
    recording = snn.analysis.record(neurons(), currents, "current")
    np.testing.assert_array_equal(recording.spikes["current"], currents)
    assert not recording.potentials


def test_bad_input(recorded):
    model, x, _ = recorded
    with pytest.raises(ValueError, match="among encoder, block1.*: 'conv'"):
        snn.analysis.record(model, x, layers=["conv", "fc1_lif"])
    with pytest.raises(ValueError, match="Received: list"):
        snn.analysis.record(model, [x])
    with pytest.raises(ValueError, match=r"a batch axis, x\[None\]"):
        snn.analysis.record(model, x[0])
    inputs = keras.Input((3, 2))
    silent = snn.Model(inputs, snn.layers.MembraneReadout()(inputs))
    with pytest.raises(ValueError, match="has none"):
        snn.analysis.record(silent, np.zeros((1, 3, 2)))


def test_a_layer_that_is_used_twice_has_one_train_a_call():
    lif = snn.layers.LIF(name="shared")
    x = inputs = keras.Input((4, 3), name="current")
    x = snn.layers.IF(name="other")(lif(lif(x)))
    model = snn.Model(inputs, snn.layers.MembraneReadout(name="out")(x))
    currents = np.ones((1, 4, 3), "float32")
    recording = snn.analysis.record(model, currents)
    first = lif(currents)
    np.testing.assert_array_equal(recording.spikes["shared"], first)
    np.testing.assert_array_equal(recording.spikes["shared_call2"], lif(first))
    recording = snn.analysis.record(model, currents, ["current", "other"])
    assert list(recording.spikes) == ["current", "other"]
