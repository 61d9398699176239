import math
import subprocess
import sys
from fractions import Fraction

import keras
import numpy as np
import pytest
from keras import ops

from keras_snn import encoding
from keras_snn.layers import (
    LatencyEncoder,
    PoissonEncoder,
    RateEncoder,
    RepeatEncoder,
)
from tests.helpers import gradients

ENCODERS = [
    PoissonEncoder(5, seed=0),
    RateEncoder(5),
    LatencyEncoder(5),
    RepeatEncoder(5),
]


def name_of(encoder):
    return type(encoder).__name__


def half_up(x):
    return math.floor(x + Fraction(1, 2))


@pytest.mark.parametrize("max_rate", [1.0, 0.5])
def test_poisson_rates_within_four_standard_errors(max_rate):
    x = np.float32([-1.3, -0.7, -0.2, 0.0, 0.05, 0.5, 1.0, 3.0])
    samples, time_steps = 60, 200
    spikes = np.asarray(
        PoissonEncoder(time_steps, max_rate=max_rate, seed=1)(
            np.tile(x, (samples, 1))
        )
    )
    assert spikes.shape == (samples, time_steps, 8)
    p = np.minimum(np.abs(x) * max_rate, 1)
    error = 4 * np.sqrt(p * (1 - p) / (samples * time_steps))
    assert np.all(np.abs(np.abs(spikes).mean((0, 1)) - p) <= error + 1e-6)
    np.testing.assert_array_equal(spikes, np.abs(spikes) * np.sign(x))
    assert set(np.unique(spikes)) == {-1.0, 0.0, 1.0}


def test_poisson_steps_are_independent():
    # A count of n steps has variance n p (1 - p): no refractory time, no drift.
    spikes = np.asarray(PoissonEncoder(100, seed=2)(np.full((500, 2), 0.3)))
    variance = spikes.sum(1).var()
    assert variance == pytest.approx(100 * 0.3 * 0.7, rel=0.15)


@pytest.mark.parametrize("training", [False, True])
def test_poisson_noise_is_new_at_every_call(training):
    encoder, x = PoissonEncoder(20), np.full((2, 30), 0.5, "float32")
    first, second = (np.asarray(encoder(x, training=training)) for _ in "12")
    assert np.any(first != second)


def test_same_seed_gives_the_same_sequence_of_calls():
    x = np.full((2, 30), 0.5, "float32")
    a, b = PoissonEncoder(20, seed=3), PoissonEncoder(20, seed=3)
    for _ in range(2):
        np.testing.assert_array_equal(a(x), b(x))
    other = PoissonEncoder(20, seed=4)
    assert np.any(np.asarray(other(x)) != np.asarray(a(x)))


REPLICAS = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)

from keras_snn.layers import PoissonEncoder, TimeConstantDropout

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    encoder = PoissonEncoder(10, seed=0)
    dropout = TimeConstantDropout(0.5, seed=0)


@tf.function
def run():
    return strategy.run(
        lambda: (
            encoder(tf.fill((2, 40), 0.5)),
            dropout(tf.ones((2, 3, 40)), training=True),
        )
    )


calls = [[strategy.experimental_local_results(x) for x in run()] for _ in "12"]
for layer in range(2):
    draws = [np.asarray(x) for call in calls for x in call[layer]]
    assert len(draws) == 4
    for i in range(4):
        for j in range(i):
            assert np.any(draws[i] != draws[j]), (layer, i, j)
"""


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="tf.distribute"
)
def test_noise_differs_between_replicas_and_calls():
    result = subprocess.run(
        [sys.executable, "-c", REPLICAS], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("max_rate", [1.0, 0.25])
def test_rate_encoder_has_spiked_r_t_times_after_t_steps(max_rate):
    # Dyadic values, so that r * t is exact in every arithmetic.
    x = np.float32([0, 1 / 8, 3 / 8, 1 / 2, 7 / 8, 1, 2, -1 / 4])
    spikes = np.asarray(RateEncoder(21, max_rate=max_rate)(x[None]))[0]
    counts = np.abs(spikes).cumsum(0)
    for value, sign, count in zip(x, np.sign(x), counts.T):
        r = min(Fraction(float(abs(value))) * Fraction(max_rate), 1)
        assert count.tolist() == [half_up(r * t) for t in range(1, 22)]
    np.testing.assert_array_equal(spikes, np.abs(spikes) * np.sign(x))


@pytest.mark.parametrize("r", [0.07, 0.3, 0.61, 0.9])
def test_rate_encoder_spaces_its_spikes_evenly(r):
    spikes = np.asarray(RateEncoder(200)(np.full((1, 1), r, "float32")))
    gaps = np.diff(np.flatnonzero(spikes))
    assert gaps.max() - gaps.min() <= 1
    assert gaps.mean() == pytest.approx(1 / r, rel=0.1)


def test_latency_encoder_gives_one_spike_the_earlier_the_brighter():
    x = np.float32([[1.0, 0.9, 0.5, 0.26, 0.01, 1.7, -0.5]])
    spikes = np.asarray(LatencyEncoder(11)(x))[0]
    np.testing.assert_array_equal(np.abs(spikes).sum(0), 1)
    # 1 + round(10 * (1 - |x|))
    steps = 1 + np.abs(spikes).argmax(0)
    assert steps.tolist() == [1, 2, 6, 8, 11, 1, 6]
    np.testing.assert_array_equal(spikes.sum(0), np.sign(x[0]))


def test_latency_encoder_leaves_zero_silent():
    assert not np.any(LatencyEncoder(6)(np.zeros((1, 4), "float32")))


def test_repeat_encoder_repeats():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    y = np.asarray(RepeatEncoder(5)(x))
    np.testing.assert_array_equal(y, np.stack([x] * 5, 1))


@pytest.mark.parametrize("encoder", ENCODERS, ids=name_of)
def test_symbolic_and_real_shapes(encoder):
    assert encoder(keras.Input((4, 3))).shape == (None, 5, 4, 3)
    assert encoder(np.zeros((2, 4, 3), "float32")).shape == (2, 5, 4, 3)
    assert encoder.compute_output_shape((None, 4)) == (None, 5, 4)


@pytest.mark.parametrize("encoder", ENCODERS, ids=name_of)
def test_spikes_have_the_compute_dtype(encoder):
    half = type(encoder).from_config(
        {**encoder.get_config(), "dtype": "mixed_bfloat16"}
    )
    x = np.float32([[-1.0, -0.5, 0.0, 0.5, 1.0]])
    y = half(x)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    values = np.abs(ops.cast(y, "float32"))
    assert set(np.unique(values)) <= {0.0, 0.5, 1.0}


@pytest.mark.parametrize("encoder", ENCODERS, ids=name_of)
def test_gradient_reaches_the_input_through_repeat_only(encoder):
    x = np.full((1, 3), 0.6, "float32")
    _, (gradient,) = gradients(lambda x: ops.sum(encoder(x)), [x])
    if isinstance(encoder, RepeatEncoder):
        np.testing.assert_allclose(gradient, 5.0)
    else:
        assert gradient is None or not np.any(gradient)


@pytest.mark.parametrize(
    "mistake, message",
    [
        (lambda x: encoding.poisson(x, 3, seed="a"), "`seed` must be an int"),
        (lambda x: encoding.poisson(x, 3, 0, 1.5), "`max_rate` must lie in"),
        (lambda x: encoding.poisson(None, 3, 0), "`x` must be a floating"),
        (lambda x: encoding.rate(x, 0), "`time_steps` must be a positive"),
        (lambda x: encoding.rate(x, 3, math.nan), "`max_rate` must lie in"),
        (lambda x: encoding.latency(x, 2.5), "`time_steps` must be a positi"),
        (lambda x: encoding.repeat(x, None), "`time_steps` must be a positi"),
        (lambda x: encoding.repeat(x.astype(int), 3), "point tensor.*of int64"),
        (lambda x: PoissonEncoder(3, seed="a"), "`seed` must be an integer"),
    ],
)
def test_mistakes_are_explained(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake(np.zeros((1, 2), "float32"))
