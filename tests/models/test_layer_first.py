"""Batch normalization in one backward pass, all steps of a layer at once."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn.running import normalization, obstacles
from tests.helpers import gradients, relative_error

L, TimeFold = keras.layers, snn.layers.TimeFold
NORMS = {
    "batch": lambda: L.BatchNormalization(momentum=0.8, epsilon=1e-3),
    "threshold": lambda: snn.layers.ThresholdBatchNormalization(
        alpha=0.7, momentum=0.8
    ),
    "uncentered": lambda: L.BatchNormalization(center=False, scale=False),
}


def images(samples=6):
    rng = np.random.default_rng(1)
    return rng.uniform(-1, 1, (samples, 6, 6, 2)).astype("float32")


def network(kind, rule, time_steps, norm="batch", encoder=None, **neuron):
    """Two convolutions with a residual join, pooling and dropout of 0."""
    encoder = encoder or snn.layers.RepeatEncoder(time_steps)
    neuron = {"beta": 0.5, "reset": "subtract", **neuron}
    inputs = keras.Input((6, 6, 2))
    keras.utils.set_random_seed(5)

    def lif():
        return snn.layers.LIF(learning_rule=rule, **neuron)

    def normalized(x, name):
        conv = L.Conv2D(4, 3, padding="same", use_bias=False, name=name)
        x = TimeFold(conv)(x)
        return TimeFold(NORMS[norm]())(x)

    x = first = lif()(normalized(encoder(inputs), "conv1"))
    x = lif()(L.Add()([normalized(x, "conv2"), first]))
    x = snn.layers.TimeConstantDropout(0.3, seed=4)(x)
    x = TimeFold(L.AveragePooling2D(2))(x)
    x = TimeFold(NORMS[norm]())(x)
    x = TimeFold(L.Flatten())(lif()(x))
    x = TimeFold(L.Dense(3))(x)
    model = kind(inputs, snn.layers.MembraneReadout(1.0, rule)(x))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(v + rng.normal(0, 0.2, v.shape))
    return model


def after_one_step(model):
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x, y = images(), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    loss = model.fit(x, y, 6, 1, verbose=0, shuffle=False).history["loss"]
    return loss, model.get_weights()


def pair(*args, **options):
    """Return what one step makes of a model in one pass, and of Keras'."""
    model = network(snn.Model, *args, **options)
    assert model.training_order == "layer first"
    layered = network(keras.Model, *args, **options)
    return after_one_step(model), after_one_step(layered)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rule", ["rate", "collapsed"])
def test_one_step_of_time_is_keras_own_normalization(rule, norm):
    """With T = 1 a value is its mean over time."""
    (loss, weights), (same, expected) = pair(rule, 1, norm)
    assert loss == pytest.approx(same, rel=1e-5)
    for actual, weight in zip(weights, expected, strict=True):
        np.testing.assert_allclose(actual, weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("encoder", ["repeat", "rate"])
@pytest.mark.parametrize("rule", ["rate", "collapsed"])
def test_outputs_and_moving_averages_are_those_of_all_steps(rule, encoder):
    encoder = {
        "repeat": snn.layers.RepeatEncoder,
        "rate": snn.layers.RateEncoder,
    }[encoder]
    model = network(snn.Model, rule, 5, encoder=encoder(5))
    layered = network(keras.Model, rule, 5, encoder=encoder(5))
    outputs = [m(images(), training=True) for m in (model, layered)]
    np.testing.assert_allclose(*map(np.asarray, outputs), rtol=1e-4, atol=1e-6)
    averages = [
        np.concatenate([np.ravel(v) for v in m.variables if "moving" in v.path])
        for m in (model, layered)
    ]
    np.testing.assert_allclose(*averages, rtol=1e-5, atol=1e-6)
    assert np.ptp(averages[0]) > 0.1


def convolution(**given):
    return L.Conv2D(4, 3, use_bias=False, **{"padding": "same", **given})


NORMALIZED_SPIKES = {
    "convolved": lambda: [NORMS["batch"](), convolution()],
    "pooled": lambda: [
        *(NORMS["batch"](), convolution(), L.AveragePooling2D(2)),
    ],
    "padded": lambda: [
        *(NORMS["batch"](), L.ZeroPadding2D(1), convolution(padding="valid")),
    ],
    "dense": lambda: [L.Flatten(), NORMS["batch"](), L.Dense(5)],
    "flattened": lambda: [NORMS["batch"](), L.Flatten(), L.Dense(5)],
    "twice": lambda: [convolution(), NORMS["batch"](), NORMS["uncentered"]()],
}


@pytest.mark.parametrize("time_steps", [1, 4])
@pytest.mark.parametrize("rule", ["rate", "collapsed"])
@pytest.mark.parametrize("layers", NORMALIZED_SPIKES)
def test_spikes_may_be_normalized(layers, rule, time_steps):
    def build(kind):
        keras.utils.set_random_seed(5)
        inputs = keras.Input((6, 6, 2))
        x = snn.layers.RepeatEncoder(time_steps)(inputs)
        for layer in (convolution(), NORMS["batch"]()):
            x = TimeFold(layer)(x)
        x = snn.layers.LIF(0.5, reset="subtract", learning_rule=rule)(x)
        for layer in NORMALIZED_SPIKES[layers]():
            x = TimeFold(layer)(x)
        x = snn.layers.LIF(0.5, reset="subtract", learning_rule=rule)(x)
        if len(x.shape) > 3:
            x = TimeFold(L.Flatten())(x)
        x = snn.layers.MembraneReadout(1.0, rule)(TimeFold(L.Dense(3))(x))
        model = kind(inputs, x)
        rng = np.random.default_rng(0)
        for v in model.trainable_variables:
            v.assign(v + rng.normal(0, 0.2, v.shape))
        return model

    model, layered = build(snn.Model), build(keras.Model)
    assert model.training_order == "layer first"
    outputs = [m(images(), training=True) for m in (model, layered)]
    np.testing.assert_allclose(*map(np.asarray, outputs), rtol=1e-4, atol=1e-5)
    if time_steps == 1:
        (loss, weights), (same, expected) = map(
            after_one_step, (model, layered)
        )
        assert loss == pytest.approx(same, rel=1e-4)
        for actual, weight in zip(weights, expected, strict=True):
            np.testing.assert_allclose(actual, weight, rtol=1e-3, atol=1e-5)


def reference(kernel, gamma, beta, top, x, time_steps, neuron):
    """Section 6 of the rule written out for one layer of neurons.

    Returns:
        The outputs, differentiable by the backward pass on means.
    """
    decay, threshold, slope = neuron
    frames = np.moveaxis(x, 1, 0)
    currents = [ops.stop_gradient(ops.matmul(f, kernel)) for f in frames]
    every = ops.stack(currents)
    m, v = ops.mean(every, (0, 1)), ops.var(every, (0, 1))
    potential = eligibility = derivative = total = ops.zeros_like(currents[0])
    for current in currents:
        current = (current - m) / ops.sqrt(v + 1e-3) * gamma + beta
        u = potential + ops.stop_gradient(current)
        s = ops.cast(u > threshold, "float32")
        p = ops.sigmoid(slope * (u - threshold))
        sigma = slope * p * (1 - p)
        e = 1 + decay * eligibility
        derivative = derivative + sigma * e / time_steps
        eligibility = (1 - threshold * sigma) * e
        total = total + s
        potential = decay * (u - threshold * s)
    z = ops.matmul(np.mean(x, 1), kernel)
    mean, variance = ops.mean(z, 0), ops.var(z, 0)
    kappa = ops.stop_gradient(v / variance)
    z = (z - mean) / ops.sqrt(kappa * variance + 1e-3) * gamma + beta
    rate = ops.stop_gradient(total / time_steps)
    rate = rate + ops.stop_gradient(derivative) * (z - ops.stop_gradient(z))
    return ops.matmul(rate, top)


def test_the_backward_pass_is_that_of_means_with_kappa():
    time_steps, rng = 7, np.random.default_rng(2)
    x = (rng.random((8, time_steps, 5)) < 0.4).astype("float32")
    inputs = keras.Input((time_steps, 5))
    y = TimeFold(L.Dense(6, use_bias=False))(inputs)
    y = TimeFold(L.BatchNormalization(epsilon=1e-3))(y)
    y = snn.layers.LIF(0.9, reset="subtract", learning_rule="rate")(y)
    y = TimeFold(L.Dense(4, use_bias=False))(y)
    model = snn.Model(inputs, snn.layers.MembraneReadout(1.0)(y))
    for v in model.trainable_variables:
        v.assign(v + rng.normal(0, 0.3, v.shape))
    wanted = rng.normal(0, 1, (8, 4)).astype("float32")

    def loss(x):
        return ops.sum(ops.square(model(x, training=True) - wanted))

    _, (_, *found) = gradients(loss, [x], model.trainable_variables)

    def plain(kernel, gamma, beta, top):
        outputs = reference(
            kernel, gamma, beta, top, x, time_steps, (0.9, 1.0, 4.0)
        )
        return ops.sum(ops.square(outputs - wanted))

    weights = [np.asarray(v) for v in model.trainable_variables]
    value, expected = gradients(plain, weights)
    assert float(loss(x)) == pytest.approx(float(value), rel=1e-5)
    for actual, gradient in zip(found, expected, strict=True):
        assert relative_error(actual, gradient) < 1e-4


@pytest.mark.parametrize("shape", [(50, 4), (7, 5, 6, 4)])
def test_statistics_of_currents_far_from_zero_are_exact(shape):
    rng = np.random.default_rng(3)
    frames = rng.normal(1e3, 1, (3, *shape)).astype("float32")
    layer = L.BatchNormalization(momentum=0.0, epsilon=1e-3)
    layer.build(shape)
    (scale, shift), mean = normalization.normalize(
        layer, [ops.convert_to_tensor(x) for x in frames], frames.mean(0)
    )
    every = frames.astype("float64").reshape(-1, 4)
    variance = every.var(0)
    np.testing.assert_allclose(layer.moving_mean, every.mean(0), rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-4)
    np.testing.assert_allclose(
        np.ravel(scale), 1 / np.sqrt(variance + 1e-3), rtol=1e-4
    )
    of_mean = frames.astype("float64").mean(0) - every.mean(0)
    expected = of_mean / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(mean, expected, atol=1e-3)


@pytest.mark.parametrize(
    "option, reason",
    [
        ({"renorm": True}, r"(BatchNormalization) renormalizes"),
        ({"synchronized": True}, "synchronized"),
    ],
)
def test_other_statistics_train_layer_by_layer(option, reason):
    if reason == "synchronized" and keras.config.backend() != "tensorflow":
        pytest.skip("Keras synchronizes on TensorFlow only")
    if (
        not set(option)
        <= inspect.signature(L.BatchNormalization).parameters.keys()
    ):
        pytest.skip("this Keras does not know it yet")
    x = inputs = keras.Input((4, 3))
    x = TimeFold(L.BatchNormalization(**option))(TimeFold(L.Dense(3))(x))
    x = snn.layers.LIF(learning_rule="rate")(x)
    model = snn.Model(inputs, snn.layers.MembraneReadout()(x))
    assert reason in model.runs_layer_by_layer
    assert model.training_order == "layer by layer"


def test_a_frozen_normalization_needs_no_other_order():
    model = network(snn.Model, "collapsed", 4)
    for layer in model.layers:
        if isinstance(getattr(layer, "layer", None), L.BatchNormalization):
            layer.trainable = False
    assert model.training_order == "time first"


@pytest.mark.parametrize("rule", ["rate", "collapsed"])
@pytest.mark.parametrize("time_steps", [1, 3, 8, 9, None])
def test_few_steps_of_the_rate_rule_go_by_layer(rule, time_steps):
    inputs = keras.Input((time_steps, 4))
    x = snn.layers.LIF(learning_rule=rule)(TimeFold(L.Dense(3))(inputs))
    model = snn.Model(inputs, snn.layers.MembraneReadout(1.0, rule)(x))
    few = rule == "rate" and time_steps is not None and time_steps <= 8
    assert model.training_order == ("layer first" if few else "time first")
    if few and keras.config.backend() == "tensorflow":
        assert "layer first" in model.dense_reason(training=True)


@pytest.mark.parametrize("norm", ["none", "weight"])
@pytest.mark.parametrize("samples", [1, 6])
@pytest.mark.parametrize("encoder", ["repeat", "rate"])
def test_both_orders_learn_the_same(encoder, samples, norm, monkeypatch):
    def gradients_of_order(order):
        model = snn.models.VGG5(
            input_shape=(8, 8, 3),
            classes=4,
            width=1 / 16,
            time_steps=4,
            norm=norm,
            learning_rule="rate",
            encoder=encoder,
            seed=1,
        )
        if order == "time first":
            monkeypatch.setattr(obstacles, "MOST_STEPS_KEPT", 0)
        assert model.training_order == order
        x = np.random.default_rng(2).uniform(0, 1, (samples, 8, 8, 3))
        x = x.astype("float32")
        start = snn.models.scale_to_rate
        if norm == "weight":
            start = snn.models.calibrate
        start(model, x)

        def loss(x):
            return ops.sum(model(x, training=True) ** 2)

        value, (_, *found) = gradients(loss, [x], model.trainable_variables)
        return [value, *found]

    orders = "layer first", "time first"
    for a, b in zip(*map(gradients_of_order, orders), strict=True):
        assert np.any(b)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
