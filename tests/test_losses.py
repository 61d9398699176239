"""Losses and metrics of outputs at every step."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.metrics import TimeMean
from tests.helpers import gradients

TET = snn.losses.TemporalEfficientTraining
CrossEntropy = snn.losses.CrossEntropy


def outputs_of(shape=(3, 5, 4), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def one_hot(labels, classes=4):
    return np.eye(classes, dtype="float32")[labels]


def cross_entropy_loop(labels, outputs, smoothing=0.0):
    """Return the loss of each sample, class by class."""
    losses = []
    for label, o in zip(labels, outputs.astype(float)):
        total = 0.0
        for c, value in enumerate(o):
            q = (1 - smoothing) * (c == label) + smoothing / len(o)
            total += q * (np.log(np.exp(o).sum()) - value)
        losses.append(total)
    return np.array(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize(
    "labels",
    [
        one_hot([0, 3, 1]),
        one_hot([0, 3, 1]).astype("uint8"),
        np.array([0, 3, 1]),
        np.float32([0, 3, 1]),
        np.array([[0], [3], [1]]),
    ],
)
def test_cross_entropy_against_a_loop(labels, smoothing):
    outputs = outputs_of((3, 4))
    expected = cross_entropy_loop([0, 3, 1], outputs, smoothing)
    found = CrossEntropy(smoothing, reduction=None)(labels, outputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    mean = CrossEntropy(smoothing)(labels, outputs)
    assert float(mean) == pytest.approx(expected.mean(), rel=1e-5)


def test_cross_entropy_gradient_is_softmax_minus_smoothed_label():
    labels, outputs = np.array([0, 3, 1]), outputs_of((3, 4))
    loss = CrossEntropy(0.2, reduction="sum")
    _, (found,) = gradients(lambda o: loss(labels, o), [outputs])
    odds = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    expected = odds - (0.8 * one_hot(labels) + 0.05)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_cross_entropy_of_large_and_of_low_precision_outputs():
    outputs = np.float32([[1000.0, 0.0], [0.0, -1000.0]])
    found = CrossEntropy(reduction=None)(np.array([1, 0]), outputs)
    np.testing.assert_allclose(found, [1000.0, 0.0])
    low = keras.ops.cast(outputs, "bfloat16")
    found = CrossEntropy(reduction=None)(np.array([1, 0]), low)
    np.testing.assert_allclose(found, [1000.0, 0.0], rtol=1e-2)


def test_cross_entropy_of_a_number_that_is_no_class_is_nan():
    outputs = outputs_of((3, 4))
    found = CrossEntropy(0.1, reduction=None)(np.array([0, 4, -1]), outputs)
    assert np.isnan(found).tolist() == [False, True, True]


def test_cross_entropy_at_every_step():
    labels, outputs = np.array([0, 3, 1]), outputs_of()
    expected = tet_loop(labels, outputs, 0.05, 1.0).mean()
    for y in (labels, one_hot(labels)):
        found = TET(CrossEntropy())(y, outputs)
        assert float(found) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_round_trip():
    loss = CrossEntropy(0.1, reduction="sum")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is CrossEntropy
    assert again.get_config() == loss.get_config()
    assert again.label_smoothing == 0.1


@pytest.mark.parametrize("smoothing", [1.0, -0.1])
def test_cross_entropy_bad_smoothing(smoothing):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\).*0.1 is usual"):
        CrossEntropy(smoothing)


@pytest.mark.parametrize(
    "labels, outputs, message",
    [
        ((3, 5), (3, 4), "as many units as there are classes"),
        ((3, 2, 4), (3, 4), "or class numbers of shape"),
        ((3, 4), (3, 5, 4), "need a readout.*TemporalEfficientTraining"),
        ((3, 1), (3, 1), "two classes or more"),
    ],
)
def test_cross_entropy_bad_shapes(labels, outputs, message):
    with pytest.raises(ValueError, match=message):
        CrossEntropy()(np.zeros(labels), np.zeros(outputs))


@pytest.mark.parametrize("sparse", [False, True])
def test_cross_entropy_in_fit(sparse):
    x = np.repeat(np.eye(3, dtype="float32"), 4, axis=0)
    y = np.repeat(np.arange(3), 4) if sparse else x
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile(
        keras.optimizers.SGD(2.0), CrossEntropy(), metrics=["accuracy"]
    )
    history = model.fit(x, y, 12, 10, verbose=0).history
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["accuracy"][-1] == 1.0


def tet_loop(labels, outputs, weight, target):
    """Return the loss of each sample, step by step."""
    losses = []
    for label, steps in zip(labels, outputs.astype(float)):
        total = 0.0
        for o in steps:
            cross_entropy = np.log(np.exp(o).sum()) - o[label]
            distance = ((o - target) ** 2).mean()
            total += (1 - weight) * cross_entropy + weight * distance
        losses.append(total / len(steps))
    return np.array(losses)


@pytest.mark.parametrize("weight, target", [(0.05, 1.0), (0.3, -0.5), (0, 1)])
def test_tet_against_a_loop(weight, target):
    labels, outputs = np.array([0, 3, 1]), outputs_of()
    expected = tet_loop(labels, outputs, weight, target)
    found = TET(weight=weight, target=target, reduction=None)(
        one_hot(labels), outputs
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    mean = TET(weight=weight, target=target)(one_hot(labels), outputs)
    assert float(mean) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("labels", [[0, 3, 1], [[0], [3], [1]]])
def test_tet_of_class_numbers(labels):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    labels = np.array(labels)
    expected = tet_loop(labels.ravel(), outputs_of(), 0.05, 1.0).mean()
    found = TET(loss)(labels, outputs_of())
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_tet_gradient_asks_every_step_to_be_right():
    labels, outputs = np.array([0, 3, 1]), outputs_of()
    loss = TET(weight=0.0)
    _, (found,) = gradients(lambda o: loss(one_hot(labels), o), [outputs])
    odds = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    expected = (odds - one_hot(labels)[:, None]) / (3 * 5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_tet_weighs_samples_and_takes_low_precision():
    labels, outputs = np.array([0, 3, 1]), outputs_of()
    weights = np.float32([2, 0, 1])
    expected = tet_loop(labels, outputs, 0.05, 1.0) * weights
    found = TET(reduction="sum")(one_hot(labels), outputs, weights)
    assert float(found) == pytest.approx(expected.sum(), rel=1e-5)
    low = keras.ops.cast(outputs, "bfloat16")
    found = TET(reduction="sum")(one_hot(labels), low, weights)
    assert float(found) == pytest.approx(expected.sum(), rel=1e-2)


@pytest.mark.parametrize("kind", [keras.Model, snn.Model])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_masked_steps_do_not_exist(batch, kind):
    x = outputs_of((batch, 5, 4))
    lengths = [2, 5, 1, 4, 3][:batch]
    exists = np.arange(5) < np.array(lengths)[:, None]
    x *= exists[..., None]
    labels = np.arange(batch) % 4
    i = keras.Input((5, 4))
    steps = keras.layers.Masking()(i)
    steps = snn.layers.TimeFold(keras.layers.Dense(4))(steps)
    model = kind(i, steps)
    metric = TimeMean(keras.metrics.MeanSquaredError())
    model.compile("sgd", TET(weight=0.3), metrics=[metric])
    outputs = model.predict(x, verbose=0)
    each = [
        (tet_loop([label], o[None, :length], 0.3, 1.0)[0], o[:length].mean(0))
        for label, o, length in zip(labels, outputs, lengths)
    ]
    losses, means = map(np.array, zip(*each))
    distances = np.mean((means - one_hot(labels)) ** 2)
    weights = np.arange(1.0, batch + 1)
    for given, w in (({}, 1), ({"sample_weight": weights}, weights)):
        found = model.evaluate(x, one_hot(labels), verbose=0, **given)
        expected = (losses * w).mean(), distances
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_tet_round_trip():
    loss = TET(keras.losses.MeanSquaredError(), 0.2, 0.5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is TET
    assert again.get_config() == loss.get_config()
    labels = one_hot([0, 3, 1])
    assert float(again(labels, outputs_of())) == float(
        loss(labels, outputs_of())
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"weight": 1.5}, r"`weight` must lie in \[0, 1\]"),
        ({"weight": "small"}, r"`weight` must lie in \[0, 1\]"),
        ({"target": None}, "`target` must be a real number"),
        ({"loss": "mean_squared_error"}, "must be a keras.losses.Loss of one"),
    ],
)
def test_tet_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        TET(**options)


def test_outputs_without_time_are_refused():
    labels = one_hot([0, 3, 1])
    with pytest.raises(ValueError, match="without a readout"):
        TET()(labels, outputs_of((3, 4)))
    with pytest.raises(ValueError, match="Without a time axis use the metric"):
        TimeMean("categorical_accuracy").update_state(
            labels, outputs_of((3, 4))
        )


@pytest.mark.parametrize(
    "metric, labels",
    [
        ("categorical_accuracy", one_hot([0, 3, 1])),
        ("sparse_categorical_accuracy", np.array([0, 3, 1])),
        (keras.metrics.TopKCategoricalAccuracy(2), one_hot([0, 3, 1])),
    ],
)
def test_time_mean_is_the_metric_of_the_mean(metric, labels):
    outputs = outputs_of()
    found = TimeMean(metric)
    found.update_state(labels, outputs)
    plain = TimeMean(metric).metric
    plain.reset_state()
    plain.update_state(labels, outputs.mean(1))
    assert float(found.result()) == float(plain.result())
    found.reset_state()
    assert float(found.result()) == 0
    again = TimeMean.from_config(found.get_config())
    again.update_state(labels, outputs, sample_weight=[1, 0, 0])
    assert again.name == found.name


@pytest.mark.parametrize("metric", ["accuracy", None])
def test_time_mean_of_no_metric(metric):
    with pytest.raises(ValueError, match='e.g. "categorical_accuracy"'):
        TimeMean(metric)


def test_fit_evaluate_save_and_use(tmp_path):
    (x, y), _ = snn.datasets.load("digits")
    x, y = x[:200], y[:200]
    keras.utils.set_random_seed(0)
    fold = snn.layers.TimeFold
    images = keras.Input(x.shape[1:])
    s = snn.layers.RepeatEncoder(4)(images)
    s = fold(keras.layers.Flatten())(s)
    s = fold(keras.layers.Dense(32))(s)
    s = snn.layers.PLIF()(s)
    steps = fold(keras.layers.Dense(10))(s)
    model = keras.Model(images, steps)
    accuracy = TimeMean("categorical_accuracy")
    model.compile(keras.optimizers.Adam(0.02), TET(), metrics=[accuracy])
    history = model.fit(x, y, 50, 12, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    _, trained = model.evaluate(x, y, verbose=0)
    assert trained > 0.9
    # The classifier shares the weights and runs step by step.
    mean = snn.layers.SpikeCountReadout()(steps)
    classifier = snn.Model(images, mean)
    scores = classifier.predict(x, verbose=0)
    right = np.argmax(scores, -1) == np.argmax(y, -1)
    assert trained == pytest.approx(right.mean(), abs=1e-6)
    model.save(tmp_path / "tet.keras")
    again = keras.models.load_model(tmp_path / "tet.keras")
    assert again.evaluate(x, y, verbose=0) == pytest.approx(
        model.evaluate(x, y, verbose=0), rel=1e-5
    )


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="JAX knows all shapes"
)
@pytest.mark.parametrize(
    "loss", [snn.losses.CrossEntropy(), snn.losses.SummedSquaredError()]
)
def test_labels_of_unknown_shape_are_not_broadcast(loss):
    import tensorflow as tf

    x = np.random.default_rng(0).random((6, 4), "float32")
    numbers = np.arange(6)[:, None] % 3
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.compile("sgd", loss)

    def measured(labels):
        spec = (
            tf.TensorSpec((None, 4)),
            tf.TensorSpec((None, None), labels.dtype),
        )
        data = tf.data.Dataset.from_generator(
            lambda: iter([(x, labels)]), output_signature=spec
        )
        data = data.apply(tf.data.experimental.assert_cardinality(1))
        return model.evaluate(data, verbose=0)

    one_hot = np.eye(3, dtype="float32")[numbers[:, 0]]
    expected = model.evaluate(x, one_hot, batch_size=6, verbose=0)
    assert measured(one_hot) == pytest.approx(expected)
    with pytest.raises(tf.errors.InvalidArgumentError):
        measured(numbers)
