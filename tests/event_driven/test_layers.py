"""Layers that run event by event, all steps of one before the next."""

import gc
import weakref
from concurrent import futures

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn import event_driven
from keras_snn.event_driven import switch
from keras_snn.layers import IF, LIF, RepeatEncoder, TimeFold
from keras_snn.training.building import policy
from tests.helpers import cosine, gradients

pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="the engine is TensorFlow's"
)

L = keras.layers
SURROGATES = {
    "arctan": snn.surrogates.Arctan(),
    "fast_sigmoid": snn.surrogates.FastSigmoid(),
    "sigmoid": snn.surrogates.Sigmoid(slope=3),
    "triangle": snn.surrogates.Triangle(width=0.7),
    "boxcar": snn.surrogates.Boxcar(),
}


@pytest.fixture
def calls(monkeypatch):
    """Return the list of the layers of neurons that ran in the engine."""
    from keras_snn.event_driven import layers

    found = []

    def counting(run):
        def counted(layer, *args):
            found.append(layer)
            return run(layer, *args)

        return counted

    for name in ("run_layer", "join"):
        monkeypatch.setattr(layers, name, counting(getattr(layers, name)))
    return found


def dense(monkeypatch):
    monkeypatch.setattr(switch, "_choice", False)


class Random:
    """A random network: convolutions of all kinds, joins, poolings."""

    def __init__(self, seed, **options):
        self.rng = np.random.default_rng(seed)
        self.options = options

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def neurons(self):
        rule = self.options["rule"]
        if rule == "rate":
            name = self.pick(*SURROGATES)
            rule = snn.rules.Rate(SURROGATES[name])
        given = {"learning_rule": rule, "reset": self.pick("zero", "subtract")}
        if self.rng.random() < 0.3:
            return IF(threshold=0.75, **given)
        if self.options["rule"] == "collapsed":
            given["factor"] = self.pick("leak_corrected", None, 0.5)
        return LIF(
            beta=self.pick(0.5, 0.9, 1.0),
            threshold=self.pick(0.5, 1.0),
            initial_potential=self.pick(0.0, 0.25),
            **given,
        )

    def convolution(self, x, filters, **given):
        kind = L.Conv2D
        if self.options["norm"] == "weight":
            kind = snn.layers.StandardizedConv2D
            given.pop("use_bias", None)
        given = {"padding": "same", **given}
        return TimeFold(kind(filters, self.pick(1, 2, 3, 5), **given))(x)

    def normalized(self, x):
        if self.options["norm"] != "batch":
            return x
        kind = self.pick(
            lambda: L.BatchNormalization(momentum=0.8, epsilon=1e-3),
            lambda: L.BatchNormalization(center=False, scale=False, axis=3),
            lambda: snn.layers.ThresholdBatchNormalization(alpha=0.7),
        )
        return TimeFold(kind())(x)

    def block(self, x):
        filters = int(self.rng.integers(1, 40))
        given = {"use_bias": self.pick(True, False)}
        kind = self.pick(
            *("plain", "pooled", "strides", "valid"),
            *("stages", "padded", "normalized"),
        )
        if kind == "normalized":
            x = self.normalized(x)
        if kind == "padded":
            x = TimeFold(L.ZeroPadding2D(((1, 0), (0, 2))))(x)
        if kind == "strides":
            given["strides"] = self.pick((2, 1), (1, 3), 2)
        if kind == "valid" and min(x.shape[2:4]) > 5:
            given["padding"] = "valid"
        if kind == "stages":
            convolution = L.Conv2D(filters, 3, padding="same", **given)
            x = TimeFold(keras.Sequential([convolution]))(x)
        else:
            x = self.convolution(x, filters, **given)
        if kind == "pooled" and not any(n % 2 for n in x.shape[2:4]):
            x = TimeFold(L.AveragePooling2D(2))(x)
        return self.neurons()(self.normalized(x))

    def dense(self, x, units):
        kind = L.Dense
        given = {"use_bias": self.pick(True, False)}
        if self.options["norm"] == "weight":
            kind, given = snn.layers.StandardizedDense, {}
        x = TimeFold(kind(units, **given))(x)
        if self.options["norm"] == "batch":
            axis = self.pick(-1, 1)
            x = TimeFold(L.BatchNormalization(axis, 0.8, epsilon=1e-3))(x)
        return self.neurons()(x)

    def flat(self, x):
        """Return the mean over all places, or dense layers of neurons."""
        layers = self.rng.integers(3)
        kind = L.Flatten if layers else L.GlobalAveragePooling2D
        x = TimeFold(kind())(x)
        for _ in range(layers):
            x = self.dense(x, int(self.rng.integers(2, 40)))
        return x

    def model(self):
        keras.utils.set_random_seed(int(self.rng.integers(1000)))
        inputs = keras.Input((12, 10, 3))
        encoder = self.pick(RepeatEncoder, snn.layers.RateEncoder)
        x = self.block(encoder(self.options["time_steps"])(inputs))
        for _ in range(3):
            x = self.block(x)
            kind = self.pick("none", "join", "project", "dropout", "pool")
            if kind == "join":
                y = self.convolution(x, x.shape[-1], use_bias=False)
                x = self.neurons()(L.Add()([self.normalized(y), x]))
            elif kind == "project":
                y, z = (self.convolution(x, 6) for _ in range(2))
                y = L.Add()([self.normalized(y), self.normalized(z)])
                x = self.neurons()(y)
            elif kind == "dropout":
                x = snn.layers.TimeConstantDropout(0.3, seed=1)(x)
            elif kind == "pool" and not any(n % 2 for n in x.shape[2:4]):
                x = self.neurons()(TimeFold(L.AveragePooling2D(2))(x))
        x = TimeFold(L.Dense(3))(self.flat(x))
        model = snn.Model(inputs, snn.layers.MembraneReadout(1.0)(x))
        for v in model.trainable_variables:
            v.assign(v + self.rng.normal(0, 0.2, v.shape))
        return model


def learned(model, samples):
    """Return outputs, gradients and moving averages of a step."""
    x = np.random.default_rng(7).uniform(-1, 1, (samples, 12, 10, 3))

    def loss():
        y = model(x.astype("float32"), training=True)
        return ops.sum(y**2)

    value, found = gradients(loss, [], model.trainable_variables)
    moved = [v.numpy() for v in model.non_trainable_variables]
    return [value, *found], moved


@pytest.mark.parametrize("samples", [1, 18])
@pytest.mark.parametrize("norm", ["batch", "weight", "none"])
@pytest.mark.parametrize("rule", ["rate", "collapsed"])
@pytest.mark.parametrize("seed", range(3))
def test_random_networks_learn_as_densely(
    rule, norm, samples, seed, monkeypatch, calls
):
    time_steps = [1, 3, 4, 8, 9, 14][(seed + samples + len(norm)) % 6]
    options = {"rule": rule, "norm": norm, "time_steps": time_steps}
    model = Random(seed, **options).model()
    found = learned(model, samples)
    if model.training_order == "layer first":
        assert calls
    dense(monkeypatch)
    model = Random(seed, **options).model()
    calls.clear()
    expected = learned(model, samples)
    assert not calls
    # The gradient of a bias before a normalization is nothing but rounding.
    least = 1e-5 * max(np.abs(x).max() for x in expected[0])
    for actual, weight in zip(found[0], expected[0], strict=True):
        most = 1e-4 * np.abs(weight).max() + least
        np.testing.assert_allclose(actual, weight, rtol=0, atol=most)
    for actual, weight in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(actual, weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["batch", "weight", "none"])
@pytest.mark.parametrize("encoder", ["held", "of spikes"])
def test_dense_layers_learn_event_by_event(encoder, norm, monkeypatch, calls):
    def build():
        network = Random(5, rule="rate", norm=norm)
        keras.utils.set_random_seed(0)
        inputs = keras.Input((12, 10, 3))
        if encoder == "held":
            x = RepeatEncoder(4)(inputs)
        else:
            x = snn.layers.RateEncoder(4)(inputs)
        x = network.dense(TimeFold(L.Flatten())(x), 9)
        x = TimeFold(L.Dense(3))(network.dense(x, 33))
        return snn.Model(inputs, snn.layers.MembraneReadout(1.0)(x))

    found = learned(build(), 18)
    units = [9, 33] if encoder == "held" else [33]
    assert [x.shape for x in calls] == [(1, 1, n) for n in units]
    dense(monkeypatch)
    expected = learned(build(), 18)
    for actual, weight in zip(found, expected, strict=True):
        for a, b in zip(actual, weight, strict=True):
            most = 1e-4 * np.abs(b).max() + 1e-6
            np.testing.assert_allclose(a, b, rtol=0, atol=most)


def of_spikes(norm):
    """Return a network of spikes of which the engine knows all but the end."""
    network = Random(4, rule="rate", norm=norm)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 12, 10, 3))
    x = IF(0.5, learning_rule="rate")(inputs)
    for pooled in (False, True):
        x = network.convolution(x, 8)
        if pooled:
            x = TimeFold(L.AveragePooling2D(2))(x)
        x = network.neurons()(network.normalized(x))
    y = network.normalized(network.convolution(x, 8, use_bias=False))
    x = network.neurons()(L.Add()([y, x]))
    y, z = (network.normalized(network.convolution(x, 6)) for _ in range(2))
    x = network.neurons()(L.Add()([y, z]))
    x = network.dense(TimeFold(L.Flatten())(x), 33)
    x = TimeFold(L.Dense(3))(x)
    model = snn.Model(inputs, snn.layers.MembraneReadout(1.0)(x))
    for v in model.trainable_variables:
        v.assign(v + network.rng.normal(0, 0.2, v.shape))
    return model


@pytest.mark.parametrize("norm", ["batch", "weight", "none"])
def test_bfloat16_is_for_products_of_the_backward_pass(norm, calls):
    x = (np.random.default_rng(0).random((9, 4, 12, 10, 3)) < 0.3).astype("f")

    def run():
        model = of_spikes(norm)
        model.compile(keras.optimizers.SGD(0.0), "mse")
        model.rates_of_fit.start([y.name for y in model.network.neurons])
        _, found = gradients(
            lambda: ops.sum(ops.cast(model(x, training=True), "float32") ** 2),
            [],
            model.trainable_variables,
        )
        ran = [y.shape for y in calls]
        calls.clear()
        moved = [v.numpy() for v in model.non_trainable_variables]
        return found, ran, moved, [*model.rates_of_fit.latest().values()]

    expected, ran, moved, rates = run()
    assert len(ran) == len(rates) - 1
    assert min(rates) > 0.001
    with policy("mixed_bfloat16"):
        found, ran_too, *others = run()
    assert ran_too == ran
    if norm != "weight":  # which makes its kernels in bfloat16
        assert others[1] == rates
        for a, b in zip(others[0], moved, strict=True):
            np.testing.assert_array_equal(a, b)
    differ = []
    least = 1e-3 * max(np.abs(b).max() for b in expected)
    for a, b in zip(found, expected, strict=True):
        most = 0.03 * np.abs(b).max() + least
        if norm != "weight":
            np.testing.assert_allclose(a, b, rtol=0, atol=most)
        differ.append(np.any(a != b))
    assert any(differ)


@pytest.mark.parametrize("norm", ["batch", "weight", "none"])
@pytest.mark.parametrize("rule", ["rate", "collapsed"])
def test_random_networks_learn_in_bfloat16(rule, norm, monkeypatch):
    options = {"rule": rule, "norm": norm, "time_steps": 4}

    def gradient(name):
        with policy(name):
            (_, *found), _ = learned(Random(7, **options).model(), 18)
        return np.concatenate([np.ravel(x) for x in found])

    expected, found = gradient("float32"), gradient("mixed_bfloat16")
    dense(monkeypatch)
    densely = gradient("mixed_bfloat16")

    # Rounded currents through Keras' layers change spikes, all of them densely.
    assert cosine(found, expected) > 0.8 * cosine(densely, expected) > 0


CONVOLUTION = {
    "shape": (4, 3, 5),
    "strides": (2, 1),
    "before": (1, 0),
    "time_steps": 6,
}


def layer_of(**given):
    numbers = {
        "shape": (4, 3, 5),
        "convolution": event_driven.Convolution(**CONVOLUTION),
        "epsilon": 1e-3,
        "beta": 0.5,
        "threshold": 0.75,
        "subtract": True,
        "initial_potential": 0.25,
        "surrogate": (0, 2.0),
        "leaky": False,
        "time_steps": 6,
    }
    return event_driven.Layer(**{**numbers, **given})


def exact_case(samples, steps=6):
    """Return words, kernel and bias whose sums are exact in any order."""
    rng = np.random.default_rng(3)
    spikes = rng.random((samples, steps, 7, 5, 2)) < 0.3
    kernel = rng.integers(-8, 9, (3, 3, 2, 5)) / 8
    bias = rng.integers(-4, 5, 5) / 8
    return (
        spikes,
        as_words(spikes),
        kernel.astype("float32"),
        bias.astype("float32"),
    )


def convolved(spikes, kernel, bias):
    """Return currents by a plain loop, strides (2, 1), one row of zeros."""
    x = np.pad(
        spikes.astype("float32"), [(0, 0)] * 2 + [(1, 1), (0, 0), (0, 0)]
    )
    y = np.empty((*x.shape[:2], 4, 3, 5))
    for row in range(4):
        for column in range(3):
            part = x[:, :, 2 * row : 2 * row + 3, column : column + 3]
            y[:, :, row, column] = np.tensordot(part, kernel, 3) + bias
    return y


def fired(currents, layer):
    """Return spikes and derivatives of the rate rule by a plain loop."""
    v = np.full(currents[:, 0].shape, layer.initial_potential)
    e, derivative, spikes = np.zeros((3, *v.shape))
    history = []
    slope = snn.surrogates.Arctan(layer.surrogate[1]).derivative
    for t in range(layer.time_steps):
        u = v + currents[:, t]
        spikes = (u > layer.threshold).astype(float)
        bell = np.asarray(slope(np.float32(u - layer.threshold)))
        derivative += bell * (1 + e)
        if layer.subtract:
            kept, after = (
                1 - layer.threshold * bell,
                u - layer.threshold * spikes,
            )
        else:
            kept, after = 1 - spikes - u * bell, u * (1 - spikes)
        e, v = layer.beta * kept * (1 + e), layer.beta * after
        history.append(spikes)
    return np.stack(history, 1), derivative / layer.time_steps


def as_words(spikes):
    steps = spikes.shape[1]
    powers = 2 ** np.arange(steps)[::-1]
    words = np.tensordot(powers, spikes, (0, 1))
    return words.astype("uint8" if steps <= 8 else "int32")


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize(
    "samples, steps", [(1, 6), (8, 6), (19, 6), (3, 8), (9, 9), (2, 31)]
)
def test_spikes_are_those_of_a_plain_loop(samples, steps, subtract):
    convolution = {**CONVOLUTION, "time_steps": steps}
    layer = layer_of(
        epsilon=None,
        subtract=subtract,
        time_steps=steps,
        convolution=event_driven.Convolution(**convolution),
    )
    spikes, byte, kernel, bias = exact_case(samples, steps)
    *found, statistics = event_driven.run_layer(
        layer, ops.array(byte), [ops.array(kernel), ops.array(bias)], []
    )
    assert_fired(found, convolved(spikes, kernel, bias), layer)
    assert not statistics


def assert_fired(found, currents, layer):
    byte, rate, (derivative,) = found
    expected, slope = fired(currents, layer)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(byte, as_words(expected))
    np.testing.assert_allclose(rate, expected.mean(), rtol=1e-6)
    means = event_driven.mean_spikes(byte, layer.time_steps)
    np.testing.assert_array_equal(means, expected.mean(1, dtype="float32"))
    np.testing.assert_allclose(derivative, slope, rtol=1e-5, atol=1e-6)


def statistics_of(currents):
    """Return mean over time, mean, variance and variance of the mean."""
    z = currents.mean(1)
    variances = (x.var(tuple(range(x.ndim - 1))) for x in (currents, z))
    return z, currents.mean((0, 1, 2, 3)), *variances


@pytest.mark.parametrize("samples", [1, 8, 19])
def test_currents_are_those_of_a_plain_loop(samples):
    spikes, byte, kernel, bias = exact_case(samples)
    currents, statistics = event_driven.convolve(
        event_driven.Convolution(**CONVOLUTION), byte, [kernel, bias]
    )
    expected = convolved(spikes, kernel, bias)
    currents = np.reshape(currents, expected.shape)
    np.testing.assert_array_equal(currents, expected)
    expected = statistics_of(expected)
    for actual, number in zip(statistics, expected, strict=True):
        np.testing.assert_allclose(actual, number, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 19])
def test_sums_of_currents_fire_as_in_a_plain_loop(samples):
    layer = layer_of(convolution=None, epsilon=None)
    rng = np.random.default_rng(5)
    shape = samples, 6, *layer.shape
    currents = rng.integers(-8, 9, (2, *shape)).astype("float32") / 8
    scales, shifts = rng.integers(-4, 5, (2, 2, 5)).astype("float32") / 4
    found = event_driven.join(
        layer,
        [ops.array(x.reshape(-1, *layer.shape)) for x in currents],
        list(scales),
        list(shifts),
        samples,
    )
    total = sum(s * x + h for x, s, h in zip(currents, scales, shifts))
    assert_fired(found, total, layer)


@pytest.mark.parametrize("samples", [2, 19])
def test_statistics_are_those_of_all_samples_and_steps(samples):
    layer = layer_of()
    spikes, byte, kernel, bias = exact_case(samples)
    bias += 100  # Far from zero.
    numbers = np.float32([[1, 2, 0.5, -1, 1], [0.5, 0, 1, 1, -2]])
    found, _, sums, statistics = event_driven.run_layer(
        layer, ops.array(byte), [kernel, bias], list(numbers)
    )
    currents = convolved(spikes, kernel, bias)
    expected = _, m, v, _ = statistics_of(currents)
    for actual, number in zip(statistics, expected, strict=True):
        np.testing.assert_allclose(actual, number, rtol=1e-5)
    scale = numbers[0] / np.sqrt(v + 1e-3)
    expected, derivative = fired(scale * (currents - m) + numbers[1], layer)
    differ = np.asarray(found) != as_words(expected)
    assert differ.mean() < 0.01  # A potential at the threshold.
    np.testing.assert_allclose(
        np.asarray(sums[0])[~differ], derivative[~differ], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("normalized", [True, False])
def test_threads_give_the_same_numbers(normalized, monkeypatch):
    from keras_snn.event_driven import layers

    layer = layer_of(epsilon=1e-3 if normalized else None)
    _, byte, kernel, bias = exact_case(61)
    kernel = kernel + np.random.default_rng(1).normal(size=kernel.shape)
    numbers = [np.ones(5, "f"), np.zeros(5, "f")] if normalized else []

    def run(threads):
        monkeypatch.setattr(layers, "threads", lambda: threads)
        x, rate, sums, statistics = event_driven.run_layer(
            layer, ops.array(byte), [kernel, bias], numbers
        )
        return [x, rate, *sums, *statistics]

    expected = run(1)
    for threads in (2, 2, 3):
        for a, b in zip(run(threads), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_threads_give_the_same_gradients(monkeypatch):
    from keras_snn.event_driven import layers

    rng = np.random.default_rng(1)
    shape = 61, 4, 3, 5
    upstream, derivative, z = rng.normal(size=(3, *shape)).astype("float32")
    gamma, m, v = rng.random((3, 5)).astype("float32")

    def loss(x, *numbers):
        statistics, value = [z, m, v, v / 2], ops.zeros(shape)
        y = layers.connect(x, numbers, 1e-3, statistics, value, derivative)
        return ops.sum(y * upstream)

    def run(threads):
        monkeypatch.setattr(layers, "threads", lambda: threads)
        return gradients(loss, [z, gamma, np.zeros(5, "f")])[1]

    expected = run(1)
    for threads in (2, 2, 3):
        for a, b in zip(run(threads), expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture
def memory(monkeypatch):
    from keras_snn.event_driven import memory

    monkeypatch.setattr(memory, "_blocks", [])
    return memory


def test_memory_is_free_when_nobody_refers_to_it(memory):
    array = memory.array((3, 5))
    array[:] = 7
    view, place = array[1:].T, array.ctypes.data
    tensor = ops.convert_to_tensor(array)
    del array
    others = [memory.array((3, 5)) for _ in range(3)]
    assert place not in [x.ctypes.data for x in others]
    for x in others:
        x[:] = 1
    assert (view == 7).all() and (np.asarray(tensor) == 7).all()
    del view, tensor
    gc.collect()
    ops.convert_to_tensor(others[0])  # TensorFlow lets go with its next call.
    found = [memory.array((15,), "int32") for _ in range(2)]
    assert place in [x.ctypes.data for x in found]
    assert not any(x.ctypes.data % 64 for x in (*others, *found))


def test_arrays_share_what_others_left(memory):
    first, second = memory.array((64,)), memory.array((33,))
    large, small = first.ctypes.data, second.ctypes.data
    del first, second
    # The smallest that is free, and what is left of the larger one.
    taken = [memory.array((n,)) for n in (40, 17, 30)]
    assert [x.ctypes.data - large for x in taken[1:]] == [0, 128]
    assert taken[0].ctypes.data == small
    assert len(memory._blocks) == 2
    # What is free side by side is one room.
    del taken
    again = memory.array((8, 8))
    assert again.ctypes.data == large and len(memory._blocks) == 2


def test_no_two_arrays_have_the_same_memory(memory):
    def work(seed):
        rng = np.random.default_rng(seed)
        mine = {}
        for k in range(400):
            array = memory.array(rng.integers(1, 50, 2), "int32")
            array[:] = seed * 1000 + k
            mine[k] = array
            del array
            for gone in rng.permutation(list(mine))[: rng.integers(0, 3)]:
                found = np.unique(mine.pop(gone))
                np.testing.assert_array_equal(found, seed * 1000 + gone)
        return [np.unique(x).tolist() for x in mine.values()] == [
            [seed * 1000 + k] for k in mine
        ]

    with futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
    memory._take_back()
    assert all(block.unused for block in memory._blocks)


def test_memory_that_nobody_uses_is_given_back(memory, monkeypatch):
    memory.array((7,))
    monkeypatch.setattr(memory, "PATIENCE", 3)
    kept = [memory.array((16 * n,)) for n in range(10, 16)]
    assert [x.memory.size for x in memory._blocks] == [
        64 * n for n in range(10, 16)
    ]
    assert memory.array((0, 4)).shape == (0, 4)
    del kept
    memory.array((1,))
    assert len(memory._blocks) == 6


def test_memory_is_given_back_as_soon_as_nobody_uses_it(memory):
    used, unused = memory.array((4,)), memory.array((5,))
    given_back = [weakref.ref(x) for x in memory._blocks]
    del unused
    memory.clear()
    used[:] = 3
    assert [x() is None for x in given_back] == [False, True]
    other = memory.array((4,))
    other[:] = 2
    assert (used == 3).all()
    del used
    assert given_back[0]() is None


def test_what_is_no_number_is_passed_on(recwarn):
    layer = layer_of()
    _, byte, kernel, bias = exact_case(9)
    kernel[..., 2] = np.inf
    numbers = [np.ones(5, "f"), np.zeros(5, "f")]
    found, *_, (z, m, *_) = event_driven.run_layer(
        layer, ops.array(byte), [kernel, bias], numbers
    )
    others = np.array([0, 1, 3, 4])
    assert not np.isfinite(m[2]) and not np.asarray(found)[..., 2].any()
    assert np.isfinite(np.asarray(z)[..., others]).all()
    assert np.asarray(found)[..., others].any()
    assert not [x for x in recwarn if issubclass(x.category, RuntimeWarning)]


def test_no_samples_give_none():
    _, byte, kernel, bias = exact_case(1)
    numbers = [np.ones(5, "f"), np.zeros(5, "f")]
    found, *_ = event_driven.run_layer(
        layer_of(), ops.array(byte[:0]), [kernel, bias], numbers
    )
    assert found.shape == (0, 4, 3, 5)


@pytest.mark.parametrize(
    "options",
    [{"groups": 2}, {"dilation_rate": 2}, {"dtype": "mixed_float16"}],
)
def test_other_convolutions_run_densely(options, calls):
    inputs = keras.Input((8, 8, 2))
    x = TimeFold(L.Conv2D(4, 3))(RepeatEncoder(3)(inputs))
    x = LIF(learning_rule="rate")(x)
    x = LIF(learning_rule="rate")(TimeFold(L.Conv2D(4, 3, **options))(x))
    x = TimeFold(L.Flatten())(x)
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(x))
    model(np.ones((2, 8, 8, 2), "f"), training=True)
    assert [x.held for x in calls] == [True]


class Doubled(LIF):
    """Neurons with a derivative of their own."""

    def collapsed(self, *arguments, **named):
        return 2 * super().collapsed(*arguments, **named)


def test_neurons_with_another_derivative_run_densely(calls):
    inputs = keras.Input((8, 8, 2))
    x = TimeFold(L.Conv2D(4, 3))(RepeatEncoder(3)(inputs))
    x = Doubled(learning_rule="rate")(x)
    x = TimeFold(L.Flatten())(x)
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(x))
    model(np.ones((2, 8, 8, 2), "f"), training=True)
    assert not calls


@pytest.mark.parametrize("time_steps", [8, 9, 31, 32])
def test_a_word_holds_the_steps(time_steps, calls):
    model = snn.models.VGG5(
        input_shape=(8, 8, 3), width=1 / 16, norm="batch", time_steps=time_steps
    )
    model(np.ones((2, 8, 8, 3), "f"), training=True)
    # Three convolutions, and a dense layer.
    assert len(calls) == (4 if time_steps < 32 else 0)
    reason = model.dense_reason(training=True)
    assert ("event by event" in reason) == (time_steps < 32)


def test_inference_and_graphs_for_others_do_not_call_them(calls, tmp_path):
    model = snn.models.VGG5(input_shape=(8, 8, 3), width=1 / 16, time_steps=2)
    model.predict(np.ones((2, 8, 8, 3), "f"), verbose=0)
    model.export(tmp_path / "saved", verbose=False)
    model.compile("sgd", "mse", jit_compile=True)
    model.train_on_batch(np.ones((2, 8, 8, 3), "f"), np.ones((2, 10), "f"))
    assert not calls
