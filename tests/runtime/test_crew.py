"""Threads that share the products of one sample change no bit of them."""

import concurrent.futures
import contextlib

import numpy as np
import pytest

pytest.importorskip("numba")
from keras_snn_runtime import crew  # noqa: E402
from keras_snn_runtime import operations as ops  # noqa: E402
from keras_snn_runtime import samples as runs  # noqa: E402
from keras_snn_runtime.crew import Crew  # noqa: E402
from tests.helpers import uncollected  # noqa: E402

SHAPE = (9, 7, 3)


class Network:
    """Random operations, from a source of frames to a readout."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.operations, self.arrays = [ops.Source(0, SHAPE)], {}
        self.shape, self.key = SHAPE, 0

    def add(self, kind, shape, *arguments):
        source, self.key, self.shape = self.key, self.key + 1, shape
        self.operations.append(kind(source, self.key, shape, *arguments))
        return self

    def weights(self, name, *shape):
        scale = 3 / np.sqrt(np.prod(shape[:-1]))
        self.arrays[name] = self.rng.normal(0, scale, shape).astype("float32")
        return name

    def convolve(self, filters, size, strides=(1, 1), before=(0, 0), after=0):
        rows, columns, channels = self.shape
        room = [
            (n + b + after - size) // s + 1
            for n, b, s in zip((rows, columns), before, strides)
        ]
        kernel = self.weights(
            f"kernel {self.key}", size, size, channels, filters
        )
        bias = self.weights(f"bias {self.key}", 1, filters)
        self.arrays[bias] = self.arrays[bias][0] / 10
        shape = (*room, filters)
        return self.add(ops.Convolution, shape, kernel, bias, strides, before)

    def pool(self, kind, size, strides):
        rows, columns, channels = self.shape
        room = [(n - size) // strides + 1 for n in (rows, columns)]
        shape = (*room, channels)
        return self.add(
            ops.Pooling, shape, kind, (size, size), (strides, strides)
        )

    def fire(self, subtract=False, each=False):
        numbers = 0.75, 0.5
        if each:
            numbers = f"beta {self.key}", f"threshold {self.key}"
            for name in numbers:
                drawn = self.rng.uniform(0.3, 0.9, self.shape)
                self.arrays[name] = drawn.astype("float32")
        return self.add(ops.Neurons, self.shape, *numbers, subtract, 0.1, None)

    def multiply(self, outputs):
        size = int(np.prod(self.shape))
        if len(self.shape) > 1:
            self.add(ops.Reshape, (size,))
        kernel = self.weights(f"kernel {self.key}", size, outputs)
        bias = self.weights(f"bias {self.key}", 1, outputs)
        self.arrays[bias] = self.arrays[bias][0]
        return self.add(ops.Product, (outputs,), kernel, bias)

    def join(self, key):
        """Add the frame of an earlier operation."""
        joined, self.key = (key, self.key), self.key + 1
        self.operations.append(ops.Sum(joined, self.key, self.shape))
        return self

    def normalize(self):
        names = {}
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            names[name] = f"{name} {self.key}"
            self.arrays[names[name]] = self.rng.uniform(
                0.5, 1, self.shape[-1]
            ).astype("float32")
        return self.add(
            ops.Normalization, self.shape, tuple(names.items()), 1e-3
        )

    def mask(self):
        self.add(ops.Mask, self.shape)
        drawn = self.rng.random((5, *self.shape)) < 0.7
        self.arrays[self.key] = drawn.astype("float32") * 1.5
        return self

    def run(self, x, time_steps, threads, held=()):
        """Return all currents before the readout, and its state."""
        network = [
            *self.operations,
            ops.Record(self.key, "record", self.shape),
            ops.Integration(self.key, "readout", self.shape, 0.9),
        ]
        shape = (len(x), time_steps, *self.shape)
        sequence = np.zeros(shape, "float32")
        state = np.zeros((len(x), *self.shape), "float32")
        outputs = {
            (self.key, "sequence"): sequence,
            ("readout", "state"): state,
        }
        inputs = {0: x, **self.arrays}
        runs.run(network, inputs, outputs, None, time_steps, held, threads)
        return sequence, state


def plain(seed):
    network = Network(seed).convolve(17, 3, before=(1, 1), after=1).fire()
    network.pool("average", 2, 2).convolve(70, 2).fire(subtract=True)
    return network.multiply(33).fire().multiply(5)


def strided(seed):
    network = Network(seed).pool("maximum", 2, 1)
    network.convolve(6, 3, strides=(2, 1), before=(2, 1), after=2)
    return network.fire(each=True).mask().convolve(4, 1).multiply(70)


def residual(seed):
    network = Network(seed).convolve(5, 1).fire(subtract=True)
    key = network.key
    network.convolve(5, 3, before=(1, 1), after=1).normalize().fire()
    network.join(key).convolve(3, 3, strides=(3, 2)).fire(each=True)
    return network.pool("maximum", 2, 1).multiply(3)


def dense_layers(seed):
    network = Network(seed).multiply(67).fire(subtract=True)
    return network.multiply(20).fire(each=True).multiply(2)


def wide(seed):
    return Network(seed).convolve(150, 3).fire().convolve(70, 3).multiply(2)


@pytest.fixture
def all_shared(monkeypatch):
    """Share every product, however small; return jobs and threads by run."""
    monkeypatch.setattr(Crew, "LEAST", 0)
    monkeypatch.setattr(runs, "LEAST_TO_SHARE", 0)
    jobs, helped = [], Crew.helped

    @contextlib.contextmanager
    def noted(self):
        with helped(self):
            yield
        jobs.append((len(self.jobs), self.threads))

    monkeypatch.setattr(Crew, "helped", noted)
    return jobs


def is_shared(operation):
    products = isinstance(operation, ops.Convolution | ops.Product)
    # Of spikes, here.
    products |= getattr(operation, "kind", None) == "average"
    alike = isinstance(operation, ops.Neurons) and not operation.differ
    return products or alike


@pytest.mark.parametrize(
    "network", [plain, strided, residual, dense_layers, wide]
)
@pytest.mark.parametrize("time_steps", [1, 4, 26])
def test_results_are_those_of_one_thread(network, time_steps, all_shared):
    built = network(time_steps)
    shape = (5, time_steps, *SHAPE)
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    expected = built.run(x, time_steps, 1)
    assert np.ptp(expected[0]) > 0 and all_shared == []
    for batch, threads in ((1, 2), (1, 4), (1, 16), (3, 2), (5, 2)):
        found = built.run(x[:batch], time_steps, threads)
        for y, whole in zip(found, expected):
            np.testing.assert_array_equal(y, whole[:batch])
    count = sum(map(is_shared, built.operations))
    # At most four threads, this one included, have one sample.
    assert all_shared == [(count, 2), (count, 4), (count, 4)]


@pytest.mark.parametrize(
    "network", [plain, strided, residual, dense_layers, wide]
)
def test_input_that_stays_gives_the_same_too(network, all_shared):
    built, x = network(3), np.full((1, 1, *SHAPE), 0.3, "float32")
    expected = built.run(np.repeat(x, 6, axis=1), 6, 1)
    for y, whole in zip(built.run(x, 6, 2, {0}), expected):
        np.testing.assert_array_equal(y, whole)
    assert len(all_shared) == 1


def test_numbers_that_are_none_stay_so(all_shared):
    x = np.zeros((1, 3, *SHAPE), "float32")
    x[0, 1, 0, 0, 0] = np.nan
    assert np.isnan(plain(0).run(x, 3, 2)[1]).all()


@pytest.mark.parametrize("least", [0, runs.LEAST_TO_SHARE])
def test_small_products_are_not_shared(least, monkeypatch):
    monkeypatch.setattr(runs, "LEAST_TO_SHARE", least)
    monkeypatch.setattr(Crew, "helped" if least else "_job", None)
    plain(0).run(np.zeros((1, 2, *SHAPE), "float32"), 2, 2)


def test_many_callers_at_once_share_a_pool(all_shared):
    """One of them has the helpers, the others do it all."""
    built = plain(0)
    shape = (1, 4, *SHAPE)
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    expected = built.run(x, 4, 1)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: built.run(x, 4, 2), range(24)):
            for y, whole in zip(found, expected):
                np.testing.assert_array_equal(y, whole)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("network", [plain, residual])
def test_arrays_are_free_after_a_call(
    network, threads, batch, all_shared, monkeypatch
):
    built, x = network(0), np.ones((batch, 3, *SHAPE), "float32")
    with uncollected(ops.Workspace, monkeypatch) as workspaces:
        built.run(x, 3, threads)
        assert workspaces and not any(reference() for reference in workspaces)


def test_an_error_ends_the_helpers(all_shared, monkeypatch):
    def broken(*arguments):
        raise FloatingPointError("of an operation")

    monkeypatch.setattr(ops.kernels, "list_spikes", broken)
    with pytest.raises(FloatingPointError, match="of an operation"):
        plain(0).run(np.zeros((1, 2, *SHAPE), "float32"), 2, 2)
    # Those that helped leave, and are free for the next.
    for helper in crew._team._helping:
        helper.result(timeout=10)
    assert not crew._team.lock.locked()
