"""One table of all public layers and networks, and what each must do."""

import functools
import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn
from keras_snn import layers, models
from keras_snn.running.scopes import inference_only

FRAME, IMAGE = (4, 4, 2), (4, 4, 2)

# Each public layer: how it is made, and the shape of its input without batch.
LAYERS = {
    "ALIF": (
        lambda: layers.ALIF(0.9, 0.5, "subtract", "sigmoid", 0.2, 0.9),
        (None, *FRAME),
    ),
    "Affine": (lambda: layers.Affine(per_position=True), IMAGE),
    "Delay": (lambda: layers.Delay([0, 1]), (None, *FRAME)),
    "IF": (lambda: layers.IF(0.5, "subtract", factor=0.7), (None, *FRAME)),
    "IFCell": (lambda: layers.IFCell(6, 0.5, "subtract", "exact"), (None, 6)),
    "LIF": (
        lambda: layers.LIF(0.9, 0.5, learning_rule="triangle"),
        (None, *FRAME),
    ),
    "LIFCell": (
        lambda: layers.LIFCell(6, 0.9, 0.5, learning_rule="arctan"),
        (None, 6),
    ),
    "LatencyEncoder": (lambda: layers.LatencyEncoder(3), IMAGE),
    "MaxRatePooling1D": (
        lambda: layers.MaxRatePooling1D(2, 1, padding="same"),
        (None, 4, 2),
    ),
    "MaxRatePooling3D": (
        lambda: layers.MaxRatePooling3D((2, 1, 2)),
        (None, 4, 2, 2, 2),
    ),
    "MaxRatePooling2D": (
        lambda: layers.MaxRatePooling2D((2, 1), padding="same"),
        (None, *FRAME),
    ),
    "MembraneReadout": (
        lambda: layers.MembraneReadout(0.9, "exact"),
        (None, *FRAME),
    ),
    "PLIF": (
        lambda: layers.PLIF(0.9, 0.5, per_channel=True, scale_input=True),
        (None, *FRAME),
    ),
    "PoissonEncoder": (lambda: layers.PoissonEncoder(3, 0.5, seed=1), IMAGE),
    "RateEncoder": (lambda: layers.RateEncoder(3, 0.5), IMAGE),
    "RecurrentLIF": (
        lambda: layers.RecurrentLIF(
            keras.layers.Conv2D(2, 3, padding="same"), 0.9, 0.5, "subtract"
        ),
        (None, *FRAME),
    ),
    "RepeatEncoder": (lambda: layers.RepeatEncoder(3), IMAGE),
    "SpikeCountReadout": (
        lambda: layers.SpikeCountReadout(normalize=False),
        (None, *FRAME),
    ),
    "StandardizedConv2D": (
        lambda: layers.StandardizedConv2D(4, 3, padding="same"),
        IMAGE,
    ),
    "StandardizedDense": (
        lambda: layers.StandardizedDense(4, activation="relu"),
        (None, *FRAME),
    ),
    "SynapticLIF": (
        lambda: layers.SynapticLIF(0.9, 0.5, "subtract", "triangle", 0.7),
        (None, *FRAME),
    ),
    "ThresholdBatchNormalization": (
        lambda: layers.ThresholdBatchNormalization(0.5, 0.7, momentum=0.9),
        (None, *FRAME),
    ),
    "TimeConstantDropout": (
        lambda: layers.TimeConstantDropout(0.25, seed=1),
        (None, *FRAME),
    ),
    "TimeFold": (
        lambda: layers.TimeFold(keras.layers.Conv2D(3, 3)),
        (None, *FRAME),
    ),
}

# Each network: the least image that its poolings allow.
NETWORKS = {
    "LeNet": (4, 4, 1),
    "ResNet11": (8, 8, 3),
    "ResNet19": (4, 4, 3),
    "ResNet7": (8, 8, 3),
    "ResNet9": (8, 8, 3),
    "SEWResNet18": (8, 8, 3),
    "SpikingCNN": (8, 8, 3),
    "VGG11": (32, 32, 3),
    "VGG16": (32, 32, 3),
    "VGG5": (4, 4, 3),
    "VGG7": (8, 8, 3),
    "VGG8": (8, 8, 3),
    "VGG9": (8, 8, 3),
}
# Nothing in it that the others have not; it takes ten times as long.
NAMES = [
    pytest.param(x, marks=pytest.mark.long) if x == "ResNet19" else x
    for x in NETWORKS
]
NORMALISED = {"ResNet19", "SEWResNet18", "SpikingCNN", "VGG16", "VGG8"}
NOT_NETWORKS = {
    "Model",
    "StatefulModel",
    "StepModel",
    "Stream",
    "calibrate",
    "load_model",
    "scale_to_rate",
    "spike_rates",
    "stateful",
    "streaming",
}
# What users derive layers of their own from, see tests/network.
BASES = {"Readout", "SpikingLayer", "TimeLayer"}
T = 3


def test_no_public_name_is_missing():
    assert sorted({*LAYERS, *BASES}) == sorted(layers.__all__)
    assert sorted({*NETWORKS, *NOT_NETWORKS}) == sorted(
        {*models.__all__, *NOT_NETWORKS}
    )


def values(shape, samples=2, time_steps=T, seed=0):
    """Return input for a shape whose unknown axis is time."""
    shape = [time_steps if n is None else n for n in shape]
    return np.random.default_rng(seed).random((samples, *shape), "float32")


def sequence_layer(layer):
    """Return the layer, or a RNN of it if it is a cell."""
    if hasattr(layer, "state_size"):
        return keras.layers.RNN(layer, return_sequences=True)
    return layer


def passes_gradients(name):
    return "Encoder" not in name or name == "RepeatEncoder"


def layer_model(name):
    """Return a network around one layer, with weights on both sides."""
    make, shape = LAYERS[name]
    inputs = keras.Input(shape)
    x = inputs
    if passes_gradients(name):
        x = keras.layers.Dense(shape[-1], kernel_initializer="identity")(x)
    x = sequence_layer(make())(x)
    if "Readout" not in name:
        x = layers.TimeFold(keras.layers.Flatten())(x)
        x = layers.TimeFold(keras.layers.Dense(3))(x)
        x = layers.MembraneReadout()(x)
    else:
        x = keras.layers.Dense(3)(keras.layers.Flatten()(x))
    return keras.Model(inputs, x)


@functools.cache
def network(name):
    """Return a small network, the same each time, in which all layers fire."""
    model = getattr(models, name)(
        input_shape=NETWORKS[name],
        classes=3,
        encoder=None,
        time_steps=None,
        norm=None if name in NORMALISED else "none",
        width=1 / 16,
        seed=0,
    )
    if name not in NORMALISED:
        for w in model.trainable_variables:
            w.assign(3 * ops.abs(w))
    return model


def network_input(name, **kwargs):
    return values((None, *NETWORKS[name]), **kwargs)


def fit_one_step(model, x):
    """Train one step; return the loss and how far each weight moved."""
    # Eager is the quicker for so few steps. Graphs have their own tests.
    labels = np.eye(3, dtype="float32")[np.arange(len(x)) % 3]
    loss = keras_snn.losses.SummedSquaredError()
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    before = [np.asarray(w) for w in model.trainable_variables]
    loss = model.train_on_batch(x, labels)
    after = [np.asarray(w) for w in model.trainable_variables]
    return float(loss), [np.abs(b - a).max() for a, b in zip(before, after)]


@pytest.mark.parametrize("name", LAYERS)
def test_layer_config_round_trip(name):
    layer = LAYERS[name][0]()
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    # Nothing of it falls back to a default.
    assert "keras_snn>" in text


@pytest.mark.parametrize("name", LAYERS)
def test_layer_shapes_with_any_batch_and_time(name):
    make, shape = LAYERS[name]
    layer = sequence_layer(make())
    symbolic = layer(keras.Input(shape)).shape
    for samples, time_steps in ((1, 2), (3, 4)):
        x = values(shape, samples, time_steps)
        y = layer(x)
        known = {0: samples, 1: time_steps}
        assert tuple(y.shape) == tuple(
            known[axis] if n is None else n for axis, n in enumerate(symbolic)
        )
        assert layer.compute_output_shape(x.shape) == tuple(y.shape)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_is_saved_in_a_keras_file(name, tmp_path):
    model, x = layer_model(name), values(LAYERS[name][1])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    # Seeds are saved, so the noise of both goes on alike.
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_takes_part_in_training(name):
    model = layer_model(name)
    loss, moves = fit_one_step(model, values(LAYERS[name][1]))
    assert np.isfinite(loss)
    # The first weights lie before the layer, the last ones behind it.
    assert moves[0] > 0 and moves[-1] > 0


@pytest.mark.parametrize("name", LAYERS)
def test_layer_under_mixed_precision(name, mixed_bfloat16):
    make, shape = LAYERS[name]
    layer = sequence_layer(make())
    y = layer(values(shape))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert {w.dtype for w in layer.trainable_variables} <= {"float32"}
    assert np.all(np.isfinite(ops.cast(y, "float32")))


@pytest.mark.parametrize("name", NAMES)
def test_network_takes_any_batch_and_time(name):
    assert network(name).input_shape[:2] == (None, None)
    x = network_input(name, samples=3, time_steps=1)
    with inference_only():
        assert network(name)(x).shape == (3, 3)
    # 2 samples and 3 steps in the tests below.


@pytest.mark.parametrize("name", NAMES)
def test_network_is_saved_in_a_keras_file(name, tmp_path):
    model, x = network(name), network_input(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is keras_snn.Model
    # By way of JSON, as files make lists of tuples.
    configs = [json.dumps(m.get_config()) for m in (loaded, model)]
    assert json.loads(configs[0]) == json.loads(configs[1])
    with inference_only():
        np.testing.assert_allclose(loaded(x), model(x), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_network_trains_one_step(name):
    # Normalized over two samples alone, credit of one is that of the other.
    x = network_input(name, samples=12 if name == "VGG16" else 2)
    loss, moves = fit_one_step(network(name), x)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(moves))
    # In a deep network a layer may stay silent for these few steps.
    assert np.mean(np.array(moves) > 0) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_network_under_mixed_precision(name, mixed_bfloat16):
    model = network.__wrapped__(name)
    assert {w.dtype for w in model.trainable_variables} == {"float32"}
    with inference_only():
        y = model(network_input(name, time_steps=1))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert np.all(np.isfinite(ops.cast(y, "float32")))
