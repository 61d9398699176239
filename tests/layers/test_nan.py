"""What is broken stays broken: NaN in, NaN out, and nowhere else."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_snn import surrogates
from keras_snn.layers import (
    ALIF,
    IF,
    LIF,
    PLIF,
    LatencyEncoder,
    LIFCell,
    MaxRatePooling2D,
    MembraneReadout,
    PoissonEncoder,
    RateEncoder,
    RecurrentLIF,
    RepeatEncoder,
    SpikeCountReadout,
    SynapticLIF,
    TimeConstantDropout,
    TimeFold,
)
from keras_snn.neurons import fire
from tests.helpers import compiled, gradients

BROKEN = 2  # the step of sample 0 that is NaN, in channel 1
RULES = ("collapsed", "exact", "rate", "arctan", "fast_sigmoid", "boxcar")


def cells(rule="arctan"):
    cell = LIFCell(3, 0.9, 0.5, learning_rule=rule)
    return keras.layers.RNN(cell, return_sequences=True)


NEURONS = {
    **{rule: (LIF, {"learning_rule": rule}) for rule in RULES},
    "subtract": (LIF, {"reset": "subtract"}),
    "IF": (IF, {}),
    "unrolled": (LIF, {"unroll": True}),
    "PLIF": (PLIF, {}),
    "ALIF": (ALIF, {}),
    "SynapticLIF": (SynapticLIF, {}),
    "RecurrentLIF": (RecurrentLIF, {}),
    "cells": (cells, {}),
    "cells collapsed": (cells, {"rule": "collapsed"}),
}


def currents():
    rng = np.random.default_rng(0)
    return rng.normal(0.3, 0.5, (2, 6, 3)).astype("float32")


def broken(x):
    x = x.copy()
    x[0, BROKEN, 1] = np.nan
    return x


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", NEURONS)
def test_a_neuron_is_nan_from_the_step_on_at_which_its_current_is(
    name, jit_compile
):
    make, options = NEURONS[name]
    layer, x = make(**options), currents()
    expected = np.array(layer(x))
    if name == "RecurrentLIF":  # All neurons hear of it one step later.
        expected[0, BROKEN + 1 :] = np.nan
    expected[0, BROKEN:, 1] = np.nan
    found = compiled(layer, jit_compile)(ops.convert_to_tensor(broken(x)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NEURONS)
def test_gradients_of_other_samples_are_unchanged_to_the_bit(name):
    make, options = NEURONS[name]
    layer, x = make(**options), currents()

    def to_input(x):
        return gradients(lambda x: ops.sum(ops.square(layer(x))), [x])[1][0]

    layer(x)
    clean, found = to_input(x), to_input(broken(x))
    np.testing.assert_array_equal(found[1], clean[1])
    assert np.any(clean[1])


@pytest.mark.parametrize("layer", [LIF(0.9, 0.5), PLIF(), RecurrentLIF()])
def test_steps_pass_nan_on(layer):
    x = broken(currents())
    layer.build(x.shape)
    state, found = layer.initial_state((2, 3)), []
    for t in range(x.shape[1]):
        frame, state = layer.step(ops.convert_to_tensor(x[:, t]), state)
        found.append(np.asarray(frame))
    np.testing.assert_array_equal(np.stack(found, 1), layer(x))
    assert np.isnan(found[-1][0, 1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_infinity_is_on_its_side_of_the_threshold(dtype):
    u = ops.cast([-np.inf, -1.0, 1.0, 2.0, np.inf, np.nan], dtype)
    expected = [0, 0, 0, 1, 1, np.nan]
    for jit_compile in (False, True):
        spikes = compiled(fire, jit_compile)(u)
        assert keras.backend.standardize_dtype(spikes.dtype) == dtype
        np.testing.assert_array_equal(ops.cast(spikes, "float32"), expected)


@pytest.mark.parametrize(
    "surrogate",
    [
        surrogates.Arctan(),
        surrogates.FastSigmoid(),
        surrogates.Sigmoid(),
        surrogates.Triangle(),
        surrogates.Boxcar(),
    ],
    ids=repr,
)
def test_surrogates_pass_nan_on(surrogate):
    x = np.array([-1, 0, 1, np.nan], "float32")
    np.testing.assert_array_equal(surrogate(x), [0, 0, 1, np.nan])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    "make", [PoissonEncoder, RateEncoder, LatencyEncoder, RepeatEncoder]
)
def test_encoders_show_nan_at_every_step(make, jit_compile):
    x = ops.convert_to_tensor(np.array([[0.5, np.nan], [1, 0]], "float32"))
    found = np.asarray(compiled(make(4), jit_compile)(x))
    assert np.isnan(found[0, :, 1]).all()
    assert np.isnan(found).sum() == 4


@pytest.mark.parametrize(
    "readout",
    [
        MembraneReadout(),
        MembraneReadout(learning_rule="arctan"),
        SpikeCountReadout(),
        SpikeCountReadout(normalize=False),
    ],
)
def test_readouts_are_nan_where_one_step_is(readout):
    x = currents()
    expected = np.array(readout(x))
    expected[0, 1] = np.nan
    np.testing.assert_array_equal(readout(broken(x)), expected)


@pytest.mark.parametrize("place", range(4))
def test_max_rate_pooling_is_nan_where_one_input_is(place):
    x = np.ones((2, 3, 2, 2, 1), "float32")
    x[0, 1].flat[place] = np.nan
    layer = MaxRatePooling2D()
    expected = [[1, np.nan, np.nan], [1, 1, 1]]
    np.testing.assert_array_equal(layer(x)[..., 0, 0, 0], expected)
    state = layer.initial_state((2, 2, 2, 1))
    for t in range(3):
        frame, state = layer.step(ops.convert_to_tensor(x[:, t]), state)
        np.testing.assert_array_equal(
            np.ravel(frame), [expected[0][t], expected[1][t]]
        )


def test_dropout_does_not_drop_nan():
    x = np.full((1, 2, 8), np.nan, "float32")
    found = TimeConstantDropout(0.9, seed=1)(x, training=True)
    assert np.isnan(found).all()


@pytest.mark.parametrize(
    "encoder", [PoissonEncoder, RateEncoder, LatencyEncoder, RepeatEncoder]
)
def test_a_model_predicts_nan_for_that_sample_only(encoder):
    inputs = keras.Input((5,))
    x = encoder(6, **({"seed": 2} if encoder is PoissonEncoder else {}))(inputs)
    x = LIF(threshold=0.3)(TimeFold(keras.layers.Dense(4))(x))
    x = PLIF(threshold=0.3)(TimeFold(keras.layers.Dense(4))(x))
    model = keras.Model(inputs, SpikeCountReadout()(x))
    samples = np.random.default_rng(3).random((3, 5)).astype("float32")
    samples[1, 4] = np.nan
    found = np.isnan(model.predict(samples, verbose=0))
    assert found[1].all() and not found[[0, 2]].any()
