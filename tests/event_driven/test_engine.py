"""The event-driven engine computes what the layers compute."""

import keras
import numpy as np
import pytest

import keras_snn
from keras_snn import event_driven, layers
from keras_snn.event_driven import engine
from keras_snn.neurons import learning_rules
from keras_snn.running import time_first
from keras_snn.training.building import policy
from tests.helpers import gradients

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="runs on TensorFlow only"
)


def sequences(*frame, samples=3, time_steps=4, rate=0.3, analog=False):
    rng = np.random.default_rng(0)
    shape = (samples, time_steps, *frame)
    x = (rng.random(shape) < rate).astype("float32")
    return x * rng.normal(size=shape).astype("float32") if analog else x


def summed(x, *frame_layers):
    """Return a model that sums its layers' outputs over time, twice.

    As `keras_snn.Model` and as `keras.Model`.
    """
    inputs = y = keras.Input((None, *x.shape[2:]))
    for layer in frame_layers:
        is_sequence = isinstance(layer, layers.time_layer.TimeLayer)
        y = layer(y) if is_sequence else layers.TimeFold(layer)(y)
    outputs = layers.SpikeCountReadout(normalize=False)(y)
    rng = np.random.default_rng(1)
    models = [keras_snn.Model(inputs, outputs), keras.Model(inputs, outputs)]
    for w in models[0].weights:
        if w.name == "moving_variance":
            w.assign(rng.random(w.shape) + 0.5)
        elif w.name != "seed_generator_state":
            w.assign(rng.normal(size=w.shape))
    return models


def check_equal(x, *frame_layers, exactly=False):
    model, plain = summed(x, *frame_layers)
    assert model.dense_reason() is None
    found = model.predict(x, verbose=0)
    expected = plain.predict(x, verbose=0)
    assert found.shape == expected.shape
    assert np.any(expected)
    if exactly:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(model(x), found)  # Without a graph.


CONVOLUTIONS = {
    "same": dict(filters=5, kernel_size=3, padding="same"),
    "valid": dict(filters=5, kernel_size=3),
    "even": dict(filters=4, kernel_size=(2, 4), padding="same"),
    "wide": dict(filters=4, kernel_size=(5, 6)),
    "one": dict(filters=1, kernel_size=1),
    "stride": dict(filters=6, kernel_size=3, strides=2, padding="same"),
    "stride of a point": dict(filters=6, kernel_size=1, strides=(3, 2)),
    "stride beyond the edge": dict(filters=6, kernel_size=2, strides=3),
    "many": dict(filters=64 + 16 + 4 + 3, kernel_size=3, padding="same"),
    "bias": dict(filters=9, kernel_size=3, use_bias=True),
}


@pytest.mark.parametrize("channels", [1, 3, 32, 70])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, channels):
    x = sequences(5, 6, channels, analog=channels == 3)
    layer = keras.layers.Conv2D(**{"use_bias": False, **CONVOLUTIONS[name]})
    check_equal(x, layer)


@pytest.mark.parametrize(
    "frame, layer",
    [
        ((9, 4), keras.layers.Conv1D(5, 3, padding="same", strides=2)),
        ((9, 4), keras.layers.Conv1D(5, 4)),
        ((9, 4), keras.layers.DepthwiseConv1D(3, padding="same", strides=2)),
        ((5, 6, 3), keras.layers.DepthwiseConv2D(3)),
        ((5, 6, 3), keras.layers.DepthwiseConv2D((2, 4), 2, "same")),
        ((5, 6, 3), keras.layers.DepthwiseConv2D(2, depth_multiplier=3)),
        ((9, 4), keras.layers.SeparableConv1D(5, 3, depth_multiplier=2)),
        ((5, 6, 3), keras.layers.SeparableConv2D(6, 3, 2, padding="same")),
        ((37,), keras.layers.Dense(21)),
        ((5, 37), keras.layers.Dense(6)),
        ((3, 5, 7), keras.layers.Dense(6, use_bias=False)),
        ((6, 8, 3), keras.layers.AveragePooling2D(2)),
        ((6, 8, 3), keras.layers.AveragePooling2D(2, padding="same")),
        ((7, 8, 3), keras.layers.AveragePooling2D((3, 2), strides=(2, 1))),
        ((8, 3), keras.layers.AveragePooling1D(3)),
        ((7, 9, 3), keras.layers.MaxPooling2D(2)),
        ((9, 3), keras.layers.MaxPooling1D(3, strides=1)),
        ((7, 5, 3), keras.layers.GlobalAveragePooling2D()),
        ((7, 3), keras.layers.GlobalAveragePooling1D()),
        ((7, 5, 3), keras.layers.GlobalMaxPooling2D(keepdims=True)),
        ((4, 3, 5), keras.layers.BatchNormalization()),
        ((4, 5), keras.layers.BatchNormalization(scale=False, center=False)),
        ((4, 3, 5), layers.Affine()),
        ((4, 3, 5), layers.Affine(use_scale=False, per_position=True)),
        ((4, 5), layers.Affine(per_position=True)),
        ((7,), layers.Affine()),
        ((4, 3, 5), keras.layers.Rescaling(0.3)),
        ((4, 2), keras.layers.Rescaling([0.3, 2.0], [0.1, -0.2])),
        ((4, 6), keras.layers.Reshape((3, 8))),
        ((7, 5, 3), layers.StandardizedConv2D(6, 3, padding="same")),
        ((37,), layers.StandardizedDense(21)),
        ((4, 3, 5), layers.ThresholdBatchNormalization(0.5)),
    ],
    ids=lambda x: x if isinstance(x, tuple) else type(x).__name__,
)
@pytest.mark.parametrize("analog", [False, True])
def test_other_layers_of_one_frame(frame, layer, analog):
    check_equal(sequences(*frame, analog=analog), layer)


@pytest.mark.parametrize("padding", [1, ((2, 0), (1, 3)), (3, 2)])
@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2D(4, 3, strides=2),
        keras.layers.DepthwiseConv2D(3, strides=2),
        keras.layers.SeparableConv2D(4, 3, strides=2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_zeros_around_the_frames_of_a_convolution(layer, padding):
    check_equal(sequences(5, 6, 3), keras.layers.ZeroPadding2D(padding), layer)


def test_zeros_around_the_frames_of_a_convolution_in_one_axis():
    check_equal(
        sequences(5, 3),
        keras.layers.ZeroPadding1D((2, 1)),
        keras.layers.Conv1D(4, 3),
    )


@pytest.mark.parametrize("frame", [(4, 6, 2), (5, 2), (9,)])
def test_layers_in_a_row(frame):
    # Of each kind one that wants spikes and one that wants an array.
    check_equal(
        sequences(*frame),
        keras.layers.Dense(8),
        layers.LIF(threshold=0.5),
        layers.TimeConstantDropout(0.4),
        keras.layers.Flatten(),
        keras.layers.Dense(30),
        layers.LIF(beta=0.7),
        keras.layers.Reshape((3, 5, 2)),
        keras.layers.Conv2D(12, 2),
        layers.IF(threshold=0.8),
        keras.layers.MaxPooling2D(2),
    )


@pytest.mark.parametrize("time_steps", [1, 7, 8, 9, 20])
@pytest.mark.parametrize(
    "neuron",
    [
        layers.LIF(beta=0.8, threshold=0.6),
        layers.LIF(beta=0.8, threshold=0.6, reset="subtract"),
        layers.LIF(tau=3.0, initial_potential=0.4),
        layers.IF(threshold=0.75),
        layers.IF(threshold=1.5, reset="subtract", initial_potential=0.75),
    ],
    ids=lambda layer: f"{layer.name}-{layer.reset}",
)
def test_neurons_fire_at_the_same_steps(neuron, time_steps):
    x = sequences(40, time_steps=time_steps, analog=True)
    check_equal(x + 0.5, neuron, exactly=True)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize(
    "channels, samples",
    [
        ((1, 20, 50), 65),
        ((3, 50, 20), 9),
        ((20, 5, 1), 33),
        ((5, 3, 100), 1),
        ((50, 33, 3), 2),
    ],
)
def test_odd_numbers_of_channels_spike_as_the_layers(channels, samples, reset):
    first, second, third = channels
    x = sequences(7, 6, first, samples=samples, time_steps=6, rate=0.4)
    model, plain = summed(
        x,
        keras.layers.Conv2D(second, 3, padding="same"),
        layers.LIF(beta=0.5, threshold=1.0, reset=reset),
        keras.layers.AveragePooling2D(2),
        keras.layers.Conv2D(third, 3, padding="same"),
        layers.LIF(beta=0.5, threshold=0.5, reset=reset),
        keras.layers.Flatten(),
        keras.layers.Dense(13),
        layers.IF(threshold=1.0, reset=reset),
    )
    # Sums of these are exact in any order.
    for w in model.weights:
        w.assign(np.round(4 * w.numpy()) / 16)
    found = model.predict(x, verbose=0)
    assert 0 < found.mean() < 6
    np.testing.assert_array_equal(found, plain.predict(x, verbose=0))


def test_currents_add_and_one_layer_has_several_readers():
    x = sequences(6, 6, 2)
    inputs = keras.Input((4, 6, 6, 2))
    s = layers.LIF(threshold=0.5)(inputs)
    conv = layers.TimeFold(keras.layers.Conv2D(2, 3, padding="same"))
    y = keras.layers.Add()([conv(s), s, conv(inputs)])
    outputs = [
        layers.MembraneReadout(beta=0.9)(y),
        layers.SpikeCountReadout()(layers.IF()(y)),
    ]
    model, plain = (
        cls(inputs, outputs) for cls in (keras_snn.Model, keras.Model)
    )
    assert model.dense_reason() is None
    for a, b in zip(model.predict(x), plain.predict(x), strict=True):
        assert np.ptp(b) > 0
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def check_functional(inputs, outputs, x):
    """Check that both kinds of model predict the same."""
    model = keras_snn.Model(inputs, outputs)
    assert model.dense_reason() is None
    found = model.predict(x, verbose=0)
    expected = keras.Model(inputs, outputs).predict(x, verbose=0)
    assert np.any(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_one_layer_and_one_tensor_are_used_more_than_once():
    first, second = keras.Input((4, 5, 5, 2)), keras.Input((4, 5, 5, 2))
    conv = layers.TimeFold(keras.layers.Conv2D(2, 3, padding="same"))
    dropout = layers.TimeConstantDropout(0.5)
    lif = layers.LIF(threshold=0.3)
    s = dropout(lif(first))
    y = keras.layers.Add()([conv(s), s, s, conv(dropout(lif(second)))])
    outputs = layers.SpikeCountReadout()(y)
    x = [sequences(5, 5, 2), sequences(5, 5, 2, analog=True) + 0.3]
    check_functional([first, second], outputs, x)


def test_samples_left_over_do_not_see_those_before():
    inputs = keras.Input((None, 4, 3))
    x = layers.TimeFold(keras.layers.BatchNormalization())(inputs)
    y = layers.LIF(threshold=0.4)(keras.layers.Add()([x, inputs]))
    outputs = layers.SpikeCountReadout()(y)
    check_functional(inputs, outputs, sequences(4, 3, samples=19))


@pytest.mark.parametrize(
    "layer, frame",
    [
        (keras.layers.AveragePooling2D((2, 3)), (4, 6, 5)),
        (keras.layers.AveragePooling2D(5), (10, 5, 3)),
        (keras.layers.GlobalAveragePooling2D(), (7, 7, 3)),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_pooled_spikes_are_rounded_as_in_the_layers(layer, frame):
    x = sequences(*frame, time_steps=1)
    check_equal(x, layer, exactly=True)


def test_dropout_of_currents_and_gradients_without_a_graph():
    import tensorflow as tf

    def gradients(choose):
        choose()
        keras.utils.set_random_seed(1)
        inputs = keras.Input((4, 6))
        y = layers.TimeFold(keras.layers.Dense(8, use_bias=False))(inputs)
        y = layers.TimeConstantDropout(0.5, seed=2)(y)
        y = layers.LIF(threshold=0.2)(y)
        y = layers.TimeFold(keras.layers.Dense(3))(y)
        model = keras_snn.Model(inputs, layers.MembraneReadout()(y))
        x = tf.constant(sequences(6, analog=True))
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(model(x, training=True) ** 2)
        weights = [v.value for v in model.trainable_variables]
        return tape.gradient(loss, [x, *weights])

    try:
        pair = [gradients(event_driven.enable), gradients(event_driven.disable)]
    finally:
        event_driven.switch._choice = None
    for a, b in zip(*pair, strict=True):
        assert np.any(b)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_layers_of_float32_run_in_models_of_another_policy(tmp_path):
    model, x = deep_model(seed=0), sequences(12, 12, 1, time_steps=19, rate=0.5)
    y = np.eye(10, dtype="float32")[:3]
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    with policy("mixed_bfloat16"):
        loaded = keras_snn.models.load_model(tmp_path / "model.keras")
        assert loaded.dense_reason() is None
        np.testing.assert_allclose(
            loaded.predict(x, verbose=0), expected, atol=2e-2
        )
        assert keras_snn.models.spike_rates(model, x)
        assert keras_snn.analysis.profile(model, x).layers
        loaded.compile("sgd", "mse")
        loaded.fit(x, y, verbose=0)


def deep_model(**kwargs):
    model = keras_snn.models.LeNet(
        input_shape=(12, 12, 1),
        time_steps=19,
        encoder=None,
        dropout=0.0,
        **kwargs,
    )
    for w in model.weights:
        if w.name == "kernel":
            w.assign(1.5 * w.value)
    return model


def test_sums_are_those_of_the_spikes():
    model, x = deep_model(seed=0), sequences(12, 12, 1, time_steps=19, rate=0.5)
    neurons = [x for x in model.layers if isinstance(x, layers.LIF)]
    trains = keras.Model(model.input, [layer.output for layer in neurons])
    found, time_steps = time_first.count_spikes(model.network, x)
    assert time_steps == 19
    for layer, spikes in zip(neurons, trains.predict(x, verbose=0)):
        total, trace, t_last = learning_rules.spike_statistics(
            keras.ops.convert_to_tensor(spikes), layer.beta
        )
        assert np.any(total), layer.name
        sums = found[layer.name]
        np.testing.assert_array_equal(sums[0], total)
        np.testing.assert_array_equal(sums[1], t_last)
        if layer.factor == "leak_corrected":
            np.testing.assert_allclose(sums[2], trace, rtol=1e-5)
        else:
            assert sums.trace == ()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("samples", [0, 1, 9, 33])
def test_neither_threads_nor_batch_change_an_output(
    threads, samples, monkeypatch
):
    monkeypatch.setattr(engine, "threads", lambda: threads)
    x = sequences(12, 12, 1, time_steps=19, samples=33, rate=0.5)
    model = deep_model(seed=0)
    whole = np.concatenate(
        [model.predict_on_batch(x[i : i + 1]) for i in range(33)]
    )
    some = model.predict_on_batch(x[:samples])
    np.testing.assert_array_equal(some, whole[:samples])


@pytest.mark.parametrize("rule", ["collapsed", "exact"])
def test_dropout_masks_are_those_of_the_layers(rule):
    def fitted(engine):
        (event_driven.enable if engine else event_driven.disable)()
        keras.utils.set_random_seed(3)
        model = keras_snn.models.LeNet(
            input_shape=(12, 12, 1),
            time_steps=9,
            encoder=None,
            dropout=0.5,
            seed=5,
            learning_rule=rule,
        )
        model.compile(keras.optimizers.SGD(0.05), "mse")
        assert (model.dense_reason(training=True) is None) == engine
        model.fit(x, y, 4, 3, verbose=0, shuffle=False)
        return model.get_weights()

    x = sequences(12, 12, 1, time_steps=9, samples=8, rate=0.6)
    y = np.eye(10, dtype="float32")[:8]
    try:
        pair = fitted(True), fitted(False)
    finally:
        event_driven.switch._choice = None
    for a, b in zip(*pair, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


RATE_SURROGATES = [
    keras_snn.surrogates.Arctan(1.5),
    keras_snn.surrogates.FastSigmoid(3.0),
    keras_snn.surrogates.Sigmoid(2.0),
    keras_snn.surrogates.Triangle(1.5),
    keras_snn.surrogates.Boxcar(0.7),
]


@pytest.mark.parametrize("surrogate", RATE_SURROGATES, ids=repr)
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_the_rate_rule_is_that_of_the_layers(surrogate, reset):
    x = sequences(6, 6, 2, samples=5, time_steps=9, rate=0.5)
    y = inputs = keras.Input((9, 6, 6, 2))
    rule = keras_snn.rules.Rate(surrogate)
    for number in range(2):
        conv = keras.layers.Conv2D(35, 3, kernel_initializer="he_normal")
        y = layers.TimeFold(conv)(y)
        y = layers.LIF(0.7, 0.8, reset=reset, learning_rule=rule)(y)
    outputs = layers.MembraneReadout(learning_rule=rule)(y)
    model = keras_snn.Model(inputs, outputs)
    assert model.dense_reason(training=True) is None

    def loss(x):
        return keras.ops.sum(model(x, training=True) ** 2)

    _, found = gradients(loss, [x], model.trainable_variables)
    event_driven.disable()
    try:
        _, expected = gradients(loss, [x], model.trainable_variables)
    finally:
        event_driven.enable()
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert np.any(b)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_a_surrogate_of_ones_own_learns_by_rate_densely():
    class Mine(keras_snn.surrogates.Sigmoid):
        pass

    rule = keras_snn.rules.Rate(Mine())
    inputs = keras.Input((9, 4))
    y = layers.TimeFold(keras.layers.Dense(2))(inputs)
    y = layers.LIF(learning_rule=rule)(y)
    model = keras_snn.Model(inputs, layers.MembraneReadout(1.0, rule)(y))
    assert "learns by rate with Mine" in model.dense_reason(training=True)


def test_runs_where_it_says_it_does(monkeypatch):
    calls = []
    run = engine._run
    monkeypatch.setattr(
        engine, "_run", lambda *args: calls.append(args) or run(*args)
    )
    model, x = deep_model(), sequences(12, 12, 1, time_steps=19)
    y = np.eye(10, dtype="float32")[:3]
    model.compile("sgd", "mse")
    penalized = keras.models.clone_model(model)
    rates = keras_snn.regularizers.SpikeRate(upper=0.1)
    for layer in penalized.layers:
        if isinstance(layer, layers.LIF):
            layer.activity_regularizer = rates
    penalized = keras.models.clone_model(penalized)
    penalized.compile("sgd", "mse")
    for function in (
        lambda: model.predict(x, verbose=0),
        lambda: model.evaluate(x, y, verbose=0),
        lambda: penalized.evaluate(x, y, verbose=0),
        lambda: model.fit(x, y, verbose=0),
        lambda: model(x),
        lambda: keras_snn.models.spike_rates(model, x),
        lambda: keras_snn.analysis.profile(model, x),
    ):
        calls.clear()
        function()
        assert calls
    calls.clear()
    event_driven.disable()
    try:
        deep_model().predict(x, verbose=0)
    finally:
        event_driven.switch._choice = None
    assert not calls


def test_exported_graphs_do_not_call_python(tmp_path):
    import tensorflow as tf

    model, x = deep_model(), sequences(12, 12, 1, time_steps=19)
    expected = model.predict(x, verbose=0)
    keras_snn.export.saved_model(model, tmp_path / "extra")
    model.export(tmp_path / "plain", verbose=False)

    @tf.function
    def own(x):
        return model(x)

    archive = tf.Module()
    archive.weights = [v.value for v in model.variables]
    archive.serve = own.get_concrete_function(tf.TensorSpec(x.shape))
    tf.saved_model.save(archive, tmp_path / "own")
    for folder in tmp_path.iterdir():
        loaded = tf.saved_model.load(folder)
        for signature in (loaded.serve, *loaded.signatures.values()):
            for function in getattr(
                signature, "concrete_functions", [signature]
            ):
                graph = function.graph.as_graph_def()
                nodes = [
                    *graph.node,
                    *(n for f in graph.library.function for n in f.node_def),
                ]
                assert nodes
                assert not {n.op for n in nodes if "PyFunc" in n.op}
        np.testing.assert_allclose(loaded.serve(x), expected, atol=1e-4)
