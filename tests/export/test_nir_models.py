"""NIR graphs hold what layers compute with, however a model is built."""

import keras
import nir
import numpy as np
import pytest

import keras_snn as snn
from tests.export import nir_networks as networks
from tests.export.nir_networks import BETA, IF, LIF, L, TimeFold, conv

STEPS = 40


def written(model):
    """Return a model's nodes and edges."""
    graph = snn.export.to_nir(model)
    return graph.nodes, sorted(graph.edges)


def assert_same_graph(model, expected):
    (nodes, edges), (others, other_edges) = written(model), written(expected)
    assert edges == other_edges
    assert list(nodes) == list(others)
    for name, node in nodes.items():
        assert type(node) is type(others[name])
        for field, value in vars(others[name]).items():
            np.testing.assert_equal(vars(node)[field], value, err_msg=name)


def spikes_of(model, x):
    """Return the spike train that a model returns."""
    spikes = networks.scores(model, x)
    assert 0.05 < spikes.mean() < 0.95
    return spikes


def assert_same_spikes(model):
    """Check that a model that returns spikes comes back the same."""
    x = networks.spikes(model, STEPS)
    found = snn.export.from_nir(snn.export.to_nir(model))
    np.testing.assert_array_equal(spikes_of(found, x), spikes_of(model, x))


# What layers compute with.


def dense_model(layer=L.Dense, **options):
    return networks.as_drawn(
        networks.of(
            TimeFold(layer(16, name="dense1", **options)),
            LIF(BETA, name="lif1"),
            TimeFold(layer(4, name="dense2", **options)),
            IF(threshold=0.5, name="lif2"),
            shape=(None, 6),
        )
    )


@pytest.mark.parametrize("mode, levels", [("int8", 127), ("int4", 7)])
def test_quantized_dense_layers_are_what_their_integers_stand_for(mode, levels):
    model = dense_model()
    before = model.get_layer("dense1").get_weights()[0]
    for name in ("dense1", "dense2"):
        model.get_layer(name).layer.quantize(mode)
    weight = snn.export.to_nir(model).nodes["dense1"].weight
    # Within one step of the integers, in the unit of each output's largest.
    step = np.abs(before).max(0) / levels
    assert np.all(np.abs(weight.T - before) <= step)
    assert_same_spikes(model)


def test_a_low_rank_part_of_a_dense_kernel_is_written():
    model = dense_model()
    layer = model.get_layer("dense1").layer
    layer.enable_lora(2)
    a, b = (
        np.random.default_rng(1).normal(0.0, 0.5, n) for n in ((6, 2), (2, 16))
    )
    layer.lora_kernel_a.assign(a)
    layer.lora_kernel_b.assign(b)
    weight = snn.export.to_nir(model).nodes["dense1"].weight
    # alpha is the rank unless given.
    kernel = keras.ops.convert_to_numpy(layer._kernel) + a @ b
    np.testing.assert_allclose(weight.T, kernel, atol=1e-6)
    assert_same_spikes(model)


def test_a_low_rank_part_of_a_convolution_is_written():
    model = networks.as_drawn(
        networks.of(conv(5, 3, "conv"), LIF(BETA, name="lif"))
    )
    layer = model.get_layer("conv").layer
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(
        np.random.default_rng(1).normal(0.0, 0.5, layer.lora_kernel_b.shape)
    )
    plain = keras.ops.convert_to_numpy(layer._kernel)
    weight = snn.export.to_nir(model).nodes["conv"].weight
    assert np.abs(weight - plain.transpose(3, 2, 0, 1)).max() > 0.01
    assert_same_spikes(model)


def standardized(kernel, gain):
    """Return a kernel of mean 0 and variance 1 / inputs, times a gain."""
    axes = tuple(range(kernel.ndim - 1))
    inputs = np.prod(kernel.shape[:-1])
    scale = np.sqrt((kernel.var(axes) + 1e-8) * inputs)
    return gain * (kernel - kernel.mean(axes)) / scale


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_standardized_layers_are_written_as_plain_ones(kind):
    if kind == "conv":
        layer = snn.layers.StandardizedConv2D(5, 3, padding="same", name="x")
        model = networks.of(TimeFold(layer), LIF(BETA))
    else:
        layer = snn.layers.StandardizedDense(5, name="x")
        model = networks.of(TimeFold(layer), LIF(BETA), shape=(None, 6))
    rng = np.random.default_rng(2)
    stored = {w.name: w for w in layer.weights}
    values = {
        "kernel": rng.normal(0.3, 1.0, stored["kernel"].shape),
        "gain": rng.uniform(1.0, 3.0, 5),
        "bias": rng.uniform(0.1, 0.4, 5),
    }
    for name, value in values.items():
        stored[name].assign(value)
    node = snn.export.to_nir(model).nodes["x"]
    assert type(node) is {"conv": nir.Conv2d, "dense": nir.Affine}[kind]
    kernel = standardized(values["kernel"], values["gain"])
    weight = np.moveaxis(kernel, (-1, -2), (0, 1))
    np.testing.assert_allclose(node.weight, weight, atol=1e-5)
    np.testing.assert_allclose(node.bias, values["bias"], atol=1e-6)
    assert_same_spikes(model)


def test_threshold_batch_normalization_is_folded():
    threshold, alpha = 0.8, 0.7
    norm = snn.layers.ThresholdBatchNormalization(threshold, alpha, name="bn")
    model = networks.as_drawn(
        networks.of(
            conv(3, 3, "conv", use_bias=True),
            TimeFold(norm),
            LIF(BETA, threshold=threshold, name="lif"),
        )
    )
    rng = np.random.default_rng(5)
    g, b, mean, variance = (rng.uniform(0.5, 1.5, 3) for _ in range(4))
    norm.set_weights([g, b, mean, variance])
    kernel, bias = model.get_layer("conv").get_weights()
    node = snn.export.to_nir(model).nodes["conv"]
    factor = alpha * threshold * g / np.sqrt(variance + norm.epsilon)
    np.testing.assert_allclose(
        node.weight, (kernel * factor).transpose(3, 2, 0, 1), rtol=1e-5
    )
    np.testing.assert_allclose(
        node.bias, (bias - mean) * factor + b, rtol=1e-5, atol=1e-6
    )
    assert_same_spikes(model)


# However a model is built.


def layers_in_a_row():
    return [
        conv(3, 3, "conv"),
        TimeFold(L.BatchNormalization(name="bn")),
        LIF(BETA, name="lif1"),
        TimeFold(L.AveragePooling2D(2, name="pool")),
        TimeFold(L.Flatten(name="flatten")),
        TimeFold(L.Dense(5, name="dense")),
        snn.layers.MembraneReadout(BETA, name="out"),
    ]


def sequential():
    return keras.Sequential(
        [keras.Input((None, 8, 8, 2), name="input"), *layers_in_a_row()]
    )


def functional():
    x = inputs = keras.Input((None, 8, 8, 2), name="input")
    for layer in layers_in_a_row():
        x = layer(x)
    return keras.Model(inputs, x)


def nested():
    """Return a Sequential model in a functional one, in another one."""
    inputs = keras.Input((None, 8, 8, 2), name="input")
    first, *middle, last = layers_in_a_row()
    x = inner = keras.Input((None, 8, 8, 2))
    for layer in (first, keras.Sequential(middle)):
        x = layer(x)
    return snn.Model(inputs, last(keras.Model(inner, x)(inputs)))


def with_a_side_output():
    """Return a model in a model, of whose two outputs one is used."""
    inputs = keras.Input((None, 8, 8, 2), name="input")
    *layers, last = layers_in_a_row()
    x = inner = keras.Input((None, 8, 8, 2))
    for layer in layers:
        x = layer(x)
    aside = LIF(reset="subtract", name="aside")(x)
    used, _ = keras.Model(inner, [x, aside])(inputs)
    return keras.Model(inputs, last(used))


@pytest.mark.parametrize("build", [sequential, nested, with_a_side_output])
def test_models_of_the_same_layers_give_the_same_graph(build):
    expected = networks.as_drawn(functional())
    model = networks.as_drawn(build())
    assert_same_graph(model, expected)
    x = networks.spikes(expected, 5)
    found = snn.export.from_nir(snn.export.to_nir(model))
    np.testing.assert_allclose(
        networks.scores(found, x), networks.scores(model, x), atol=1e-5
    )


def test_two_calls_of_a_layer_are_two_nodes_of_its_weights():
    inputs = keras.Input((None, 6))
    dense = TimeFold(L.Dense(6, name="shared.dense"))
    lif = LIF(BETA, name="lif")
    model = networks.as_drawn(snn.Model(inputs, lif(dense(lif(dense(inputs))))))
    nodes, edges = written(model)
    assert list(nodes)[1:] == [
        "shared_dense",
        "lif",
        "shared_dense_call2",
        "lif_call2",
        "output",
    ]
    assert ("lif", "shared_dense_call2") in edges
    np.testing.assert_array_equal(
        nodes["shared_dense"].weight, nodes["shared_dense_call2"].weight
    )
    assert_same_spikes(model)


def test_two_calls_of_a_convolution_are_folded_each_with_its_own():
    inputs = keras.Input((None, 8, 8, 3))
    shared = conv(3, 3, "conv")
    x = TimeFold(L.BatchNormalization(name="bn1"))(shared(inputs))
    x = TimeFold(L.BatchNormalization(name="bn2"))(shared(LIF(BETA)(x)))
    model = networks.as_drawn(snn.Model(inputs, LIF(BETA)(x)))
    nodes, _ = written(model)
    kernel = model.get_layer("conv").get_weights()[0].transpose(3, 2, 0, 1)
    for name, norm in (("conv", "bn1"), ("conv_call2", "bn2")):
        gamma, _, _, variance = model.get_layer(norm).get_weights()
        factor = gamma / np.sqrt(variance + 1e-3)
        np.testing.assert_allclose(
            nodes[name].weight,
            kernel * factor[:, None, None, None],
            rtol=1e-5,
        )
    assert_same_spikes(model)


def test_a_side_input_behind_the_readout_stays_outside():
    inputs, side = keras.Input((None, 6)), keras.Input((2,))
    x = TimeFold(L.Dense(3, name="dense"))(inputs)
    x = snn.layers.MembraneReadout(BETA, name="out")(x)
    x = L.Dense(2, name="last")(
        L.Concatenate()([x, L.Dense(4, name="aside")(side)])
    )
    nodes, _ = written(keras.Model([inputs, side], x))
    assert list(nodes)[1:] == ["dense", "out", "output"]


# What cannot be read or written.


class Own(keras.Model):
    """A model with a `call` of its own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.lif = LIF(BETA)

    def call(self, x):
        return self.lif(x)


def test_a_model_with_a_call_of_its_own_is_refused():
    model = Own(name="own")
    model(np.zeros((1, 2, 3), "float32"))
    with pytest.raises(ValueError, match=r"to_nir\(\) expects.*'own' \(Own\)"):
        snn.export.to_nir(model)
    with pytest.raises(ValueError, match=r"to_nir\(\) cannot look into 'own'"):
        snn.export.to_nir(networks.of(Own(name="own"), shape=(None, 3)))


def test_layers_outside_of_a_time_fold_are_refused():
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, L.Flatten(name="flat")(LIF()(inputs)))
    with pytest.raises(ValueError, match="'flat' .*Put it in a TimeFold"):
        snn.export.to_nir(model)


def test_a_normalization_of_rows_is_refused():
    layer = TimeFold(L.BatchNormalization(axis=1, name="bn"))
    model = networks.of(conv(8, 3, "conv"), layer)
    with pytest.raises(ValueError, match="'bn'.*axis=1; only the last"):
        snn.export.to_nir(model)


def test_a_sequence_joined_with_what_a_readout_gives_is_refused():
    inputs = keras.Input((4, 3))
    x = LIF()(inputs)
    mean = snn.layers.SpikeCountReadout()(x)
    x = L.Add(name="sum")([x, L.RepeatVector(4)(mean)])
    model = keras.Model(inputs, snn.layers.MembraneReadout()(x))
    with pytest.raises(ValueError, match="2 readout"):
        snn.export.to_nir(model)


def test_a_second_sequence_behind_a_readout_is_refused():
    counts = [LIF(), snn.layers.SpikeCountReadout(), L.RepeatVector(4)]
    again = [LIF(name="again"), snn.layers.MembraneReadout(name="out")]
    model = networks.of(*counts, *again, shape=(4, 3))
    with pytest.raises(ValueError, match="'again' .*starts a second sequence"):
        snn.export.to_nir(model)
