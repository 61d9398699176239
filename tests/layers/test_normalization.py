import keras
import numpy as np
import pytest

from keras_snn.layers import ThresholdBatchNormalization, TimeFold


def currents_of(shape=(4, 5, 3, 3, 2), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal([1.0, -2.0], [0.3, 4.0], shape).astype("float32")


def test_normalizes_over_batch_time_and_space_to_the_threshold():
    x = currents_of()
    layer = ThresholdBatchNormalization(0.5, 1 / np.sqrt(2))
    y = TimeFold(layer)(x, training=True)
    mean, variance = x.mean((0, 1, 2, 3)), x.var((0, 1, 2, 3))
    expected = 0.5 / np.sqrt(2) * (x - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)
    # One update, whatever the number of steps.
    np.testing.assert_allclose(layer.moving_mean, 0.01 * mean, rtol=1e-3)
    np.testing.assert_allclose(
        layer.moving_variance, 0.99 + 0.01 * variance, rtol=1e-3
    )


def test_inference_uses_the_moving_averages_and_the_weights():
    x = currents_of()
    layer = ThresholdBatchNormalization(0.5, alpha=2.0, epsilon=0.1)
    folded = TimeFold(layer)
    folded.build(x.shape)
    g, b, mean, variance = (np.float32([i, 2 * i]) for i in (2, 3, 4, 5))
    layer.set_weights([g, b, mean, variance])
    expected = 0.5 * 2.0 * g * (x - mean) / np.sqrt(variance + 0.1) + b
    np.testing.assert_allclose(folded(x), expected, rtol=1e-5, atol=1e-5)
    step, state = folded.step(x[:, 0], [])
    np.testing.assert_allclose(step, expected[:, 0], rtol=1e-5, atol=1e-5)
    assert state == []


def test_gamma_is_the_whole_factor():
    layer = ThresholdBatchNormalization(0.5, alpha=3.0)
    layer.build((None, 2))
    np.testing.assert_allclose(layer.gamma, [1.5, 1.5])
    assert [w.name for w in layer.trainable_variables] == ["gamma", "beta"]
    np.testing.assert_allclose(layer.trainable_variables[0], [1.0, 1.0])


def test_bad_arguments():
    with pytest.raises(ValueError, match="`threshold` must be positive"):
        ThresholdBatchNormalization(threshold=-1)
    with pytest.raises(ValueError, match=r"`alpha` must be.*1 / sqrt\(n\)"):
        ThresholdBatchNormalization(alpha=0)
    with pytest.raises(ValueError, match="keras.layers.BatchNormalization"):
        ThresholdBatchNormalization(scale=False)


def test_settings_of_batch_normalization_are_kept():
    layer = ThresholdBatchNormalization(0.5, momentum=0.9, center=False)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert again.get_config() == layer.get_config()
    assert (again.momentum, again.center) == (0.9, False)
