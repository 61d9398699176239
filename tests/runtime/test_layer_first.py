"""One sample layer by layer is the sample of a batch step by step."""

import concurrent.futures
import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("numba")
from keras_snn_runtime import (  # noqa: E402
    Network,
    crew,
    kernels,
    layer_first,
    samples,
)
from keras_snn_runtime import operations as ops  # noqa: E402
from keras_snn_runtime.weights import pooled  # noqa: E402

SHAPE = (8, 6, 3)


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "first": (3, 3, 3, 37),
        "second": (3, 3, 37, 37),
        "dense": (12 * 37, 5),
        "bias": (37,),
    }
    return {
        k: rng.normal(0.05, 0.3, x).astype("float32") for k, x in shapes.items()
    }


def operations(beta=0.5, initial=0.0):
    """Return a convolution, a residual block, a pooling and a readout."""
    neurons = beta, 0.7, True, initial, None
    wide, narrow = (8, 6, 37), (4, 3, 37)
    before = (1, 1), (1, 1)
    return [
        ops.Source(0, SHAPE),
        ops.Convolution(0, 1, wide, "first", "bias", *before),
        ops.Reshape(1, 10, wide),
        ops.Neurons(10, 2, wide, *neurons),
        ops.Convolution(2, 3, wide, "second", ops.NO_BIAS, *before),
        ops.Sum((3, 1), 4, wide),
        ops.Neurons(4, 5, wide, *neurons),
        ops.Pooling(5, 6, narrow, "maximum", (2, 2), (2, 2)),
        ops.Reshape(6, 7, (444,)),
        ops.Product(7, 8, (5,), "dense", ops.NO_BIAS),
        ops.Integration(8, 9, (5,), 0.9),
    ]


def network(time_steps, encoder="repeat", **given):
    encoder = encoder and {"name": encoder, "max_rate": 1.0}
    found = Network(
        "net", time_steps, encoder, operations(**given), True, arrays()
    )
    found.threads = 1
    return found


def images(*shape, seed=1):
    x = np.random.default_rng(seed).normal(0, 1, (*shape, *SHAPE))
    return x.astype("float32")


def go_step_by_step(monkeypatch):
    monkeypatch.setattr(layer_first, "suits", lambda *_: False)


@pytest.mark.parametrize("time_steps", [1, 3, 4, 9])
@pytest.mark.parametrize("encoder", ["repeat", "rate", None])
@pytest.mark.parametrize("initial", [0.0, 0.25])
def test_one_sample_is_that_of_a_batch(time_steps, encoder, initial):
    found = network(time_steps, encoder, initial=initial)
    x = images(3) if encoder else images(3, time_steps)
    together = found.predict(x)
    assert np.ptp(together) > 0.1
    # The second call takes the arrays of the first one.
    for i in (0, 1, 2, 0):
        one = found.predict(x[i : i + 1])
        np.testing.assert_array_equal(one[0], together[i])


@pytest.mark.parametrize("threads", [2, 4, 9])
@pytest.mark.parametrize("encoder", ["repeat", "rate"])
@pytest.mark.parametrize(("least", "large"), [(0, 0), (0, 2**20), (8000, 0)])
def test_threads_share_one_sample(threads, encoder, least, large, monkeypatch):
    found, x = network(9, encoder), images(3)
    expected = found.predict(x)
    monkeypatch.setattr(samples, "LEAST_TO_SHARE", 0)
    monkeypatch.setattr(crew.Crew, "LEAST", least)
    monkeypatch.setattr(crew, "LARGE", large)
    followed, then = [], crew.Job.then
    monkeypatch.setattr(
        crew.Job, "then", lambda *given: followed.append(then(*given))
    )
    found.threads = threads
    for i in (0, 1, 2, 0) * 5:
        one = found.predict(x[i : i + 1])
        np.testing.assert_array_equal(one[0], expected[i])
    # The first neurons follow their convolution, unless it is computed once.
    assert len(followed) == (encoder == "rate")
    x[0, 4, 3, 1] = np.nan
    assert np.isnan(found.predict(x[:1])).all()


@pytest.mark.parametrize("time_steps", [1, 5, 8])
@pytest.mark.parametrize("by_layer", [True, False])
@pytest.mark.parametrize("divides", [True, False])
def test_an_answer_is_that_after_its_steps(
    time_steps, by_layer, divides, monkeypatch
):
    if not by_layer:
        go_step_by_step(monkeypatch)
    found, x = network(time_steps), images(6)
    found.divides = divides
    by_step = []
    for image in x:
        stream = found.stream()
        by_step.append([stream.step(image) for _ in range(time_steps)])
    by_step = np.stack(by_step)
    largest = np.sort(by_step, axis=-1)
    ahead = (largest[..., -1] - largest[..., -2])[:, 1::2]
    for margin in (0, float(np.median(ahead)) if ahead.size else 1, np.inf):
        scores, steps = found.predict_until_sure(x, margin)
        sure = np.concatenate([ahead >= margin, np.ones((6, 1), bool)], 1)
        expected = np.minimum(2 * sure.argmax(axis=1) + 2, time_steps)
        np.testing.assert_array_equal(steps, expected)
        np.testing.assert_allclose(
            scores, by_step[range(6), steps - 1], rtol=1e-6
        )


def test_margins_that_no_answer_has():
    for margin in (-1, float("nan")):
        with pytest.raises(ValueError, match="`margin` must be at least 0"):
            network(2).predict_until_sure(images(1), margin)
    found = network(2)
    found.output_shape = (1,)
    with pytest.raises(ValueError, match=r"two classes or more.* \(1,\)"):
        found.predict_until_sure(images(1), 1)


def test_a_number_that_is_none_concerns_one_call():
    found, x = network(5), images(2)
    expected = found.predict(x)
    broken = x[:1].copy()
    broken[0, 4, 3, 1] = np.nan
    assert np.isnan(found.predict(broken)).all()
    np.testing.assert_array_equal(found.predict(x[:1]), expected[:1])


def test_sequences_of_any_length_share_their_arrays():
    found = network(None, None)
    for time_steps in (7, 2, 5):
        x = images(2, time_steps)
        expected = found.predict(x)[:1]
        np.testing.assert_array_equal(found.predict(x[:1]), expected)


def test_copies_have_arrays_of_their_own():
    found, x = network(5), images(1)
    expected = found.predict(x)
    for other in (pickle.loads(pickle.dumps(found)), copy.copy(found)):
        assert found._idle and not other._idle
        np.testing.assert_array_equal(other.predict(x), expected)


def test_two_threads_do_not_share_their_arrays():
    found, x = network(6), images(8)
    expected = found.predict(x)

    def one(i):
        return [found.predict(x[i : i + 1])[0] for _ in range(20)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for i, scores in enumerate(pool.map(one, range(8))):
            np.testing.assert_array_equal(scores, [expected[i]] * 20)


def test_numbers_of_each_neuron_and_histories_go_step_by_step():
    numbers = "betas", "thresholds"
    each = ops.Neurons(0, 1, (3,), *numbers, True, 0.0, None)
    assert not layer_first.suits([ops.Source(0, (3,)), each], {})
    assert layer_first.suits(operations(), {})
    assert layer_first.suits(operations(), {(2, "state"): 0})
    assert not layer_first.suits(operations(), {(2, "history"): 0})


def every_operation(factor, surrogate):
    """Return operations that go layer by layer, of all kinds, and arrays."""
    rng = np.random.default_rng(2)
    neurons = 0.75, 0.5, True, 0.1, factor, surrogate
    wide, narrow = (8, 6, 37), (4, 3, 37)
    names = "gamma", "beta", "moving_mean", "moving_variance"
    found = [
        ops.Source(0, SHAPE),
        ops.Convolution(0, 1, wide, "first", "bias", (1, 1), (1, 1)),
        ops.Normalization(1, 2, wide, tuple(zip(names, names)), 1e-3),
        ops.Neurons(2, 3, wide, *neurons),
        ops.Pooling(3, 4, narrow, "average", (2, 2), (2, 2)),
        ops.Mask(4, 5, narrow),
        ops.Depthwise(5, 6, narrow, "channels", ops.NO_BIAS, (1, 1), (1, 1)),
        ops.Sum((4, 6), 7, narrow),
        ops.Neurons(7, 8, narrow, *neurons),
        ops.Depthwise(0, 9, (8, 6, 6), "both", ops.NO_BIAS, (1, 1), (1, 1)),
        ops.Mask(0, 10, SHAPE),
        ops.Pooling(9, 11, (4, 3, 6), "maximum", (2, 2), (2, 2)),
        ops.Reshape(8, 12, (444,)),
        ops.Product(12, 13, (5,), "dense", ops.NO_BIAS),
        ops.Integration(13, 14, (5,), 0.9),
        ops.Integration(11, 15, (4, 3, 6), 1.0),
        ops.Product(10, 16, (5,), "image", ops.NO_BIAS),
        ops.Integration(16, 17, (5,), 0.5),
    ]
    weights = {
        "channels": rng.normal(0, 0.5, (3, 3, 37, 1)),
        "both": rng.normal(0, 0.5, (3, 3, 3, 2)),
        "image": rng.normal(0, 0.5, (144, 5)),
        **{name: rng.uniform(0.5, 1, 37) for name in names},
        5: 1.5 * (rng.random((5, *narrow)) < 0.7),
        10: 1.5 * (rng.random((5, *SHAPE)) < 0.7),
        (3, "state"): rng.normal(0, 0.3, (5, *wide)),
    }
    weights = {k: x.astype("float32") for k, x in weights.items()}
    return found, {**arrays(), **weights}


def all_outputs(time_steps, held, statistics, factor, surrogate, threads):
    found, inputs = every_operation(factor, surrogate)
    inputs[0] = images(5, 1 if held else time_steps)
    shapes = {x.key: x.shape for x in found}
    names = {k: ["state"] for k in (3, 8, 14, 15, 17)}
    for key in (3, 8) if statistics else ():
        names[key] += ops.STATISTICS[statistics]
        names[key] += ["trace"] if statistics == "sums" else []
    outputs = {
        (key, name): np.full((5, *shapes[key]), np.nan, "float32")
        for key, given in names.items()
        for name in given
    }
    samples.run(
        *(found, inputs, outputs, statistics, time_steps, held, threads)
    )
    return outputs


@pytest.mark.parametrize("together", [0, 3])
@pytest.mark.parametrize("time_steps", [1, 4, 11])
@pytest.mark.parametrize("held", [(), {0}])
@pytest.mark.parametrize(
    ("statistics", "factor", "surrogate"),
    [
        (None, None, None),
        ("sums", None, None),
        ("credit", 0.7, None),
        ("credit", ops.LEAK_CORRECTED, None),
        *(("credit", None, (kind, 1.5)) for kind in range(5)),
    ],
)
def test_a_batch_is_what_it_is_step_by_step(
    together, time_steps, held, statistics, factor, surrogate, monkeypatch
):
    given = time_steps, held, statistics, factor, surrogate
    monkeypatch.setattr(layer_first, "together", lambda _: together)
    monkeypatch.setattr(crew.Crew, "LEAST", 0)
    by_layer = [all_outputs(*given, threads) for threads in (1, 2)]
    go_step_by_step(monkeypatch)
    by_step = all_outputs(*given, 1)
    for found in by_layer:
        for name, expected in by_step.items():
            assert np.ptp(expected) > 0
            exact = name[1] in ("total", "t_last", "state")
            np.testing.assert_allclose(
                found[name], expected, rtol=0 if exact else 2e-5, atol=1e-6
            )


def averages(kernel, strides, size, shape):
    """Return a convolution, its average, neurons and a readout."""
    rows, columns = shape[0] // strides[0], shape[1] // strides[1]
    pooled_shape = rows // size[0], columns // size[1], kernel[-1]
    count = int(np.prod(pooled_shape))
    rng = np.random.default_rng(0)
    weights = {"kernel": rng.integers(-8, 9, kernel) / 16}
    weights |= {"bias": rng.integers(-2, 3, kernel[-1]) / 16}
    before = tuple((n - 1) // 2 for n in kernel[:2])
    found = [
        ops.Source(0, shape),
        ops.Convolution(
            *(0, 1, (rows, columns, kernel[-1]), "kernel", "bias"),
            *(strides, before),
        ),
        ops.Pooling(1, 2, pooled_shape, "average", size, size),
        ops.Neurons(2, 3, pooled_shape, 0.5, 0.25, True, 0.0, None),
        ops.Reshape(3, 4, (count,)),
        ops.Integration(4, 5, (count,), 1.0),
    ]
    return found, {k: x.astype("float32") for k, x in weights.items()}


@pytest.mark.parametrize(
    ("kernel", "strides", "size", "operations_left"),
    [
        ((3, 3, 2, 5), (1, 1), (2, 2), 5),
        ((5, 5, 2, 5), (1, 1), (2, 2), 5),
        ((3, 3, 2, 5), (2, 1), (2, 4), 5),
        ((1, 3, 2, 5), (1, 1), (1, 2), 5),
        # No fewer products, and too large a kernel.
        ((1, 1, 2, 5), (1, 1), (2, 2), 6),
        ((3, 3, 2, 5), (1, 1), (8, 8), 6),
    ],
)
def test_a_convolution_takes_the_average_along(
    kernel, strides, size, operations_left
):
    shape = 8, 16, 2
    plain = averages(kernel, strides, size, shape)
    merged = pooled(*plain)
    assert len(merged[0]) == operations_left
    x = np.random.default_rng(1).integers(0, 2, (3, 6, *shape))
    plain, merged = (
        Network("net", None, None, found, False, weights).predict(
            x.astype("float32")
        )
        for found, weights in (plain, merged)
    )
    assert 0.1 < plain.mean() < 5
    np.testing.assert_array_equal(merged, plain)


def test_a_convolution_that_others_read_stays():
    found, weights = averages((3, 3, 2, 5), (1, 1), (2, 2), (8, 16, 2))
    found.insert(2, ops.Integration(1, 6, (8, 16, 5), 1.0))
    assert pooled(found, weights)[0] == found


@pytest.mark.parametrize("bits", [0, 1, 0x80000000, 0x12345678, 0xFFFFFFFF])
def test_processors_without_compressed_stores_list_the_same(bits):
    given = np.arange(32, dtype="float32") + 0.5
    expected = [j for j in range(32) if bits >> j & 1]
    places, values = np.zeros(32, "int32"), np.zeros(32, "float32")
    found = kernels._each_place(np.uint32(bits), 7, places)
    kernels._each_value(np.uint32(bits), given, values)
    assert found == len(expected)
    np.testing.assert_array_equal(places[:found], np.add(expected, 7))
    np.testing.assert_array_equal(values[:found], given[expected])
