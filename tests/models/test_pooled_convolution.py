"""A convolution and average pooling behind it, as one convolution."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn.running import pooled_convolution
from tests.helpers import gradients, relative_error

L, TimeFold = keras.layers, snn.layers.TimeFold


def drawn(convolution, shape):
    """Return the layer with drawn weights, and an input of a shape."""
    rng = np.random.default_rng(0)
    convolution.build(shape)
    for v in convolution.weights:
        v.assign(rng.normal(0, 1, v.shape))
    return convolution, rng.normal(0, 1, shape).astype("float32")


@pytest.mark.parametrize(
    "convolution, pooling, shape",
    [
        (L.Conv2D(4, 3, padding="same"), L.AveragePooling2D(2), (2, 8, 6, 3)),
        (L.Conv2D(4, 3), L.AveragePooling2D(2), (2, 8, 6, 3)),
        (L.Conv2D(4, 2, padding="same"), L.AveragePooling2D(3), (2, 9, 6, 3)),
        (
            L.Conv2D(4, (5, 1), padding="same", use_bias=False, groups=2),
            L.AveragePooling2D((2, 3), padding="same"),
            (2, 8, 6, 2),
        ),
        (
            snn.layers.StandardizedConv2D(4, 3, padding="same"),
            L.AveragePooling2D(2),
            (2, 8, 6, 3),
        ),
        (L.Conv1D(3, 4, padding="same"), L.AveragePooling1D(2), (2, 10, 3)),
        (L.Conv3D(2, 2), L.AveragePooling3D(2), (1, 5, 3, 5, 2)),
    ],
)
def test_they_are_one_convolution(convolution, pooling, shape):
    convolution, x = drawn(convolution, shape)
    assert pooled_convolution.fit(convolution, pooling, shape)
    expected = pooling(convolution(x))
    actual = pooled_convolution.layer(convolution, pooling)(x)
    assert relative_error(np.asarray(actual), np.asarray(expected)) < 1e-6


@pytest.mark.parametrize(
    "convolution, pooling",
    [
        (L.Conv2D(4, 3, strides=2, padding="same"), L.AveragePooling2D(2)),
        (L.Conv2D(4, 3, dilation_rate=2), L.AveragePooling2D(2)),
        (L.Conv2D(4, 3, activation="relu"), L.AveragePooling2D(2)),
        (L.Conv2D(4, 2), L.AveragePooling2D(2)),  # 7 places
        (L.Conv2D(4, 3), L.AveragePooling2D(2, strides=1)),
        (L.Conv2D(4, 3), L.MaxPooling2D(2)),
        (L.DepthwiseConv2D(3), L.AveragePooling2D(2)),
        (L.Conv2D(4, 3), None),
    ],
)
def test_others_stay_two_layers(convolution, pooling):
    assert not pooled_convolution.fit(convolution, pooling, (2, 8, 8, 3))


def network(together):
    """Return a network whose pooling is in the convolution's fold, or not."""
    keras.utils.set_random_seed(5)
    layers = [
        L.Conv2D(4, 3, padding="same", name="conv"),
        L.AveragePooling2D(2),
        L.BatchNormalization(),
    ]
    if together:
        layers = [keras.Sequential(layers)]
    x = inputs = keras.Input((6, 6, 2))
    x = snn.layers.RepeatEncoder(3)(x)
    x = snn.layers.LIF(0.5, 0.3, learning_rule="rate")(x)
    for layer in layers:
        x = TimeFold(layer)(x)
    x = snn.layers.LIF(0.5, learning_rule="rate")(x)
    x = TimeFold(L.Dense(3))(TimeFold(L.Flatten())(x))
    model = snn.Model(inputs, snn.layers.MembraneReadout(1.0)(x))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(v + rng.normal(0, 0.2, v.shape))
    return model


@pytest.mark.parametrize("together", [True, False])
def test_networks_learn_as_by_two_layers(together, monkeypatch):
    """Their gradients are those of a run that keeps the layers apart."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (5, 6, 6, 2)).astype("float32")
    found, runs = [], []
    layer = pooled_convolution.layer
    monkeypatch.setattr(
        pooled_convolution,
        "layer",
        lambda *args: runs.append(args) or layer(*args),
    )
    for _ in range(2):
        model = network(together)
        found.append(
            gradients(
                lambda x: ops.sum(ops.square(model(x, training=True))),
                [x],
                model.trainable_variables,
            )
        )
        assert len(runs) == 1
        monkeypatch.setattr(pooled_convolution, "fit", lambda *_: False)
    (loss, (_, *actual)), (expected_loss, (_, *expected)) = found
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for gradient, wanted in zip(actual, expected, strict=True):
        # The convolution's bias counts for nothing before a normalization.
        assert np.allclose(gradient, wanted, rtol=1e-4, atol=1e-4)
