import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.helpers import gradients

OPTIONS = [
    {"pool_size": 2},
    {"pool_size": (3, 2), "strides": (2, 1)},
    {"pool_size": 3, "strides": 2, "padding": "same"},
]


def spikes(shape=(2, 9, 5, 6, 2), rate=0.5):
    random = np.random.default_rng(0).random(shape)
    return (random < rate).astype("float32")


def max_of_counts(x, pool_size, strides=None, padding="valid"):
    """Each window's largest count so far, with loops over everything."""
    pair = (pool_size,) * 2 if isinstance(pool_size, int) else pool_size
    strides = strides or pair
    strides = (strides,) * 2 if isinstance(strides, int) else strides
    counts = np.cumsum(x, axis=1)
    if padding == "same":
        # The smaller half of the padding goes before.
        total = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, s, k in zip(x.shape[2:4], strides, pair)
        ]
        pads = [(n // 2, n - n // 2) for n in total]
        counts = np.pad(
            counts,
            [(0, 0), (0, 0), *pads, (0, 0)],
            constant_values=-np.inf,
        )
    height, width = (
        (n - k) // s + 1 for n, k, s in zip(counts.shape[2:4], pair, strides)
    )
    pooled = np.zeros((*x.shape[:2], height, width, x.shape[-1]))
    for i in range(height):
        for j in range(width):
            a, b = i * strides[0], j * strides[1]
            window = counts[:, :, a : a + pair[0], b : b + pair[1]]
            pooled[:, :, i, j] = window.max(axis=(2, 3))
    return pooled


@pytest.mark.parametrize("options", OPTIONS)
def test_the_output_has_fired_as_often_as_the_most_active_input(options):
    x = spikes()
    y = np.asarray(snn.layers.MaxRatePooling2D(**options)(x))
    assert set(np.unique(y)) <= {0.0, 1.0}
    np.testing.assert_array_equal(
        np.cumsum(y, axis=1), max_of_counts(x, **options)
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_steps_and_windows_equal_the_whole_sequence(options):
    layer, x = snn.layers.MaxRatePooling2D(**options), spikes()
    whole = np.asarray(layer(x))
    state, outputs = layer.initial_state((2, 5, 6, 2)), []
    for t in range(9):
        y, state = layer.step(x[:, t], state)
        outputs.append(np.asarray(y))
    np.testing.assert_array_equal(np.stack(outputs, axis=1), whole)
    first, state = layer.window(x[:, :4], layer.initial_state((2, 5, 6, 2)))
    second, _ = layer.window(x[:, 4:], state)
    np.testing.assert_array_equal(
        np.concatenate([first, second], axis=1), whole
    )


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_one_axis_pools_as_two_of_which_one_is_single(padding):
    x = spikes((2, 6, 7, 3))
    y = snn.layers.MaxRatePooling1D(3, 2, padding)(x)
    two = snn.layers.MaxRatePooling2D((3, 1), (2, 1), padding)(x[:, :, :, None])
    np.testing.assert_array_equal(y, two[:, :, :, 0])


def test_three_axes_have_fired_as_often_as_the_most_active_input():
    x = spikes((2, 5, 4, 6, 2, 3))
    layer = snn.layers.MaxRatePooling3D((2, 3, 1))
    counts = np.cumsum(x, axis=1).reshape(2, 5, 2, 2, 2, 3, 2, 3)
    y = np.asarray(layer(x))
    np.testing.assert_array_equal(np.cumsum(y, 1), counts.max(axis=(3, 5)))
    state, outputs = layer.initial_state((2, 4, 6, 2, 3)), []
    for t in range(5):
        frame, state = layer.step(x[:, t], state)
        outputs.append(np.asarray(frame))
    np.testing.assert_array_equal(np.stack(outputs, axis=1), y)


def test_alternating_inputs_do_not_add_up():
    x = np.zeros((1, 6, 1, 2, 1), "float32")
    x[0, 0::2, 0, 0] = x[0, 1::2, 0, 1] = 1
    y = snn.layers.MaxRatePooling2D((1, 2))(x)
    np.testing.assert_array_equal(np.ravel(y), [1, 0, 1, 0, 1, 0])


def test_analog_input_pools_by_its_sum():
    x = np.repeat(spikes((2, 1, 4, 4, 3)) * 0.3 - 0.5, 5, axis=1)
    y = snn.layers.MaxRatePooling2D(2)(x)
    expected = keras.layers.MaxPooling2D(2)(x[:, 0])
    for t in range(5):
        np.testing.assert_allclose(y[:, t], expected, atol=1e-6)


def test_the_gradient_of_the_count_goes_to_the_most_active_input():
    x = np.zeros((1, 4, 1, 2, 1), "float32")
    x[0, :, 0, 0, 0], x[0, 1, 0, 1, 0] = [1, 0, 1, 1], 1
    layer = snn.layers.MaxRatePooling2D((1, 2))
    count, (gradient,) = gradients(lambda x: keras.ops.sum(layer(x)), [x])
    assert count == 3
    np.testing.assert_array_equal(gradient[0, :, 0, 0, 0], np.ones(4))
    np.testing.assert_array_equal(gradient[0, :, 0, 1, 0], np.zeros(4))


def test_runs_in_the_loop_over_time_and_in_streams():
    inputs = keras.Input((7, 6, 6, 2))
    x = snn.layers.MaxRatePooling2D(2)(inputs)
    x = snn.layers.TimeFold(keras.layers.Flatten())(x)
    outputs = snn.layers.MembraneReadout()(x)
    model, frames = snn.Model(inputs, outputs), spikes((3, 7, 6, 6, 2))
    expected = keras.Model(inputs, outputs).predict(frames, verbose=0)
    np.testing.assert_allclose(
        model.predict(frames, verbose=0), expected, atol=1e-6
    )
    assert "MaxRatePooling2D" in model.runs_layer_by_layer
    step = snn.streaming(model)
    state = step.initial_state(3)
    for t in range(7):
        y, *state = step([frames[:, t], *state])
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_images_without_time_are_refused():
    with pytest.raises(ValueError, match=r"\(batch, time, height, width"):
        snn.layers.MaxRatePooling2D()(np.zeros((1, 4, 4, 1), "float32"))
