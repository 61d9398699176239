"""Files as other programs write them, against those programs' own steps.

The files and the steps are those of the programs' published sources; where a
program can be run, `test_nir_peers.py` runs it.
"""

import warnings

import nir
import numpy as np
import pytest

import keras_snn as snn
from tests.export import nir_networks as networks
from tests.export.test_nir_neurons import graph_of, input_of, neuron

S = snn.layers


def weight(outputs, inputs, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.2, 0.6, (outputs, inputs)).astype("float32")


def on(values, shape=(4,)):
    """Return keyword arguments as arrays of a layer's shape."""
    return {k: np.broadcast_to(v, shape) for k, v in values.items()}


def steps(currents, advance, state):
    """Return the spikes of `advance(current, state)`, over (batch, time)."""
    spikes = []
    for current in np.moveaxis(currents, 1, 0):
        s, state = advance(current, state)
        spikes.append(s)
    return np.stack(spikes, 1).astype("float32")


def spikes_of(graph, x, **options):
    """Return the spikes of a graph that is read without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = snn.export.from_nir(graph, **options)
    found = networks.scores(model, x)
    assert 0.05 < found.mean() < 0.95
    return found


# sinabs: neurons that fire at the threshold, of gain 1, tau in steps.


def sinabs_cnn():
    """Return a CNN as sinabs writes one, and its weights."""
    kernel = weight(3, 2 * 9).reshape(3, 2, 3, 3)
    dense = weight(5, 3 * 9, seed=1)
    nodes = {
        "input": nir.Input({"input": np.array([2, 6, 6])}),
        "0": nir.Conv2d((6, 6), kernel, 1, (1, 1), 1, 1, np.zeros(3)),
        "1": nir.IF(**on({"r": 1.0, "v_threshold": 1.5}, (3, 6, 6))),
        "2": nir.SumPool2d(*map(np.array, ((2, 2), (2, 2), (0, 0)))),
        "3": nir.Flatten({"input": np.array([3, 3, 3])}, 0, -1),
        "4": nir.Affine(dense, np.zeros(5)),
        "5": nir.IF(**on({"r": 1.0, "v_threshold": 4.0}, (5,))),
        "output": nir.Output({"output": np.array([5])}),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes, list(zip(names, names[1:]))), kernel, dense


def accumulated(currents, threshold, reset):
    def advance(current, v):
        v = v + current
        s = (v >= threshold).astype(float)
        return s, v - threshold * s if reset == "subtract" else v * (1 - s)

    return steps(currents, advance, 0.0)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_cnn_of_sinabs(reset):
    graph, kernel, dense = sinabs_cnn()
    rng = np.random.default_rng(2)
    x = (rng.random((2, 20, 2, 6, 6)) < 0.3).astype("float32")
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0),) * 3 + ((1, 1),) * 2), (3, 3), (3, 4)
    )
    first = accumulated(
        np.einsum("btchwij,ocij->btohw", windows, kernel.astype(float)),
        1.5,
        reset,
    )
    pooled = first.reshape(2, 20, 3, 3, 2, 3, 2).sum((4, 6))
    currents = pooled.reshape(2, 20, -1) @ dense.T.astype(float)
    expected = accumulated(currents, 4.0, reset)
    found = spikes_of(
        graph, np.moveaxis(x, 2, -1), source="sinabs", reset=reset
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("source", [None, "spikingjelly"])
def test_a_cnn_of_sinabs_read_as_another_programs_is_warned_of(source):
    graph, _, _ = sinabs_cnn()
    with pytest.warns(UserWarning, match="hardly fire: '1', '5'") as caught:
        snn.export.from_nir(graph, source=source)
    (message,) = [str(x.message) for x in caught if x.category is UserWarning]
    assert "of its largest inputs to fire once" in message
    assert 'by "snntorch"' in message and '"sinabs": ' in message
    assert "rockpool" not in message


def test_leaky_neurons_of_sinabs():
    tau, w = 9.0, weight(4, 4)
    node = nir.LIF(
        **on({"tau": tau, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0})
    )
    x = input_of()

    def advance(current, v):
        v = np.exp(-1.0 / tau) * v + current
        s = (v >= 1.0).astype(float)
        return s, v * (1 - s)

    graph = graph_of(nir.Affine(w, np.zeros(4)), node)
    np.testing.assert_array_equal(
        spikes_of(graph, x, source="sinabs"),
        steps(x @ w.T.astype(float), advance, 0.0),
    )


# snnTorch: neurons of gain 1 at steps of 1e-4; an IF of r = 1.


def test_an_if_of_r_1_is_integrated_once_a_step():
    graph = graph_of(
        nir.Linear(np.eye(1, dtype="float32")),
        nir.IF(r=np.ones(1), v_threshold=np.ones(1)),
        features=1,
    )
    x = np.full((1, 40, 1), 0.75, "float32")
    found = snn.export.from_nir(graph, source="snntorch")
    # 0.75, 1.5 and a reset.
    np.testing.assert_array_equal(
        networks.scores(found, x)[0, :, 0], np.tile([0.0, 1.0], 20)
    )
    with pytest.warns(UserWarning, match="needs 1e.04 of its largest inputs"):
        snn.export.from_nir(graph)


def braille(reset):
    """Return a recurrent network as snnTorch wrote that of NIR's paper.

    With a batch axis, float32, and in one level.
    """
    alpha, beta, dt = 0.65, 0.85, 1e-4

    def cuba(features, threshold):
        values = {
            "tau_syn": dt / (1 - alpha),
            "tau_mem": dt / (1 - beta),
            "r": 1 / (1 - beta),
            "w_in": 1 / (1 - alpha),
            "v_leak": 0.0,
            "v_threshold": threshold,
        }
        return nir.CubaLIF(
            **{k: np.full(features, v, "float32") for k, v in values.items()}
        )

    nodes = {
        "fc1": nir.Affine(weight(6, 4), np.full(6, 0.1)),
        "fc2": nir.Affine(weight(3, 6, seed=2), np.full(3, -0.1)),
        "input": nir.Input({"input": np.array([1, 4])}),
        "lif1.lif": cuba(6, 2.0),
        "lif1.w_rec": nir.Affine(weight(6, 6, seed=3) - 0.5, np.full(6, 0.2)),
        "lif2": cuba(3, 3.0),
        "output": nir.Output({"output": np.array([3])}),
    }
    edges = [
        ("fc1", "lif1.lif"),
        ("fc2", "lif2"),
        ("input", "fc1"),
        ("lif1.lif", "fc2"),
        ("lif1.lif", "lif1.w_rec"),
        ("lif1.w_rec", "lif1.lif"),
        ("lif2", "output"),
    ]
    graph = nir.NIRGraph(nodes, edges, type_check=False)

    def layer(threshold, recurrent=None):
        def advance(current, state):
            i, v, s = state
            if recurrent is not None:
                current = current + s @ recurrent.weight.T + recurrent.bias
            i = alpha * i + current
            v = beta * v + i
            s = (v > threshold).astype(float)
            v = v - threshold * s if reset == "subtract" else v * (1 - s)
            return s, (i, v, s)

        return advance

    def run(x):
        fc1, fc2 = nodes["fc1"], nodes["fc2"]
        back = nodes["lif1.w_rec"]
        currents = x @ fc1.weight.T.astype(float) + fc1.bias
        start = (0.0, 0.0, np.zeros((len(x), 6)))
        hidden = steps(currents, layer(2.0, back), start)
        currents = hidden @ fc2.weight.T.astype(float) + fc2.bias
        return steps(currents, layer(3.0), (0.0, 0.0, None))

    return graph, run


@pytest.mark.parametrize("source", [None, "snntorch"])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_the_recurrent_network_of_nirs_paper(source, reset, tmp_path):
    graph, run = braille(reset)
    path = tmp_path / "braille.nir"
    nir.write(path, graph)
    x = input_of()
    options = {"source": source, "reset": reset}
    expected = run(x)
    np.testing.assert_array_equal(spikes_of(path, x, **options), expected)
    # As a graph in the graph, as other programs want it.
    nested = braille_subgraph(graph)
    np.testing.assert_array_equal(spikes_of(nested, x, **options), expected)


def braille_subgraph(graph):
    size = np.array([6])
    inner = nir.NIRGraph(
        {
            "input": nir.Input({"input": size}),
            "lif": graph.nodes["lif1.lif"],
            "w_rec": graph.nodes["lif1.w_rec"],
            "output": nir.Output({"output": size}),
        },
        [
            ("input", "lif"),
            ("lif", "w_rec"),
            ("w_rec", "lif"),
            ("lif", "output"),
        ],
    )
    nodes = {x: n for x, n in graph.nodes.items() if "lif1." not in x}
    edges = [
        ("input", "fc1"),
        ("fc1", "lif1"),
        ("lif1", "fc2"),
        ("fc2", "lif2"),
        ("lif2", "output"),
    ]
    return nir.NIRGraph({**nodes, "lif1": inner}, edges, type_check=False)


# Norse: steps of 1e-3, and a file whose tau is in the unit of dt squared.


@pytest.mark.parametrize("has_synapses", [True, False])
def test_neurons_of_norse(has_synapses):
    dt, w, threshold = 1e-3, weight(4, 4), 0.2
    rates = {"tau": 100.0}
    if has_synapses:
        rates = {"tau_mem": 50.0, "tau_syn": 200.0}
    values = {k: np.float32(dt) / np.float32(rate) for k, rate in rates.items()}
    values |= {"r": 1.0, "v_leak": 0.0, "v_threshold": threshold}
    kind = nir.CubaLIF if has_synapses else nir.LIF
    node = kind(**on(values))
    x = input_of()

    def advance(current, state):
        v, i = state
        i = i + current if has_synapses else current
        v = v + dt * rates.get("tau_mem", 100.0) * (i - v)
        i = i - dt * rates.get("tau_syn", 0.0) * i
        s = (v > threshold).astype(float)
        return s, (v * (1 - s), i)

    graph = graph_of(nir.Affine(w, np.zeros(4)), node)
    found = spikes_of(graph, x, source="norse")
    expected = steps(x @ w.T.astype(float), advance, (0.0, 0.0))
    np.testing.assert_array_equal(found, expected)
    explicit = spikes_of(graph, x, source="norse", dt=1e-6)
    np.testing.assert_array_equal(explicit, expected)


def test_time_constants_of_norse_in_seconds():
    node = neuron(tau=0.01, r=1.0, v_threshold=0.1)
    layer = snn.export.from_nir(graph_of(node), source="norse").layers[-1]
    assert (layer.beta, layer.threshold) == pytest.approx((0.9, 1.0))


# Rockpool: exponential decay, the step in r, soft reset.


def rockpool_gain(tau, dt):
    return tau * np.exp(-dt / tau) / dt


@pytest.mark.parametrize("source", ["rockpool", None])
@pytest.mark.parametrize("dt", [1e-3, 2e-4])
def test_neurons_of_rockpool(source, dt):
    tau, tau_syn, theta, w = 20 * dt, 5 * dt, 2.5, weight(4, 4)
    taus = np.linspace(5 * dt, 50 * dt, 4)
    values = {"r": np.float32(rockpool_gain(tau, dt)), "v_leak": 0.0}
    values |= {"tau_mem": tau, "tau_syn": tau_syn, "v_threshold": theta}
    leaky = {"tau": taus, "r": rockpool_gain(taus, dt), "v_leak": 0.0}
    w2 = weight(4, 4, seed=1)
    graph = graph_of(
        nir.Linear(w),
        nir.CubaLIF(**on(values)),
        ("second", nir.Linear(w2)),
        nir.LIF(**on({**leaky, "v_threshold": 1.0})),
    )

    def cuba(current, state):
        v, i = state
        i = (i + current) * np.exp(-dt / tau_syn)
        v = v * np.exp(-dt / tau) + i
        s = (v >= theta).astype(float)
        return s, (v - theta * s, i)

    def lif(current, v):
        v = v * np.exp(-dt / taus) + current
        s = (v >= 1.0).astype(float)
        return s, v - s

    x = input_of()
    hidden = steps(x @ w.T.astype(float), cuba, (0.0, 0.0))
    expected = steps(hidden @ w2.T.astype(float), lif, 0.0)
    np.testing.assert_array_equal(spikes_of(graph, x, source=source), expected)
    kinds = [type(x) for x in snn.export.from_nir(graph).layers]
    assert S.SynapticLIF in kinds and S.LIF in kinds


def test_synapses_of_rockpool_before_neurons_and_at_the_end():
    dt, tau, tau_syn = 1e-3, 0.02, 0.005
    li = {"tau": tau_syn, "r": rockpool_gain(tau_syn, dt), "v_leak": 0.0}
    lif = {"tau": tau, "r": rockpool_gain(tau, dt), "v_leak": 0.0}
    w = weight(4, 4)
    nodes = nir.Linear(w), nir.LI(**on(li))
    graph = graph_of(*nodes, nir.LIF(**on({**lif, "v_threshold": 2.5})))
    x = input_of()

    def advance(current, state):
        i, v = state
        i = (i + current) * np.exp(-dt / tau_syn)
        v = v * np.exp(-dt / tau) + i
        s = (v >= 2.5).astype(float)
        return s, (i, v - 2.5 * s)

    expected = steps(x @ w.T.astype(float), advance, (0.0, 0.0))
    np.testing.assert_array_equal(
        spikes_of(graph, x, source="rockpool"), expected
    )
    readout = snn.export.from_nir(graph_of(*nodes), source="rockpool")
    i = 0.0
    for current in np.moveaxis(x @ w.T.astype(float), 1, 0):
        i = (i + current) * np.exp(-dt / tau_syn)
    np.testing.assert_allclose(
        networks.scores(readout, x), i / x.shape[1], rtol=1e-4, atol=1e-6
    )


def test_neurons_of_different_steps_are_refused():
    taus = np.full(4, 0.02)
    steps = np.array([1e-3, 1e-3, 1e-3, 5e-4])
    node = neuron(tau=taus, r=rockpool_gain(taus, steps))
    with pytest.raises(ValueError, match="have steps from 0.0005.* to 0.001"):
        snn.export.from_nir(graph_of(node), source="rockpool")


# Spyx: soft reset after the leak, channels last behind a flatten.


def spyx(features, beta=None, alpha=None, threshold=1.0):
    shape = (features,)
    values = {"v_threshold": threshold}
    if beta is None:
        return nir.IF(**on({**values, "r": 1.0}, shape))
    values |= {"v_leak": 0.0, "r": beta}
    if alpha is None:
        return nir.LIF(**on({**values, "tau": 1 / (1 - beta)}, shape))
    values |= {"tau_mem": 1 / (1 - beta), "tau_syn": 1 / (1 - alpha)}
    return nir.CubaLIF(**on(values, shape))


def spyx_recurrent(name, node, w):
    size = {"input": np.array([len(w)])}
    nodes = {
        f"{name}.lif": node,
        f"{name}.w_rec": nir.Linear(w),
        f"{name}.input": nir.Input(size),
        f"{name}.output": nir.Output({"output": size["input"]}),
    }
    edges = [
        (f"{name}.input", f"{name}.w_rec"),
        (f"{name}.w_rec", f"{name}.lif"),
        (f"{name}.lif", f"{name}.w_rec"),
        (f"{name}.lif", f"{name}.output"),
    ]
    return nir.NIRGraph(nodes, edges)


def spyx_steps(beta=1.0, alpha=None, threshold=1.0, w=None):
    """Return one step of Spyx' neurons, which spike one step late."""

    def advance(current, state):
        v, i = state
        s = (v > threshold).astype(float)
        current = current + (0.0 if w is None else s @ w.T.astype(float))
        if alpha is not None:
            i = alpha * i + current
            return s, (beta * (v - s * threshold) + i, i)
        return s, (beta * v + current - s * threshold, i)

    return advance


def late(currents, **neuron):
    """Return the spikes of Spyx' neurons without the step they come late."""
    nothing = np.zeros_like(currents[:, :1])
    currents = np.concatenate([currents, nothing], 1)
    start = np.zeros_like(currents[:, 0])
    return steps(currents, spyx_steps(**neuron), (start, start))[:, 1:]


CASES = {
    "IF": {"threshold": 2.0},
    "LIF": {"beta": 0.8},
    "CuBaLIF": {"beta": 0.8, "alpha": 0.6, "threshold": 3.0},
}


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_neurons_of_spyx(case, recurrent):
    numbers, w = CASES[case], weight(4, 4)
    node = spyx(4, **numbers)
    x = input_of()
    if recurrent:
        back = weight(4, 4, seed=3) - 0.3
        node = spyx_recurrent("layer_1", node, back)
        expected = late(x @ w.T.astype(float), w=back, **numbers)
    else:
        expected = late(x @ w.T.astype(float), **numbers)
    graph = graph_of(("layer_0", nir.Linear(w)), ("layer_1", node))
    np.testing.assert_array_equal(spikes_of(graph, x, source="spyx"), expected)
    if case != "IF":
        np.testing.assert_array_equal(spikes_of(graph, x), expected)


def test_spyx_flattens_channels_last():
    w = weight(3, 12)
    shape = np.array([2, 2, 3])
    nodes = {
        "input": nir.Input({"input": shape}),
        "layer_0": nir.Flatten({"input": shape}, 0, -1),
        "layer_1": nir.Linear(w),
        "layer_2": spyx(3, 0.8),
        "output": nir.Output({"output": np.array([3])}),
    }
    names = list(nodes)
    graph = nir.NIRGraph(nodes, list(zip(names, names[1:])))
    x = (np.random.default_rng(1).random((2, 30, 2, 3, 2)) < 0.3).astype("f4")
    expected = late(x.reshape(2, 30, 12) @ w.T.astype(float), beta=0.8)
    np.testing.assert_array_equal(spikes_of(graph, x, source="spyx"), expected)


def test_neurons_of_spyx_may_differ_in_their_decay():
    betas, w = np.array([0.5, 0.6, 0.7, 0.8]), weight(4, 4)
    graph = graph_of(("layer_0", nir.Linear(w)), ("layer_1", spyx(4, betas)))
    x = input_of()
    expected = late(x @ w.T.astype(float), beta=betas)
    np.testing.assert_array_equal(spikes_of(graph, x), expected)
    # With the reset of this package it is close.
    model = snn.export.from_nir(graph, reset="subtract")
    np.testing.assert_allclose(model.layers[-1].beta, betas, rtol=1e-6)


def test_a_pooling_of_spyx_with_a_border_is_refused():
    pool = nir.SumPool2d(*map(np.array, ((2, 2), (2, 2), (1, 1))))
    nodes = {
        "input": nir.Input({"input": np.array([2, 5, 5])}),
        "pool": pool,
        "output": nir.Output({"output": np.array([2, 3, 3])}),
    }
    edges = [("input", "pool"), ("pool", "output")]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    with pytest.raises(ValueError, match="'pool'.*`padding`"):
        snn.export.from_nir(graph, source="spyx")


# What the numbers show, and what they do not.


def leaky(tau, r):
    return graph_of(nir.Linear(np.eye(4)), ("x", neuron(tau=tau, r=r)))


@pytest.mark.parametrize(
    "tau, r, beta, reset",
    [
        (1e-3, 10.0, 0.9, "zero"),
        # Another step, or an input that is weighted.
        (1e-3, 12.3, 0.9, "zero"),
        (0.02, 1.0, 0.995, "zero"),
        (0.5, 0.5, 0.9998, "zero"),
        # One digit is no chance: r = tau * exp(-1e-3 / tau) / 1e-3.
        (0.02, rockpool_gain(0.02, 1e-3), np.exp(-0.05), "subtract"),
        # Nor is tau * (1 - r) = 1.
        (4.0, 0.75, 0.75, "subtract"),
    ],
)
def test_the_numbers_show_rockpool_and_spyx(tau, r, beta, reset):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = snn.export.from_nir(leaky(tau, r)).layers[-1]
    assert layer.beta == pytest.approx(beta, rel=1e-5)
    assert layer.reset == reset


def test_the_callers_word_stands_before_what_the_numbers_show():
    graph = leaky(0.02, rockpool_gain(0.02, 1e-3))
    layer = snn.export.from_nir(graph, source="snntorch").layers[-1]
    assert layer.beta == pytest.approx(0.995) and layer.reset == "zero"
    assert snn.export.from_nir(graph, reset="zero").layers[-1].reset == "zero"
    layer = snn.export.from_nir(graph, dt=1e-3).layers[-1]
    assert layer.beta == pytest.approx(0.95)


def test_neurons_that_their_weights_reach_are_not_warned_of():
    # Whole numbers, as of a chip: 3000 is 30 of the largest inputs.
    node = neuron(v_threshold=3000.0)
    graph = graph_of(nir.Linear(100.0 * np.eye(4)), node)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        snn.export.from_nir(graph)
    graph = graph_of(nir.Linear(np.eye(4)), node)
    with pytest.warns(UserWarning, match="needs 3e.03 of its largest"):
        snn.export.from_nir(graph)


def test_soft_neurons_written_for_sinabs_are_read_as_such(tmp_path):
    model = networks.on_grid(networks.soft())
    path = tmp_path / "soft.nir"
    with pytest.warns(UserWarning, match="SingleSpike.$"):
        snn.export.to_nir(model, path, target="sinabs")
    x = networks.spikes(model, 30)
    found = networks.trains(snn.export.from_nir(path), x)
    for name, train in networks.trains(model, x).items():
        np.testing.assert_array_equal(found[name], train)


def test_sinabs_is_told_which_neurons_are_reset_to_zero():
    layers = S.LIF(reset="subtract", name="soft"), S.LIF(name="hard")
    model = networks.of(*layers, shape=(None, 3))
    with pytest.warns(UserWarning, match="MembraneReset.*, but not on 'soft'"):
        snn.export.to_nir(model, target="sinabs")


def test_programs_that_only_write_are_no_targets():
    model = networks.of(S.LIF(), shape=(None, 3))
    with pytest.raises(ValueError, match="Received: target='rockpool'"):
        snn.export.to_nir(model, target="rockpool")
