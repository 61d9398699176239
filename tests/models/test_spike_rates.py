import keras
import numpy as np
import pytest

import keras_snn as snn


def images(count=8):
    return np.random.default_rng(0).random((count, 8, 8, 1), "float32")


def lenet(**options):
    return snn.models.LeNet(
        input_shape=(8, 8, 1),
        width=0.2,
        seed=1,
        time_steps=10,
        encoder="rate",
        **options,
    )


@pytest.mark.parametrize("rule", ["collapsed", "arctan"])
def test_rates_are_the_mean_of_the_spike_trains(rule):
    model, x = lenet(learning_rule=rule), images()
    names = [n.name for n in model.layers if isinstance(n, snn.layers.LIF)]
    trains = keras.Model(
        model.input, [model.get_layer(name).output for name in names]
    ).predict(x, verbose=0)
    rates = snn.models.spike_rates(model, x, batch_size=4)
    assert list(rates) == names
    for name, train in zip(names, trains):
        assert rates[name] == pytest.approx(train.mean(), abs=1e-6)
    assert rates["block1_lif1"] > 0


def test_rates_of_a_model_that_returns_spikes():
    model = lenet(include_top=False)
    train = model.predict(images(), verbose=0)
    rates = snn.models.spike_rates(model, images())
    assert rates["block2_pool_if"] == pytest.approx(train.mean(), abs=1e-6)


def test_a_model_without_spiking_layers_is_refused():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(ValueError, match="keras_snn.layers.LIF or IF"):
        snn.models.spike_rates(model, np.zeros((1, 3)))


def test_scaling_wakes_silent_layers_up():
    model, x = lenet(), images()
    model.set_weights([0.1 * w for w in model.get_weights()])
    assert max(snn.models.spike_rates(model, x).values()) < 0.01
    before = model.get_weights()
    factors = snn.models.scale_to_rate(model, x, rate=0.1)
    rates = snn.models.spike_rates(model, x)
    assert list(factors) == ["block1_lif1", "block2_lif1", "fc1_lif"]
    for kernel, old, name in zip(model.get_weights(), before, factors):
        assert 0.08 <= rates[name] <= 0.125
        np.testing.assert_allclose(kernel, factors[name] * old, rtol=1e-5)


@pytest.mark.parametrize("rate", [0, 0.7])
def test_rate_out_of_range(rate):
    with pytest.raises(ValueError, match=r"`rate` must lie in \(0, 0.5\]"):
        snn.models.scale_to_rate(lenet(), images(), rate=rate)


def test_blank_input_cannot_reach_a_rate_and_the_weights_are_as_before():
    model = lenet()
    before = model.get_weights()
    with pytest.raises(ValueError, match="does not reach a rate"):
        snn.models.scale_to_rate(model, np.zeros_like(images()))
    for ours, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, old)


def test_rates_come_in_forward_order():
    x = inputs = keras.Input((4, 3))
    for name in ("zebra", "aardvark", "monkey"):
        x = snn.layers.LIF(name=name)(x)
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(x))
    rates = snn.models.spike_rates(model, np.ones((2, 4, 3), "float32"))
    assert list(rates) == ["zebra", "aardvark", "monkey"]
