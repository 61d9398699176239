import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.conversion.networks import (
    SHAPE,
    L,
    data,
    everything,
    functional,
    network,
)

convert = snn.conversion.convert


def predict(model, x):
    return model.predict(x, verbose=0)


def thresholds(model):
    neurons = [y for y in model.layers if isinstance(y, snn.layers.IF)]
    return [neuron.threshold for neuron in neurons]


def relu_conv(**options):
    return L.Conv2D(4, 3, activation="relu", **options)


def merged(merge):
    def body(x):
        left, right = relu_conv()(x), relu_conv(use_bias=False)(x)
        return L.Dense(3)(L.Flatten()(merge([left, right])))

    return functional(body)


# One layer of neurons each, then what cannot enlarge an error.
ONE_LAYER = {
    "dense": lambda: network(
        L.Flatten(), L.Dense(9, activation="relu"), L.Dense(3)
    ),
    "padding": lambda: network(
        relu_conv(padding="same"), L.Flatten(), L.Dense(3)
    ),
    "strides": lambda: network(
        L.ZeroPadding2D(1), relu_conv(strides=2), L.Flatten(), L.Dense(3)
    ),
    "global pooling": lambda: network(
        relu_conv(), L.GlobalAveragePooling2D(), L.Dense(3)
    ),
    "average pooling": lambda: network(
        relu_conv(), L.AveragePooling2D(2), L.Flatten(), L.Dense(3)
    ),
    "max pooling": lambda: network(
        relu_conv(), L.MaxPooling2D(2), L.Flatten(), L.Dense(3)
    ),
    "max pooling before the ReLU": lambda: network(
        L.Conv2D(4, 3), L.MaxPooling2D(), L.ReLU(), L.Flatten(), L.Dense(3)
    ),
    "reshape": lambda: network(
        relu_conv(), L.Permute((3, 1, 2)), L.Reshape((144,)), L.Dense(3)
    ),
    "add": lambda: merged(L.Add()),
    "subtract": lambda: merged(L.Subtract()),
    "concatenate": lambda: merged(L.Concatenate()),
    "concatenate rows": lambda: merged(L.Concatenate(axis=1)),
    "skip around the neurons": lambda: functional(
        lambda x: L.Dense(3)(
            L.Flatten()(L.Concatenate()([relu_conv(padding="same")(x), x]))
        )
    ),
}


@pytest.mark.parametrize("case", ONE_LAYER)
def test_the_error_of_one_layer_is_half_a_spike_a_neuron(case):
    """|threshold * count / T - activation| <= threshold / (2 T)."""
    ann, x, t = ONE_LAYER[case](), data(), 16
    model = convert(ann, x, "max", time_steps=t, pooling_neurons=False)
    error = np.abs(predict(model, x) - predict(ann, x))
    weights = np.abs(ann.layers[-1].get_weights()[0]).sum(axis=0)
    # Two branches may both be off by half a spike.
    bound = weights * sum(thresholds(model)) / (2 * t)
    assert np.all(error <= bound + 1e-5)
    assert error.max() > 1e-4


VOLUME, LINE = (4, 4, 4, 2), (64, 2)
LINEAR = {
    "transposed in 1D": (LINE, lambda: L.Conv1DTranspose(3, 3, strides=2)),
    "transposed in 3D": (VOLUME, lambda: L.Conv3DTranspose(3, 2, strides=2)),
    "separable in 1D": (
        LINE,
        lambda: L.SeparableConv1D(3, 3, depth_multiplier=2),
    ),
    "einsum": (
        LINE,
        lambda: L.EinsumDense("abc,cde->abde", (64, 3, 5), bias_axes="e"),
    ),
    "cropping in 3D": (VOLUME, lambda: L.Cropping3D((0, 1, 1))),
    "padding in 3D": (VOLUME, lambda: L.ZeroPadding3D((0, 1, 2))),
    "upsampling in 3D": (VOLUME, lambda: L.UpSampling3D((1, 2, 1))),
    "repeated": ((128,), lambda: L.RepeatVector(3)),
}


@pytest.mark.parametrize("case", LINEAR)
def test_linear_layers_and_wiring_are_exact(case):
    shape, make = LINEAR[case]
    ann, x = network(L.Reshape(shape), make()), data()
    model = convert(ann, x, "max", time_steps=2)
    np.testing.assert_allclose(predict(model, x), predict(ann, x), atol=1e-5)


@pytest.mark.parametrize("method", ["max", "percentile", "threshold_balancing"])
def test_deep_networks_converge(method):
    ann, x = functional(everything), data(8)
    errors = []
    for t in (16, 256):
        model = convert(ann, x, method, time_steps=t, percentile=100)
        errors.append(np.abs(predict(model, x) - predict(ann, x)).max())
    assert errors[1] < errors[0] / 3
    assert errors[1] < 0.02


def test_activations_above_the_threshold_are_cut_off():
    ann, x = ONE_LAYER["dense"](), data(64)
    model = convert(ann, x, "percentile", percentile=50, time_steps=64)
    hidden = keras.Model(ann.inputs, ann.layers[-2].output)
    (threshold,) = thresholds(model)
    kernel, bias = ann.layers[-1].get_weights()
    expected = np.minimum(predict(hidden, x), threshold) @ kernel + bias
    bound = np.abs(kernel).sum(axis=0) * threshold / 128
    assert np.all(np.abs(predict(model, x) - expected) <= bound + 1e-5)


def test_zero_reset_follows_a_numpy_loop():
    ann, x, t = ONE_LAYER["dense"](), data(), 20
    model = convert(ann, x, "max", time_steps=t, reset="zero")
    w1, b1, w2, b2 = ann.get_weights()
    (threshold,) = thresholds(model)
    current = x.reshape(len(x), -1) @ w1 + b1
    v, spikes = np.full_like(current, threshold / 2), 0
    for _ in range(t):
        v = v + current
        spikes = spikes + (v > threshold)
        v = np.where(v > threshold, 0, v)
    expected = threshold * spikes / t @ w2 + b2
    # The largest current is the threshold itself: rounding decides when that
    # neuron fires, in one sample of sixteen.
    assert np.mean(np.abs(predict(model, x) - expected) < 1e-5) > 0.9


def test_max_and_percentile_are_those_of_the_activations():
    ann, x = functional(everything), data(32)
    names = [y.name for y in ann.layers if "re_lu" in y.name]
    hidden = keras.Model(ann.inputs, ann.get_layer(names[0]).output)
    activations = predict(hidden, x)
    largest = thresholds(convert(ann, x, "max", batch_size=10))[0]
    assert largest == pytest.approx(activations.max(), rel=1e-5)
    part = thresholds(convert(ann, x, "percentile", percentile=90))[0]
    positive = activations[activations > 0]
    assert part == pytest.approx(np.percentile(positive, 90), rel=1e-2)


def test_balancing_finds_the_largest_current_of_a_step():
    ann = network(
        L.Dense(12, activation="relu"),
        L.Dense(9, activation="relu"),
        L.Dense(3),
        shape=(6,),
    )
    x, t = data(10, (6,)), 8
    model = convert(ann, x, "threshold_balancing", time_steps=t)
    w1, b1, w2, b2, *_ = ann.get_weights()
    current = x @ w1 + b1
    first, second = current.max(), 0.0
    v = np.full_like(current, first / 2)
    for _ in range(t):
        v = v + current
        s = (v > first).astype("float32")
        v = v - first * s
        second = max(second, np.max(first * s @ w2 + b2))
    np.testing.assert_allclose(thresholds(model), [first, second], rtol=1e-4)


def test_a_bounded_relu_bounds_the_threshold():
    ann = network(L.Flatten(), L.Dense(9), L.ReLU(max_value=0.5), L.Dense(3))
    model = convert(ann, data(), "threshold_balancing", time_steps=4)
    assert thresholds(model) == [0.5]


def test_activations_of_the_output_stay_behind_the_readout():
    relu = network(L.Flatten(), L.Dense(3, activation="relu"))
    twice = network(L.Flatten(), L.Dense(3), L.Activation("tanh"), L.Softmax())
    for ann in (relu, twice):
        model, x = convert(ann, data(), time_steps=2), data()
        assert thresholds(model) == []
        np.testing.assert_allclose(
            predict(model, x), predict(ann, x), atol=1e-5
        )


def test_spikes_at_the_output_are_read_as_activations():
    ann, x = network(relu_conv(), L.MaxPooling2D(), L.Flatten()), data()
    model = convert(ann, x, "max", time_steps=64)
    bound = thresholds(model)[0] / 128
    error = np.abs(predict(model, x) - predict(ann, x))
    assert error.max() <= bound + 1e-5


def test_scaling_and_nested_models_are_read():
    inner = keras.Sequential([keras.Input(SHAPE), relu_conv(), L.Flatten()])
    ann = network(L.Rescaling(1 / 255), inner, L.Dense(3))
    x = 255 * data()
    model = convert(ann, x, "max", time_steps=256)
    assert [type(y).__name__ for y in model.layers[1:3]] == [
        "Rescaling",
        "RepeatEncoder",
    ]
    assert np.abs(predict(model, x) - predict(ann, x)).max() < 0.05


@pytest.mark.parametrize(
    "call",
    [
        lambda inner, a, b: inner([a, b]),
        lambda inner, a, b: inner({"b": b, "a": a}),
    ],
    ids=["list", "dict"],
)
def test_nested_models_of_several_inputs_are_read(call):
    inputs = [keras.Input((4,), name=name) for name in ("a", "b")]
    inner = keras.Model(inputs, L.Subtract()(inputs))
    ann = functional(lambda x: call(inner, L.Dense(4)(x), L.Dense(4)(x)), (6,))
    x = data(5, (6,))
    model = convert(ann, x, "max", time_steps=2)
    np.testing.assert_allclose(predict(model, x), predict(ann, x), atol=1e-5)


def test_adapted_normalisation_of_the_input_is_kept():
    scaling, x = L.Normalization(), 7 * data() - 2
    scaling.adapt(x)
    ann = network(scaling, relu_conv(), L.Flatten(), L.Dense(3))
    model = convert(ann, x, "max", time_steps=256)
    assert np.abs(predict(model, x) - predict(ann, x)).max() < 0.05


def test_layers_may_be_called_like_those_of_the_spiking_network():
    names = ("input", "encoder", "readout")
    ann = network(L.Flatten(), *(L.Dense(3, "relu", name=n) for n in names))
    model = convert(ann, data(), time_steps=2)
    assert model.get_layer("readout_2").layer.units == 3


def test_layers_may_be_called_like_what_others_become():
    def body(x):
        x = L.Conv2D(2, 3, padding="same", activation="relu", name="y_1")(x)
        y = L.ReLU(name="a")(L.Conv2D(2, 3, padding="same", name="a_if")(x))
        x = L.Concatenate(name="y")([x, y])
        x = L.Flatten(name="y_1_scale")(x)
        return L.Dense(3, name="y_2_scale")(x)

    ann, x = functional(body), data()
    model = convert(ann, x, "max", time_steps=256)
    names = {y.name for y in model.layers}
    assert {"a_if", "a_if_2", "y"} <= names
    assert np.abs(predict(model, x) - predict(ann, x)).max() < 0.05


def test_a_layer_used_twice_becomes_two():
    def body(x):
        conv = L.Conv2D(2, 3, padding="same", activation="relu", name="conv")
        return L.Dense(3)(L.Flatten()(conv(conv(x))))

    ann, x = functional(body), data()
    model = convert(ann, x, "max", time_steps=256)
    names = [y.name for y in model.layers]
    assert {"conv", "conv_2", "conv_relu_if", "conv_2_relu_if"} <= set(names)
    assert np.abs(predict(model, x) - predict(ann, x)).max() < 0.05


@pytest.mark.parametrize("encoder", ["poisson", snn.layers.RateEncoder(256)])
def test_spikes_as_input(encoder):
    ann, x = ONE_LAYER["padding"](), data()
    keras.utils.set_random_seed(0)
    model = convert(ann, x, "max", time_steps=256, encoder=encoder)
    expected = predict(ann, x)
    error = np.abs(predict(model, x) - expected)
    assert error.mean() < 0.15 * np.abs(expected).mean()


def test_sequences_as_input():
    ann, x = ONE_LAYER["padding"](), data()
    model = convert(ann, x, "max", encoder=None, time_steps=None)
    assert model.input_shape == (None, None, *SHAPE)
    repeated = convert(ann, x, "max", time_steps=6)
    sequence = np.repeat(x[:, None], 6, axis=1)
    np.testing.assert_allclose(
        predict(model, sequence), predict(repeated, x), atol=1e-6
    )


@pytest.mark.parametrize("kind", ["rate", "spike", "average"])
def test_max_pooling_as_chosen(kind):
    ann, x = ONE_LAYER["max pooling"](), data()
    model = convert(ann, x, "max", time_steps=128, max_pooling=kind)
    same = network(relu_conv(), L.AveragePooling2D(2), L.Flatten(), L.Dense(3))
    same.set_weights(ann.get_weights())
    error = np.abs(predict(model, x) - predict(ann, x)).max()
    average_error = np.abs(predict(model, x) - predict(same, x)).max()
    assert (error < 0.03) == (kind == "rate")
    assert (average_error < 0.03) == (kind == "average")


def test_pooling_neurons_send_spikes_only():
    ann, x = ONE_LAYER["average pooling"](), data()
    with_neurons = convert(ann, x, "max")
    without = convert(ann, x, "max", pooling_neurons=False)
    assert len(thresholds(with_neurons)) == len(thresholds(without)) + 1


def test_streams_and_files(tmp_path):
    ann, x = functional(everything), data(3)
    model = convert(ann, data(), time_steps=6)
    expected = predict(model, x)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(predict(loaded, x), expected, atol=1e-6)
    step = snn.streaming(loaded)
    state = step.initial_state(3)
    for _ in range(6):
        scores, *state = step([x, *state])
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("rule", ["collapsed", "rate", "exact", "arctan"])
def test_a_converted_network_goes_on_training(rule):
    ann = network(
        L.Conv2D(4, 3, activation="relu"),
        L.AveragePooling2D(2),
        L.Flatten(),
        L.Dense(2, activation="softmax"),
    )
    x = data(64)
    x[::2, :4] *= 0.3
    y = np.eye(2)[np.arange(64) % 2]
    model = convert(ann, x, time_steps=6, learning_rule=rule)
    if rule == "collapsed":
        assert model.runs_layer_by_layer is None
    model.compile(keras.optimizers.Adam(0.002), "categorical_crossentropy")
    before = model.evaluate(x, y, verbose=0)
    model.fit(x, y, 16, 8, verbose=0)
    assert model.evaluate(x, y, verbose=0) < 0.93 * before
