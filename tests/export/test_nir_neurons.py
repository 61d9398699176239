"""Every kind of neuron in NIR against its equations in plain NumPy."""

import nir
import numpy as np
import pytest

import keras_snn as snn
from tests.export import nir_loops
from tests.export import nir_networks as networks
from tests.export.nir_networks import LIF, L, TimeFold

S = snn.layers
DT = 1e-4
NETWORKS = {
    "lenet": networks.lenet,
    "identity": networks.identity,
    "dense": networks.dense,
    "synaptic": networks.synaptic,
    "parametric": networks.parametric,
    "series": networks.series,
    "recurrent": networks.recurrent,
}


def graph_of(*nodes, features=4):
    """Return a graph of these nodes in a row; pairs are `(name, node)`."""
    named = [
        x if isinstance(x, tuple) else (type(x).__name__.lower(), x)
        for x in nodes
    ]
    nodes = {"input": nir.Input({"input": np.array([features])}), **dict(named)}
    nodes["output"] = nir.Output({"output": np.array([features])})
    names = list(nodes)
    return nir.NIRGraph(nodes, list(zip(names, names[1:])), type_check=False)


def linear(outputs=4, inputs=4, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.normal(0.25, 0.6, (outputs, inputs)).astype("float32")
    return nir.Linear(weight)


def neuron(kind=nir.LIF, shape=(4,), **changes):
    """Return neurons of gain 1 at steps of 1e-4, but for the changes."""
    values = {"v_threshold": 1.0, "v_reset": 0.0}
    if kind is nir.IF:
        values |= {"r": 1e4}
    elif kind is nir.LIF:
        values |= {"tau": 1e-3, "r": 10.0, "v_leak": 0.0}
    else:
        values |= {"tau_mem": 1e-3, "tau_syn": 5e-4, "r": 10.0, "w_in": 5.0}
        values |= {"v_leak": 0.0}
    values |= changes
    return kind(**{k: np.broadcast_to(v, shape) for k, v in values.items()})


def input_of(features=4, steps=40, seed=5):
    rng = np.random.default_rng(seed)
    return (rng.random((2, steps, features)) < 0.5).astype("float32")


def assert_same_spikes(graph, **options):
    """Check a graph of vectors against its equations; return the model."""
    x = input_of(int(graph.nodes["input"].input_type["input"][0]))
    model = snn.export.from_nir(graph, **options)
    expected = nir_loops.run(graph, x, options.get("dt", DT))["output"]
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(networks.scores(model, x), expected)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_written_graphs_give_the_models_spikes_by_nirs_equations(name):
    model = networks.on_grid(NETWORKS[name]())
    x = networks.spikes(model, 30)
    found = nir_loops.run(snn.export.to_nir(model), x)
    for layer, train in networks.trains(model, x).items():
        np.testing.assert_array_equal(found[layer], train, err_msg=layer)
        assert 0.01 < train.mean() < 0.99


@pytest.mark.parametrize("name", ["synaptic", "parametric", "series"])
def test_read_back_they_are_the_same_layers(name):
    model = networks.on_grid(NETWORKS[name]())
    again = snn.export.from_nir(snn.export.to_nir(model))
    x = networks.spikes(model, 20)
    found = networks.trains(again, x)
    for layer, train in networks.trains(model, x).items():
        np.testing.assert_array_equal(found[layer], train, err_msg=layer)
        a, b = (type(m.get_layer(layer)) for m in (model, again))
        # Decays that are written are numbers, not weights.
        assert a is b or (a, b) == (S.PLIF, LIF)


def test_recurrent_layers_come_back_with_their_weights(tmp_path):
    model = networks.on_grid(networks.recurrent())
    path = tmp_path / "recurrent.nir"
    snn.export.to_nir(model, path)
    again = snn.export.from_nir(path)
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("lif1", "lif2", "lif3"):
        a, b = model.get_layer(name), again.get_layer(name)
        assert type(b) is S.RecurrentLIF
        numbers = [(x.beta, x.alpha, x.threshold) for x in (a, b)]
        assert numbers[0] == numbers[1]


def test_a_recurrent_layer_is_a_graph_of_neurons_and_their_feedback():
    graph = snn.export.to_nir(networks.on_grid(networks.recurrent()))
    inner = graph.nodes["lif1"]
    assert list(inner.nodes) == ["input", "lif", "w_rec", "output"]
    assert set(inner.edges) == {
        ("input", "lif"),
        ("lif", "w_rec"),
        ("w_rec", "lif"),
        ("lif", "output"),
    }
    assert type(inner.nodes["lif"]) is nir.CubaLIF
    assert type(graph.nodes["lif2"].nodes["lif"]) is nir.IF
    assert type(graph.nodes["lif2"].nodes["w_rec"]) is nir.Affine
    assert type(graph.nodes["lif3"].nodes["w_rec"]) is nir.Scale


# Parameters of one a neuron.


@pytest.mark.parametrize("kind", [nir.LIF, nir.IF, nir.CubaLIF])
@pytest.mark.parametrize("parameter", ["v_threshold", "r"])
def test_neurons_may_differ_in_threshold_and_gain(kind, parameter):
    usual = getattr(neuron(kind), parameter)
    values = usual * np.array([0.7, 1.1, 1.3, 2.2])
    graph = graph_of(linear(), ("x", neuron(kind, **{parameter: values})))
    model = assert_same_spikes(graph)
    assert np.shape(model.get_layer("x").threshold) == (4,)


def test_neurons_may_differ_in_what_they_make_of_a_spike():
    node = neuron(nir.CubaLIF, w_in=np.array([3.0, 4.0, 5.5, 8.0]))
    assert_same_spikes(graph_of(linear(), node))


def test_channels_may_differ_in_their_time_constant():
    node = neuron(tau=np.array([2e-4, 5e-4, 1e-3, 4e-3]))
    model = assert_same_spikes(graph_of(linear(), ("x", node)))
    layer = model.get_layer("x")
    assert type(layer) is LIF
    np.testing.assert_allclose(layer.beta, [0.5, 0.8, 0.9, 0.975], rtol=1e-6)


def test_neurons_behind_a_flatten_have_their_own_thresholds():
    thresholds = np.linspace(0.6, 2.5, 12)
    image = (2, 3, 2)
    nodes = {
        "input": nir.Input({"input": np.array(image)}),
        "flatten": nir.Flatten({"input": np.array(image)}, 0, -1),
        "x": neuron(v_threshold=thresholds, shape=(12,)),
        "linear": linear(3, 12),
        "y": neuron(shape=(3,)),
        "output": nir.Output({"output": np.array([3])}),
    }
    names = list(nodes)
    graph = nir.NIRGraph(nodes, list(zip(names, names[1:])), type_check=False)
    x = np.random.default_rng(1).random((2, 30, 3, 2, 2)).astype("float32")
    expected = nir_loops.run(graph, x)["output"]
    found = networks.scores(snn.export.from_nir(graph), x)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("parameter", ["v_threshold", "tau"])
def test_pixels_of_a_channel_may_differ(parameter):
    image = (2, 3, 2)

    def graph(**changes):
        nodes = {
            "input": nir.Input({"input": np.array(image)}),
            "x": neuron(shape=image, **changes),
            "output": nir.Output({"output": np.array(image)}),
        }
        edges = [("input", "x"), ("x", "output")]
        return nir.NIRGraph(nodes, edges, type_check=False)

    values = np.linspace(0.6, 2.5, 12).reshape(image)
    x = np.random.default_rng(1).random((2, 30, 3, 2, 2)).astype("float32")
    if parameter == "tau":
        values = 1e-3 * values
    found = snn.export.from_nir(graph(**{parameter: values}))
    expected = nir_loops.run(graph(**{parameter: values}), x)["x"]
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(networks.scores(found, x), expected)


# Feedback, as other programs lay it out.


def recurrent(kind=nir.LIF, back=None, seed=4, **changes):
    """Return a flat graph in which spikes come back through a node."""
    if back is None:
        weight = linear(seed=seed).weight - 0.4
        back = nir.Affine(weight, np.linspace(-0.2, 0.2, 4))
    graph = graph_of(linear(), ("lif1.lif", neuron(kind, **changes)))
    nodes = dict(graph.nodes)
    end = nodes.pop("output")
    nodes |= {"lif1.w_rec": back, "output": end}
    edges = [*graph.edges, ("lif1.lif", "lif1.w_rec")]
    edges.append(("lif1.w_rec", "lif1.lif"))
    return nir.NIRGraph(nodes, edges, type_check=False)


@pytest.mark.parametrize("kind", [nir.LIF, nir.IF, nir.CubaLIF])
def test_feedback_in_a_flat_graph(kind):
    model = assert_same_spikes(recurrent(kind))
    layer = model.get_layer("lif1")
    assert type(layer) is S.RecurrentLIF
    assert bool(layer.alpha) == (kind is nir.CubaLIF)


def test_feedback_of_neurons_of_different_thresholds():
    values = np.array([0.7, 1.1, 1.3, 2.2])
    assert_same_spikes(recurrent(v_threshold=values))
    scale = nir.Scale(np.array([0.5, -0.4, 0.3, 0.2]))
    assert_same_spikes(recurrent(back=scale, v_threshold=values))


def test_inputs_and_outputs_within_a_graph_are_passed_by():
    graph = recurrent(nir.CubaLIF)
    flat = snn.export.from_nir(graph)
    nodes = dict(graph.nodes)
    size = np.array([4])
    nodes["lif1.input"] = nir.Input({"input": size})
    nodes["lif1.output"] = nir.Output({"output": size})
    edges = [
        ("input", "linear"),
        ("linear", "lif1.input"),
        ("lif1.input", "lif1.lif"),
        ("lif1.lif", "lif1.w_rec"),
        ("lif1.w_rec", "lif1.lif"),
        ("lif1.lif", "lif1.output"),
        ("lif1.output", "output"),
    ]
    other = snn.export.from_nir(nir.NIRGraph(nodes, edges, type_check=False))
    x = input_of()
    np.testing.assert_array_equal(
        networks.scores(flat, x), networks.scores(other, x)
    )


def test_graphs_in_graphs_are_taken_apart():
    inner = graph_of(linear(seed=1), neuron())
    middle = graph_of(("inner", inner), linear(seed=2))
    graph = graph_of(linear(), neuron(), ("middle", middle), ("end", neuron()))
    model = assert_same_spikes(graph)
    names = [x.name for x in model.layers]
    assert "middle.inner.linear" in names and "end" in names


def test_feedback_around_a_convolution():
    rng = np.random.default_rng(3)
    weight = rng.normal(-0.05, 0.3, (2, 2, 3, 3)).astype("float32")
    back = nir.Conv2d((4, 4), weight, 1, (1, 1), 1, 1, np.zeros(2))
    image = np.array([2, 4, 4])
    nodes = {
        "input": nir.Input({"input": image}),
        "lif": neuron(shape=(2, 4, 4)),
        "back": back,
        "output": nir.Output({"output": image}),
    }
    edges = [("input", "lif"), ("lif", "back"), ("back", "lif")]
    graph = nir.NIRGraph(nodes, [*edges, ("lif", "output")], type_check=False)
    x = rng.random((2, 20, 4, 4, 2)).astype("float32")
    expected = nir_loops.run(graph, x)["lif"]
    model = snn.export.from_nir(graph)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(networks.scores(model, x), expected)
    written = snn.export.to_nir(model).nodes["lif"].nodes["w_rec"]
    np.testing.assert_array_equal(written.weight, weight)


# Nodes without an equation of their own here.


def test_a_threshold_is_neurons_that_forget_at_once():
    graph = graph_of(linear(), nir.Threshold(np.array([0.3, 0.5, 0.7, 0.9])))
    model = assert_same_spikes(graph)
    assert type(model.layers[-1]) is LIF
    assert model.layers[-1].rule == "surrogate"


@pytest.mark.parametrize("leaks", [True, False])
def test_an_integrator_before_a_threshold_is_its_synapses(leaks):
    li = nir.LI(*(np.full(4, x) for x in (1e-3, 10.0, 0.0)))
    graph = graph_of(
        nir.Linear(linear().weight - 0.3),
        li if leaks else nir.I(np.full(4, 1e4)),
        nir.Threshold(np.full(4, 0.9)),
    )
    layer = assert_same_spikes(graph).layers[-1]
    assert type(layer) is S.SynapticLIF
    assert layer.alpha == pytest.approx(0.9 if leaks else 1.0)


def test_an_integrator_before_neurons_is_their_synapses():
    li = nir.LI(*(np.full(4, x) for x in (5e-4, 2.5, 0.0)))
    layer = assert_same_spikes(graph_of(linear(), li, neuron())).layers[-1]
    assert type(layer) is S.SynapticLIF
    assert (layer.alpha, layer.beta) == pytest.approx((0.8, 0.9))


def test_scales_are_read_and_written():
    values = np.array([0.5, 1.5, 2.0, -1.0], "float32")
    model = assert_same_spikes(graph_of(linear(), nir.Scale(values), neuron()))
    node = snn.export.to_nir(model).nodes["scale"]
    assert type(node) is nir.Scale
    np.testing.assert_array_equal(node.scale, values)


@pytest.mark.parametrize("groups", [2, 4])
def test_convolutions_in_groups(groups):
    rng = np.random.default_rng(2)
    weight = rng.normal(0.2, 0.6, (8, 4 // groups, 3, 3)).astype("float32")
    shape = np.array([4, 5, 5])
    nodes = {
        "input": nir.Input({"input": shape}),
        "conv": nir.Conv2d((5, 5), weight, 1, 0, 1, groups, np.zeros(8)),
        "lif": neuron(shape=(8, 3, 3)),
        "output": nir.Output({"output": np.array([8, 3, 3])}),
    }
    names = list(nodes)
    graph = nir.NIRGraph(nodes, list(zip(names, names[1:])), type_check=False)
    x = rng.random((2, 12, 5, 5, 4)).astype("float32")
    expected = nir_loops.run(graph, x)["lif"]
    model = snn.export.from_nir(graph)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(networks.scores(model, x), expected)
    written = snn.export.to_nir(model).nodes["conv"]
    assert written.groups == groups
    np.testing.assert_array_equal(written.weight, weight)
    # Importers take the channels of one group for all.
    whole = snn.export.to_nir(model, target="snntorch").nodes["conv"]
    assert (whole.groups, whole.weight.shape) == (1, (8, 4, 3, 3))
    whole_weight = nir_loops.convolve(whole, np.moveaxis(x[:, 0], -1, 1), 2)
    parts = nir_loops.convolve(written, np.moveaxis(x[:, 0], -1, 1), 2)
    np.testing.assert_allclose(whole_weight, parts, rtol=1e-6)


def test_a_depthwise_convolution_has_a_group_a_channel():
    layer = L.DepthwiseConv2D(3, depth_multiplier=2, strides=2, name="conv")
    model = networks.as_drawn(networks.of(TimeFold(layer)))
    graph = snn.export.to_nir(model)
    x = networks.spikes(model, 3)
    found = nir_loops.run(graph, x)["conv"]
    assert graph.nodes["conv"].groups == 2
    np.testing.assert_allclose(found, networks.scores(model, x), atol=1e-6)


# Random networks.


def random_model(seed):
    """Return a network of random layers for vectors or images."""
    rng = np.random.default_rng(seed)
    is_image = rng.random() < 0.5
    shape = (None, 6, 6, 2) if is_image else (None, 5)
    layers = []
    for n in range(int(rng.integers(1, 4))):
        filters = int(rng.integers(1, 4)) * 2
        if is_image:
            options = {"padding": str(rng.choice(["same", "valid"]))}
            if rng.random() < 0.3:
                options["groups"] = 2
            layer = L.Conv2D(filters, 2 + n % 2, name=f"linear{n}", **options)
        else:
            layer = L.Dense(filters, name=f"linear{n}")
        layers += [TimeFold(layer), random_neurons(rng, f"neurons{n}")]
    if is_image:
        layers.append(TimeFold(L.Flatten(name="flatten")))
    layers += [TimeFold(L.Dense(4, name="last"))]
    layers += [random_neurons(rng, "end", is_image=False)]
    return networks.as_drawn(networks.of(*layers, shape=shape), seed)


def random_neurons(rng, name, is_image=True):
    beta, threshold = rng.uniform(0.6, 0.98), rng.uniform(0.5, 1.5)
    options = {"threshold": threshold, "name": name}
    makers = [
        lambda: LIF(beta, **options),
        lambda: S.IF(**options),
        lambda: S.PLIF(beta, per_channel=True, **options),
        lambda: S.PLIF(beta, scale_input=True, threshold=0.2, name=name),
        lambda: S.SynapticLIF(beta, alpha=rng.uniform(0.2, 0.8), **options),
        lambda: S.RecurrentLIF(L.Rescaling(-0.3), beta, **options),
        lambda: S.RecurrentLIF(beta=beta, alpha=0.5, **options),
    ]
    # A dense feedback is one of vectors.
    number = int(rng.integers(len(makers) - is_image))
    return makers[number]()


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_there_and_back(seed, tmp_path):
    model = random_model(seed)
    x = networks.spikes(model, 15, seed=seed)
    path = tmp_path / "model.nir"
    graph = snn.export.to_nir(model, path)
    expected = networks.trains(model, x)
    again = networks.trains(snn.export.from_nir(path), x)
    loops = nir_loops.run(graph, x)
    for name, train in expected.items():
        np.testing.assert_array_equal(again[name], train, err_msg=name)
        np.testing.assert_array_equal(loops[name], train, err_msg=name)


TAUS = np.array([2e-4, 3e-4, 4e-4, 5e-4])


@pytest.mark.parametrize("parameter", ["tau_syn", "tau_mem"])
def test_currents_may_differ_in_their_time_constants(parameter):
    node = neuron(nir.CubaLIF, **{parameter: TAUS})
    model = assert_same_spikes(graph_of(linear(), ("x", node)))
    assert type(model.get_layer("x")) is S.SynapticLIF


@pytest.mark.parametrize(
    "kind, parameter", [(nir.LIF, "tau"), (nir.CubaLIF, "tau_mem")]
)
def test_neurons_with_feedback_may_differ_in_their_decay(kind, parameter):
    layer = snn.export.from_nir(recurrent(kind, **{parameter: TAUS}))
    layer = layer.get_layer("lif1")
    assert type(layer) is S.RecurrentLIF
    np.testing.assert_allclose(layer.beta, 1 - 1e-4 / TAUS, rtol=1e-6)


DECAYS = np.float32([0.5, 0.75, 0.875, 1.0])
THRESHOLDS = [0.25, 0.5, 0.125, 0.375]


@pytest.mark.parametrize(
    "make",
    [
        lambda **x: LIF(beta=DECAYS, threshold=THRESHOLDS, **x),
        lambda **x: S.IF(threshold=THRESHOLDS, **x),
        lambda **x: S.SynapticLIF(0.75, alpha=DECAYS * 0.5, **x),
        lambda **x: S.SynapticLIF(DECAYS, alpha=0.5, **x),
        lambda **x: S.RecurrentLIF(
            L.Rescaling(-0.25), DECAYS, threshold=0.25, **x
        ),
        lambda **x: S.PLIF(0.5, threshold=THRESHOLDS, **x),
    ],
)
def test_arrays_of_the_layers_are_written(make, tmp_path):
    model = networks.of(
        TimeFold(L.Dense(4, name="linear")), make(name="lif"), shape=(30, 3)
    )
    model = networks.on_grid(model)
    x = networks.spikes(model, 30)
    path = tmp_path / "model.nir"
    graph = snn.export.to_nir(model, path)
    (train,) = networks.trains(model, x).values()
    assert 0.01 < train.mean() < 0.99
    np.testing.assert_array_equal(nir_loops.run(graph, x)["lif"], train)
    (again,) = networks.trains(snn.export.from_nir(path), x).values()
    np.testing.assert_array_equal(again, train)


# Refused, with the parameter and the node.


@pytest.mark.parametrize(
    "name, program", [("beta", "spikingjelly"), ("threshold", "snntorch")]
)
def test_arrays_that_a_program_does_not_know_are_refused(name, program):
    layer = LIF(**{name: np.linspace(0.5, 0.9, 4)})
    model = networks.of(TimeFold(L.Dense(4)), layer, shape=(30, 3))
    with pytest.raises(ValueError, match=f"`{name}` of each neuron"):
        snn.export.to_nir(model, target=program)


def test_cycles_of_another_kind_are_refused():
    graph = graph_of(linear(), ("a", neuron()), ("b", neuron()))
    edges = [*graph.edges, ("b", "a")]
    graph = nir.NIRGraph(graph.nodes, edges, type_check=False)
    with pytest.raises(ValueError, match="recurrence of one kind.*'?a -> b"):
        snn.export.from_nir(graph)


def test_input_through_the_weights_of_feedback_is_refused():
    graph = recurrent()
    edges = [x for x in graph.edges if x != ("linear", "lif1.lif")]
    edges.append(("linear", "lif1.w_rec"))
    graph = nir.NIRGraph(graph.nodes, edges, type_check=False)
    with pytest.raises(ValueError, match="recurrence of one kind"):
        snn.export.from_nir(graph)


@pytest.mark.parametrize(
    "node, reason",
    [
        (
            nir.CubaLI(*(np.ones(4) for _ in range(4))),
            "'x' .CubaLI.*time constant of its own",
        ),
        (nir.Threshold(np.zeros(4)), "'x' .Threshold.*`threshold` is 0.0, at"),
        (
            neuron(v_threshold=np.array([1.0, 2.0, 3.0]), shape=(3,)),
            "'x' .LIF.*its `v_threshold` of shape .3,. does not fit",
        ),
        (
            nir.Scale(np.arange(3.0)),
            "'x' .Scale.*its `scale` of shape .3,. does not fit",
        ),
    ],
)
def test_nodes_that_no_layer_matches_are_refused(node, reason):
    with pytest.raises(ValueError, match=reason):
        snn.export.from_nir(graph_of(linear(), ("x", node), neuron()))


def test_a_leaky_integrator_before_other_nodes_is_refused():
    li = nir.LI(*(np.full(4, x) for x in (1e-3, 10.0, 0.0)))
    with pytest.raises(ValueError, match="'linear'.*leaky integrator"):
        snn.export.from_nir(graph_of(li, linear(), neuron()))


@pytest.mark.parametrize(
    "layer, reason",
    [
        (S.ALIF(name="x"), "'x' .ALIF.*amplitude=0.1: .* does not move"),
        (
            S.IF(1.0, "subtract", initial_potential=0.5, name="x"),
            'reset="subtract".*; and initial_potential=0.5',
        ),
        (
            S.SynapticLIF(reset="subtract", name="x"),
            "'x' .SynapticLIF.*reset=\"subtract\"",
        ),
        (
            S.RecurrentLIF(L.Dense(4, activation="relu", name="b"), name="x"),
            "'x' .RecurrentLIF.*recurrent='b': its activation is relu",
        ),
        (
            S.RecurrentLIF(L.EinsumDense("ab,bc->ac", 4, name="b"), name="x"),
            "'x' .RecurrentLIF.*recurrent='b' .EinsumDense",
        ),
        (
            TimeFold(L.Rescaling(2.0, offset=1.0, name="x")),
            "'x' .Rescaling.*offset=1.0",
        ),
    ],
)
def test_what_nir_cannot_say_is_refused_with_the_parameter(layer, reason):
    model = networks.of(layer, shape=(None, 4))
    with pytest.raises(ValueError, match=reason):
        snn.export.to_nir(model)


def test_an_adaptive_neuron_that_does_not_adapt_is_a_lif():
    layer = S.ALIF(0.9, amplitude=0.0, name="x")
    model = networks.of(TimeFold(L.Dense(4)), layer, shape=(None, 4))
    networks.as_drawn(model)
    x = networks.spikes(model, 30)
    again = snn.export.from_nir(snn.export.to_nir(model))
    np.testing.assert_array_equal(
        networks.scores(again, x), networks.scores(model, x)
    )


def test_a_converted_network_is_refused_with_both_parameters():
    ann = snn.models.LeNet(
        input_shape=(8, 8, 1), width=0.2, classes=4, spiking=False
    )
    images = np.random.default_rng(0).random((8, 8, 8, 1)).astype("float32")
    model = snn.conversion.convert(ann, images, time_steps=4)
    with pytest.raises(ValueError, match="cannot be written as NIR") as error:
        snn.export.to_nir(model)
    message = str(error.value)
    assert 'reset="subtract"' in message and "initial_potential=" in message


# Delays.


def test_delays_are_read_in_steps_of_the_file():
    delays = np.array([2e-4, 0.0, 5e-4, 1e-4])
    graph = graph_of(linear(), ("wait", nir.Delay(delays)), ("x", neuron()))
    model = snn.export.from_nir(graph)
    layer = model.get_layer("wait")
    assert type(layer) is S.Delay
    np.testing.assert_array_equal(layer.steps, [2, 0, 5, 1])
    without = graph_of(linear(), ("x", neuron()))
    currents = snn.export.from_nir(without)
    x = input_of(4)
    dense, lif = currents.layers[1], currents.layers[-1]
    expected = lif(S.Delay([2, 0, 5, 1])(dense(x)))
    np.testing.assert_array_equal(model(x), expected)
    assert 0.05 < np.mean(expected) < 0.95


@pytest.mark.parametrize("steps", [3, [0, 2, 1, 4]])
def test_delays_come_back(steps, tmp_path):
    model = networks.of(
        TimeFold(L.Dense(4)),
        S.Delay(steps, name="wait"),
        LIF(name="lif"),
        shape=(20, 3),
    )
    path = tmp_path / "model.nir"
    snn.export.to_nir(model, path)
    again = snn.export.from_nir(path).get_layer("wait")
    np.testing.assert_array_equal(again.steps, steps)
    with pytest.raises(ValueError, match="'wait'.*knows no Delay"):
        snn.export.to_nir(model, target="norse")


def test_parts_of_a_step_are_refused():
    graph = graph_of(linear(), ("wait", nir.Delay(np.full(4, 1.5e-4))))
    with pytest.raises(ValueError, match="'wait'.*delay.*1.5.*whole numbers"):
        snn.export.from_nir(graph)


def test_potentials_are_refused_by_name():
    inputs = networks.keras.Input((5, 3))
    options = {"learning_rule": "arctan", "return_potentials": True}
    spikes, potentials = LIF(name="lif", **options)(inputs)
    model = networks.keras.Model(inputs, L.Add()([spikes, potentials]))
    with pytest.raises(ValueError, match="'lif'.*return_potentials=True"):
        snn.export.to_nir(model)


def test_numbers_that_were_learned_are_written():
    model = networks.of(
        TimeFold(L.Dense(4)),
        LIF(
            [0.5, 0.75, 0.5, 0.875],
            name="lif",
            learning_rule="arctan",
            trainable_beta=True,
            trainable_threshold=True,
        ),
        shape=(20, 3),
    )
    lif = model.get_layer("lif")
    lif.beta.assign([0.25, 0.75, 0.5, 0.875])
    lif.threshold.assign(0.5)
    again = snn.export.from_nir(snn.export.to_nir(model)).get_layer("lif")
    np.testing.assert_allclose(again.beta, [0.25, 0.75, 0.5, 0.875], rtol=1e-6)
    assert again.threshold == pytest.approx(0.5)
