import numpy as np
import pytest

from keras_snn.layers import LIF, SynapticLIF


def test_one_input_acts_on_by_hand():
    layer = SynapticLIF(1.0, threshold=1.4, alpha=0.5)
    x = np.float32([1, 0, 0, 1, 0, 0]).reshape(1, 6, 1)
    # i: 1, 1/2, 1/4, 9/8, ...; u: 1, 3/2 (fires), 1/4, 11/8, 31/16 (fires).
    np.testing.assert_array_equal(layer(x)[0, :, 0], [0, 1, 0, 0, 1, 0])


def test_the_reset_leaves_the_synaptic_current():
    layer = SynapticLIF(1.0, threshold=0.5, alpha=0.5)
    frame = np.ones((1, 1), "float32")
    _, (v, i) = layer.step(frame, layer.initial_state((1, 1)))
    assert (float(v[0, 0]), float(i[0, 0])) == (0.0, 1.0)


def test_without_memory_of_the_synapse_it_is_a_lif():
    x = np.random.default_rng(0).normal(0.5, 0.6, (2, 9, 4)).astype("float32")
    np.testing.assert_array_equal(SynapticLIF(0.8, alpha=0)(x), LIF(0.8)(x))


def test_alpha_out_of_range():
    with pytest.raises(ValueError, match=r"`alpha` must lie in \[0, 1\]"):
        SynapticLIF(alpha=-0.1)
