import keras
import numpy as np
import pytest
from keras import ops

from keras_snn.layers import MembraneReadout, SpikeCountReadout
from tests.helpers import gradients


def sequence_of(shape=(2, 7, 3), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def spike_train(shape=(2, 7, 3), seed=0):
    return (np.random.default_rng(seed).random(shape) < 0.4).astype("float32")


@pytest.mark.parametrize("beta", [1.0, 0.99, 0.5])
@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 5, 3, 2)])
def test_membrane_readout_against_a_loop(shape, beta):
    x = sequence_of(shape)
    v = np.zeros_like(x[:, 0], "float64")
    for t in range(shape[1]):
        v = beta * (v + x[:, t])
    y = MembraneReadout(beta=beta)(x)
    np.testing.assert_allclose(y, v / shape[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", ["collapsed", "exact", "rate"])
def test_membrane_readout_learns_without_leak(rule):
    layer = MembraneReadout(beta=0.5, learning_rule=rule)
    x = sequence_of()
    _, (gradient,) = gradients(lambda x: ops.sum(layer(x)), [x])
    np.testing.assert_allclose(gradient, np.full(x.shape, 1 / 7), rtol=1e-5)


def test_membrane_readout_of_a_surrogate_is_its_own_derivative():
    layer, x = MembraneReadout(beta=0.5, learning_rule="arctan"), sequence_of()
    _, (gradient,) = gradients(lambda x: ops.sum(layer(x)), [x])
    # v(T) = sum_t 0.5^(T - t + 1) I(t)
    expected = 0.5 ** np.arange(7, 0, -1)[None, :, None] / 7
    np.testing.assert_allclose(
        gradient, np.broadcast_to(expected, x.shape), rtol=1e-5
    )


def test_spike_count_is_divided_by_time_unless_told_otherwise():
    x = spike_train()
    np.testing.assert_allclose(SpikeCountReadout()(x), x.mean(1), rtol=1e-6)
    np.testing.assert_array_equal(
        SpikeCountReadout(normalize=False)(x), x.sum(1)
    )


def test_spike_count_passes_its_gradient_to_every_step():
    x = spike_train()
    for normalize, expected in ((True, 1 / 7), (False, 1.0)):
        layer = SpikeCountReadout(normalize)
        _, (gradient,) = gradients(lambda x: ops.sum(layer(x)), [x])
        np.testing.assert_allclose(gradient, np.full(x.shape, expected))


LAYERS = [
    MembraneReadout(beta=0.8),
    SpikeCountReadout(),
    SpikeCountReadout(normalize=False),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda x: x.name)
def test_step_by_step_equals_the_whole_sequence(layer):
    x = spike_train()
    state = layer.initial_state((2, 3))
    for t in range(7):
        _, state = layer.step(x[:, t], state)
    y = layer.result(state, 7)
    np.testing.assert_allclose(y, layer(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda x: x.name)
def test_unknown_time(layer):
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, 3)
    for shape in ((2, 7, 3), (1, 4, 3)):
        x = spike_train(shape)
        np.testing.assert_allclose(model(x), layer(x), rtol=1e-6)


def test_a_count_is_exact_under_mixed_precision():
    # 300 additions of 1 stop at 256 in bfloat16.
    x = np.ones((1, 300, 1), "float32")
    y = SpikeCountReadout(normalize=False, dtype="mixed_bfloat16")(x)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert float(y[0, 0]) == 300.0
