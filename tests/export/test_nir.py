"""NIR graphs mean the model they were written from, and the other way."""

import itertools
import sys

import h5py
import keras
import nir
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.export.nir import kernels
from tests.export import nir_networks as networks
from tests.export.nir_networks import BETA, IF, LIF, L, TimeFold, conv
from tests.helpers import channels_first

TARGETS = (None, "norse", "snntorch", "spikingjelly", "sinabs")
NETWORKS = {
    "lenet": networks.lenet,
    "resnet": networks.resnet,
    "identity": networks.identity,
    "dense": networks.dense,
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:sinabs.from_nir makes neurons:UserWarning"
)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """A name, a model, an input and the spikes of its layers."""
    model = networks.on_grid(NETWORKS[request.param]())
    x = networks.spikes(model, 20)
    return request.param, model, x, networks.trains(model, x)


@pytest.fixture(scope="module")
def lenet():
    return networks.on_grid(networks.lenet())


def one_neuron(layer):
    return networks.of(layer, shape=(None, 3))


def graph_of(*nodes):
    """Return a graph of these nodes in a row, of whatever types."""
    return nir.NIRGraph.from_list(*nodes, type_check=False)


def lif_node(shape=(3,), **changes):
    values = {
        "tau": 1e-3,
        "r": 10.0,
        "v_leak": 0.0,
        "v_threshold": 1.0,
        "v_reset": 0.0,
        **changes,
    }
    return nir.LIF(**{k: np.broadcast_to(v, shape) for k, v in values.items()})


def vector_input(features=3):
    return nir.Input({"input": np.array([features])})


# What is written.


def test_a_lif_is_one_euler_step_of_nirs_equation():
    layer = LIF(beta=0.9, threshold=0.7, name="lif")
    node = snn.export.to_nir(one_neuron(layer)).nodes["lif"]
    beta = float(np.float32(0.9))
    np.testing.assert_allclose(node.tau, 1e-4 / (1.0 - beta), rtol=1e-12)
    np.testing.assert_allclose(node.r, node.tau / 1e-4, rtol=1e-12)
    np.testing.assert_array_equal(node.v_threshold, np.float32([0.7] * 3))
    np.testing.assert_array_equal(node.v_leak, np.zeros(3))
    np.testing.assert_array_equal(node.v_reset, np.zeros(3))


def test_an_if_integrates_its_input_once_a_step():
    layer = IF(threshold=0.75, name="if")
    node = snn.export.to_nir(one_neuron(layer)).nodes["if"]
    assert isinstance(node, nir.IF)
    np.testing.assert_allclose(node.r * 1e-4, np.ones(3), rtol=1e-12)


def euler(node, currents):
    """Return the spikes of a NIR neuron by NIR's equations, step by step."""
    v, spikes = np.zeros(currents.shape[1:]), []
    leaks = isinstance(node, nir.LIF)
    for current in currents:
        slope = node.r * current
        if leaks:
            slope = (node.v_leak - v + slope) / node.tau
        v = v + 1e-4 * slope
        spikes.append(v > node.v_threshold)
        v = np.where(spikes[-1], node.v_reset, v)
    return np.array(spikes, "float32")


def test_nirs_equations_give_the_models_spikes():
    model = networks.on_grid(networks.dense())
    x = networks.spikes(model)
    nodes = snn.export.to_nir(model).nodes
    first = euler(nodes["lif1"], x[0] @ nodes["dense1"].weight.T)
    current = first @ nodes["dense2"].weight.T + nodes["dense2"].bias
    expected = networks.trains(model, x)
    np.testing.assert_array_equal(first, expected["lif1"][0])
    last = euler(nodes["lif2"], current)
    np.testing.assert_array_equal(last, expected["lif2"][0])
    assert 0.05 < first.mean() < 0.95 and 0.05 < last.mean() < 0.95


def test_nodes_are_named_as_layers_and_edges_follow_the_data():
    graph = snn.export.to_nir(networks.on_grid(networks.identity()))
    assert ("lif1", "conv2") in graph.edges
    assert ("conv3", "lif3") in graph.edges and ("lif1", "lif3") in graph.edges
    assert "add" not in graph.nodes
    assert graph.nodes["lif4"].tau.shape == (6, 4, 4)
    assert isinstance(graph.nodes["out"], nir.LI)


def test_the_graph_begins_behind_the_encoder(lenet):
    images = snn.models.LeNet(
        input_shape=(8, 8, 1), width=0.2, beta=BETA, classes=4, time_steps=5
    )
    images.set_weights(lenet.get_weights())
    graph = snn.export.to_nir(images)
    other = snn.export.to_nir(lenet)
    assert graph.nodes["encoder"].input_type["input"].tolist() == [1, 8, 8]
    assert list(graph.nodes)[1:] == list(other.nodes)[1:]
    np.testing.assert_array_equal(
        graph.nodes["fc1"].weight, other.nodes["fc1"].weight
    )


def test_graphs_are_read_for_channels_last_whatever_keras_is_told(network):
    _, model, x, _ = network
    graph = snn.export.to_nir(model)
    expected = networks.scores(snn.export.from_nir(graph), x)
    with channels_first():
        found = snn.export.from_nir(graph)
    np.testing.assert_array_equal(networks.scores(found, x), expected)


def test_a_dense_layer_behind_flatten_is_reordered():
    model = networks.of(
        TimeFold(L.Flatten()),
        TimeFold(L.Dense(1, use_bias=False, name="dense")),
        shape=(None, 2, 3, 4),
    )
    kernel = np.arange(24.0).reshape(2, 3, 4, 1)
    model.set_weights([kernel.reshape(24, 1)])
    weight = snn.export.to_nir(model).nodes["dense"].weight
    np.testing.assert_array_equal(
        weight.reshape(4, 2, 3), kernel[..., 0].transpose(2, 0, 1)
    )


def test_flatten_means_all_axes_with_or_without_a_batch_axis(lenet):
    node = snn.export.to_nir(lenet).nodes["flatten"]
    assert (node.start_dim, node.end_dim) == (-3, -1)
    assert node.output_type["output"].tolist() == [40]


@pytest.mark.parametrize("target", TARGETS)
def test_convolutions_without_bias_get_zeros(lenet, target):
    node = snn.export.to_nir(lenet, target=target).nodes["block1_conv1"]
    np.testing.assert_array_equal(node.bias, np.zeros(4))
    assert node.weight.shape == (4, 1, 5, 5)
    assert tuple(node.padding) == (2, 2)


# Targets.


def float32_after(x):
    return np.nextafter(np.float32(x), np.float32(np.inf))


@pytest.mark.parametrize("target", ["spikingjelly", "sinabs"])
def test_a_program_that_fires_at_threshold_gets_the_next_float(lenet, target):
    node = snn.export.to_nir(lenet, target=target).nodes["block1_lif1"]
    np.testing.assert_array_equal(
        np.unique(node.v_threshold), float32_after(1.0)
    )


def test_snntorch_gets_an_if_as_a_lif_of_float32_beta_1(lenet):
    node = snn.export.to_nir(lenet, target="snntorch").nodes["block1_pool_if"]
    assert isinstance(node, nir.LIF)
    np.testing.assert_array_equal(np.float32(1.0 - 1e-4 / node.tau), 1.0)
    np.testing.assert_allclose(node.r * 1e-4 / node.tau, 1.0, rtol=1e-12)
    assert np.unique(node.v_threshold) == 0.75


def test_norse_gets_r_1_and_a_threshold_in_its_own_unit(lenet):
    nodes = snn.export.to_nir(lenet, target="norse").nodes
    lif = nodes["block1_lif1"]
    assert np.unique(lif.r) == 1.0
    np.testing.assert_allclose(1e-3 / lif.tau, 1.0 - BETA, rtol=1e-6)
    # A potential of 1 is one of dt / tau there.
    np.testing.assert_allclose(lif.v_threshold, 1e-3 / lif.tau, rtol=1e-6)
    assert np.unique(nodes["block1_pool_if"].r) == 1.0


@pytest.mark.parametrize("target", ["norse", "sinabs"])
def test_average_pooling_becomes_sum_pooling_and_a_larger_threshold(
    lenet, target
):
    nodes = snn.export.to_nir(lenet, target=target).nodes
    assert isinstance(nodes["block1_pool"], nir.SumPool2d)
    threshold = np.unique(nodes["block1_pool_if"].v_threshold)
    expected = 3.0 if target == "norse" else float32_after(3.0)
    np.testing.assert_array_equal(threshold, expected)


def test_average_pooling_before_a_convolution_divides_its_weights():
    pool = TimeFold(L.AveragePooling2D(2, name="pool"))
    model = networks.on_grid(networks.of(pool, conv(3, 3, "conv"), LIF()))
    plain = snn.export.to_nir(model).nodes["conv"].weight
    summed = snn.export.to_nir(model, target="norse").nodes["conv"].weight
    np.testing.assert_array_equal(summed, plain / 4)


def test_sinabs_gets_exponential_decay_in_steps(lenet):
    node = snn.export.to_nir(lenet, target="sinabs").nodes["block1_lif1"]
    np.testing.assert_allclose(np.exp(-1.0 / node.tau), BETA, rtol=1e-6)
    assert node.v_leak.shape == (4, 1, 1)
    assert node.tau.dtype == "float32"


def test_sinabs_needs_two_settings_and_says_so(lenet):
    with pytest.warns(UserWarning, match="SingleSpike.*MembraneReset"):
        snn.export.to_nir(lenet, target="sinabs")


@pytest.mark.parametrize("target", TARGETS[1:])
def test_targets_leave_the_readout_out(lenet, target):
    graph = snn.export.to_nir(lenet, target=target)
    assert ("predictions", "output") in graph.edges


def depth_first(edges, name, seen):
    """Return the order in which nirtorch.load runs nodes."""
    if name in seen:
        return []
    seen.add(name)
    after = [depth_first(edges, y, seen) for x, y in edges if x == name]
    return [name, *itertools.chain(*after)]


@pytest.mark.parametrize("build", [networks.resnet, networks.identity])
def test_norse_runs_every_node_after_its_inputs(build):
    graph = snn.export.to_nir(networks.on_grid(build()), target="norse")
    (start,) = graph.inputs
    order = depth_first(graph.edges, start, set())
    assert all(order.index(x) < order.index(y) for x, y in graph.edges)


def test_a_shortcut_passes_as_more_channels_for_norse():
    model = networks.on_grid(networks.resnet())
    nodes = snn.export.to_nir(model, target="norse").nodes
    assert "block2_shortcut" not in nodes
    first, second = nodes["block2_conv1"], nodes["block2_conv2"]
    np.testing.assert_array_equal(first.weight[10:, :, 1, 1], np.eye(5))
    assert np.count_nonzero(first.weight[10:]) == 5
    np.testing.assert_array_equal(
        second.weight[:, 10:, 1, 1],
        kernels.to_channels_first(
            np.array(model.get_layer("block2_shortcut").get_weights()[0])
        )[:, :, 0, 0],
    )
    threshold = nodes["block2_lif1"].v_threshold
    np.testing.assert_allclose(threshold[10:] * 2, threshold[:5], rtol=1e-6)


@pytest.mark.parametrize("numbers", ["threshold", "beta"])
def test_numbers_of_each_channel_pass_no_further_than_their_neurons(numbers):
    inputs = keras.Input((6, 8, 8, 2))
    own = {numbers: np.array([0.5, 0.6, 0.75, 0.875], "float32")}
    x = networks.LIF(networks.BETA)(networks.conv(4, 3, "one")(inputs))
    y = networks.LIF(**{"beta": networks.BETA, **own}, name="inner")(
        networks.conv(4, 3, "two")(x)
    )
    y = keras.layers.Add()(
        [networks.conv(4, 3, "three")(y), networks.conv(4, 1, "pass")(x)]
    )
    outputs = networks.LIF(networks.BETA, name="last")(y)
    model = networks.on_grid(snn.Model(inputs, outputs))
    plain = snn.export.to_nir(model)
    for target in ("norse", "sinabs"):
        nodes = snn.export.to_nir(model, target=target).nodes
        assert "pass" not in nodes
        threshold = nodes["inner"].v_threshold
        assert len(threshold) == 8
        if numbers == "threshold":
            assert len(np.unique(threshold[:4])) == 4
        assert len(np.unique(threshold[4:])) == 1
        tau = nodes["inner"].tau.reshape(8, -1)[:, 0]
        assert (len(np.unique(tau[:4])) == 4) == (numbers == "beta")
        assert (tau[4:] == tau[0]).all()
    assert "pass" in plain.nodes


def test_numbers_of_one_axis_are_refused_whatever_the_width():
    def read(width):
        tau = np.array([2e-4, 5e-4, 1e-3])
        lif = nir.LIF(tau, tau / 1e-4, np.zeros(3), np.ones(3))
        conv = nir.Conv2d(
            (4, width), np.ones((3, 2, 1, 1)), 1, 0, 1, 1, np.zeros(3)
        )
        given = nir.Input({"input": np.array([2, 4, width])})
        taken = nir.Output({"output": np.array([3, 4, width])})
        nodes = {"i": given, "c": conv, "n": lif, "o": taken}
        edges = [("i", "c"), ("c", "n"), ("n", "o")]
        snn.export.from_nir(nir.NIRGraph(nodes, edges, type_check=False))

    for width in (3, 5):
        with pytest.raises(ValueError, match="'n'.*does not fit frames"):
            read(width)


def test_branches_that_norse_would_run_out_of_order_are_refused():
    model = networks.branches()
    snn.export.to_nir(model, target="snntorch")
    with pytest.raises(ValueError, match="run 'end' before.*one step late"):
        snn.export.to_nir(model, target="norse")


def test_a_sum_of_pooled_and_other_values_is_refused_for_sum_pooling():
    inputs = keras.Input((None, 4, 4, 2))
    pooled = TimeFold(L.AveragePooling2D(2))(inputs)
    other = conv(2, 3, "conv", strides=2)(inputs)
    model = snn.Model(inputs, LIF(name="end")(L.Add()([pooled, other])))
    with pytest.raises(ValueError, match="'end' adds pooled and other"):
        snn.export.to_nir(model, target="norse")


def test_an_average_at_the_end_is_refused_for_sum_pooling():
    model = networks.of(TimeFold(L.AveragePooling2D(2, name="pool")))
    snn.export.to_nir(model)
    with pytest.raises(ValueError, match="'pool' ends the network"):
        snn.export.to_nir(model, target="norse")


# There and back.


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_read_back_spikes_the_same(network, target, tmp_path):
    _, model, x, expected = network
    path = tmp_path / "model.nir"
    snn.export.to_nir(model, path, target=target)
    found = networks.trains(snn.export.from_nir(path), x)
    assert list(found) == list(expected)
    for layer, train in expected.items():
        # Channels that pass by a layer come last.
        own = found[layer][..., : train.shape[-1]]
        np.testing.assert_array_equal(own, train, err_msg=layer)
        assert 0.0 < train.mean() < 1.0


def test_weights_come_back_in_keras_order(lenet):
    found = snn.export.from_nir(snn.export.to_nir(lenet))
    for a, b in zip(found.get_weights(), lenet.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_leaky_integrator_comes_back_as_the_readout(lenet):
    found = snn.export.from_nir(snn.export.to_nir(lenet))
    x = networks.spikes(lenet, 9)
    np.testing.assert_array_equal(
        found.predict(x, verbose=0), lenet.predict(x, verbose=0)
    )
    assert found.runs_layer_by_layer is None


def test_batch_normalization_is_folded():
    model = networks.of(
        conv(3, 3, "conv1"),
        TimeFold(L.BatchNormalization(name="bn1")),
        LIF(BETA),
        TimeFold(L.GlobalAveragePooling2D(name="pool")),
        TimeFold(L.Dense(5, name="dense")),
        TimeFold(L.BatchNormalization(name="bn2")),
    )
    networks.as_drawn(model)
    rng = np.random.default_rng(5)
    for w in model.non_trainable_variables:
        w.assign(rng.uniform(0.2, 0.9, w.shape))
    x = networks.spikes(model, 9)
    for target in (None, "snntorch"):
        found = snn.export.from_nir(snn.export.to_nir(model, target=target))
        np.testing.assert_allclose(
            networks.scores(found, x), networks.scores(model, x), atol=1e-5
        )


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "strides": 2, "padding": "same"},
        {"kernel_size": 4, "padding": "same"},
        {"kernel_size": 2, "strides": 2, "padding": "same"},
        {"kernel_size": (3, 5), "padding": "same"},
        {"kernel_size": (1, 3), "padding": "valid"},
        {"kernel_size": 3, "dilation_rate": 2, "padding": "same"},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [7, 8])
def test_padding_that_nir_cannot_say_is_made_even(options, size):
    layer = TimeFold(L.Conv2D(3, use_bias=False, **options))
    model = networks.on_grid(networks.of(layer, shape=(None, size, size, 2)))
    graph = snn.export.to_nir(model)
    (node,) = [x for x in graph.nodes.values() if isinstance(x, nir.Conv2d)]
    assert node.weight.shape[2] == node.weight.shape[3]
    x = networks.spikes(model, 2)
    np.testing.assert_array_equal(
        networks.scores(snn.export.from_nir(graph), x),
        networks.scores(model, x),
    )


def test_zero_padding_joins_the_convolution_behind_it():
    model = networks.of(
        TimeFold(L.ZeroPadding2D(((2, 1), (0, 3)))),
        conv(3, 3, "conv", padding="valid", strides=2),
    )
    networks.on_grid(model)
    graph = snn.export.to_nir(model)
    assert len(graph.nodes) == 3
    x = networks.spikes(model, 2)
    np.testing.assert_array_equal(
        networks.scores(snn.export.from_nir(graph), x),
        networks.scores(model, x),
    )


# What cannot be written.


def test_all_layers_without_a_word_are_named_with_the_reason():
    model = networks.of(
        TimeFold(L.MaxPooling2D(2, name="max")),
        snn.layers.ALIF(name="tired"),
        LIF(reset="subtract", name="soft"),
        IF(initial_potential=0.5, name="half"),
        TimeFold(L.Activation("relu", name="relu")),
    )
    with pytest.raises(ValueError, match="5 layer.s. that cannot") as error:
        snn.export.to_nir(model)
    message = str(error.value)
    assert "'max' (MaxPooling2D): NIR has average and sum" in message
    assert "'tired' (ALIF): amplitude=0.1" in message
    assert "'soft' (LIF): reset=\"subtract\"" in message
    assert "'half' (IF): initial_potential=0.5" in message
    assert "'relu' (Activation)" in message


@pytest.mark.parametrize(
    "layers, reason",
    [
        ([L.Dense(3, name="x")], "put TimeFold.Flatten... before|vectors"),
        ([L.Conv2D(3, 3, activation="relu", name="x")], "activation is relu"),
        ([L.AveragePooling2D(3, padding="same", name="x")], "border"),
        ([L.BatchNormalization(name="x")], "cannot be folded"),
        ([L.ZeroPadding2D(1), L.AveragePooling2D(2, name="x")], "pads with"),
        ([L.Conv2D(2, (2, 3), name="x")], "no square kernel"),
        ([L.Reshape((16, 8), name="x")], "no node of NIR"),
    ],
    ids=lambda x: None,
)
def test_what_nir_cannot_say_is_refused(layers, reason):
    model = networks.of(*map(TimeFold, layers))
    with pytest.raises(ValueError, match=reason) as error:
        snn.export.to_nir(model)
    assert "'x'" in str(error.value)


def test_sums_that_nir_would_order_otherwise_are_refused():
    inputs = keras.Input((None, 2, 2, 3))
    flat = TimeFold(L.Flatten())(inputs)
    other = TimeFold(L.Dense(12))(flat)
    model = snn.Model(inputs, LIF()(L.Add(name="sum")([flat, other])))
    with pytest.raises(ValueError, match="'sum'.*another order"):
        snn.export.to_nir(model)


def test_sums_that_repeat_one_input_are_refused():
    inputs = keras.Input((None, 4, 4, 3))
    pixel = conv(3, 4, "pixel", padding="valid")(inputs)
    model = snn.Model(inputs, LIF()(L.Add(name="sum")([inputs, pixel])))
    with pytest.raises(ValueError, match="'sum'.*different shapes"):
        snn.export.to_nir(model)


def test_a_normalization_of_currents_used_elsewhere_is_refused():
    inputs = keras.Input((None, 4, 4, 3))
    current = conv(3, 3, "conv")(inputs)
    dropped = snn.layers.TimeConstantDropout(0.1)(current)
    normalized = TimeFold(L.BatchNormalization(name="bn"))(dropped)
    model = snn.Model(inputs, LIF()(L.Add()([current, normalized])))
    with pytest.raises(ValueError, match="'bn'.*output goes nowhere else"):
        snn.export.to_nir(model)


def test_a_sequential_model_is_written():
    layers = [TimeFold(L.Dense(4, name="dense")), LIF(name="lif")]
    model = keras.Sequential([keras.Input((None, 3)), *layers])
    assert {"dense", "lif"} <= snn.export.to_nir(model).nodes.keys()


def test_a_model_of_two_outputs_is_refused():
    inputs = keras.Input((None, 3))
    x = LIF()(inputs)
    with pytest.raises(ValueError, match=r"one\s+output.*2 output"):
        snn.export.to_nir(keras.Model(inputs, [x, LIF()(x)]))


def test_something_else_than_a_model_is_refused():
    with pytest.raises(ValueError, match="functional model.*Received: str"):
        snn.export.to_nir("lenet.keras")


def test_unknown_names_are_refused(lenet):
    with pytest.raises(ValueError, match='"norse".*Received: target=.brian'):
        snn.export.to_nir(lenet, target="brian")
    with pytest.raises(ValueError, match="Received: source=.brian"):
        snn.export.from_nir(
            graph_of(vector_input(), lif_node()), source="brian"
        )


# Files.


def test_files_are_not_overwritten(lenet, tmp_path):
    path = tmp_path / "model.nir"
    path.write_text("something dear")
    with pytest.raises(FileExistsError, match="does not overwrite"):
        snn.export.to_nir(lenet, path)
    assert path.read_text() == "something dear"


def test_a_refused_model_leaves_no_file(tmp_path):
    path = tmp_path / "model.nir"
    with pytest.raises(ValueError, match="soft"):
        soft = networks.of(LIF(reset="subtract", name="soft"))
        snn.export.to_nir(soft, path)
    assert not path.exists()


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ValueError, match="no NIR file at"):
        snn.export.from_nir(tmp_path / "model.nir")


@pytest.mark.parametrize("kept", [0, 100, 0.5, -1])
def test_a_truncated_file_is_refused(lenet, tmp_path, kept):
    path = tmp_path / "model.nir"
    snn.export.to_nir(lenet, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept == 0.5 else kept])
    with pytest.raises(ValueError, match="no NIR file, or a damaged one"):
        snn.export.from_nir(path)


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["layers"] = np.zeros(3)
    with pytest.raises(ValueError, match="no NIR file, or a damaged one"):
        snn.export.from_nir(path)
    path.write_bytes(b"a picture of a cat")
    with pytest.raises(ValueError, match="no NIR file, or a damaged one"):
        snn.export.from_nir(path)


def test_a_file_of_one_node_is_refused(tmp_path):
    path = tmp_path / "node.nir"
    nir.write(path, lif_node())
    with pytest.raises(ValueError, match="damaged|Received: LIF"):
        snn.export.from_nir(path)


def test_the_package_nir_is_asked_for(lenet, monkeypatch):
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ImportError, match=r"keras-snn\[nir\]"):
        snn.export.to_nir(lenet)
    with pytest.raises(ImportError, match=r"keras-snn\[nir\]"):
        snn.export.from_nir("model.nir")


# What is read.


def test_parameters_become_beta_and_threshold():
    # 10 steps of 1e-4; each spike moves the potential by r * dt / tau = 2.
    graph = graph_of(vector_input(), lif_node(r=20.0, v_threshold=3.0))
    (layer,) = [
        x for x in snn.export.from_nir(graph).layers if x.weights == []
    ][1:]
    assert type(layer) is LIF
    assert layer.beta == pytest.approx(0.9, rel=1e-6)
    assert layer.threshold == pytest.approx(1.5, rel=1e-6)


def test_the_step_can_be_given():
    graph = graph_of(vector_input(), lif_node(tau=0.02, r=20.0))
    layer = snn.export.from_nir(graph, dt=1e-3).layers[-1]
    assert (layer.beta, layer.threshold) == pytest.approx((0.95, 1.0))


@pytest.mark.parametrize(
    "source, beta, threshold",
    [
        (None, 0.9, 1.0),
        ("snntorch", 0.9, 1.0),
        ("spikingjelly", 0.9, 1.0),
        ("sinabs", np.exp(-1e4), 1.0),
    ],
)
def test_the_source_says_what_the_numbers_mean(source, beta, threshold):
    graph = graph_of(vector_input(), lif_node())
    if beta < 1e-9:
        with pytest.raises(ValueError, match="outside .0, 1.. Pass the `dt`"):
            snn.export.from_nir(graph, source=source)
        return
    layer = snn.export.from_nir(graph, source=source).layers[-1]
    assert (layer.beta, layer.threshold) == pytest.approx((beta, threshold))
    strict = layer.threshold < 1.0
    assert strict == (source == "spikingjelly")


def test_neurons_that_rest_elsewhere_are_shifted():
    node = lif_node(v_leak=-0.5, v_reset=-0.5)
    layer = snn.export.from_nir(graph_of(vector_input(), node)).layers[-1]
    assert layer.threshold == pytest.approx(1.5)


def test_soft_reset_is_taken_by_word():
    graph = graph_of(vector_input(), lif_node())
    layer = snn.export.from_nir(graph, reset="subtract").layers[-1]
    assert layer.reset == "subtract"


def test_a_leaky_integrators_gain_scales_the_readout():
    li = nir.LI(np.full(3, 1e-3), np.full(3, 2.5), np.zeros(3))
    model = snn.export.from_nir(graph_of(vector_input(), li))
    x = np.zeros((1, 4, 3), "float32")
    x[:, 0] = 1.0
    # beta = 0.9, and r * dt / tau = 0.25.
    expected = 0.25 * 0.9**4 / 4
    np.testing.assert_allclose(
        model.predict(x, verbose=0), [[expected] * 3], rtol=1e-5
    )


def test_a_sum_pooling_and_its_threshold_become_an_average():
    pool = nir.SumPool2d(*map(np.array, ((2, 2), (2, 2), (0, 0))))
    neurons = nir.IF(*(np.full((1, 2, 2), x) for x in (1e4, 3.0)))
    graph = graph_of(nir.Input({"input": np.array([1, 4, 4])}), pool, neurons)
    assert snn.export.from_nir(graph).layers[-1].threshold == 0.75


def test_padding_by_name_and_by_number_mean_the_same():
    weight = np.random.default_rng(0).random((2, 1, 3, 3), "float32")
    start = nir.Input({"input": np.array([1, 5, 5])})
    x = np.random.default_rng(1).random((1, 2, 5, 5, 1), "float32")
    outputs = [
        networks.scores(
            snn.export.from_nir(
                graph_of(
                    start,
                    nir.Conv2d((5, 5), weight, 1, padding, 1, 1, np.ones(2)),
                )
            ),
            x,
        )
        for padding in ("same", (1, 1), 1)
    ]
    assert outputs[0].shape == (1, 2, 5, 5, 2)
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize("readout", ["membrane", "spike_count", None])
def test_the_model_trains_with_any_end(readout):
    graph = snn.export.to_nir(networks.on_grid(networks.dense()))
    model = snn.export.from_nir(graph, readout)
    if readout is None:
        assert model.output_shape == (None, None, 4)
        return
    before = model.get_weights()
    model.compile("sgd", "mse")
    model.fit(networks.spikes(model, 5), np.ones((2, 4)), verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_readouts_are_checked(lenet):
    graph = snn.export.to_nir(lenet)
    with pytest.raises(ValueError, match="a MembraneReadout already"):
        snn.export.from_nir(graph, "membrane")
    with pytest.raises(ValueError, match='"spike_count".*Received.*"?softmax'):
        snn.export.from_nir(graph, "softmax")


def test_the_learning_rule_can_be_chosen():
    graph = graph_of(vector_input(), lif_node())
    layer = snn.export.from_nir(graph, learning_rule="arctan").layers[-1]
    assert layer.get_config()["learning_rule"] != "collapsed"


def test_a_batch_axis_in_the_input_is_dropped():
    linear = nir.Linear(np.eye(3, dtype="float32"))
    start = nir.Input({"input": np.array([8, 3])})
    model = snn.export.from_nir(graph_of(start, linear, lif_node()))
    assert model.input_shape == (None, None, 3)


def dangling():
    graph = graph_of(vector_input(), lif_node())
    graph.edges.append(("lif", "nowhere"))
    return graph


def without_input():
    graph = graph_of(vector_input(), lif_node())
    del graph.nodes["input"]
    graph.edges = [x for x in graph.edges if "input" not in x]
    return graph


@pytest.mark.parametrize(
    "build, reason",
    [
        (dangling, "nowhere"),
        (without_input, "one Input node"),
        (
            lambda: graph_of(vector_input(), lif_node(v_leak=0.2)),
            "leaks to 0.2 and is reset to 0.0",
        ),
        (
            lambda: graph_of(vector_input(), lif_node(r=-1.0)),
            "not both positive",
        ),
        (
            lambda: graph_of(vector_input(4), nir.Linear(np.eye(3))),
            "'linear'.*does not fit frames of",
        ),
        (lambda: lif_node(), "Received: LIF"),
    ],
)
def test_graphs_that_no_layer_matches_are_refused(build, reason):
    with pytest.raises(ValueError, match=reason):
        snn.export.from_nir(build())
