import keras
import numpy as np
import pytest
from keras import ops

from keras_snn.layers import IF, LIF, IFCell, LIFCell
from tests.helpers import gradients
from tests.neurons.test_learning_rules import lif_loop


def currents_of(shape=(3, 9, 5), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 0.5, shape).astype("float32")


def sequence_of(cell, **kwargs):
    return keras.layers.RNN(cell, return_sequences=True, **kwargs)


def gradient_of(layer, x):
    weights = np.random.default_rng(5).normal(size=x.shape).astype("float32")
    _, (gradient,) = gradients(lambda x: ops.sum(layer(x) * weights), [x])
    return gradient


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_rnn_of_lif_cells_equals_a_loop(reset):
    x, neuron = currents_of(), {"beta": 0.9, "threshold": 0.8, "reset": reset}
    expected, _ = lif_loop(x, **neuron)
    np.testing.assert_array_equal(
        sequence_of(LIFCell(5, **neuron))(x), expected
    )


def test_if_cell_has_no_leak():
    x = currents_of()
    expected, _ = lif_loop(x, beta=1.0, threshold=1.0, reset="zero")
    np.testing.assert_array_equal(sequence_of(IFCell(5))(x), expected)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("rule", ["arctan", "boxcar"])
def test_surrogate_gradient_equals_the_layers(rule, reset):
    x = currents_of()
    arguments = {"beta": 0.8, "reset": reset, "learning_rule": rule}
    found = gradient_of(sequence_of(LIFCell(5, **arguments)), x)
    expected = gradient_of(LIF(**arguments), x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("threshold", [1.0, 0.5])
@pytest.mark.parametrize("rule", ["exact", "collapsed"])
def test_if_cell_learns_by_the_exact_rule(rule, threshold):
    # Without a leak the leak-corrected factor is 1 / threshold, which a cell
    # knows; a cell cannot collapse, so both names mean the exact rule.
    x = currents_of()
    found = gradient_of(sequence_of(IFCell(5, threshold, "zero", rule)), x)
    layer = IF(threshold, factor="leak_corrected", learning_rule="exact")
    np.testing.assert_allclose(found, gradient_of(layer, x), atol=1e-6)


def test_step_by_step_with_ones_own_state():
    x, cell = currents_of(), LIFCell(5, beta=0.9)
    expected, _ = lif_loop(x, 0.9, 1.0, "zero")
    states = cell.get_initial_state(batch_size=3)
    for t in range(x.shape[1]):
        spikes, states = cell(x[:, t], states)
        np.testing.assert_array_equal(spikes, expected[:, t])


def test_last_state_is_the_membrane_potential():
    x = np.full((1, 3, 1), 0.25, "float32")
    spikes, v = keras.layers.RNN(LIFCell(1, beta=0.5), return_state=True)(x)
    # 0.125, then 0.5 * 0.375, then 0.5 * 0.4375
    assert float(spikes[0, 0]) == 0.0
    assert float(v[0, 0]) == pytest.approx(0.21875)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_membranes_are_float32_under_mixed_precision(policy):
    # Next to 0.75 a half float cannot tell 2^-13 from 0; 101 of them count.
    small = 2.0**-13
    x = np.full((1, 110, 1), small, "float32")
    x[0, 0] = 0.75
    cell = IFCell(1, threshold=0.75 + 100 * small, dtype=policy)
    (state,) = cell.get_initial_state(1)
    assert keras.backend.standardize_dtype(state.dtype) == "float32"
    spikes = sequence_of(cell, dtype=policy)(x)
    spikes = np.asarray(ops.cast(spikes, "float32"))
    assert np.flatnonzero(spikes)[0] == 101


def test_stacked_cells_equal_stacked_layers():
    x = 2 * currents_of()
    cells = [LIFCell(5, beta=0.9), IFCell(5, threshold=1.5)]
    stacked = sequence_of(keras.layers.StackedRNNCells(cells))(x)
    expected = IF(threshold=1.5)(LIF(beta=0.9)(x))
    assert np.any(expected)
    np.testing.assert_array_equal(stacked, expected)


def test_unknown_batch_and_time():
    inputs = keras.Input((None, 5))
    model = keras.Model(inputs, sequence_of(LIFCell(5))(inputs))
    assert model.output_shape == (None, None, 5)
    x = currents_of((2, 4, 5))
    np.testing.assert_array_equal(model(x), LIF()(x))
