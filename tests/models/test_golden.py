"""Equality with cases computed by an independent implementation."""

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_snn.layers import TimeConstantDropout
from keras_snn.running import layer_first
from tests.conftest import ENGINES
from tests.helpers import (
    GOLDEN_CASES,
    Golden,
    cosine,
    gradients,
    relative_error,
    slow_on_jax,
)

# These two have all that the others have.
BOTH = ("lenet", "resnet11_dropout")
# Enough on JAX for what follows from the other tests.
SMALL = [
    case if case == "lenet" else pytest.param(case, marks=slow_on_jax)
    for case in GOLDEN_CASES
]


def rows(ways, engines=ENGINES, on_jax=BOTH):
    """Return each golden case with each way to run it, and each engine.

    A case that has nothing of its own runs in the first way by default.
    """

    def marks(case, way, engine):
        first = way == ways[0]
        if case not in BOTH and not (first and engine == "dense"):
            return [pytest.mark.long]
        return [] if case in on_jax and first else slow_on_jax

    return [
        pytest.param(*row, marks=marks(*row))
        for row in itertools.product(GOLDEN_CASES, ways, engines)
    ]


# Cosine of the collapsed with the exact gradient, its least over all layers.
# LeNet and VGG9 were measured beforehand; the ResNets' first layers are a
# harder case.
LEAST_COSINE = {
    "lenet": 0.84,
    "vgg9": 0.84,
    "vgg9_dropout": 0.84,
    "resnet11": 0.6,
    "resnet11_dropout": 0.6,
}


def masked_model(golden, learning_rule, monkeypatch):
    """Return the case's model; its dropout layers give the case's masks."""
    has_masks = any(key.startswith("mask/") for key in golden.arrays)
    model = golden.model(learning_rule, dropout=0.2 if has_masks else 0.0)
    if has_masks:
        layers = [x for x in model.layers if isinstance(x, TimeConstantDropout)]
        masks = {
            layer.name: golden.frames(f"mask/{name}")
            for layer, name in zip(layers, golden.neurons, strict=True)
        }
        monkeypatch.setattr(
            TimeConstantDropout,
            "mask",
            lambda self, shape, dtype="float32": ops.convert_to_tensor(
                masks[self.name], dtype
            ),
        )
    return model


def loss_and_gradients(model, golden, variables=None):
    if variables is None:
        variables = model.trainable_variables

    def loss(spikes):
        outputs = model(spikes, training=True)
        return ops.sum(ops.square(outputs - golden.labels))

    value, found = gradients(loss, [golden.spikes], variables)
    return value, found[1:]


def layered(model):
    return keras.Model(model.input, model.output)


def layer_first_of(model):
    """Return the model's function with the layers outside of the steps."""
    return functools.partial(layer_first.run, model.network)


WAYS = {"loop": lambda model: model, "layers": layered}


@pytest.mark.parametrize(
    "case, way, engine", rows(["loop", "layers"]), indirect=["engine"]
)
def test_exact_rule_equals_the_golden_case(case, way, engine, monkeypatch):
    golden = Golden(case)
    model = WAYS[way](masked_model(golden, "exact", monkeypatch))
    outputs = model(golden.spikes, training=True)
    assert relative_error(outputs, golden.arrays["output"]) < 1e-5
    loss, found = loss_and_gradients(model, golden)
    assert loss == pytest.approx(float(golden.arrays["loss"]), rel=1e-5)
    for actual, expected in zip(found, golden.gradients, strict=True):
        assert relative_error(actual, expected) < 1e-5


@pytest.mark.parametrize("case", SMALL)
def test_collapsed_rule_points_along_the_exact_gradient(
    case, monkeypatch, record_property
):
    golden = Golden(case)
    model = masked_model(golden, "collapsed", monkeypatch)
    assert model.runs_layer_by_layer is None
    outputs = model(golden.spikes, training=True)
    assert relative_error(outputs, golden.arrays["output"]) < 1e-5
    _, found = loss_and_gradients(model, golden)
    cosines = {
        variable.path: round(cosine(actual, expected), 3)
        for variable, actual, expected in zip(
            model.trainable_variables, found, golden.gradients
        )
    }
    record_property("cosines", str(cosines))
    print(f"\n{case}:", *cosines.items(), sep="\n  ")
    assert min(cosines.values()) >= LEAST_COSINE[case]


@pytest.mark.parametrize(
    "case, way, engine", rows(["loop"]), indirect=["engine"]
)
def test_rate_rule_equals_the_golden_case(case, way, engine, monkeypatch):
    golden = Golden(case)
    model = masked_model(golden, "rate", monkeypatch)
    assert model.runs_layer_by_layer is None
    assert_rate_gradients(model, model, golden)


@pytest.mark.parametrize(
    "case, way, engine",
    rows([layer_first_of, layered], ["dense"]),
    indirect=["engine"],
)
def test_rate_rule_in_other_orders_equals_it(case, way, engine, monkeypatch):
    golden = Golden(case)
    model = masked_model(golden, "rate", monkeypatch)
    assert_rate_gradients(model, way(model), golden)


def assert_rate_gradients(model, run, golden):
    loss, found = loss_and_gradients(run, golden, model.trainable_variables)
    assert loss == pytest.approx(float(golden.arrays["loss"]), rel=1e-5)
    for actual, expected in zip(found, golden.rate_gradients, strict=True):
        assert relative_error(actual, expected) < 1e-5


@pytest.mark.parametrize(
    "case, way, engine",
    # Enough on JAX for what follows from the other tests.
    rows(["loop"], on_jax=["lenet"]),
    indirect=["engine"],
)
def test_one_loop_over_time_equals_layer_by_layer(
    case, way, engine, monkeypatch
):
    golden = Golden(case)
    model = masked_model(golden, "collapsed", monkeypatch)
    loss, found = loss_and_gradients(model, golden)
    layered_loss, expected = loss_and_gradients(layered(model), golden)
    assert loss == pytest.approx(layered_loss, rel=1e-5)
    for actual, gradient in zip(found, expected, strict=True):
        assert relative_error(actual, gradient) < 1e-5
    run, variables = layer_first_of(model), model.trainable_variables
    _, found = loss_and_gradients(run, golden, variables)
    for actual, gradient in zip(found, expected, strict=True):
        assert relative_error(actual, gradient) < 1e-5


def test_collapsed_rule_equals_numpy_on_a_dense_network():
    """Section 4, written out for 12-9-7-5 neurons in plain NumPy."""
    import keras_snn

    rng = np.random.default_rng(3)
    spikes = (rng.random((4, 15, 12)) < 0.4).astype("float32")
    labels = np.eye(5, dtype="float32")[[0, 1, 2, 3]]
    kernels = [
        rng.normal(0, 0.6, shape).astype("float32")
        for shape in ((12, 9), (9, 7), (7, 5))
    ]
    inputs = keras.Input((15, 12))
    x = inputs
    for units in (9, 7):
        x = keras_snn.layers.TimeFold(
            keras.layers.Dense(units, use_bias=False)
        )(x)
        x = keras_snn.layers.LIF(beta=0.9)(x)
    x = keras_snn.layers.TimeFold(keras.layers.Dense(5, use_bias=False))(x)
    outputs = keras_snn.layers.MembraneReadout(beta=0.9)(x)
    model = keras_snn.Model(inputs, outputs)
    model.set_weights(kernels)

    activity, factors = [spikes], []
    for kernel in kernels[:2]:
        v = np.zeros((4, kernel.shape[1]), "float32")
        trace, last, train = np.zeros_like(v), np.zeros_like(v), []
        for t in range(15):
            u = v + activity[-1][:, t] @ kernel
            s = (u > 1).astype("float32")
            v = np.float32(0.9) * u * (1 - s)
            trace = 0.9 * trace + s
            last = np.where(s > 0, t + 1, last)
            train.append(s)
        total = np.sum(train, 0)
        factor = (trace > 1e-3) + np.log(0.9) * trace / np.maximum(total, 1)
        factors.append(factor * last / 15)
        activity.append(np.stack(train, 1))
    v = np.zeros((4, 5))
    for t in range(15):
        v = 0.9 * (v + activity[-1][:, t] @ kernels[2])
    error = 2 * (v / 15 - labels) / 15

    expected = []
    for kernel, train, factor in zip(
        kernels[::-1], activity[::-1], [*factors[::-1], None]
    ):
        expected.insert(0, train.sum(1).T @ error)
        if factor is not None:
            error = factor * (error @ kernel.T)

    def loss(x):
        y = model(x, training=True)
        return ops.sum(ops.square(y - labels))

    _, found = gradients(loss, [spikes], model.trainable_variables)
    np.testing.assert_allclose(
        np.asarray(model(spikes)), v / 15, rtol=1e-4, atol=1e-6
    )
    for actual, gradient in zip(found[1:], expected, strict=True):
        assert relative_error(actual, gradient) < 1e-5
