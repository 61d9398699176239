"""The exact rule's backward pass in the engine equals the dense one."""

import re

import keras
import numpy as np
import pytest

import keras_snn
from keras_snn import event_driven, layers
from keras_snn.event_driven import backward, switch
from tests.helpers import gradients, relative_error, uncollected

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="runs on TensorFlow only"
)

L = keras.layers


def spikes(*frame, samples=3, time_steps=11, rate=0.3):
    rng = np.random.default_rng(0)
    x = rng.random((samples, time_steps, *frame)) < rate
    return (x * rng.choice([-1, 1, 0.5], x.shape)).astype("float32")


def lif(**options):
    options = {"threshold": 0.5, "beta": 0.875, **options}
    return layers.LIF(learning_rule="exact", **options)


def readout(x, last=None):
    x = layers.TimeFold(L.Dense(3))(layers.TimeFold(L.Flatten())(x))
    return (last or layers.MembraneReadout(learning_rule="exact"))(x)


def on_grid(model):
    """Give a model weights of which all sums are exact."""
    rng = np.random.default_rng(1)
    for w in model.trainable_variables:
        w.assign(rng.integers(-16, 24, w.shape) / 32)
    return model


def sequential(x, *stages, last=None):
    inputs = y = keras.Input(x.shape[1:])
    for stage in stages:
        y = layers.TimeFold(stage)(y) if not over_time(stage) else stage(y)
    return on_grid(keras_snn.Model(inputs, readout(y, last)))


def over_time(layer):
    return isinstance(layer, layers.time_layer.TimeLayer)


def check_equal(model, *x, monkeypatch, backward=True):
    """Check the gradients to inputs and weights, and that spikes have any."""
    rng = np.random.default_rng(2)
    weights = model.trainable_variables
    scale = rng.normal(size=(len(x[0]), 3)).astype("float32")
    seen = []
    connect = event_driven.connect_backward
    monkeypatch.setattr(
        event_driven,
        "connect_backward",
        lambda *args: seen.append(True) or connect(*args),
        raising=False,
    )

    def loss(*x):
        y = model(x[0] if len(x) == 1 else x, training=True)
        return keras.ops.sum(scale * y + y**2)

    def found(engine):
        monkeypatch.setattr(switch, "_choice", engine)
        seeds = [v for v in model.variables if "seed" in v.path]
        for v in seeds:
            v.assign(np.full(v.shape, 7, "uint32"))
        return gradients(loss, x, weights)

    value, actual = found(True)
    assert bool(seen) == backward
    assert (model.dense_reason(training=True) is None) == backward
    dense, expected = found(False)
    assert value == pytest.approx(dense, rel=1e-5)
    for a, b in zip(actual, expected, strict=True):
        assert np.any(b)
        assert relative_error(a, b) < 1e-5


SYNAPSES = {
    "same": ((5, 6, 3), L.Conv2D(5, 3, padding="same", use_bias=False)),
    "valid": ((5, 6, 3), L.Conv2D(5, 3)),
    "even": ((5, 6, 3), L.Conv2D(4, (2, 4), padding="same")),
    "one": ((5, 6, 3), L.Conv2D(1, 1)),
    "strides": ((7, 6, 3), L.Conv2D(6, 3, strides=2, padding="same")),
    "strides of a point": ((7, 6, 3), L.Conv2D(6, 1, strides=(3, 2))),
    "beyond the edge": ((7, 6, 3), L.Conv2D(6, 2, strides=3)),
    "many": ((4, 4, 37), L.Conv2D(64 + 32 + 16 + 3, 3, padding="same")),
    "in one axis": ((9, 4), L.Conv1D(5, 3, padding="same", strides=2)),
    "dense": ((37,), L.Dense(21)),
    "dense of a channel": ((3, 5, 7), L.Dense(6)),
    "standardized": ((5, 6, 3), layers.StandardizedConv2D(6, 3)),
}


@pytest.mark.parametrize("name", SYNAPSES)
def test_weights_and_what_is_before_them(name, monkeypatch):
    frame, layer = SYNAPSES[name]
    x = spikes(*frame)
    # Behind the source, and behind neurons.
    model = sequential(x, lif(threshold=0.25), layer, lif(threshold=0.1))
    check_equal(model, x, monkeypatch=monkeypatch)
    first = type(layer).from_config(layer.get_config())
    model = sequential(x, first, lif(threshold=0.1))
    check_equal(model, x, monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    "stage",
    [
        lif(reset="subtract"),
        lif(factor=0.5),
        layers.IF(threshold=0.75, learning_rule="exact"),
        L.AveragePooling2D(2),
        L.AveragePooling2D((3, 2), strides=(2, 1)),
        L.AveragePooling2D((5, 7), strides=1),
        L.Reshape((8, 6, 3)),
        L.ZeroPadding2D(((2, 0), (1, 4))),
        layers.TimeConstantDropout(0.4, seed=3),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_stands_between_weights(stage, monkeypatch):
    x = spikes(6, 8, 3)
    between = [stage, lif(threshold=0.2)]
    if isinstance(stage, (L.ZeroPadding2D, layers.TimeConstantDropout)):
        between.reverse()
    model = sequential(
        x,
        L.Conv2D(3, 3, padding="same", use_bias=False),
        *between,
        L.Conv2D(4, 2),
        lif(),
    )
    check_equal(model, x, monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    "time_steps, normalize", [(1, True), (8, False), (9, True), (20, False)]
)
def test_windows_of_all_lengths(time_steps, normalize, monkeypatch):
    x = spikes(12, time_steps=time_steps, rate=0.6)
    last = layers.SpikeCountReadout(normalize=normalize)
    model = sequential(x, L.Dense(20), lif(), L.Dense(9), lif(), last=last)
    check_equal(model, x, monkeypatch=monkeypatch)


@pytest.mark.parametrize("samples, threads", [(1, 2), (33, 1), (33, 5)])
def test_batches_shared_by_threads(samples, threads, monkeypatch):
    monkeypatch.setattr(
        "keras_snn.event_driven.backward.threads", lambda: threads
    )
    x = spikes(6, 6, 2, samples=samples)
    model = sequential(x, L.Conv2D(5, 3), lif(), L.Conv2D(4, 3), lif())
    check_equal(model, x, monkeypatch=monkeypatch)


def test_layers_with_several_readers_and_two_sources(monkeypatch):
    first, second = keras.Input((11, 5, 6, 2)), keras.Input((11, 5, 6, 2))
    conv = layers.TimeFold(L.Conv2D(2, 3, padding="same"))
    short = layers.TimeFold(L.AveragePooling2D(1))
    dropout = layers.TimeConstantDropout(0.5)
    s = dropout(lif()(first))
    y = lif()(L.Add()([conv(s), short(s), s, conv(second)]))
    y = lif()(L.Add()([conv(y), y, first]))
    model = keras_snn.Model([first, second], readout(y))
    rng = np.random.default_rng(4)
    x = [spikes(5, 6, 2), rng.integers(0, 4, (3, 11, 5, 6, 2)) / 4]
    check_equal(
        on_grid(model),
        *(x.astype("float32") for x in x),
        monkeypatch=monkeypatch,
    )


INDIRECT = r"'conv.*' \(Conv2D\) takes neither spikes nor a source directly"


@pytest.mark.parametrize(
    "stages, reason",
    [
        ([L.MaxPooling2D(2), lif()], r"\(MaxPooling2D\) has no event-driven"),
        ([lif(), L.AveragePooling2D(2)], INDIRECT),
        ([layers.TimeConstantDropout(0.2) for _ in range(2)], INDIRECT),
        ([L.Conv2D(3, 3), L.Conv2D(3, 3), lif()], INDIRECT),
    ],
    ids=["maximum", "averages", "two masks", "no spikes between"],
)
def test_other_networks_learn_by_dense_products(stages, reason, monkeypatch):
    x = spikes(8, 8, 2, rate=0.5)
    model = sequential(
        x, L.Conv2D(3, 3), lif(threshold=0.2), *stages, L.Conv2D(3, 2), lif()
    )
    check_equal(model, x, monkeypatch=monkeypatch, backward=False)
    monkeypatch.setattr(switch, "_choice", True)
    assert re.search(
        f"{reason}.*The forward pass runs event by event",
        model.dense_reason(training=True),
    )


def test_fit_learns_what_it_learns_with_dense_products(monkeypatch):
    x = spikes(6, 6, 2, samples=24)
    y = np.eye(3, dtype="float32")[np.arange(24) % 3]

    def fitted(engine):
        monkeypatch.setattr(switch, "_choice", engine)
        model = sequential(x, L.Conv2D(5, 3), lif(), L.Conv2D(4, 3), lif())
        model.compile(keras.optimizers.SGD(0.01), "mse")
        before = model.get_weights()
        model.fit(x, y, batch_size=10, epochs=1, shuffle=False, verbose=0)
        return [b - a for a, b in zip(before, model.get_weights())]

    for a, b in zip(fitted(True), fitted(False), strict=True):
        assert np.any(b)
        assert relative_error(a, b) < 1e-4


def test_arrays_are_free_after_a_call(monkeypatch):
    x = spikes(4, 4, 1)
    model = sequential(x, L.Conv2D(3, 3), lif())
    with uncollected(backward.Workspace, monkeypatch) as workspaces:
        check_equal(model, x, monkeypatch=monkeypatch)
        assert workspaces and not any(reference() for reference in workspaces)


def test_the_graph_of_a_step_does_not_grow_with_time(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(switch, "_choice", True)

    def operations(time_steps):
        x = spikes(6, samples=2, time_steps=time_steps)
        model = sequential(x, L.Dense(7), lif())

        @tf.function(autograph=False)
        def step(x):
            with keras_snn.running.scopes.own_process(), tf.GradientTape() as t:
                loss = tf.reduce_sum(model(x, training=True))
            return t.gradient(loss, [v.value for v in model.weights])

        return len(step.get_concrete_function(x).graph.get_operations())

    assert operations(8) == operations(80)
