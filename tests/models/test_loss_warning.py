"""Losses of probabilities do not go with a readout's potentials."""

import warnings

import keras
import numpy as np
import pytest

import keras_snn as snn


def network(softmax=False):
    inputs = keras.Input((3, 4))
    x = snn.layers.TimeFold(keras.layers.Dense(2))(snn.layers.LIF()(inputs))
    x = snn.layers.MembraneReadout(name="out")(x)
    return snn.Model(inputs, keras.layers.Softmax()(x) if softmax else x)


def fit(model):
    loss = keras.tree.flatten(model.loss)[0]
    is_sparse = isinstance(loss, str) and loss.startswith("sparse")
    y = np.zeros(2) if is_sparse else np.eye(2)
    model.fit(np.ones((2, 3, 4)), y, verbose=0)


CROSS_ENTROPIES = [
    "categorical_crossentropy",
    "CategoricalCrossentropy",
    "sparse_categorical_crossentropy",
    keras.losses.CategoricalCrossentropy(),
    [keras.losses.BinaryCrossentropy()],
]


@pytest.mark.parametrize("loss", CROSS_ENTROPIES)
def test_probabilities_asked_of_a_readout(loss):
    model = network()
    model.compile("sgd", loss)
    with pytest.warns(UserWarning, match="ends in 'out'.*CrossEntropy"):
        fit(model)


@pytest.mark.parametrize(
    "loss, softmax",
    [
        ("mse", False),
        (snn.losses.CrossEntropy(), False),
        (keras.losses.CategoricalCrossentropy(from_logits=True), False),
        (lambda y, o: o[:, 0], False),
        *[(loss, True) for loss in CROSS_ENTROPIES],
    ],
)
def test_no_word_otherwise(loss, softmax):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = network(softmax)
        model.compile("sgd", loss)
        fit(model)


def two_heads(names=None):
    """Return a network with probabilities, and the potentials themselves."""
    model = network()
    x = model.output
    outputs = [keras.layers.Softmax(name="p")(x), x]
    if names:
        outputs = dict(zip(names, outputs))
    return snn.Model(model.input, outputs)


CROSS, SQUARED = "categorical_crossentropy", "mse"
HEADS = [
    (None, lambda p, v: [p, v]),
    (None, lambda p, v: {"p": p, "out": v}),
    (["b", "a"], lambda p, v: {"b": p, "a": v}),
]


def fit_heads(names, loss):
    model, y = two_heads(names), np.eye(2)
    model.compile("sgd", loss)
    y = dict.fromkeys(names, y) if names else [y, y]
    model.fit(np.ones((2, 3, 4)), y, verbose=0)


@pytest.mark.parametrize("names, losses", HEADS)
def test_each_output_has_its_own_loss(names, losses):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_heads(names, losses(CROSS, SQUARED))
    with pytest.warns(UserWarning, match="ends in 'out'.*CrossEntropy"):
        fit_heads(names, losses(SQUARED, CROSS))


def test_a_loaded_model_is_compiled_as_it_was(tmp_path):
    model = network()
    model.compile("sgd", "mse", metrics=["accuracy"])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_compile_config() == model.get_compile_config()
