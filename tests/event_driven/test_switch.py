"""Networks say whether they run event by event, and why not."""

import re
import sys
import warnings

import keras
import numpy as np
import pytest

import keras_snn
from keras_snn import event_driven, layers
from keras_snn.event_driven import switch

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="runs on TensorFlow only"
)


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    """Leave the choice as it was."""
    monkeypatch.setattr(switch, "_choice", None)
    switch._compiles.cache_clear()
    yield
    switch._compiles.cache_clear()


def model_of(layer, frame=(8, 8, 4), **kwargs):
    inputs = keras.Input((3, *frame))
    x = layers.LIF()(inputs)
    x = layer(x) if isinstance(layer, layers.LIF) else layers.TimeFold(layer)(x)
    return keras_snn.Model(inputs, layers.SpikeCountReadout()(x), **kwargs)


def samples(model, count=2, seed=0):
    """Return spike trains of the shape that a model takes."""
    shape = (count, *model.input.shape[1:])
    spikes = np.random.default_rng(seed).random(shape) < 0.6
    return spikes.astype("float32")


def assert_predicts_like_a_plain_model(model):
    """Compare with the same layers one after the other, never the engine."""
    x = samples(model)
    expected = keras.Model(model.input, model.output).predict(x, verbose=0)
    assert np.any(expected)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-5
    )


def updates(model):
    """Return what one step of SGD adds to a compiled model's weights."""
    x = samples(model)
    before = model.get_weights()
    model.fit(x, np.ones((2, *model.output.shape[1:])), verbose=0)
    return [b - a for a, b in zip(before, model.get_weights())]


def assert_learns_like_a_plain_model(model, **options):
    start = model.get_weights()
    model.compile(keras.optimizers.SGD(0.1), "mse", **options)
    found = updates(model)
    model.set_weights(start)
    plain = keras.Model(model.input, model.output)
    plain.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    for a, b in zip(found, updates(plain), strict=True):
        assert np.any(b)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "layer, reason",
    [
        (keras.layers.Conv2DTranspose(4, 3), "(Conv2DTranspose) has no"),
        (keras.layers.Conv2D(4, 3, groups=2), "has groups"),
        (keras.layers.Conv2D(4, 3, dilation_rate=2), "has dilation"),
        (keras.layers.Conv2D(4, 3, activation="relu"), "has an activation"),
        (keras.layers.Conv2D(4, 3, dtype="float16"), "in float16"),
        (keras.layers.AveragePooling2D(3, padding="same"), "beyond the edge"),
        (keras.layers.Conv1D(4, 3, padding="causal"), "padding 'causal'"),
        (keras.layers.BatchNormalization(axis=1), "normalize the last axis"),
        (layers.PLIF(), "(PLIF) has no event-driven form"),
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_layers_that_are_not_known_run_densely(layer, reason):
    if isinstance(layer, layers.spiking_layer.SpikingLayer):
        inputs = keras.Input((3, 8))
        outputs = layers.SpikeCountReadout()(layer(inputs))
        model = keras_snn.Model(inputs, outputs)
    elif isinstance(layer, keras.layers.Conv1D):
        model = model_of(layer, frame=(8, 4))
    else:
        model = model_of(layer)
    assert reason in model.dense_reason()
    x = np.ones((2, *model.input.shape[1:]), "float32")
    expected = keras.Model(model.input, model.output).predict(x, verbose=0)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), expected, rtol=1e-3, atol=1e-3
    )


class OwnSteps(keras_snn.Model):
    def train_step(self, data):
        return super().train_step(data)

    def test_step(self, data):
        return super().test_step(data)


def test_a_subclass_with_steps_of_its_own_says_so():
    pytest.importorskip("numba")
    event_driven.enable()
    inputs = keras.Input((10, 6))
    x = layers.LIF(0.9)(layers.TimeFold(keras.layers.Dense(8))(inputs))
    outputs = layers.MembraneReadout()(x)
    for training in (True, False):
        assert keras_snn.Model(inputs, outputs).dense_reason(training) is None
    model = OwnSteps(inputs, outputs)
    assert re.search(
        r"`train_step` of OwnSteps.*super\(\)\.train_step",
        model.dense_reason(training=True),
    )
    assert "`test_step` of OwnSteps" in model.dense_reason()


def test_the_old_name_of_the_reason_is_deprecated():
    model = model_of(keras.layers.Conv2DTranspose(4, 3))
    with pytest.warns(DeprecationWarning, match=r"dense_reason\(\)"):
        assert model.runs_densely() == model.dense_reason()
    model = model_of(keras.layers.BatchNormalization())
    with pytest.warns(DeprecationWarning):
        reason = model.runs_densely(training=True)
    assert reason == model.dense_reason(training=True) is not None


def test_the_whole_model_may_be_in_the_way():
    dense = keras.layers.Dense(3)
    assert model_of(dense).dense_reason() is None
    assert model_of(dense).dense_reason(training=True) is None
    model = model_of(layers.LIF(learning_rule="exact"))
    assert "different rules" in model.dense_reason(training=True)
    assert model.dense_reason() is None
    model = model_of(layers.LIF())
    model.compile("sgd", "mse", jit_compile=True)
    assert "jit_compile" in model.dense_reason()
    inputs = keras.Input((3, 4))
    x = layers.LIF(learning_rule="arctan")(inputs)
    x = layers.MembraneReadout(learning_rule="arctan")(x)
    model = keras_snn.Model(inputs, x, remat_steps=2)
    assert "through time" in model.dense_reason(training=True)
    assert model.dense_reason() is None
    whole = keras.layers.GRU(3)(layers.LIF()(inputs))
    assert "whole sequence" in keras_snn.Model(inputs, whole).dense_reason()


@pytest.mark.parametrize("rule", ["collapsed", "exact"])
@pytest.mark.parametrize(
    "name", ["LeNet", "VGG5", "VGG9", "VGG11", "ResNet7", "ResNet9", "ResNet11"]
)
def test_networks_of_the_paper_run_event_by_event(name, rule):
    model = getattr(keras_snn.models, name)(learning_rule=rule, dropout=0.2)
    assert model.dense_reason() is None
    assert model.dense_reason(training=True) is None


@pytest.mark.parametrize(
    "name", ["VGG8", "VGG9", "VGG16", "ResNet11", "ResNet19", "SpikingCNN"]
)
def test_later_networks_predict_event_by_event(name):
    model = getattr(keras_snn.models, name)()
    assert model.dense_reason() is None


def test_batch_normalization_that_trains_is_dense_in_training():
    model = model_of(keras.layers.BatchNormalization())
    assert model.dense_reason() is None
    assert model.dense_reason(training=True) is not None


def test_jit_compiled_models_run_and_learn():
    model = model_of(keras.layers.Dense(3), frame=(4,))
    assert_learns_like_a_plain_model(model, jit_compile=True)
    assert_predicts_like_a_plain_model(model)


def test_a_model_within_a_jit_compiled_one_runs_densely_too():
    inner = model_of(keras.layers.Dense(3), frame=(4,))
    inputs = keras.Input((3, 4))
    outer = keras_snn.Model(inputs, keras.layers.Dense(2)(inner(inputs)))
    assert_learns_like_a_plain_model(outer, jit_compile=True)
    assert_predicts_like_a_plain_model(outer)


def test_zero_padding_that_is_pooled_runs_densely():
    inputs = keras.Input((3, 6, 6, 2))
    x = layers.TimeFold(keras.layers.ZeroPadding2D(1))(inputs)
    x = layers.TimeFold(keras.layers.AveragePooling2D(2))(x)
    model = keras_snn.Model(inputs, layers.SpikeCountReadout()(x))
    assert "sees zero padding" in model.dense_reason()
    assert model.output.shape[1:3] == (4, 4)
    assert_predicts_like_a_plain_model(model)


def test_surrogates_in_training_do_not_compile_the_engine(monkeypatch):
    def fail(*args):
        raise AssertionError("not needed")

    inputs = keras.Input((4, 3))
    x = layers.TimeFold(keras.layers.Dense(3))(inputs)
    x = layers.LIF(learning_rule="arctan")(x)
    x = layers.MembraneReadout(learning_rule="arctan")(x)
    model = keras_snn.Model(inputs, x, remat_steps=2)
    monkeypatch.setattr(event_driven, "why_not", fail)
    assert_learns_like_a_plain_model(model)


def test_mixed_bfloat16_runs_densely(mixed_bfloat16):
    model = model_of(keras.layers.Dense(3))
    assert "computes in bfloat16" in model.dense_reason()
    assert_predicts_like_a_plain_model(model)


def test_the_user_decides():
    assert event_driven.is_enabled()
    event_driven.disable()
    assert not event_driven.is_enabled()
    assert "disable()" in model_of(layers.LIF()).dense_reason()
    event_driven.enable()
    assert event_driven.is_enabled()
    assert model_of(layers.LIF()).dense_reason() is None


def test_without_numba_all_is_dense_and_asking_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(switch.importlib.util, "find_spec", lambda name: None)
    assert not event_driven.is_enabled()
    assert "Numba is not installed" in model_of(layers.LIF()).dense_reason()
    with pytest.raises(ImportError, match=re.escape('"keras-snn[numba]"')):
        event_driven.enable()


def test_numba_that_fails_is_reported_and_not_used(monkeypatch):
    def broken(name):
        raise RuntimeError("cannot cache function")

    monkeypatch.setattr(switch.importlib, "import_module", broken)
    with pytest.warns(UserWarning, match="cannot cache function"):
        reason = event_driven.why_not()
    assert "does not compile" in reason
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert event_driven.why_not() == reason


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(switch.keras.config, "backend", lambda: "jax")
    assert not event_driven.is_enabled()
    assert "not TensorFlow" in event_driven.why_not()
    with pytest.raises(ValueError, match="backend 'jax'"):
        event_driven.enable()
