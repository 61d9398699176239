"""Networks with int8 weights are those of a loop over integers."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.layers import IF, LIF, Affine, SpikeCountReadout, TimeFold

pytest.importorskip("numba")
import keras_snn_runtime  # noqa: E402
from keras_snn_runtime import files, samples  # noqa: E402
from keras_snn_runtime.crew import Crew  # noqa: E402

L = keras.layers


def frames(*shape, count=9, time_steps=6, rate=0.3, seed=0):
    drawn = np.random.default_rng(seed).random((count, time_steps, *shape))
    return (drawn < rate).astype("float32")


def network(shape, *layers, time_steps=6, seed=1):
    """Return a model that counts the spikes of its last layer."""
    x = y = keras.Input((time_steps, *shape))
    for layer in layers:
        ours = isinstance(layer, LIF | IF)
        y = (layer if ours else TimeFold(layer))(y)
    model = snn.Model(x, SpikeCountReadout(normalize=False)(y))
    rng = np.random.default_rng(seed)
    for w in model.weights:
        scale = 2 / np.sqrt(np.prod(w.shape[:-1])) if w.ndim > 1 else 0.1
        w.assign(rng.normal(0.05 * scale, scale, w.shape))
    return model


def quantized(kernel):
    """Return integers, and the scale of each output."""
    most = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
    scales = most / np.float32(127)
    return np.rint(kernel / scales).astype("int64"), scales


class Loop:
    """What the layers of a model do, with integer sums."""

    def __init__(self, model):
        self.stages = [getattr(x, "layer", x) for x in model.layers[1:-1]]
        self.potentials = {}

    def counts(self, x):
        self.potentials = {}
        return sum(self.step(x[:, t]) for t in range(x.shape[1]))

    def step(self, x):
        for stage in self.stages:
            if isinstance(stage, LIF | IF):
                x = self.fire(stage, x)
            elif isinstance(stage, L.Flatten):
                x = x.reshape(len(x), -1)
            elif isinstance(stage, L.Conv2D | L.Dense):
                x = self.currents(stage, x)
        return x

    def currents(self, stage, x):
        kernel, bias = (np.array(w) for w in stage.weights[:2])
        after = self.stages[self.stages.index(stage) + 1]
        if isinstance(after, Affine):
            scale, shift = (np.array(w) for w in after.weights)
            kernel, bias = kernel * scale, bias * scale + shift
        strides = getattr(stage, "strides", None)
        if isinstance(after, L.AveragePooling2D):
            kernel, strides = averaged(kernel), (2, 2)
        integers, scales = quantized(kernel)
        x = x.astype("int64")
        if isinstance(stage, L.Conv2D):
            sums = convolved(x, integers, *strides)
        else:
            sums = x @ integers
        return scales * sums.astype("float32") + bias

    def fire(self, stage, current):
        v = self.potentials.get(stage, np.float32(0))
        beta, threshold = np.float32(stage.beta), np.float32(stage.threshold)
        u = v + current
        spikes = (u > threshold).astype("float32")
        kept = u - threshold * spikes
        if stage.reset == "zero":
            kept = u * (1 - spikes)
        self.potentials[stage] = beta * kept
        return spikes


def convolved(x, kernel, sy, sx):
    """Sum windows of the kernel with a pixel of zeros around the frame."""
    height, width = kernel.shape[:2]
    rows, columns = x.shape[1] + 3 - height, x.shape[2] + 3 - width
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        x[:, dy : dy + rows : sy, dx : dx + columns : sx] @ kernel[dy, dx]
        for dy in range(height)
        for dx in range(width)
    )


def averaged(kernel):
    """Return the kernel of the average of 2x2 outputs."""
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    shifted = [
        np.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0)))
        for i, j in corners
    ]
    return sum(shifted, start=np.float32(0)) / np.float32(4)


def convolution(filters, strides=1):
    # Zeros on both sides, for any stride.
    return [L.ZeroPadding2D(1), L.Conv2D(filters, 3, strides=strides)]


MODELS = {
    "dense": ((37,), lambda: [LIF(0.9), L.Dense(64 + 16 + 4 + 3), LIF(0.7)]),
    "dense, subtract": (
        (11,),
        lambda: [
            LIF(0.5, threshold=0.4, reset="subtract"),
            L.Dense(70),
            IF(threshold=0.5, reset="subtract"),
            L.Dense(5),
            LIF(0.8, threshold=0.3, reset="subtract"),
        ],
    ),
    "convolutions": (
        (6, 8, 3),
        lambda: [
            *convolution(33),
            LIF(0.75, threshold=0.6),
            *convolution(7, strides=2),
            IF(threshold=0.4),
        ],
    ),
    "pooled": (
        (6, 8, 5),
        lambda: [
            *convolution(35),
            L.AveragePooling2D(2),
            LIF(0.5, threshold=0.3),
            L.Flatten(),
            L.Dense(256 + 128 + 3),
            LIF(threshold=0.4),
        ],
    ),
    "folded": (
        (6, 8, 3),
        lambda: [
            *convolution(18),
            Affine(),
            LIF(0.5, threshold=0.2, reset="subtract"),
            *convolution(12),
            Affine(),
            LIF(0.9, threshold=0.3),
        ],
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    """Return a model, frames, and the spikes that integers give."""
    shape, layers = MODELS[request.param]
    model, x = network(shape, *layers()), frames(*shape, count=33)
    expected = Loop(model).counts(x)
    assert 0.02 < expected.mean() / 6 < 0.9
    return model, x, expected


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 9, 33])
def test_spikes_are_those_of_integers(case, count, threads):
    model, x, expected = case
    found = snn.event_driven.compile(model, weights="int8")
    found.threads = threads
    np.testing.assert_array_equal(found.predict(x[:count]), expected[:count])


def test_threads_that_share_one_sample_change_nothing(case, monkeypatch):
    monkeypatch.setattr(samples, "LEAST_TO_SHARE", 0)
    monkeypatch.setattr(Crew, "LEAST", 0)
    model, x, expected = case
    found = snn.event_driven.compile(model, weights="int8")
    found.threads = 2
    for i in range(3):
        scores = found.predict(x[i : i + 1])
        np.testing.assert_array_equal(scores[0], expected[i])


def test_frames_one_by_one_are_those_of_the_sequence(case):
    model, x, expected = case
    stream = snn.event_driven.compile(model, weights="int8").stream()
    for frame in x[0]:
        counts = stream.step(frame)
    np.testing.assert_array_equal(counts, expected[0])


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_beyond_16_bits_are_exact(sign):
    model = network((1000,), LIF(threshold=0.5), L.Dense(70), LIF(0.5))
    kernel = np.full((1000, 70), sign, "float32")
    bias = np.full(70, -300 * sign, "float32")
    model.set_weights([kernel, bias])
    x = frames(1000, rate=0.9)
    found = snn.event_driven.compile(model, weights="int8").predict(x)
    np.testing.assert_array_equal(found, Loop(model).counts(x))
    assert found.mean() == (6 if sign > 0 else 0)


def on_a_grid(model):
    """Give a model weights that int8 and float32 hold exactly."""
    rng = np.random.default_rng(2)
    for w in model.weights:
        values = rng.integers(-127, 128, w.shape)
        if w.ndim > 1:
            values.reshape(-1, w.shape[-1])[0] = 127
        w.assign(values / (1024 if w.ndim > 1 else 128))


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_spikes_are_those_of_keras_where_its_sums_are_exact(reset):
    model = network(
        (8, 6, 3),
        L.Conv2D(20, 3, padding="same"),
        LIF(0.5, threshold=0.5, reset=reset),
        L.AveragePooling2D(2),
        L.Conv2D(65, 3, padding="same", use_bias=False),
        LIF(0.5, threshold=0.25, reset=reset),
        L.MaxPooling2D(2),
        L.Flatten(),
        L.Dense(10),
        IF(threshold=0.75, reset=reset),
    )
    on_a_grid(model)
    x = frames(8, 6, 3) * np.float32(0.5)
    expected = keras.Model(model.input, model.output).predict(x, verbose=0)
    assert 0.1 < expected.mean() < 5
    for weights in ("int8", "float32"):
        found = snn.event_driven.compile(model, weights=weights)
        np.testing.assert_array_equal(found.predict(x), expected)


def test_weights_of_pixels_stay_float32():
    images = keras.Input((6, 5, 3))
    y = snn.layers.RepeatEncoder(6)(images)
    y = TimeFold(L.Flatten())(y)
    y = LIF(0.5, threshold=0.25)(TimeFold(L.Dense(20))(y))
    y = IF(threshold=0.5)(TimeFold(L.Dense(7))(y))
    model = snn.Model(images, SpikeCountReadout(normalize=False)(y))
    on_a_grid(model)
    x = frames(6, 5, 3)[:, 0] * np.float32(0.375)
    found = snn.event_driven.compile(model, weights="int8")
    kernels = [
        found.arrays[y.kernel].dtype
        for y in found.operations
        if hasattr(y, "kernel")
    ]
    assert kernels == ["float32", "int8"]
    expected = model.predict(x, verbose=0)
    assert 0 < expected.mean() < 6
    np.testing.assert_array_equal(found.predict(x), expected)


def test_a_trained_network_takes_the_same_side_nearly_always():
    model = snn.models.LeNet(weights="mnist")
    x = snn.datasets.load("digits")[0][0][:64]
    x = np.array(keras.ops.image.resize(x, (28, 28)))
    exact, rounded = (
        snn.event_driven.compile(model, weights=weights).predict(x)
        for weights in ("float32", "int8")
    )
    assert (exact != rounded).any()
    assert np.mean(exact.argmax(1) == rounded.argmax(1)) > 0.95


def test_weights_take_a_quarter(tmp_path):
    model = snn.models.SpikingCNN(width=1 / 4, seed=3)
    sizes = {}
    for weights in ("float32", "int8"):
        found = snn.event_driven.compile(model, weights=weights)
        sizes[weights] = sum(x.nbytes for x in found.arrays.values())
    assert sizes["int8"] < 0.27 * sizes["float32"]


def test_a_file_holds_it(case, tmp_path):
    model, x, expected = case
    snn.export.runtime(model, tmp_path / "net.npz", weights="int8")
    loaded = keras_snn_runtime.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(loaded.predict(x), expected)
    snn.export.runtime(model, tmp_path / "plain.npz")
    sizes = [(tmp_path / f"{x}.npz").stat().st_size for x in ("net", "plain")]
    assert sizes[0] < sizes[1] + 2000  # of names and checksums


def test_it_does_not_follow_its_model():
    model, x = network((11,), L.Dense(9), LIF()), frames(11)
    found = {
        weights: snn.event_driven.compile(model, weights=weights)
        for weights in ("float32", "int8")
    }
    before = {weights: y.predict(x) for weights, y in found.items()}
    for w in model.weights:
        w.assign(w * 0)
    for weights, y in found.items():
        np.testing.assert_array_equal(y.predict(x), before[weights])


def damaged(name):
    """Return a network whose arrays do not fit its description."""
    model = network((11,), LIF(), L.Dense(9), LIF())
    found = snn.event_driven.compile(model, weights="int8")
    product = next(x for x in found.operations if hasattr(x, "kernel"))
    kernel, scales = found.arrays[product.kernel], found.arrays[product.scales]
    found.arrays.update(
        {
            "types": {product.kernel: kernel.astype("float32")},
            "range": {product.kernel: np.full_like(kernel, -128)},
            "scales": {product.scales: scales[:4]},
            "int8 scales": {product.scales: scales.astype("int8")},
        }[name]
    )
    return found


@pytest.mark.parametrize("name", ["types", "range", "scales", "int8 scales"])
def test_arrays_that_do_not_fit_are_refused(name, tmp_path, monkeypatch):
    network, path = damaged(name), tmp_path / "net.npz"
    names = "name", "time_steps", "encoder", "operations", "divides"
    description = {x: getattr(network, x) for x in names}
    with pytest.raises(ValueError, match="Nothing is written"):
        files.write(path, description, network.arrays)
    with monkeypatch.context() as unchecked:
        unchecked.setattr(files, "_checked", lambda *x: None)
        files.write(path, description, network.arrays)
    with pytest.raises(ValueError, match="is no network of keras_snn_runtime"):
        keras_snn_runtime.load(path)


def test_other_numbers_are_refused():
    model = network((11,), L.Dense(9), LIF())
    with pytest.raises(
        ValueError, match="`weights` must be .* Received: 'int4'"
    ):
        snn.event_driven.compile(model, weights="int4")
    kernel = np.zeros((11, 9), "float32")
    kernel[3, 4] = np.nan
    model.layers[1].layer.kernel.assign(kernel)
    with pytest.raises(ValueError, match="int8 weights are made of finite"):
        snn.event_driven.compile(model, weights="int8")


def test_layers_that_the_engine_does_not_know_are_named():
    model = network((11,), L.Dense(9), L.ReLU(name="other"), LIF())
    with pytest.raises(ValueError, match="'other' .ReLU. has no event-driven"):
        snn.event_driven.compile(model, weights="int8")
