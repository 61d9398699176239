"""Small ordinary networks with random weights, and data for them."""

import keras
import numpy as np

L = keras.layers
SHAPE = (8, 8, 2)


def data(samples=16, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random((samples, *shape), "float32")


def randomised(model, seed=0):
    """Give biases and normalisations values that a mistake would show."""
    random = np.random.default_rng(seed)
    for w in model.weights:
        if w.name in ("gamma", "moving_variance"):
            w.assign(random.uniform(0.5, 2.0, w.shape))
        elif w.name in ("beta", "moving_mean", "bias"):
            w.assign(random.uniform(-0.3, 0.3, w.shape))
    return model


def network(*layers, shape=SHAPE, seed=0):
    keras.utils.set_random_seed(seed)
    return randomised(keras.Sequential([keras.Input(shape), *layers]), seed)


def functional(body, shape=SHAPE, seed=0):
    """Return the network `inputs -> body(inputs)`."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(shape)
    return randomised(keras.Model(inputs, body(inputs)), seed)


def normalised_conv(x, filters, **options):
    x = L.Conv2D(filters, 3, padding="same", use_bias=False, **options)(x)
    return L.ReLU()(L.BatchNormalization()(x))


def everything(x):
    """Normalisation, branches, merges, all poolings and dropout."""
    x = L.MaxPooling2D()(normalised_conv(x, 6))
    left = L.Conv2D(5, 3, padding="same", activation="relu")(x)
    right = L.Conv2D(5, 1, activation="relu")(x)
    both = L.Add()([left, right])
    x = L.Concatenate()([left, right, x])
    x = L.Activation("relu")(L.Add()([L.Conv2D(5, 1)(x), both]))
    x = L.Dropout(0.3)(x)
    x = L.AveragePooling2D(2)(x)
    x = L.Conv2D(7, 2, activation="relu")(x)
    x = L.GlobalAveragePooling2D()(x)
    return L.Dense(3, activation="softmax")(x)
