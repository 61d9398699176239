import math

import numpy as np
import pytest

from keras_snn.layers import ALIF, LIF


def test_every_spike_raises_the_threshold_by_hand():
    # beta = 1, so u grows by 1 a step: above 0.5, then 0.5 + 1, ...
    layer = ALIF(1.0, threshold=0.5, amplitude=1.0, rho=0.5)
    spikes = layer(np.ones((1, 8, 1), "float32"))[0, :, 0]
    # A: 0.5 (1 fires), 1.5, 1 (2 fires), 1.75, 1.125 (2 fires), 1.8125, ...
    np.testing.assert_array_equal(spikes, [1, 0, 1, 0, 1, 0, 1, 0])
    state = layer.initial_state((1, 1))
    thresholds = []
    for _ in range(5):
        thresholds.append(0.5 + float(state[1][0, 0]))
        _, state = layer.step(np.ones((1, 1), "float32"), state)
    assert thresholds == [0.5, 1.5, 1.0, 1.75, 1.125]


def test_soft_reset_takes_the_raised_threshold_off():
    layer = ALIF(1.0, 0.5, "subtract", amplitude=1.0, rho=0.5)
    state = layer.initial_state((1, 1))
    potentials = []
    for _ in range(3):
        _, state = layer.step(np.full((1, 1), 2.0, "float32"), state)
        potentials.append(float(state[0][0, 0]))
    # 2 - 0.5; then 3.5 > 0.5 + 1, 3.5 - 1.5; then 4 > 0.5 + 1.5, 4 - 2.
    assert potentials == [1.5, 2.0, 2.0]


def test_without_amplitude_it_is_a_lif():
    x = np.random.default_rng(0).normal(0.5, 0.6, (2, 9, 4)).astype("float32")
    np.testing.assert_array_equal(ALIF(0.8, amplitude=0)(x), LIF(0.8)(x))


def test_adaptation_lowers_the_rate_over_time():
    x = np.full((1, 60, 1), 1.1, "float32")
    spikes = np.asarray(ALIF(0.9, amplitude=0.5, rho=0.97)(x))[0, :, 0]
    early, late = spikes[:20].mean(), spikes[40:].mean()
    assert early > 1.5 * late > 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"amplitude": -0.1}, "`amplitude` must be finite and at least 0"),
        ({"amplitude": math.inf}, "`amplitude` must be finite and at least 0"),
        ({"rho": 1.2}, r"`rho` must lie in \[0, 1\].*rho=exp\(-1 / tau\)"),
        ({"rho": "slow"}, "`rho` must be a real number"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        ALIF(**options)
