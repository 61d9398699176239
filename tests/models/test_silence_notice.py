"""`fit` says which layers do not fire, where its rule counts spikes anyway."""

import warnings

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.running import by_products


def network(threshold, rule="collapsed", norm=False):
    x = inputs = keras.Input((3, 5))
    for name, theta in (("first", 0.1), ("second", threshold)):
        dense = keras.layers.Dense(
            4, kernel_initializer="ones", name=f"{name}_dense"
        )
        x = snn.layers.TimeFold(dense)(x)
        if norm:
            x = snn.layers.TimeFold(keras.layers.BatchNormalization())(x)
        x = snn.layers.LIF(0.9, theta, learning_rule=rule, name=name)(x)
    outputs = snn.layers.MembraneReadout(1.0, learning_rule=rule)(x)
    model = snn.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    return model


def fit(model, updates, **options):
    x = np.ones((2, 3, 5), "float32")
    data = np.repeat(x, updates, axis=0), np.zeros((2 * updates, 4))
    return model.fit(*data, 2, 1, verbose=0, shuffle=False, **options)


@pytest.mark.parametrize("rule", ["collapsed", "rate"])
@pytest.mark.parametrize("norm", [False, True])
def test_a_silent_layer_is_named_once(rule, norm):
    model = network(1e6, rule, norm)
    # Of constant currents a normalization leaves nothing for the first, too.
    named = "'first', 'second'" if norm else "'second'"
    with pytest.warns(UserWarning, match=f"50 updates {named} of") as found:
        fit(model, 60)
    assert len(found) == 1
    advice = "beta_initializer" if norm else "scale_to_rate"
    assert advice in str(found[0].message)
    rates = model.rates_of_fit.latest()
    assert rates["second"] == 0 and list(rates) == ["first", "second"]


def test_rates_are_those_of_the_last_update():
    model = network(0.5)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    fit(model, 3)
    x = np.ones((2, 3, 5), "float32")
    expected = snn.models.spike_rates(model, x)
    assert model.rates_of_fit.latest() == pytest.approx(expected)


@pytest.mark.parametrize(
    "threshold, updates, rule",
    [(1e6, 49, "rate"), (0.5, 60, "rate"), (1e6, 60, "arctan")],
)
def test_no_word_otherwise(threshold, updates, rule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(network(threshold, rule), updates)


def test_callbacks_are_as_given():
    model, seen = network(0.5), []
    mine = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch)
    )
    fit(model, 2, callbacks=[mine])
    fit(model, 2, callbacks=mine)
    assert seen == [0, 1, 0, 1]
    own = keras.callbacks.CallbackList([mine], model=model, epochs=1)
    fit(model, 2, callbacks=own)
    assert seen == [0, 1] * 3


@pytest.mark.parametrize("jit_compile", [True, False])
def test_compiled_and_steps_at_once(jit_compile, monkeypatch):
    monkeypatch.setattr(by_products, "UPDATES", 5)
    model = network(1e6)
    model.compile("sgd", "mse", jit_compile=jit_compile, steps_per_execution=3)
    with pytest.warns(UserWarning, match="6 updates 'second'"):
        fit(model, 9)


def test_rates_are_in_no_file(tmp_path):
    model = network(0.5)
    before = len(model.variables)
    fit(model, 2)
    assert len(model.variables) == before + len(model.optimizer.variables) or (
        len(model.variables) == before
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.get_weights()) == len(model.get_weights())
