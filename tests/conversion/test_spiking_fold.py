"""Spiking networks without normalizations give what they gave with them."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.conversion.networks import randomised

L, TimeFold, LIF = keras.layers, snn.layers.TimeFold, snn.layers.LIF


def images(samples=6):
    return np.random.default_rng(2).random((samples, 32, 32, 3), "float32")


def kinds_of(model):
    return {type(getattr(x, "layer", x)) for x in model.layers}


@pytest.mark.parametrize(
    "name, norm",
    [
        ("VGG9", "batch"),
        ("VGG9", "weight"),
        ("ResNet11", "batch"),
        ("SpikingCNN", "batch"),
        ("SEWResNet18", "batch"),
    ],
)
def test_published_networks(name, norm):
    model = getattr(snn.models, name)(width=1 / 16, norm=norm, seed=0)
    model = randomised(model)
    if norm == "weight":
        snn.models.calibrate(model, images())
    expected = model.predict(images(), verbose=0)
    weights = model.get_weights()
    folded = snn.conversion.fold(model)
    left = kinds_of(folded)
    assert L.BatchNormalization not in left
    assert not any("Standardized" in kind.__name__ for kind in left)
    assert np.ptp(expected) > 0
    found = folded.predict(images(), verbose=0)
    # A spike that rounding moves is rare.
    assert np.median(np.abs(found - expected)) < 1e-4
    rates = snn.models.spike_rates(folded, images())
    assert rates == pytest.approx(
        snn.models.spike_rates(model, images()), rel=0.01, abs=1e-3
    )
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def small(*layers, rule="rate"):
    x = inputs = keras.Input((5, 8, 8, 2))
    for layer in layers:
        x = layer(x)
    model = snn.Model(inputs, x)
    return randomised(model)


def trains():
    rng = np.random.default_rng(1)
    return (rng.random((4, 5, 8, 8, 2)) < 0.4).astype("float32")


def test_what_is_left_has_the_weights_of_the_formula():
    conv = L.Conv2D(3, 3, use_bias=False, name="conv")
    norm = snn.layers.ThresholdBatchNormalization(0.5, name="bn")
    model = small(TimeFold(conv), TimeFold(norm), LIF())
    folded = snn.conversion.fold(model)
    a = np.asarray(norm.gamma) / np.sqrt(norm.moving_variance + norm.epsilon)
    kernel, bias = folded.get_layer("conv").layer.get_weights()
    np.testing.assert_allclose(kernel, conv.get_weights()[0] * a, rtol=1e-5)
    np.testing.assert_allclose(
        bias, norm.beta - a * norm.moving_mean, rtol=1e-5, atol=1e-6
    )
    assert [x.name for x in folded.layers][1:] == [
        "conv",
        model.layers[-1].name,
    ]


def test_what_has_weights_besides_keeps_them():
    model = small(
        TimeFold(L.Conv2D(3, 3, name="conv")),
        TimeFold(L.AveragePooling2D(2, name="pool")),
        TimeFold(L.BatchNormalization(name="bn")),
        snn.layers.PLIF(name="plif"),
        TimeFold(L.Flatten(name="flatten")),
        TimeFold(L.Dense(4, name="dense")),
        snn.layers.MembraneReadout(name="readout"),
    )
    folded = snn.conversion.fold(model)
    np.testing.assert_allclose(
        folded.predict(trains(), verbose=0),
        model.predict(trains(), verbose=0),
        atol=1e-4,
    )


def test_inputs_side_by_side_and_an_encoder():
    image, extra = keras.Input((8, 8, 1), name="a"), keras.Input((3,), name="b")
    x = snn.layers.RepeatEncoder(3)(image)
    x = TimeFold(L.Conv2D(2, 3))(x)
    x = LIF(0.5)(TimeFold(L.BatchNormalization())(x))
    x = snn.layers.MembraneReadout()(
        TimeFold(L.Dense(4))(TimeFold(L.Flatten())(x))
    )
    x = L.Concatenate()([x, L.BatchNormalization()(L.Dense(2)(extra))])
    model = randomised(snn.Model([image, extra], x))
    rng = np.random.default_rng(0)
    data = [rng.random((3, 8, 8, 1)), rng.random((3, 3))]
    folded = snn.conversion.fold(model)
    assert L.BatchNormalization not in kinds_of(folded)
    np.testing.assert_allclose(
        folded.predict(data, verbose=0),
        model.predict(data, verbose=0),
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "layers, reason",
    [
        (lambda: [TimeFold(L.BatchNormalization(name="x"))], "no convolution"),
        (
            lambda: [
                TimeFold(L.Conv2D(3, 3)),
                LIF(),
                TimeFold(L.BatchNormalization(name="x")),
            ],
            "no convolution",
        ),
        (
            lambda: [
                TimeFold(L.Conv2D(3, 3)),
                TimeFold(L.BatchNormalization(axis=1, name="x")),
            ],
            "only the last axis",
        ),
        (
            lambda: [
                TimeFold(L.Dense(3, activation="relu")),
                TimeFold(L.BatchNormalization(name="x")),
            ],
            "without an activation",
        ),
    ],
)
def test_what_cannot_be_folded_is_named(layers, reason):
    with pytest.raises(ValueError, match=f"(?s)'x': .*{reason}"):
        snn.conversion.fold(small(*layers(), LIF()))


def test_a_shared_layer_is_refused():
    conv = TimeFold(L.Conv2D(2, 3, padding="same", name="conv"))
    norm = TimeFold(L.BatchNormalization(name="x"))
    with pytest.raises(ValueError, match="called more than once"):
        snn.conversion.fold(small(conv, norm, LIF(), conv, norm, LIF()))


def test_activations_stay():
    layers = [
        TimeFold(snn.layers.StandardizedConv2D(4, 3, activation="relu")),
        TimeFold(L.Conv2D(4, 3, activation="relu")),
        TimeFold(L.Dense(3)),
        TimeFold(L.BatchNormalization()),
    ]
    model = small(*layers, LIF(), snn.layers.MembraneReadout())
    folded = snn.conversion.fold(model)
    names = [x.layer.activation.__name__ for x in folded.layers[1:4]]
    assert names == ["relu", "relu", "linear"]
    np.testing.assert_allclose(
        folded.predict(trains(), verbose=0),
        model.predict(trains(), verbose=0),
        atol=1e-4,
    )


def test_a_normalization_goes_into_an_affine_map():
    layers = [TimeFold(snn.layers.Affine()), TimeFold(L.BatchNormalization())]
    model = small(*layers, LIF())
    folded = snn.conversion.fold(model)
    assert L.BatchNormalization not in kinds_of(folded)
    np.testing.assert_allclose(
        folded.predict(trains(), verbose=0),
        model.predict(trains(), verbose=0),
        atol=1e-4,
    )
