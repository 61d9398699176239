"""Inputs far outside of an encoder's range are warned of, at every door."""

import warnings

import keras
import numpy as np
import pytest

import keras_snn
from keras_snn import layers, models

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6)).astype("uint8")
WARNING = "PoissonEncoder '.*' takes values in .*up to 2[0-9][0-9].*Scale"


def parts():
    return [
        layers.PoissonEncoder(3, name="poisson"),
        layers.TimeFold(keras.layers.Dense(2)),
        layers.LIF(threshold=0.1),
        layers.SpikeCountReadout(),
    ]


def sequential():
    return keras.Sequential(parts())


def functional(kind=keras.Model):
    x = inputs = keras.Input((6,))
    for part in parts():
        x = part(x)
    return kind(inputs, x)


def nested():
    inputs = keras.Input((6,))
    return keras.Model(inputs, functional()(inputs))


def own():
    return functional(keras_snn.Model)


def fit(model, x):
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((len(x), 2)), batch_size=2, epochs=2, verbose=0)


def evaluate(model, x):
    model.compile("sgd", "mse")
    model.evaluate(x, np.zeros((len(x), 2)), verbose=0)


def warned_of(act):
    """Return the warnings of `act`, those of its callbacks included."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
        if keras.config.backend() == "jax":
            import jax

            jax.effects_barrier()
    return [str(w.message) for w in caught if "values in" in str(w.message)]


DOORS = {
    "call": lambda model, x: model(x),
    "predict": lambda model, x: model.predict(x, batch_size=2, verbose=0),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "evaluate": evaluate,
    "fit": fit,
}


@pytest.mark.parametrize("make", [sequential, functional, nested, own])
@pytest.mark.parametrize("door", DOORS)
def test_pixels_are_warned_of_once(make, door):
    model, x = make(), PIXELS.astype("float32")
    messages = warned_of(lambda: DOORS[door](model, x))
    assert len(messages) == 1
    with pytest.warns(UserWarning, match=WARNING):
        warnings.warn(messages[0])
    assert not warned_of(lambda: DOORS[door](model, x))


@pytest.mark.parametrize("make", [sequential, functional, nested])
@pytest.mark.parametrize("door", ["call", "predict", "fit"])
def test_integers_that_keras_casts_are_warned_of(make, door):
    messages = warned_of(lambda: DOORS[door](make(), PIXELS))
    assert len(messages) == 1


@pytest.mark.parametrize("tool", [models.spike_rates, models.scale_to_rate])
def test_tools_warn(tool):
    model = own()
    x = PIXELS.astype("float32")

    def act():
        try:
            tool(model, x)
        except ValueError:
            pass  # Such inputs may reach no rate.

    assert len(warned_of(act)) == 1


@pytest.mark.parametrize("make", [sequential, functional, own])
@pytest.mark.parametrize("door", DOORS)
def test_standardized_images_are_let_be(make, door):
    x = np.random.default_rng(0).uniform(-2.7, 2.7, (4, 6)).astype("float32")
    assert not warned_of(lambda: DOORS[door](make(), x))


@pytest.mark.parametrize(
    "encoder, warns",
    [
        (layers.PoissonEncoder(3), True),
        (layers.RateEncoder(3), True),
        (layers.LatencyEncoder(3), True),
        (layers.RepeatEncoder(3), False),
    ],
)
def test_encoders_whose_range_is_bounded(encoder, warns):
    x = np.full((1, 2), -4.0, "float32")
    assert len(warned_of(lambda: encoder(x))) == warns


def test_functions_of_ones_own_hold_no_python():
    if keras.config.backend() != "tensorflow":
        pytest.skip("graphs of TensorFlow")
    import tensorflow as tf

    model = functional()
    serve = tf.function(lambda x: model(x))
    graph = serve.get_concrete_function(tf.TensorSpec((None, 6))).graph
    kinds = {op.type for op in graph.get_operations()}
    assert not kinds & {"EagerPyFunc", "PyFunc", "StatelessIf", "If"}


def test_compiled_models_still_run():
    model = functional()
    model.compile("sgd", "mse", jit_compile=True)
    x = PIXELS.astype("float32") / 255
    model.fit(x, np.zeros((4, 2)), verbose=0)
    assert model.predict(x, verbose=0).shape == (4, 2)
