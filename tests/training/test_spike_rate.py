"""Runs that train to a rate of spikes."""

import keras
import pytest

import keras_snn as snn
from keras_snn.training import evaluate, recipe, train

SMALL = {
    "width": 1 / 8,
    "epochs": 3,
    "limit": 256,
    "norm": "weight",  # no statistics that would have to settle first
}


def small(**given):
    return recipe("vgg5", "digits", **{**SMALL, **given})


def test_neurons_come_to_fire_less(tmp_path):
    plain = train(small(), tmp_path / "plain")["result"]
    given = {"from_ann": str(tmp_path / "plain" / "best.keras")}
    settings = small(spike_rate=0.02, **given)
    quiet = train(settings, tmp_path / "quiet")["result"]
    assert list(plain["spike_rates"]) == list(quiet["spike_rates"])
    for name, rate in quiet["spike_rates"].items():
        assert rate < 0.9 * plain["spike_rates"][name], name
    saved = keras.saving.load_model(tmp_path / "quiet" / "best.keras")
    bounds = {
        x.activity_regularizer.upper
        for x in saved.layers
        if isinstance(x, snn.layers.SpikingLayer)
    }
    assert bounds == {0.02}
    found = evaluate(tmp_path / "quiet" / "best.keras", limit=256)
    assert found["accuracy"] == quiet["best_epoch_test_accuracy"]


def test_a_sum_over_the_batch_has_a_weight_to_match():
    from keras_snn.training.building import RATE_WEIGHT, build_model

    given = {"norm": "none", "time_steps": 4, "spike_rate": 0.1}
    model = build_model(small(batch_size=16, **given))
    spiking = [
        x for x in model.layers if isinstance(x, snn.layers.SpikingLayer)
    ]
    assert {type(x) for x in spiking} == {snn.layers.LIF, snn.layers.IF}
    weights = {x.activity_regularizer.weight for x in spiking}
    assert weights == {16 * RATE_WEIGHT}


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="`spike_rate` must lie in"):
        small(spike_rate=rate)
