"""Blocks of the shape of those in keras.applications, in every tool."""

import keras
import numpy as np
import pytest

import keras_snn as snn
import keras_snn_runtime
from keras_snn.conversion import plain
from keras_snn.conversion.folding import folded
from tests.conversion.networks import L, data, functional, network

convert = snn.conversion.convert
NORM = L.BatchNormalization


def predict(model, x):
    return model.predict(x, verbose=0)


def head(x):
    return L.Dense(3)(L.GlobalAveragePooling2D()(x))


def vgg(x):
    x = L.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = L.MaxPooling2D(2)(x)
    return L.Dense(3)(L.Flatten()(x))


def dense_net(x):
    """Normalizations of what is joined, with several takers each."""
    y = L.Conv2D(4, 1, use_bias=False)(L.ReLU()(NORM()(x)))
    y = L.Conv2D(2, 3, padding="same", use_bias=False)(L.ReLU()(NORM()(y)))
    x = L.Concatenate()([x, y])
    x = L.Conv2D(3, 1, use_bias=False)(L.ReLU()(NORM()(x)))
    x = L.AveragePooling2D(2)(x)
    return head(L.ReLU()(NORM()(x)))


def res_net_v2(x):
    """Normalization and ReLU before what is added."""
    x = L.Conv2D(4, 3, padding="same")(x)
    before = L.ReLU()(NORM()(x))
    shortcut = L.Conv2D(4, 1, strides=2)(before)
    y = L.Conv2D(4, 1, use_bias=False)(before)
    y = L.ZeroPadding2D(1)(L.ReLU()(NORM()(y)))
    y = L.Conv2D(4, 3, strides=2)(y)
    return head(L.ReLU()(NORM()(L.Add()([shortcut, y]))))


def mobile_net(x):
    x = L.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(x)
    x = L.ReLU(6.0)(NORM()(x))
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = L.ReLU(6.0)(NORM()(x))
    x = L.ReLU(6.0)(NORM()(L.Conv2D(6, 1, use_bias=False)(x)))
    x = L.GlobalAveragePooling2D(keepdims=True)(x)
    x = L.Conv2D(3, 1, padding="same")(L.Dropout(0.1)(x))
    return L.Activation("softmax")(L.Reshape((3,))(x))


def xception(x):
    residual = NORM()(L.Conv2D(4, 1, strides=2, padding="same")(x))
    x = NORM()(L.SeparableConv2D(4, 3, padding="same", use_bias=False)(x))
    x = L.Activation("relu")(x)
    x = NORM()(L.SeparableConv2D(4, 3, padding="same", use_bias=False)(x))
    x = L.MaxPooling2D(3, strides=2, padding="same")(x)
    return head(L.ReLU()(L.Add()([x, residual])))


def inception_res_net(x):
    from keras.src.applications import inception_resnet_v2

    scale = inception_resnet_v2.CustomScaleLayer(0.2, name="residual")
    x = L.Conv2D(4, 3, activation="relu")(x)
    up = L.Conv2D(4, 1)(L.Concatenate()([L.Conv2D(2, 1)(x), x]))
    return head(L.Activation("relu")(scale([x, up])))


def nas_net(x):
    """A ReLU of each cell's own on what several cells take."""
    x = L.Conv2D(4, 3, padding="same")(x)
    a = NORM()(L.SeparableConv2D(4, 3, padding="same")(L.ReLU()(x)))
    b = L.AveragePooling2D(3, strides=1, padding="same")(x)
    c = L.Cropping2D(((1, 0), (1, 0)))(
        L.ZeroPadding2D(((0, 1), (0, 1)))(L.ReLU()(x))
    )
    return head(L.ReLU()(L.Concatenate()([L.Add()([a, b]), c])))


def tutorial(x):
    """The order of many tutorials: the normalization behind the ReLU."""
    for _ in range(2):
        x = L.Conv2D(4, 3, padding="same", activation="relu")(x)
        x = L.MaxPooling2D()(NORM(gamma_constraint="non_neg")(x))
    x = L.Dense(5, activation="relu")(L.Flatten()(x))
    return L.Dense(3)(NORM()(x))


def line(x):
    x = L.Conv1D(4, 3, activation="relu")(L.Reshape((64, 2))(x))
    x = L.Conv1D(4, 3, activation="relu")(L.MaxPooling1D(3)(x))
    return L.Dense(3)(L.GlobalMaxPooling1D()(x))


def volume(x):
    x = L.Conv3D(3, 2, activation="relu")(L.Reshape((4, 4, 4, 2))(x))
    x = L.MaxPooling3D(2, strides=1)(x)
    return L.Dense(3)(L.GlobalMaxPooling3D()(x))


def largest(x):
    x = L.Conv2D(4, 3, activation="relu")(x)
    x = L.Conv2D(3, 1)(L.GlobalMaxPooling2D(keepdims=True)(x))
    return L.Flatten()(x)


BLOCKS = {
    f.__name__: f
    for f in (
        vgg,
        dense_net,
        res_net_v2,
        mobile_net,
        xception,
        inception_res_net,
        nas_net,
        tutorial,
        line,
        volume,
        largest,
    )
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_folded_exactly(name):
    ann, x = functional(BLOCKS[name]), data(6)
    graph = folded(ann)
    assert "normalization" not in {op.role for op in graph.ops}
    again = plain.reference(graph, [graph.output])
    np.testing.assert_allclose(predict(again, x), predict(ann, x), atol=1e-5)


# One of each kind, and how it runs.
RUNS = {
    "dense_net": "event by event",
    "res_net_v2": "event by event",
    "mobile_net": "event by event",
    "tutorial": "event by event",
    "line": "event by event",
    "volume": "has frames of shape (4, 4, 4, 2)",
    "largest": "event by event",
}


@pytest.mark.parametrize("name", ["dense_net", "tutorial", "line", "volume"])
def test_a_block_converges(name):
    ann, x = functional(BLOCKS[name]), data(6)
    model = convert(ann, x, "max", time_steps=256)
    expected = predict(ann, x)
    error = np.abs(predict(model, x) - expected).max()
    assert error < 0.1 * np.abs(expected - expected.mean()).max()


@pytest.mark.parametrize("name", RUNS)
def test_a_block_runs_in_every_tool(name, tmp_path):
    ann, x = functional(BLOCKS[name]), data(3)
    model = convert(ann, x, "max", time_steps=3)
    found = predict(model, x)
    reason = model.dense_reason() or "event by event"
    if keras.config.backend() == "tensorflow":
        assert RUNS[name] in reason
    # In the loop over time as layer by layer.
    layerwise = keras.Model(model.input, model.output)
    np.testing.assert_allclose(layerwise(x), found, rtol=1e-3, atol=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    step = snn.streaming(loaded)
    state = step.initial_state(len(x))
    for _ in range(3):
        scores, *state = step([x, *state])
    np.testing.assert_allclose(scores, found, rtol=1e-3, atol=1e-4)
    # A softmax at the end is no part of a file.
    if reason == "event by event" and name != "mobile_net":
        pytest.importorskip("numba")
        snn.export.runtime(loaded, tmp_path / "model.npz")
        program = keras_snn_runtime.load(tmp_path / "model.npz")
        np.testing.assert_allclose(program.predict(x), found, atol=1e-4)
    assert snn.analysis.profile(loaded, x).effective_acs > 0
    assert snn.conversion.report(ann, loaded, x).reasons


@pytest.mark.parametrize(
    "how, names",
    [
        ("rate", ["MaxRatePooling1D", "MaxRatePooling1D"]),
        ("spike", ["MaxPooling1D", "GlobalMaxPooling1D"]),
        ("average", ["AveragePooling1D", "GlobalAveragePooling1D"]),
    ],
)
def test_maxima_of_one_axis_are_pooled_as_asked(how, names):
    ann, x = functional(line), data(3)
    model = convert(ann, x, time_steps=3, max_pooling=how)
    kinds = [type(getattr(y, "layer", y)).__name__ for y in model.layers]
    assert [kind for kind in kinds if "Pooling" in kind] == names
    assert predict(model, x).shape == (3, 3)


def test_rates_behind_a_standing_normalisation_are_the_closed_form():
    """threshold * clip(ceil(T I / threshold + 1/2) - 1, 0, T) / T."""

    def body(x):
        x = L.Add()([L.Conv2D(2, 3, padding="same")(x), x])
        x = L.ReLU(name="act")(NORM(name="norm")(x))
        return L.Flatten()(x)

    ann, x, t = functional(body), data(), 12
    model = convert(ann, x, "max", time_steps=t)
    currents = keras.Model(ann.input, ann.get_layer("norm").output)
    current = predict(currents, x).reshape(len(x), -1).astype("float64")
    h = current.max()
    count = np.clip(np.ceil(t * current / h + 0.5) - 1, 0, t)
    found = predict(model, x)
    # Rounding may move a spike of a few neurons.
    assert np.mean(np.abs(found - h * count / t) < 1e-5) > 0.999


def test_padding_costs_no_multiplication():
    """The bias of each position is a bias: counts are the convolution's."""
    ann = network(
        L.Conv2D(4, 3, activation="relu"),
        NORM(),
        L.Conv2D(5, 3, padding="same"),
        L.ReLU(),
        L.Flatten(),
        L.Dense(3),
    )
    x = data(4)
    model = convert(ann, x, "max", time_steps=4)
    layers = snn.analysis.profile(model, x).layers
    rows = {row.kind: row for row in layers}
    assert rows["Affine"].effective_acs == rows["Affine"].effective_macs == 0
    assert rows["Affine"].bias_adds == 4 * 6 * 6 * 5
    second = [row for row in layers if row.kind == "Conv2D"][1]
    assert second.effective_macs == 0 and second.effective_acs > 0
