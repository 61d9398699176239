"""Frames side by side, separable convolutions and poolings that count."""

import json
import zipfile

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn import event_driven
from keras_snn.event_driven import engine

pytest.importorskip("numba")
import keras_snn_runtime  # noqa: E402
from keras_snn_runtime import operations, samples  # noqa: E402
from keras_snn_runtime.crew import Crew  # noqa: E402
from tests.runtime.test_runtime import check_refused, first  # noqa: E402

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="runs on TensorFlow only"
)

K, L = keras.layers, snn.layers
T = 11


def spikes(count, *frame):
    drawn = np.random.default_rng(0).random((count, T, *frame))
    return (drawn < 0.3).astype("float32")


def on_a_grid(model):
    """Give a model weights of which all sums are exact, in int8, too."""
    rng = np.random.default_rng(1)
    for w in model.weights:
        values = rng.integers(-90, 100, w.shape)
        if w.shape[0] and len(w.shape) > 1:
            values[..., 0, :] = 127  # The largest of each output.
        w.assign(values / 64)
    return model


def network(body, *frame):
    inputs = keras.Input((T, *frame))
    x = L.TimeFold(K.Flatten())(body(inputs))
    x = L.TimeFold(K.Dense(3))(x)
    return on_a_grid(snn.Model(inputs, L.SpikeCountReadout(normalize=False)(x)))


def fired(x, layer):
    return L.LIF(beta=0.5, threshold=0.75, reset="subtract")(
        L.TimeFold(layer)(x)
    )


def two(x):
    return [fired(x, K.Conv2D(n, 3, padding="same")) for n in (35, 3)]


def joined_channels(x):
    return fired(K.Concatenate()(two(x)), K.Conv2D(4, 2))


def joined_rows(x):
    a, _ = two(x)
    y = K.Concatenate(axis=-3)([a, fired(a, K.Conv2D(35, (3, 1)))])
    return fired(y, K.Conv2D(4, 2))


def joined_pixels(x):
    a, _ = two(x)
    y = K.Concatenate(axis=-2)([fired(a, K.Conv2D(35, (1, 3))), a])
    return fired(y, K.Conv2D(4, 2))


def dense_block(x):
    for _ in range(3):
        x = K.Concatenate()([x, fired(x, K.Conv2D(4, 3, padding="same"))])
    a, b = two(x)
    return fired(K.Concatenate()([a, b, a, b]), K.Conv2D(4, 2))


def joined_currents(x):
    a, b = [L.TimeFold(K.Conv2D(n, 3))(x) for n in (2, 3)]
    return L.LIF(threshold=0.75)(K.Concatenate()([a, b]))


def joined_vectors(x):
    a, b = [fired(x, K.Dense(n)) for n in (4, 33)]
    return fired(K.Concatenate()([a, b, x]), K.Dense(9))


def joined_flat_frames(x):
    a, b = [L.TimeFold(K.Flatten())(y) for y in two(x)]
    return fired(K.Concatenate()([a, b]), K.Dense(9))


def joined_lines(x):
    y = fired(x, K.Conv1D(4, 3))
    return fired(K.Concatenate(axis=-2)([y, x]), K.Conv1D(5, 2))


def depthwise(x):
    a, _ = two(x)
    y = fired(a, K.DepthwiseConv2D(3, padding="same"))
    y = fired(y, K.DepthwiseConv2D((2, 3), depth_multiplier=2))
    return fired(y, K.Conv2D(4, 1))


def separable(x):
    y = fired(x, K.SeparableConv2D(6, 3, padding="same", depth_multiplier=2))
    return fired(y, K.SeparableConv2D(5, 3, strides=2))


def counting(x):
    a, b = two(x)
    y = K.Concatenate()([a, L.MaxRatePooling2D(1)(b)])
    return fired(L.MaxRatePooling2D((2, 3), 1)(y), K.Conv2D(4, 2))


def counting_lines(x):
    y = L.MaxRatePooling1D(2)(fired(x, K.Conv1D(4, 2)))
    return fired(y, K.Conv1D(5, 2))


NETWORKS = {
    f.__name__: (f, frame)
    for frame, functions in {
        (6, 7, 2): [joined_channels, joined_rows, joined_pixels, dense_block]
        + [joined_currents, joined_flat_frames, depthwise, separable, counting],
        (7,): [joined_vectors],
        (9, 4): [joined_lines, counting_lines],
    }.items()
    for f in functions
}


@pytest.fixture
def model(request):
    body, frame = NETWORKS[request.param]
    return network(body, *frame)


every_network = pytest.mark.parametrize("model", NETWORKS, indirect=True)


def in_keras(model, x):
    event_driven.disable()
    try:
        return snn.Model(model.input, model.output).predict_on_batch(x)
    finally:
        event_driven.switch._choice = None


@every_network
@pytest.mark.parametrize("threads", [1, 2])
def test_scores_are_those_of_the_dense_loop(model, threads, monkeypatch):
    monkeypatch.setattr(engine, "threads", lambda: threads)
    monkeypatch.setattr(samples, "LEAST_TO_SHARE", 0)
    monkeypatch.setattr(Crew, "LEAST", 0)
    assert model.dense_reason() is None
    x = spikes(65, *model.input.shape[2:])
    expected = in_keras(model, x)
    assert np.ptp(expected) > 0
    for count in (1, 2, 9, 65):
        np.testing.assert_array_equal(
            model.predict_on_batch(x[:count]), expected[:count]
        )


@every_network
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_files_and_streams_are_the_model(model, weights, tmp_path):
    x = spikes(9, *model.input.shape[2:])
    expected = in_keras(model, x)
    snn.export.runtime(model, tmp_path / "net.npz", weights)
    found = keras_snn_runtime.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(found.predict(x), expected)
    stream = found.stream()
    for frame in x[0]:
        scores = stream.step(frame)
    np.testing.assert_array_equal(scores, expected[0])


@every_network
def test_streams_go_on_from_a_state(model):
    x = spikes(2, *model.input.shape[2:])
    step = snn.streaming(model)
    one, other = step.stream(2), step.stream(2)
    for t in range(T):
        stream = one if t < 5 else other
        scores = stream.step(x[:, t])
        if t == 4:
            other.state = one.state
    assert one.dense_reason is None
    np.testing.assert_array_equal(scores, in_keras(model, x))


@pytest.mark.parametrize(
    "model",
    ["dense_block", "joined_rows", "depthwise", "separable", "counting"],
    indirect=True,
)
def test_learning_is_that_of_the_layers(model):
    x = spikes(5, *model.input.shape[2:])
    y = np.eye(3, dtype="float32")[[0, 1, 2, 0, 1]]
    start, after = model.get_weights(), []
    for enabled in (True, False):
        model.set_weights(start)
        (event_driven.enable if enabled else event_driven.disable)()
        copy = snn.Model(model.input, model.output)
        copy.compile(keras.optimizers.SGD(1e-4), "mse")
        copy.fit(x, y, verbose=0, shuffle=False)
        after.append(copy.get_weights())
    event_driven.switch._choice = None
    for a, b, before in zip(*after, start, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_normalization_is_folded_into_a_depthwise_convolution():
    inputs = keras.Input((T, 6, 7, 2))
    x = L.TimeFold(K.DepthwiseConv2D(3, depth_multiplier=2))(inputs)
    x = L.LIF(threshold=0.5)(L.TimeFold(K.BatchNormalization())(x))
    x = L.TimeFold(K.Dense(3))(L.TimeFold(K.Flatten())(x))
    model = snn.Model(inputs, L.SpikeCountReadout()(x))
    rng = np.random.default_rng(1)
    for w in model.weights:
        w.assign(rng.uniform(0.2, 1, w.shape))
    found = event_driven.compile(model)
    kinds = {type(x) for x in found.operations}
    assert operations.Normalization not in kinds
    x = spikes(4, 6, 7, 2)
    np.testing.assert_allclose(found.predict(x), in_keras(model, x), rtol=1e-4)


def test_pooled_numbers_that_are_none_come_out():
    inputs = keras.Input((T, 4, 4, 2))
    x = L.TimeFold(K.Flatten())(L.MaxRatePooling2D(2)(inputs))
    model = snn.Model(inputs, L.SpikeCountReadout()(L.TimeFold(K.Dense(3))(x)))
    x = spikes(3, 4, 4, 2)
    x[1, 2, 3, 3, 0] = np.nan
    found = model.predict_on_batch(x)
    assert model.dense_reason() is None
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), [0, 1, 0])


def test_pooling_beyond_the_edge_is_named():
    def body(x):
        return L.MaxRatePooling2D(4, padding="same", name="odd")(two(x)[0])

    assert (
        "'odd' (MaxRatePooling2D) pools beyond the edge"
        in network(body, 6, 7, 2).dense_reason()
    )


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a file with all three."""

    def body(x):
        a = fired(x, K.DepthwiseConv2D(3, padding="same"))
        y = K.Concatenate(axis=-2)([a, x])
        return L.MaxRatePooling2D(2)(y)

    path = tmp_path_factory.mktemp("file") / "net.npz"
    snn.export.runtime(network(body, 6, 6, 2), path)
    return path.read_bytes()


def test_files_without_new_operations_keep_their_version(content, tmp_path):
    (tmp_path / "new.npz").write_bytes(content)
    old = network(lambda x: fired(x, K.Conv2D(2, 3)), 6, 6, 2)
    snn.export.runtime(old, tmp_path / "old.npz")
    for name, version in (("old", 1), ("new", 2)):
        with zipfile.ZipFile(tmp_path / f"{name}.npz") as archive:
            description = json.loads(archive.read("network.json"))
        assert description["version"] == version


HOSTILE = {
    "axis": lambda d: first(d, "Concatenation").update(axis=-3),
    "axis beyond": lambda d: first(d, "Concatenation").update(axis=-4),
    "axis from the front": lambda d: first(d, "Concatenation").update(axis=1),
    "one frame": lambda d: first(d, "Concatenation").update(sources=[0]),
    "other frame": lambda d: first(d, "Concatenation").update(sources=[0, 99]),
    "joined": lambda d: first(d, "Concatenation").update(shape=[6, 13, 2]),
    "channels": lambda d: first(d, "Depthwise").update(shape=[6, 6, 4]),
    "rows": lambda d: first(d, "Depthwise").update(shape=[60, 6, 2]),
    "kernel": lambda d: first(d, "Depthwise").update(kernel="weight1"),
    "bias": lambda d: first(d, "Depthwise").update(bias="weight0"),
    "windows": lambda d: first(d, "MaxRatePooling").update(size=[7, 2]),
    "pooled": lambda d: first(d, "MaxRatePooling").update(strides=[2, 3]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_descriptions_are_refused(name, content, tmp_path):
    check_refused(content, HOSTILE[name], tmp_path)
