"""Standardized layers start with currents of mean 0 and variance 1."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.helpers import slow_on_jax

L, TimeFold = keras.layers, snn.layers.TimeFold


def images(samples=16, side=32):
    return np.random.default_rng(3).random((samples, side, side, 3), "float32")


def assert_standard(model, tensors, x):
    """Every channel has mean 0 and variance 1, by Keras' own computation."""
    found = keras.Model(model.inputs, tensors).predict(x, verbose=0)
    for values in found:
        axes = tuple(range(values.ndim - 1))
        np.testing.assert_allclose(values.mean(axes), 0, atol=1e-3)
        np.testing.assert_allclose(values.std(axes), 1, rtol=1e-3)


@pytest.mark.parametrize(
    "name", [pytest.param("VGG9", marks=slow_on_jax), "SpikingCNN"]
)
def test_all_neurons_get_currents_of_mean_0_and_variance_1(name):
    model = getattr(snn.models, name)(norm="weight", width=1 / 16, seed=0)
    kernels = [w for w in model.weights if w.path.endswith("kernel")]
    before = [np.asarray(w.value) for w in kernels]
    assert min(snn.models.spike_rates(model, images()).values()) < 1e-3
    done = snn.models.calibrate(model, images())
    neurons = [x for x in model.layers if isinstance(x, snn.layers.LIF)]
    assert len(done) == len(neurons)
    assert_standard(model, [x.input for x in neurons], images())
    assert min(snn.models.spike_rates(model, images()).values()) > 0.02
    for w, value in zip(kernels, before, strict=True):
        np.testing.assert_array_equal(np.asarray(w.value), value)


def test_both_paths_of_a_join_are_calibrated():
    model = snn.models.ResNet7(norm="weight", width=1 / 16, seed=0)
    snn.models.calibrate(model, images())
    joined = [x for x in model.layers if isinstance(x, L.Add)]
    assert len(joined) == 2
    assert_standard(model, [t for x in joined for t in x.input], images())


def test_a_layer_called_twice_is_calibrated_once():
    conv = snn.layers.StandardizedConv2D(3, 3, padding="same", name="conv")
    inputs = keras.Input((4, 8, 8, 3))
    fold = TimeFold(conv)
    x = snn.layers.LIF(0.5)(fold(inputs))
    x = snn.layers.LIF(0.5)(fold(x))
    model = snn.Model(inputs, x)
    x = (np.random.default_rng(0).random((4, 4, 8, 8, 3)) < 0.3).astype("f4")
    assert snn.models.calibrate(model, x) == ["conv"]
    assert_standard(model, [model.layers[2].input] * 2, x)


def test_sequential_and_ordinary_networks():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            snn.layers.StandardizedConv2D(4, 3, name="conv"),
            L.ReLU(),
            L.Flatten(),
            snn.layers.StandardizedDense(3, name="dense"),
        ]
    )
    x = images(8, 8)
    # Nothing takes the currents of the last one.
    assert snn.models.calibrate(model, x) == ["conv"]
    assert_standard(model, [model.layers[0].output] * 2, x)


def test_models_without_such_layers_are_refused():
    with pytest.raises(ValueError, match='build it with norm="weight"'):
        snn.models.calibrate(snn.models.VGG5(width=0.1), images(2))


def test_a_constant_input_is_refused():
    model = snn.models.VGG5(norm="weight", width=1 / 16)
    with pytest.raises(ValueError, match="`currents_std` must be positive"):
        snn.models.calibrate(model, np.zeros((4, 32, 32, 3), "float32"))
