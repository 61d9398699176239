import keras
import numpy as np
import pytest
from keras import ops

from keras_snn.layers import StandardizedConv2D, StandardizedDense, TimeFold
from tests.helpers import gradients

LAYERS = {
    "conv": (
        lambda **options: StandardizedConv2D(
            4, 3, strides=2, padding="same", groups=2, **options
        ),
        lambda **options: keras.layers.Conv2D(
            4, 3, strides=2, padding="same", groups=2, **options
        ),
        (5, 6, 6, 2),
    ),
    "dense": (
        lambda **options: StandardizedDense(4, **options),
        lambda **options: keras.layers.Dense(4, **options),
        (5, 7),
    ),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def input_of(name, seed=0):
    shape = LAYERS[name][2]
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def random_weights(layer, seed=0):
    """Give a built layer kernel, bias and gain; return them."""
    rng = np.random.default_rng(seed)
    values = [
        rng.normal(0.3, 2.0, w.shape).astype("float32") for w in layer.weights
    ]
    layer.set_weights(values)
    return values


def built(name, **options):
    layer = LAYERS[name][0](**options)
    layer.build((None, *LAYERS[name][2][1:]))
    return layer


def standardized(kernel, gain):
    """Return the effective kernel, one channel after the other."""
    result = np.zeros(kernel.shape)
    for c, g in enumerate(gain):
        k = kernel[..., c].astype("float64")
        std = np.sqrt(np.mean((k - k.mean()) ** 2))
        result[..., c] = g * (k - k.mean()) / (std * np.sqrt(k.size))
    return result


@each_layer
def test_equals_the_plain_layer_with_a_standardized_kernel(name):
    layer = built(name, activation="tanh")
    kernel, bias, gain = random_weights(layer)
    plain = LAYERS[name][1](activation="tanh")
    plain.build((None, *LAYERS[name][2][1:]))
    plain.set_weights([standardized(kernel, gain), bias])
    x = input_of(name)
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.kernel, plain.kernel, rtol=1e-5)


@each_layer
def test_effective_weights_are_those_of_a_plain_layer(name):
    layer, plain = built(name), LAYERS[name][1]()
    random_weights(layer)
    plain.build((None, *LAYERS[name][2][1:]))
    plain.set_weights(layer.effective_weights())
    x = input_of(name)
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-6)


@each_layer
def test_fresh_channels_have_norm_one_and_mean_zero(name):
    kernel, bias = built(name).effective_weights()
    kernel = ops.convert_to_numpy(kernel).reshape(-1, 4)
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(kernel.mean(0), 0, atol=1e-7)
    np.testing.assert_array_equal(bias, 0)


@each_layer
def test_weights_by_name(name):
    layer = built(name)
    assert [w.name for w in layer.trainable_variables] == [
        "kernel",
        "bias",
        "gain",
    ]


@each_layer
def test_gradient_of_the_stored_kernel_against_finite_differences(name):
    layer, x = built(name), input_of(name)
    kernel, bias, gain = random_weights(layer)
    target = np.random.default_rng(1).normal(size=np.shape(layer(x)))

    def loss(x):
        return ops.sum(layer(x) * ops.cast(target, "float32"))

    found = gradients(loss, [x], layer.trainable_variables)[1]
    plain = LAYERS[name][1]()
    plain.build((None, *x.shape[1:]))

    def plain_loss(kernel):
        plain.set_weights([standardized(kernel, gain), bias])
        return np.sum(np.float64(plain(x)) * target)

    step = 1e-2
    for index in [(0,) * kernel.ndim, (-1,) * kernel.ndim]:
        moved = np.zeros_like(kernel)
        moved[index] = step
        difference = plain_loss(kernel + moved) - plain_loss(kernel - moved)
        expected = difference / (2 * step)
        assert found[1][index] == pytest.approx(expected, rel=1e-2, abs=1e-3)
    # Its own direction does not count, nor a constant in a channel.
    flat = found[1].reshape(-1, 4)
    np.testing.assert_allclose(flat.sum(0), 0, atol=1e-3)
    np.testing.assert_allclose(
        (flat * kernel.reshape(-1, 4)).sum(0), 0, atol=1e-3
    )


@each_layer
def test_calibration_gives_currents_mean_zero_and_variance_one(name):
    layer, x = built(name), 3 + input_of(name)
    for _ in range(2):  # the second time nothing is left to do
        currents = ops.convert_to_numpy(layer(x)).reshape(-1, 4)
        layer.calibrate(currents.mean(0), currents.std(0))
        currents = ops.convert_to_numpy(layer(x)).reshape(-1, 4)
        np.testing.assert_allclose(currents.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(currents.std(0), 1, rtol=1e-5)


def test_calibration_of_fresh_weights():
    layer = built("dense")
    layer.calibrate([1.0, 2.0, 3.0, 4.0], 0.5)
    np.testing.assert_array_equal(layer.gain, [2.0] * 4)
    np.testing.assert_array_equal(layer.bias, [-2.0, -4.0, -6.0, -8.0])


@each_layer
def test_saved_with_a_model(name, tmp_path):
    x = np.stack([input_of(name), input_of(name, 1)], axis=1)
    inputs = keras.Input((None, *x.shape[2:]))
    layer = LAYERS[name][0]()
    model = keras.Model(inputs, TimeFold(layer)(inputs))
    random_weights(layer)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x), model(x))
    assert type(again.layers[-1].layer) is type(layer)


@each_layer
def test_each_step_in_a_time_fold(name):
    layer = built(name)
    random_weights(layer)
    x = np.stack([input_of(name), input_of(name, 1)], axis=1)
    y = TimeFold(layer)(x)
    for t in range(2):
        np.testing.assert_allclose(y[:, t], layer(x[:, t]), rtol=1e-5)


@each_layer
def test_low_precision_standardizes_in_float32(name, mixed_bfloat16):
    layer = built(name)
    kernel, bias, gain = random_weights(layer)
    # In bfloat16 the spread would be lost beside such a mean.
    kernel = 1e3 + kernel
    layer.set_weights([kernel, bias, gain])
    found, _ = layer.effective_weights()
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(found, standardized(kernel, gain), atol=1e-3)
    y = layer(input_of(name))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"


@each_layer
def test_equal_numbers_in_a_kernel_stay_finite(name):
    layer, x = built(name, kernel_initializer="ones"), input_of(name)
    _, found = gradients(
        lambda x: ops.sum(layer(x) ** 2), [x], layer.trainable_variables
    )
    np.testing.assert_allclose(layer(x), 0, atol=1e-5)
    assert all(np.all(np.isfinite(g)) for g in found)


@pytest.mark.parametrize(
    "make",
    [
        lambda: StandardizedDense(3, None, False),
        lambda: StandardizedConv2D(
            3, 3, 1, "valid", "channels_last", 1, 1, None, False
        ),
    ],
    ids=["dense", "conv"],
)
def test_no_bias_by_position(make):
    with pytest.raises(ValueError, match="Received: use_bias=False"):
        make()


@each_layer
def test_bad_arguments(name):
    with pytest.raises(ValueError, match="Use the Keras layer for currents"):
        LAYERS[name][0](use_bias=False)
    with pytest.raises(ValueError, match="layer.effective_weights"):
        built(name).enable_lora(2)


def test_one_input_has_no_spread():
    with pytest.raises(ValueError, match="at least two inputs a channel"):
        StandardizedDense(3).build((None, 1))
    with pytest.raises(ValueError, match="at least two inputs a channel"):
        StandardizedConv2D(3, 1).build((None, 4, 4, 1))


@pytest.mark.parametrize(
    "mean, std, message",
    [
        (0.0, [1.0, 0.0, 1.0, -1.0], r"channels \[1, 3\].*more samples"),
        ([0.0, 1.0], 1.0, "`currents_mean` must be.*each of the 4 channels"),
        (0.0, np.inf, "`currents_std` must be a finite number"),
    ],
)
def test_bad_statistics(mean, std, message):
    with pytest.raises(ValueError, match=message):
        built("dense").calibrate(mean, std)


def test_calibration_needs_weights():
    with pytest.raises(ValueError, match="before `calibrate`"):
        StandardizedDense(3).calibrate(0.0, 1.0)
