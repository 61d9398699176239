import keras
import numpy as np
import pytest
from keras import ops

from keras_snn.layers import LIF, PLIF
from tests.helpers import gradients


def currents_of(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.5, 0.6, shape).astype("float32")


def published_loop(x, tau, decay_input, threshold=1.0):
    """Return the spikes of the paper's equations, charge by charge.

    H(t) = V(t-1) + (X(t) - V(t-1)) / tau       with decay of the input
    H(t) = V(t-1) + X(t) - V(t-1) / tau         without
    V(t) = H(t) (1 - S(t)),   S(t) = H(t) > threshold
    """
    v, spikes = np.zeros_like(x[:, 0], "float64"), []
    for t in range(x.shape[1]):
        current = x[:, t] / tau if decay_input else x[:, t]
        h = v + current - v / tau
        s = h > threshold
        v = h * (1 - s)
        spikes.append(s)
    return np.stack(spikes, 1)


@pytest.mark.parametrize("decay_input", [False, True])
@pytest.mark.parametrize("tau", [2.0, 5.0])
def test_equals_the_published_equations(tau, decay_input):
    x = (1 + 2 * decay_input) * currents_of((2, 20, 4))
    expected = published_loop(x, tau, decay_input)
    assert 0.1 < expected.mean() < 0.9
    layer = PLIF(1 - 1 / tau, scale_input=decay_input)
    np.testing.assert_array_equal(layer(x), expected)


def test_starts_at_beta_and_by_default_at_the_papers_two_steps():
    layer = PLIF(0.93)
    layer.build((None, None, 4))
    assert float(layer.decay) == pytest.approx(0.93)
    assert layer.w.shape == ()
    layer = PLIF(per_channel=True)
    layer.build((None, None, 5, 4))
    np.testing.assert_allclose(layer.decay, [0.5] * 4)
    # 1 / tau = sigmoid(w) = 1 / 2.
    np.testing.assert_allclose(layer.w, np.zeros(4))


def test_a_decay_that_does_not_learn_is_that_of_a_lif():
    x = currents_of((2, 9, 4))
    expected = LIF(0.8, learning_rule="arctan")
    layer = PLIF(0.8)
    np.testing.assert_array_equal(layer(x), expected(x))
    for a, b in zip(
        gradients(lambda x: ops.sum(layer(x)), [x])[1],
        gradients(lambda x: ops.sum(expected(x)), [x])[1],
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_time_constant_is_that_of_lif():
    assert PLIF(tau=10).beta == pytest.approx(np.exp(-1 / 10))


def test_training_finds_the_decay_of_the_teacher():
    x = currents_of((32, 20, 8))
    spikes = LIF(0.9)(x)
    inputs = keras.Input((20, 8))
    layer = PLIF(0.5)
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.Adam(0.2), "mse")
    model.fit(x, spikes, 32, 30, verbose=0)
    assert float(layer.decay) == pytest.approx(0.9, abs=0.03)


def test_weight_stays_float32_in_low_precision():
    layer = PLIF(0.99, dtype="bfloat16")
    layer.build((None, None, 4))
    assert layer.w.dtype == "float32"
    assert float(layer.decay) == pytest.approx(0.99, abs=1e-6)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"in \(0, 1\).*keras_snn.layers.IF"):
        PLIF(beta=1.0)
    with pytest.raises(ValueError, match="one decay a channel and needs to"):
        PLIF(per_channel=True)(keras.Input((4, None)))
