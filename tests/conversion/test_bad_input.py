"""Every obvious mistake is answered by what was expected and what came."""

import re

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.conversion.networks import L, data, functional, network

convert = snn.conversion.convert


def small():
    return network(L.Flatten(), L.Dense(4, activation="relu"), L.Dense(3))


def test_all_unsupported_layers_are_named_at_once():
    def body(x):
        x = L.Conv2D(2, 1, activation="tanh", name="c")(x)
        x = L.LeakyReLU(name="leaky")(x)
        x = L.LayerNormalization(name="norm")(x)
        x = L.Multiply(name="gate")([x, L.Activation("sigmoid", name="g")(x)])
        x = L.LSTM(4, name="lstm")(L.Reshape((64, 2))(x))
        x = L.Dense(4)(keras.ops.sin(x))
        return L.Dense(3)(L.ReLU(negative_slope=0.1, name="slope")(x))

    with pytest.raises(ValueError) as caught:
        convert(functional(body), data())
    text = str(caught.value)
    for name, reason in {
        "c_tanh": "tanh inside the network",
        "leaky": "negative outputs",
        "norm": "statistic of each sample",
        "gate": "squeeze-and-excitation",
        "g": "sigmoid inside the network",
        "lstm": "recurrent",
        "sin": "keras.ops.sin: .* keras.layers.ReLU",
        "slope": "ReLU with a slope",
    }.items():
        (line,) = [s for s in text.split("\n") if s.startswith(f"- '{name}'")]
        assert re.search(reason, line)
    assert "8 layer(s)" in text and "Known are Conv1D" in text


def test_the_output_may_have_any_activation():
    convert(network(L.Flatten(), L.Dense(3, activation="tanh")), data())


def two_inputs():
    inputs = [keras.Input((3,)), keras.Input((3,))]
    return keras.Model(inputs, L.Add()(inputs))


def two_outputs():
    x = keras.Input((3,))
    return keras.Model(x, [L.Dense(2)(x), L.Dense(3)(x)])


class Subclassed(keras.Model):
    pass


class Scaled(keras.Model):
    def call(self, x):
        return 2 * x


@pytest.mark.parametrize(
    "make, message",
    [
        (two_inputs, "one input and one output.*2 inputs"),
        (two_outputs, "one input and one output.*2 outputs"),
        (Subclassed, "functional keras.Model.*Subclassed"),
        (lambda: keras.Sequential([L.Dense(3)]), "no input shape yet"),
        (lambda: L.Dense(3), "functional keras.Model.*Dense"),
        (
            lambda: functional(
                lambda x: L.GlobalAveragePooling2D()(x), (None, None, 2)
            ),
            "input shape is known",
        ),
        (
            lambda: functional(
                lambda x: L.Add()([x, L.GlobalAveragePooling2D()(x)])
            ),
            "different numbers of axes",
        ),
        (
            lambda: network(L.Conv2D(2, 1, data_format="channels_first")),
            'channels_first". Use "channels_last"',
        ),
        (
            lambda: functional(lambda x: Scaled()(L.Conv2D(2, 1)(x))),
            "(Scaled).*layers cannot be read",
        ),
    ],
)
def test_networks_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        convert(make(), data())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"method": "best"}, '`method` must be one of "max", "percentile"'),
        ({"reset": "soft"}, '`reset` must be "zero"'),
        ({"max_pooling": "max"}, '`max_pooling` must be one of "rate"'),
        ({"encoder": "ttfs"}, '`encoder` must be "repeat", "poisson"'),
        ({"time_steps": 0}, "`time_steps` must be a positive integer"),
        ({"percentile": 0}, r"`percentile` must lie in \(0, 100\]"),
        ({"percentile": "99"}, "`percentile` must be a real number"),
        ({"initial_potential": np.inf}, "`initial_potential` must be finite"),
        ({"learning_rule": "stdp"}, "`learning_rule` must be one of"),
        (
            {"method": "threshold_balancing", "encoder": None},
            "needs an encoder",
        ),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        convert(small(), data(), **options)


@pytest.mark.parametrize(
    "x, options, message",
    [
        (data(4, (8, 8, 3)), {}, r"shape \(samples, 8, 8, 2\).*4, 8, 8, 3"),
        (data(0), {}, r"Received: shape \(0,"),
        (None, {}, "`calibration_data` must be an array"),
        ((255 * data()).astype("uint8"), {}, "floating point.*uint8"),
        (data() * np.nan, {}, "must be finite"),
        (3 * data(), {"encoder": "poisson"}, r"values in \[-1, 1\] only"),
        (0 * data(), {}, "never active on the calibration data"),
    ],
)
def test_calibration_data_that_do_not_fit(x, options, message):
    ann = small()
    ann.layers[1].bias.assign(-np.ones(4))
    if x is not None and x.any():
        ann.layers[1].bias.assign(np.ones(4))
    with pytest.raises(ValueError, match=message):
        convert(ann, x, **options)


@pytest.mark.parametrize("levels", [0, 1.5, True])
def test_levels_are_positive_integers(levels):
    with pytest.raises(ValueError, match="`levels` must be a positive integer"):
        snn.conversion.QCFS(levels)
