"""Small networks that the tests of the analysis share."""

import keras
import numpy as np

import keras_snn as snn


def lenet(encoder="rate", time_steps=7, **options):
    """Return a tiny LeNet in which all layers fire."""
    model = snn.models.LeNet(
        input_shape=(6, 6, 1),
        width=0.1,
        classes=3,
        time_steps=time_steps,
        encoder=encoder,
        seed=0,
        **options,
    )
    rng = np.random.default_rng(1)
    for w in model.trainable_variables:
        fan_in = np.prod(w.shape[:-1])
        w.assign(rng.normal(0.2, 1.5 / np.sqrt(fan_in), w.shape))
    return model


def images(count=5):
    return np.random.default_rng(0).random((count, 6, 6, 1), "float32")


def dense():
    """Return a classifier of spike trains of any length, (batch, time, 6)."""
    x = inputs = keras.Input((None, 6))
    x = snn.layers.TimeFold(keras.layers.Dense(10, use_bias=False))(x)
    x = snn.layers.LIF(name="lif")(x)
    x = snn.layers.TimeFold(keras.layers.Dense(3, use_bias=False))(x)
    model = snn.Model(inputs, snn.layers.MembraneReadout()(x))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 1, w.shape) for w in model.weights])
    return model


def neurons(**options):
    """Return a network of one neuron layer without weights before it."""
    inputs = keras.Input((None, 3), name="current")
    x = snn.layers.LIF(name="lif", **options)(inputs)
    return snn.Model(inputs, snn.layers.MembraneReadout(0.8, name="out")(x))


def spikes(*shape, rate=0.4, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random(shape) < rate).astype("float32")


def randomize(model, seed=0):
    """Give a model weights with which all of its layers fire."""
    rng = np.random.default_rng(seed)
    for w in model.trainable_variables:
        fan_in = max(np.prod(w.shape[:-1]), 1)
        w.assign(rng.normal(0.15, 1.2 / np.sqrt(fan_in), w.shape))
    return model


def trains(model, names, x):
    """Return the outputs of layers, as flat frames."""
    tensors = [model.get_layer(name).output for name in names]
    found = keras.Model(model.input, tensors).predict(x, verbose=0)
    found = found if isinstance(found, list) else [found]
    return {n: f.reshape(*f.shape[:2], -1) for n, f in zip(names, found)}


def by_name(profile):
    return {layer.name: layer for layer in profile.layers}
