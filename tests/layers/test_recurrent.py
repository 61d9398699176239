import keras
import numpy as np
import pytest
from keras import ops

import keras_snn
from keras_snn.layers import LIF, LIFCell, RecurrentLIF
from keras_snn.neurons import time_loop
from tests.helpers import gradients


def currents_of(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 0.6, shape).astype("float32")


def test_default_feedback_is_dense_over_the_last_axis():
    layer = RecurrentLIF()
    layer.build((None, None, 5, 4))
    (kernel,) = layer.trainable_variables
    np.testing.assert_allclose(
        ops.matmul(kernel.value, ops.transpose(kernel.value)),
        np.eye(4),
        atol=1e-5,
    )


def test_without_feedback_it_is_a_lif():
    x = currents_of((2, 9, 4))
    silent = keras.layers.Dense(4, kernel_initializer="zeros")
    layer = RecurrentLIF(silent, 0.8)
    np.testing.assert_array_equal(layer(x), LIF(0.8)(x))


def test_feedback_arrives_one_step_later():
    # Two neurons in a ring: one spike goes round for ever.
    ring = keras.layers.Dense(2, use_bias=False)
    layer = RecurrentLIF(ring, beta=0.5)
    layer.build((None, None, 2))
    ring.set_weights([2 * np.eye(2)[::-1]])
    x = np.zeros((1, 5, 2), "float32")
    x[0, 0, 0] = 2
    np.testing.assert_array_equal(layer(x)[0, :, 0], [1, 0, 1, 0, 1])
    np.testing.assert_array_equal(layer(x)[0, :, 1], [0, 1, 0, 1, 0])


def test_convolution_as_feedback_against_steps_by_hand():
    shape = (2, 5, 4, 4, 3)
    x, g = currents_of(shape), currents_of(shape, seed=1)
    conv = keras.layers.Conv2D(3, 3, padding="same", bias_initializer="ones")
    layer = RecurrentLIF(conv, 0.8, learning_rule="triangle")
    layer.build(shape)

    def by_hand(x):
        v = s = ops.zeros_like(x[:, 0])
        total = 0.0
        for t in range(5):
            u = v + x[:, t] + conv(s)
            s = layer.learning_rule(u - 1.0)
            v = 0.8 * u * (1 - ops.stop_gradient(s))
            total = total + ops.sum(s * g[:, t])
        return total

    expected, slow = gradients(by_hand, [x], conv.trainable_variables)
    value, fast = gradients(
        lambda x: ops.sum(layer(x) * g), [x], conv.trainable_variables
    )
    assert value == pytest.approx(expected, rel=1e-5)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        assert np.any(b)


@pytest.mark.parametrize(
    "recurrent",
    [
        "dense",
        LIF(),
        keras.layers.SimpleRNN(3),
        keras.layers.LSTMCell(3),
    ],
)
def test_feedback_that_takes_no_frames(recurrent):
    with pytest.raises(ValueError, match="`recurrent` must be a Keras layer"):
        RecurrentLIF(recurrent)


@pytest.mark.parametrize(
    "recurrent, message",
    [
        (keras.layers.Dense(5), r"shape of the.*\(None, 3\).*\(None, 5\)"),
        (keras.layers.BatchNormalization(), "must not count or draw.*Put norm"),
        (keras.layers.Dropout(0.5), "must not count or draw"),
        (
            keras.layers.Dense(3, activity_regularizer="l2"),
            "must not add to the loss.*of Dense.*Put one on the neurons",
        ),
        (
            keras.Sequential([keras.layers.ActivityRegularization(0.1)]),
            "must not add to the loss",
        ),
    ],
)
def test_feedback_that_does_not_fit(recurrent, message):
    with pytest.raises(ValueError, match=message):
        RecurrentLIF(recurrent)(keras.Input((4, 3)))


class Doubling(keras.layers.Layer):
    """A layer that leaves its output's shape to Keras."""

    def call(self, x):
        return 2 * x


def test_feedback_of_a_layer_that_does_not_say_its_shape():
    x = np.zeros((1, 3, 2), "float32")
    x[0, 0, 0] = 2
    layer = RecurrentLIF(Doubling(), beta=0.5)
    assert layer(keras.Input((3, 2))).shape == (None, 3, 2)
    # A neuron that hears itself goes on firing.
    np.testing.assert_array_equal(layer(x)[0], [[1, 0], [1, 0], [1, 0]])


def test_number_of_neurons_has_to_be_known():
    with pytest.raises(ValueError, match="needs to know the number"):
        RecurrentLIF()(keras.Input((4, None)))


def test_steps_of_unknown_number_cannot_be_laid_out():
    with pytest.raises(ValueError, match="needs a fixed number of time steps"):
        time_loop.through_time(None, [], keras.Input((None, 3)), unroll=True)


@pytest.mark.parametrize("layer", [LIF(), RecurrentLIF()])
def test_bidirectional_is_told_what_works_instead(layer):
    words = "(?s)runs forwards.*turned round.*Concatenate.*RNN.*LIFCell"
    with pytest.raises((ValueError, TypeError), match=words):
        keras.layers.Bidirectional(layer)


def test_what_works_instead_of_bidirectional():
    x = np.random.default_rng(0).random((2, 5, 3), "float32")
    inputs = keras.Input((5, 3))
    forth, back = RecurrentLIF(), RecurrentLIF()
    turned = ops.flip(back(ops.flip(inputs, axis=1)), axis=1)
    both = keras.layers.Concatenate()([forth(inputs), turned])
    found = keras_snn.Model(inputs, both).predict(x, verbose=0)
    np.testing.assert_array_equal(found[..., :3], forth(x))
    expected = np.asarray(back(x[:, ::-1].copy()))[:, ::-1]
    np.testing.assert_array_equal(found[..., 3:], expected)
    cells = keras.layers.RNN(LIFCell(3), return_sequences=True)
    assert keras.layers.Bidirectional(cells)(x).shape == (2, 5, 6)
