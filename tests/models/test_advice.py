"""What is advised of a layer helps that layer; `fit` and the monitor agree."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.running import advice

X = np.ones((4, 3, 5), "float32")
SCALE = "scale_to_rate"
OFFSET = "beta_initializer"
RATE = 'learn by learning_rule="rate"'
CREDITED = "training may wake them"
NORM = 'norm="batch"'


def network(*before, neuron=snn.layers.LIF, **options):
    """Return a network of one spiking layer behind layers of frames."""
    x = inputs = keras.Input((3, 5))
    for layer in before:
        x = snn.layers.TimeFold(layer)(x)
    x = neuron(name="neurons", **options)(x)
    return snn.Model(inputs, snn.layers.SpikeCountReadout()(x))


def advised(model, kind):
    (text,) = advice.by_layer(model.network, ["neurons"], kind)
    return text


def dense(**options):
    return keras.layers.Dense(4, **options)


CASES = {
    "plain": (lambda: network(dense()), {SCALE, RATE, NORM}),
    "by rate": (
        lambda: network(dense(), learning_rule="rate"),
        {SCALE, CREDITED, NORM},
    ),
    "through time": (
        lambda: network(dense(), neuron=snn.layers.ALIF),
        {SCALE, NORM},
    ),
    "normalized": (
        lambda: network(dense(), keras.layers.BatchNormalization()),
        {OFFSET, RATE},
    ),
    "normalized, by rate": (
        lambda: network(
            dense(), keras.layers.BatchNormalization(), learning_rule="rate"
        ),
        {OFFSET, CREDITED},
    ),
    "normalized without an offset": (
        lambda: network(dense(), keras.layers.BatchNormalization(center=False)),
        {RATE},
    ),
    "scaled after a normalization": (
        lambda: network(keras.layers.BatchNormalization(), dense()),
        {SCALE, OFFSET, RATE},
    ),
    "standardized": (
        lambda: network(snn.layers.StandardizedDense(4)),
        {SCALE, RATE},
    ),
    "frozen": (lambda: network(dense(trainable=False)), {RATE, NORM}),
    "without weights": (lambda: network(), {RATE, NORM}),
}


@pytest.mark.parametrize("case", CASES)
def test_silent_layers_get_what_can_help_them(case):
    build, expected = CASES[case]
    text = advised(build(), "silent")
    every = (SCALE, OFFSET, RATE, CREDITED, NORM)
    assert {x for x in every if x in text} == expected
    assert "lower its threshold" in text and "more time steps" in text


@pytest.mark.parametrize(
    "case, expected",
    [
        ("plain", {SCALE}),
        ("normalized", {"gamma_initializer"}),
        ("standardized", {SCALE}),
        ("frozen", set()),
    ],
)
def test_saturated_layers_get_what_can_help_them(case, expected):
    text = advised(CASES[case][0](), "saturated")
    assert {x for x in (SCALE, "gamma_initializer") if x in text} == expected
    assert "raise its threshold" in text and "lower the learning rate" in text


def test_a_standardized_layer_can_be_scaled_as_advised():
    model = network(snn.layers.StandardizedDense(4), threshold=50.0)
    x = np.random.default_rng(0).normal(size=(16, 3, 5)).astype("float32")
    assert snn.models.spike_rates(model, x)["neurons"] == 0
    snn.models.scale_to_rate(model, x, 0.2)
    assert 0.1 < snn.models.spike_rates(model, x)["neurons"] < 0.3


def test_kernels_are_those_of_the_first_layer_they_lead_to():
    inputs = keras.Input((3, 5))
    x = snn.layers.TimeFold(dense())(inputs)
    first = snn.layers.LIF(name="first")(x)
    second = snn.layers.LIF(name="second")(x)
    model = snn.Model(
        inputs,
        snn.layers.SpikeCountReadout()(keras.layers.Add()([first, second])),
    )
    found = advice.by_layer(model.network, ["first", "second"], "silent")
    scaled = {name for text in found if SCALE in text for name in found[text]}
    assert scaled == {"first"} and len(found) == 2


@pytest.mark.parametrize("rule", ["collapsed", "rate"])
def test_fit_and_the_monitor_say_the_same(rule):
    model = network(dense(), threshold=1e6, learning_rule=rule)
    model.compile("sgd", "mse")
    monitor = snn.callbacks.SpikeRateMonitor(X)
    data = np.repeat(X, 60, axis=0), np.zeros((240, 4))
    with pytest.warns(UserWarning) as found:
        model.fit(*data, 4, 1, verbose=0, callbacks=[monitor])
    texts = [str(x.message) for x in found]
    expected = advised(model, "silent")
    assert len(texts) == 2 and all(x.endswith(expected) for x in texts)
