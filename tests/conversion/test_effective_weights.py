"""What counts is the kernel that a layer works with, not what it stores.

A network without ReLU converts to one without neurons, whose output is exact
at every T.
"""

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.conversion.networks import SHAPE, L, data, network

convert = snn.conversion.convert
INPUTS = (6,)


def predict(model, x):
    return model.predict(x, verbose=0)


def integer_network(mode):
    ann = network(
        L.Dense(12, activation="relu", name="hidden"),
        L.Dense(3, name="scores"),
        shape=INPUTS,
    )
    for layer in ann.layers:
        layer.quantize(mode)
    return ann


def assert_plain(model):
    layers = [getattr(x, "layer", x) for x in model.layers]
    dense = [x for x in layers if isinstance(x, L.Dense)]
    assert len(dense) == 2
    for layer in dense:
        assert layer.quantization_mode is None
        assert layer.dtype_policy.name == "float32"


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_integers_are_the_numbers_that_they_stand_for(mode):
    ann, x = integer_network(mode), data(32, INPUTS)
    model = convert(ann, x, "max", time_steps=512)
    assert_plain(model)
    # Half a spike a neuron, and int8's rounding of each layer's inputs.
    np.testing.assert_allclose(predict(model, x), predict(ann, x), atol=0.01)
    assert snn.conversion.report(ann, model, x).max_error < 0.01


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantize_works_on_the_numbers_too(mode):
    ann, x = integer_network(mode), data(32, INPUTS)
    fine = snn.conversion.quantize(ann, 4096, x)
    assert_plain(fine)
    # All but the cut at the 99.9 percentile.
    np.testing.assert_allclose(predict(fine, x), predict(ann, x), atol=0.01)


def test_int8_kernels_follow_numpy():
    """W = round(127 w / m) m / 127, m the largest |w| of each unit."""
    ann, x = network(L.Dense(4), shape=INPUTS), data(5, INPUTS)
    kernel, bias = ann.get_weights()
    ann.layers[0].quantize("int8")
    largest = np.abs(kernel).max(axis=0)
    kernel = np.round(kernel / largest * 127) * largest / 127
    model = convert(ann, x, "max", time_steps=2)
    np.testing.assert_allclose(predict(model, x), x @ kernel + bias, atol=1e-5)


def test_a_quantized_policy_gives_way_to_the_one_before():
    dense = L.Dense(3, dtype="mixed_bfloat16", name="d")
    ann = network(dense, shape=INPUTS)
    dense.quantize("int8")
    model = convert(ann, data(4, INPUTS), "max", time_steps=2)
    (fold,) = [y for y in model.layers if hasattr(y, "layer")]
    assert fold.layer.dtype_policy.name == "mixed_bfloat16"


def test_quantized_einsum_is_refused():
    einsum = L.EinsumDense("ab,bc->ac", 4, bias_axes="c", name="einsum")
    ann = network(einsum, shape=INPUTS)
    einsum.quantize("int8")
    with pytest.raises(ValueError, match=r"'einsum'.*quantized \(int8\)"):
        convert(ann, data(4, INPUTS))


ADAPTED = {
    "dense": lambda: [L.Flatten(), L.Dense(5)],
    "convolution": lambda: [L.Conv2D(3, 3)],
    "einsum": lambda: [L.EinsumDense("abcd,de->abce", (8, 8, 4))],
    "convolution and normalisation": lambda: [
        L.Conv2D(3, 3),
        L.BatchNormalization(),
    ],
}


@pytest.mark.parametrize("case", ADAPTED)
def test_low_rank_adapters_are_merged(case):
    ann, x = network(*ADAPTED[case]()), data()
    before = np.asarray(ann(x))
    (layer,) = [y for y in ann.layers if hasattr(y, "enable_lora")]
    layer.enable_lora(2)
    random = np.random.default_rng(1)
    layer.lora_kernel_b.assign(random.normal(size=layer.lora_kernel_b.shape))
    assert np.abs(predict(ann, x) - before).max() > 0.1
    model = convert(ann, x, "max", time_steps=2)
    assert not any("lora" in w.name for w in model.weights)
    np.testing.assert_allclose(predict(model, x), predict(ann, x), atol=1e-4)


def test_quantize_merges_adapters():
    ann, x = network(*ADAPTED["dense"](), L.ReLU(), L.Dense(2)), data()
    ann.layers[1].enable_lora(2)
    ann.layers[1].lora_kernel_b.assign(np.ones((2, 5)))
    fine = snn.conversion.quantize(ann, 4096, x)
    np.testing.assert_allclose(predict(fine, x), predict(ann, x), atol=0.01)
    assert len(fine.layers[2].weights) == 2


def test_standardized_layers_become_plain_ones():
    layers = snn.layers
    ann = network(
        layers.StandardizedConv2D(3, 3, padding="same", activation="relu"),
        L.Flatten(),
        layers.StandardizedDense(4),
    )
    conv, _, dense = ann.layers
    for layer in (conv, dense):
        layer.gain.assign(np.linspace(0.5, 2, layer.gain.shape[0]))
    x = data()
    model = convert(ann, x, "max", time_steps=512)
    plain = [y.layer for y in model.layers if hasattr(y, "layer")]
    assert [type(y) for y in plain] == [
        L.Conv2D,
        L.Flatten,
        L.Dense,
    ]
    np.testing.assert_allclose(predict(model, x), predict(ann, x), atol=0.01)


def test_standardized_kernels_follow_numpy():
    ann = network(snn.layers.StandardizedDense(4), shape=INPUTS)
    (layer,), x = ann.layers, data(5, INPUTS)
    by_name = {w.name: np.asarray(w.value) for w in layer.weights}
    gain = np.float32([0.5, 1, 2, 3])
    layer.gain.assign(gain)
    k = by_name["kernel"]
    kernel = gain * (k - k.mean(axis=0)) / np.sqrt(k.var(axis=0) * len(k))
    model = convert(ann, x, "max", time_steps=2)
    expected = x @ kernel + by_name["bias"]
    np.testing.assert_allclose(predict(model, x), expected, atol=1e-5)


def test_a_normalisation_behind_a_standardized_layer_is_folded():
    ann = network(snn.layers.StandardizedConv2D(3, 3), L.BatchNormalization())
    model, x = convert(ann, data(), "max", time_steps=2), data()
    np.testing.assert_allclose(predict(model, x), predict(ann, x), atol=1e-5)


def kinds_of_models():
    """Return one network as Sequential, functional and nested model."""
    ann = network(
        L.Conv2D(4, 3, name="conv"),
        L.BatchNormalization(name="norm"),
        L.ReLU(name="act"),
        L.AveragePooling2D(2, name="pool"),
        L.Flatten(name="flat"),
        L.Dense(5, activation="relu", name="hidden"),
        L.Dense(3, activation="softmax", name="scores"),
    )
    inputs = keras.Input(SHAPE)
    x = inputs
    for layer in ann.layers:
        x = layer(x)
    flat = keras.Model(inputs, x)
    head = keras.Sequential([keras.Input((3, 3, 4)), *ann.layers[4:]])
    features = keras.Input(SHAPE)
    x = features
    for layer in ann.layers[:4]:
        x = layer(x)
    inner = keras.Model(features, head(x))
    nested = keras.Model(inputs, inner(inputs))
    return ann, flat, nested


def test_sequential_functional_and_nested_models_are_one():
    x = data()
    results = []
    for ann in kinds_of_models():
        model = convert(ann, x, time_steps=16)
        quantised = snn.conversion.quantize(ann, 4, x)
        report = snn.conversion.report(ann, model, x)
        results.append(
            (predict(model, x), predict(quantised, x), report.to_dict())
        )
    (spiking, quantised, report), *others = results
    names = [row.pop("name") for row in report["layers"]]
    for other_spiking, other_quantised, other in others:
        np.testing.assert_allclose(other_spiking, spiking, atol=1e-6)
        np.testing.assert_allclose(other_quantised, quantised, atol=1e-6)
        assert other["agreement"] == report["agreement"]
        assert [row.pop("name") for row in other["layers"]] == names
        for row, expected in zip(other["layers"], report["layers"]):
            assert row == pytest.approx(expected, rel=1e-5)
