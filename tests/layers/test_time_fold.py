import keras
import numpy as np
import pytest
from keras import ops

import keras_snn
from keras_snn.layers import TimeConstantDropout, TimeFold
from keras_snn.training.building import policy

LAYERS = {
    "conv": lambda: keras.layers.Conv2D(3, 3, strides=2, padding="same"),
    "dense": lambda: keras.layers.Dense(4, activation="relu"),
    "pool": lambda: keras.layers.AveragePooling2D(2),
    "flatten": lambda: keras.layers.Flatten(),
    "sequential": lambda: keras.Sequential(
        [keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(2, 3)]
    ),
}


def frames_of(shape=(2, 5, 6, 4, 2), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", LAYERS)
def test_equals_a_loop_over_time(name):
    x, inner = frames_of(), LAYERS[name]()
    folded = TimeFold(inner)
    y = np.asarray(folded(x))
    expected = np.stack([np.asarray(inner(x[:, t])) for t in range(5)], 1)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert folded.compute_output_shape(x.shape) == y.shape
    assert folded.compute_output_shape((None, None, *x.shape[2:])) == (
        None,
        None,
        *y.shape[2:],
    )


def test_batch_norm_takes_statistics_over_batch_and_time_and_updates_once():
    x, inner = frames_of((4, 5, 3)), keras.layers.BatchNormalization()
    folded = TimeFold(inner)
    y = np.asarray(folded(x, training=True))
    mean, variance = x.mean((0, 1)), x.var((0, 1))
    expected = (x - mean) / np.sqrt(variance + inner.epsilon)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)
    # One update with momentum 0.99 from 0 and 1.
    np.testing.assert_allclose(inner.moving_mean, 0.01 * mean, atol=1e-6)
    np.testing.assert_allclose(
        inner.moving_variance, 0.99 + 0.01 * variance, rtol=1e-4
    )


def test_training_is_passed_on():
    x = np.ones((2, 3, 100), "float32")
    folded = TimeFold(keras.layers.Dropout(0.5))
    assert np.any(np.asarray(folded(x, training=True)) == 0)
    np.testing.assert_array_equal(folded(x, training=False), x)


def test_a_frame_wise_dropout_inside_draws_at_every_step():
    x = np.ones((2, 3, 100), "float32")
    y = np.asarray(TimeFold(keras.layers.Dropout(0.5))(x, training=True))
    assert np.any(y[:, 0] != y[:, 1])


def test_is_named_after_its_layer():
    assert TimeFold(keras.layers.Dense(2, name="fc1")).name == "fc1"
    assert TimeFold(keras.layers.Dense(2), name="other").name == "other"


def test_shares_the_weights_of_its_layer():
    inner, x = keras.layers.Dense(4), frames_of((2, 3, 5))
    a, b = TimeFold(inner), TimeFold(inner, name="again")
    np.testing.assert_array_equal(a(x), b(x))
    assert a.weights[0] is inner.kernel is b.weights[0]
    assert inner.kernel.shape == (5, 4)


@pytest.mark.parametrize("time_steps", [None, 4])
def test_known_and_unknown_time(time_steps):
    inputs = keras.Input((time_steps, 6, 6, 1))
    outputs = TimeFold(LAYERS["conv"]())(inputs)
    assert outputs.shape == (None, time_steps, 3, 3, 3)
    model = keras.Model(inputs, outputs)
    for steps in (4,) if time_steps else (4, 7):
        y = model(frames_of((2, steps, 6, 6, 1)))
        assert y.shape == (2, steps, 3, 3, 3)


def test_flatten_keeps_a_known_feature_axis():
    x = keras.Input((None, 3, 4, 2))
    assert TimeFold(keras.layers.Flatten())(x).shape == (None, None, 24)


def test_step_applies_the_layer_to_one_frame():
    x, folded = frames_of(), TimeFold(LAYERS["conv"]())
    y = folded(x)
    frame, state = folded.step(x[:, 2], [])
    np.testing.assert_allclose(frame, y[:, 2], rtol=1e-5, atol=1e-6)
    assert state == []


def test_frozen_layers_are_frozen():
    folded = TimeFold(keras.layers.Dense(2))
    folded(frames_of((1, 2, 3)))
    folded.trainable = False
    assert folded.trainable_variables == []


def test_mixed_precision_computes_in_half():
    policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    inner = keras.layers.Dense(2, dtype=policy)
    y = TimeFold(inner, dtype=policy)(frames_of((1, 2, 3)))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert inner.kernel.dtype == "float32"


@pytest.mark.parametrize("model", [keras.Model, keras_snn.Model])
@pytest.mark.parametrize("global_policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_layer_of_its_own_precision_sees_its_input_in_it(
    model, global_policy
):
    with policy(global_policy):
        x = keras.Input((2, 1))
        rest = keras.layers.Rescaling(1.0, offset=-2048.0, dtype="float32")
        fold = TimeFold(rest)
        steps = fold(x)
        readout = keras_snn.layers.SpikeCountReadout(dtype="float32")
        network = model(x, readout(steps))
    assert steps.dtype == "float32"
    # In half precision 2049 is 2048.
    found = network.predict(np.full((1, 2, 1), 2049.0, "float32"), verbose=0)
    np.testing.assert_array_equal(found, [[1.0]])
    again = TimeFold.from_config(fold.get_config())
    assert again.compute_dtype == again.layer.compute_dtype == "float32"


def test_a_dtype_of_the_fold_holds():
    fold = TimeFold(keras.layers.Dense(2), dtype="mixed_bfloat16")
    assert fold(keras.Input((3, 4))).dtype == "bfloat16"


def test_a_layer_that_does_not_say_its_shape_is_asked_by_a_call():
    class Joined(keras.layers.Layer):
        def call(self, x):
            return ops.concatenate([x, x], axis=-1)

    fold = TimeFold(Joined())
    assert fold(keras.Input((5, 4))).shape == (None, 5, 8)
    assert fold(keras.Input((None, 4))).shape == (None, None, 8)
    assert fold(np.ones((2, 5, 4), "float32")).shape == (2, 5, 8)


def test_a_sequential_of_frame_layers_passes_training_on():
    inner = keras.Sequential([keras.layers.Dense(3), keras.layers.Dropout(0.9)])
    x = frames_of((2, 3, 20))
    y = np.asarray(TimeFold(inner)(x, training=True))
    assert np.mean(y == 0) > 0.5


def test_sits_between_time_layers():
    inputs = keras.Input((None, 4))
    x = TimeConstantDropout(0.1)(TimeFold(keras.layers.Dense(3))(inputs))
    model = keras.Model(inputs, ops.sum(x, axis=1))
    assert model.output_shape == (None, 3)
