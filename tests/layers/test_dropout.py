import keras
import numpy as np
import pytest

from keras_snn.layers import TimeConstantDropout

ONES = np.ones((4, 6, 50), "float32")


def test_the_mask_is_the_same_at_every_step():
    y = np.asarray(TimeConstantDropout(0.5)(ONES, training=True))
    np.testing.assert_array_equal(y, np.repeat(y[:, :1], 6, axis=1))


def test_samples_and_calls_have_masks_of_their_own():
    layer = TimeConstantDropout(0.5)
    masks = [np.asarray(layer(ONES, training=True))[:, 0] for _ in "12"]
    assert len({mask.tobytes() for mask in np.concatenate(masks)}) == 8


@pytest.mark.parametrize("rate", [0.2, 0.75])
def test_kept_values_are_scaled_to_keep_the_mean(rate):
    x = np.full((20, 2, 500), 3.0, "float32")
    y = np.asarray(TimeConstantDropout(rate, seed=1)(x, training=True))
    kept = y[y > 0]
    np.testing.assert_allclose(kept, 3.0 / (1 - rate), rtol=1e-6)
    # 10,000 independent neurons
    error = 4 * np.sqrt(rate * (1 - rate) / 10_000)
    assert np.mean(y == 0) == pytest.approx(rate, abs=error)


def test_inference_is_the_identity():
    layer = TimeConstantDropout(0.5)
    np.testing.assert_array_equal(layer(ONES), ONES)
    np.testing.assert_array_equal(layer(ONES, training=False), ONES)


def test_rate_zero_drops_nothing():
    np.testing.assert_array_equal(
        TimeConstantDropout(0)(ONES, training=True), ONES
    )


def test_same_seed_gives_the_same_sequence_of_masks():
    a, b = (TimeConstantDropout(0.5, seed=3) for _ in "ab")
    for _ in range(2):
        np.testing.assert_array_equal(
            a(ONES, training=True), b(ONES, training=True)
        )


def test_step_by_step_uses_one_mask():
    layer = TimeConstantDropout(0.5)
    state = layer.initial_state((4, 50))
    frames = []
    for t in range(3):
        frame, state = layer.step(ONES[:, t], state, training=True)
        frames.append(np.asarray(frame))
    assert 0 < np.mean(frames[0] == 0) < 1
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[0], frames[2])


def test_unknown_time():
    model = keras.Sequential([keras.Input((None, 5)), TimeConstantDropout(0.5)])
    assert model.output_shape == (None, None, 5)
    for time_steps in (2, 3):
        y = model(np.ones((1, time_steps, 5), "float32"), training=True)
        assert y.shape == (1, time_steps, 5)
