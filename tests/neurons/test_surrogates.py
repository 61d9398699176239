import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_snn import surrogates
from keras_snn.neurons import learning_rules
from keras_snn.neurons.surrogates import NAMES
from tests.helpers import gradients

GRID = np.concatenate([np.linspace(-3, 3, 61), [0.0, 1e-6, -1e-6]]).astype(
    "float32"
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FORMULAS = {
    "arctan": lambda x: 1 / (1 + (math.pi * x) ** 2),
    "fast_sigmoid": lambda x: 1 / (1 + 25 * np.abs(x)) ** 2,
    "sigmoid": lambda x: 4 * sigmoid(4 * x) * (1 - sigmoid(4 * x)),
    "triangle": lambda x: np.maximum(0, 1 - np.abs(x)),
    "boxcar": lambda x: 1.0 * (np.abs(x) <= 0.5),
}


@pytest.mark.parametrize("name", NAMES)
def test_derivative_equals_its_formula(name):
    surrogate = learning_rules.get(name)
    _, (gradient,) = gradients(lambda x: ops.sum(surrogate(x)), [GRID])
    expected = FORMULAS[name](GRID.astype("float64"))
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_forward_is_a_strict_step(name):
    spikes = np.asarray(learning_rules.get(name)(ops.convert_to_tensor(GRID)))
    np.testing.assert_array_equal(spikes, (GRID > 0).astype("float32"))


@pytest.mark.parametrize("name", ["triangle", "boxcar"])
def test_area_is_one(name):
    x = np.linspace(-2, 2, 400_001, dtype="float32")
    y = np.asarray(learning_rules.get(name).derivative(x))
    assert np.trapezoid(y, x) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name):
    surrogate = learning_rules.get(name)
    config = learning_rules.serialize(surrogate)
    again = learning_rules.get(config)
    assert type(again) is type(surrogate)
    assert again.get_config() == surrogate.get_config()


def test_a_surrogate_of_ones_own_works_as_a_rule():
    @keras.saving.register_keras_serializable(package="tests")
    class Gaussian(surrogates.Surrogate):
        parameter = "sigma"

        def __init__(self, sigma=1.0):
            super().__init__(sigma)

        def derivative(self, x):
            return ops.exp(-ops.square(x / self.sigma))

    rule = learning_rules.get(Gaussian(0.5))
    _, (gradient,) = gradients(lambda x: ops.sum(rule(x)), [GRID])
    np.testing.assert_allclose(gradient, np.exp(-4 * GRID**2), rtol=1e-4)
    assert learning_rules.get(learning_rules.serialize(rule)).sigma == 0.5


def test_shape_parameter_must_be_positive():
    with pytest.raises(ValueError, match="`alpha` of Arctan must be positive"):
        surrogates.Arctan(alpha=0)
