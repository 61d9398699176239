"""Operations are those of a count connection by connection."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.analysis.wiring import Wiring
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network import kinds, read
from keras_snn.running import activity
from tests.analysis import connections as synapses
from tests.analysis.networks import by_name, randomize, spikes, trains


def fan_out(layer, shape):
    return kinds.of(layer).geometry(layer, shape)


TimeFold, LIF, IF = snn.layers.TimeFold, snn.layers.LIF, snn.layers.IF
L = keras.layers


LAYERS = {
    "same": (
        L.Conv2D(3, 3, padding="same"),
        (5, 4, 2),
        synapses.convolution((5, 4, 2), 3, (3, 3)),
    ),
    "valid": (
        L.Conv2D(2, (3, 2)),
        (5, 4, 2),
        synapses.convolution((5, 4, 2), 2, (3, 2), mode="valid"),
    ),
    "strided, even": (
        L.Conv2D(2, 3, 2, padding="same"),
        (6, 5, 1),
        synapses.convolution((6, 5, 1), 2, (3, 3), 2),
    ),
    "strided, valid": (
        L.Conv2D(2, 2, 3),
        (7, 5, 2),
        synapses.convolution((7, 5, 2), 2, (2, 2), 3, "valid"),
    ),
    "dilated": (
        L.Conv2D(2, 3, dilation_rate=2, padding="same"),
        (6, 7, 1),
        synapses.convolution((6, 7, 1), 2, (3, 3), dilation=2),
    ),
    "groups": (
        L.Conv2D(4, 3, groups=2, padding="same"),
        (4, 4, 2),
        synapses.convolution((4, 4, 2), 4, (3, 3), groups=2),
    ),
    "one axis": (
        L.Conv1D(3, 4, 2, padding="same"),
        (9, 2),
        synapses.convolution((9, 2), 3, (4,), 2),
    ),
    "three axes": (
        L.Conv3D(2, 2, padding="same"),
        (3, 2, 4, 1),
        synapses.convolution((3, 2, 4, 1), 2, (2, 2, 2)),
    ),
    "depthwise": (
        L.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=2),
        (5, 5, 3),
        synapses.depthwise((5, 5, 3), (3, 3), 2, "same", 2),
    ),
    "pooling with a rest": (
        L.AveragePooling2D(2),
        (5, 4, 2),
        synapses.depthwise((5, 4, 2), (2, 2), 2, "valid"),
    ),
    "overlapping pooling": (
        L.AveragePooling2D(3, 2, padding="same"),
        (6, 5, 2),
        synapses.depthwise((6, 5, 2), (3, 3), 2, "same"),
    ),
    "subsampling": (
        L.AveragePooling2D(1, 2),
        (5, 4, 2),
        synapses.depthwise((5, 4, 2), (1, 1), 2, "valid"),
    ),
    "pooling all": (
        L.GlobalAveragePooling2D(),
        (3, 2, 4),
        synapses.depthwise((3, 2, 4), (3, 2), 1, "valid"),
    ),
    "dense": (L.Dense(3), (4,), np.ones((4, 3), "int64")),
    "dense by position": (
        L.Dense(3),
        (2, 4),
        np.kron(np.eye(2, dtype="int64"), np.ones((4, 3), "int64")),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_fan_out_counts_the_synapses_of_each_position(name):
    layer, shape, expected = LAYERS[name]
    layer.build((None, *shape))
    found = fan_out(layer, shape)
    assert found.shape == shape
    np.testing.assert_array_equal(found.ravel(), expected.sum(axis=1))


def test_fan_out_of_a_transposed_convolution():
    layer = L.Conv2DTranspose(2, 3, 2, padding="same", use_bias=False)
    layer.build((None, 3, 4, 1))
    layer.set_weights([np.ones((3, 3, 2, 1), "float32")])
    expected = np.zeros((3, 4, 1), "int64")
    for y, x in np.ndindex(3, 4):
        impulse = np.zeros((1, 3, 4, 1), "float32")
        impulse[0, y, x] = 1
        expected[y, x] = np.count_nonzero(layer(impulse))
    np.testing.assert_array_equal(fan_out(layer, (3, 4, 1)), expected)


def test_fan_out_with_channels_first():
    layer = L.Conv2D(3, 3, padding="same", data_format="channels_first")
    expected = synapses.convolution((5, 4, 2), 3, (3, 3)).sum(axis=1)
    found = fan_out(layer, (2, 5, 4)).transpose(1, 2, 0)
    np.testing.assert_array_equal(found.ravel(), expected)


def chain():
    """Convolution, pooling with a rest, padding, strides, dense."""
    x = inputs = keras.Input((None, 7, 5, 2), name="events")
    x = TimeFold(L.Conv2D(3, 3, padding="same", use_bias=False, name="a"))(x)
    x = LIF(name="a_lif")(x)
    x = snn.layers.TimeConstantDropout(0.5)(x)
    x = TimeFold(L.AveragePooling2D(2, name="b"))(x)
    x = IF(threshold=0.4, name="b_if")(x)
    x = TimeFold(L.ZeroPadding2D(1))(x)
    x = TimeFold(L.Conv2D(4, 3, 2, name="c"))(x)
    x = LIF(name="c_lif")(x)
    x = TimeFold(L.Flatten())(x)
    x = TimeFold(L.Dense(6, name="d"))(x)
    x = LIF(name="d_lif")(x)
    x = TimeFold(L.Dense(3, use_bias=False, name="e"))(x)
    return randomize(snn.Model(inputs, snn.layers.MembraneReadout(name="r")(x)))


@pytest.fixture(scope="module")
def chained():
    """Return a chain, its input, its profile, and its layers' outputs."""
    model, x = chain(), spikes(3, 6, 7, 5, 2)
    names = ["a_lif", "b_if", "c_lif", "d_lif"]
    profile = snn.analysis.profile(model, x)
    return model, x, profile, trains(model, names, x)


def test_a_chain_of_layers(chained):
    _, x, profile, train = chained
    found = by_name(profile)
    train = {**train, "x": x.reshape(3, 6, -1)}
    # Padded to 5x4, of which the kernel of `c` sees what is inside.
    c = synapses.convolution((5, 4, 3), 4, (3, 3), 2, "valid")
    inside = np.arange(60).reshape(5, 4, 3)[1:-1, 1:-1].ravel()
    expected = {
        "a": ("x", synapses.convolution((7, 5, 2), 3, (3, 3))),
        "b": ("a_lif", synapses.depthwise((7, 5, 3), (2, 2), 2, "valid")),
        "c": ("b_if", c[inside]),
        "d": ("c_lif", np.ones((8, 6), "int64")),
        "e": ("d_lif", np.ones((6, 3), "int64")),
    }
    for name, (source, links) in expected.items():
        count = synapses.operations(train[source], links)
        assert count > 0
        assert found[name].effective_acs == pytest.approx(count, abs=1e-9)
        assert found[name].dense == 6 * links.sum()
    assert profile.effective_macs == 0
    assert [n for n in found if found[n].effective_acs] == list(expected)


def test_activity_updates_biases_and_parameters(chained):
    model, x, profile, outputs = chained
    found = by_name(profile)
    for name, train in outputs.items():
        assert found[name].spikes == pytest.approx(train.sum() / 3)
        assert found[name].activation_sparsity == pytest.approx(
            1 - train.mean(), abs=1e-6
        )
    assert found["events"].spikes == pytest.approx(x.sum() / 3)
    updates = {n: f.membrane_updates for n, f in found.items()}
    neurons = {"a_lif": 105, "b_if": 18, "c_lif": 8, "d_lif": 6, "r": 3}
    assert {n: u for n, u in updates.items() if u} == {
        name: 6 * count for name, count in neurons.items()
    }
    biases = {n: f.bias_adds for n, f in found.items() if f.bias_adds}
    assert biases == {"c": 6 * 8, "d": 6 * 6}
    assert sum(f.parameters for f in found.values()) == model.count_params()


def test_totals_and_footprint(chained):
    model, _, profile, outputs = chained
    values = np.concatenate([train.ravel() for train in outputs.values()])
    assert profile.activation_sparsity == pytest.approx(np.mean(values == 0))
    assert profile.parameters == model.count_params()
    assert profile.footprint == 4 * model.count_params()
    assert (profile.samples, profile.time_steps) == (3, 6.0)


def residual(shortcut):
    """One block; its shortcut is an identity, a 1x1 kernel, or subsampling."""
    strides = 1 if shortcut == "identity" else 2
    x = inputs = keras.Input((5, 5, 5, 2))
    x = TimeFold(L.Conv2D(3, 3, padding="same", use_bias=False, name="a"))(x)
    x = LIF(name="a_lif")(x)
    y = TimeFold(
        L.Conv2D(3, 3, strides, padding="same", use_bias=False, name="b")
    )(x)
    if shortcut == "kernel":
        x = TimeFold(L.Conv2D(3, 1, 2, use_bias=False, name="short"))(x)
    elif shortcut == "subsampling":
        x = TimeFold(L.AveragePooling2D(1, 2, name="short"))(x)
    x = L.Add(name="add")([y, x])
    x = LIF(name="b_lif")(x)
    x = TimeFold(L.Flatten())(x)
    x = TimeFold(L.Dense(3, use_bias=False, name="c"))(x)
    return randomize(snn.Model(inputs, snn.layers.MembraneReadout()(x)))


@pytest.mark.parametrize("shortcut", ["identity", "kernel", "subsampling"])
def test_a_residual_join_costs_what_its_paths_cost(shortcut):
    model, x = residual(shortcut), spikes(2, 5, 5, 5, 2)
    profile = snn.analysis.profile(model, x)
    found = by_name(profile)
    train = trains(model, ["a_lif", "b_lif"], x)
    shape, stride = (5, 5, 3), 1 if shortcut == "identity" else 2
    links = {
        "identity": np.eye(75, dtype="int64"),
        "kernel": synapses.convolution(shape, 3, (1, 1), 2, "valid"),
        "subsampling": synapses.depthwise(shape, (1, 1), 2, "valid"),
    }[shortcut]
    size = 75 if shortcut == "identity" else 27
    expected = {
        "a": synapses.operations(
            x.reshape(2, 5, -1), synapses.convolution((5, 5, 2), 3, (3, 3))
        ),
        "b": synapses.operations(
            train["a_lif"], synapses.convolution(shape, 3, (3, 3), stride)
        ),
        "add" if shortcut == "identity" else "short": synapses.operations(
            train["a_lif"], links
        ),
        "c": synapses.operations(train["b_lif"], np.ones((size, 3), "int64")),
    }
    counted = {n: f.effective_acs for n, f in found.items() if f.effective_acs}
    assert counted == pytest.approx(expected)
    assert profile.effective_acs == pytest.approx(sum(expected.values()))


@pytest.mark.parametrize("kind", [snn.Model, keras.Model])
def test_nothing_is_counted_twice(kind):
    """Without neurons between, two rules meet at one synapse at most."""
    inputs = keras.Input((4, 3))
    x = LIF(threshold=0.5, name="lif")(inputs)
    x = snn.layers.TimeConstantDropout(0.1)(L.Identity()(x))
    model = kind(inputs, snn.layers.SpikeCountReadout(name="r")(x))
    profile = snn.analysis.profile(model, np.ones((2, 4, 3), "float32"))
    found = by_name(profile)
    assert found["lif"].effective_acs == 12
    assert found["r"].effective_acs == found["lif"].spikes == 12
    assert profile.effective_acs == profile.dense == 24


@pytest.mark.parametrize("encoder", ["repeat", "rate"])
def test_an_analog_first_layer_multiplies(encoder):
    model = snn.models.LeNet(
        input_shape=(6, 6, 1), width=0.1, time_steps=3, encoder=encoder, seed=0
    )
    x = np.random.default_rng(0).random((2, 6, 6, 1)).astype("float32")
    x[0, :2] = 0
    found = by_name(snn.analysis.profile(model, x))
    train = trains(model, ["encoder"], x)["encoder"]
    links = synapses.convolution((6, 6, 1), 2, (5, 5))
    count = synapses.operations(train, links)
    first = found["block1_conv1"]
    counted = (first.effective_macs, first.effective_acs)
    assert counted == ((count, 0) if encoder == "repeat" else (0, count))
    assert found["block2_conv1"].effective_macs == 0


def test_event_counts_are_analog():
    model, x = chain(), spikes(2, 3, 7, 5, 2)
    x[1, 2, 3, 4, 1] = 2
    found = by_name(snn.analysis.profile(model, x, batch_size=1))
    assert found["a"].effective_acs == 0
    assert found["a"].effective_macs > 0 == found["d"].effective_macs


@pytest.fixture
def no_trains(monkeypatch):
    """Keep no spike trains, of which there would be T."""
    monkeypatch.setattr(activity, "all_values", None)


def test_what_is_between_layers_is_counted_step_by_step(no_trains):
    """Max pooling passes spikes on; pooling before a kernel makes values."""
    x = inputs = keras.Input((4, 6, 6, 1))
    x = TimeFold(L.Conv2D(2, 3, padding="same", name="a"))(x)
    x = TimeFold(L.BatchNormalization(name="bn"))(x)
    x = LIF(name="a_lif")(x)
    x = TimeFold(L.MaxPooling2D(2, name="max"))(x)
    x = TimeFold(L.Conv2D(2, 3, padding="same", name="b"))(x)
    x = LIF(name="b_lif")(x)
    x = TimeFold(L.GlobalAveragePooling2D(name="mean"))(x)
    x = TimeFold(L.Dense(3, name="c"))(x)
    x = snn.layers.MembraneReadout()(x)
    x = L.Dense(2, name="head")(x)
    model = randomize(snn.Model(inputs, L.Softmax()(x)))
    data = spikes(2, 4, 6, 6, 1)
    found = by_name(snn.analysis.profile(model, data))
    train = trains(model, ["max", "mean"], data)
    links = synapses.convolution((3, 3, 2), 2, (3, 3))
    count = synapses.operations(train["max"], links)
    assert found["b"].effective_acs == pytest.approx(count)
    assert found["max"].spikes == pytest.approx(train["max"].sum() / 2)
    count = synapses.operations(train["mean"], np.ones((2, 3), "int64"))
    assert found["c"].effective_macs == pytest.approx(count)
    assert found["head"].effective_macs == found["head"].dense == 6
    assert (found["a"].bias_adds, found["bn"].bias_adds) == (4 * 72, 0)


def pooled_counts(train, shape):
    """Return the rises of the leading count of each 2x2 window."""
    height, width, channels = shape
    size = (*train.shape[:2], height // 2, 2, width // 2, 2, channels)
    counts = np.cumsum(train.reshape(*train.shape[:2], *shape), axis=1)
    counts = counts[:, :, : height // 2 * 2, : width // 2 * 2]
    leading = counts.reshape(size).max(axis=(3, 5))
    rises = np.diff(leading, axis=1, prepend=0)
    return rises.reshape(*train.shape[:2], -1)


def test_max_pooling_of_rates_passes_spikes_on(no_trains):
    x = inputs = keras.Input((6, 7, 5, 1), name="events")
    x = TimeFold(L.Conv2D(2, 3, padding="same", use_bias=False, name="a"))(x)
    x = LIF(threshold=0.3, name="a_lif")(x)
    x = snn.layers.MaxRatePooling2D(name="pool")(x)
    y = TimeFold(L.Conv2D(2, 3, padding="same", use_bias=False, name="b"))(x)
    x = LIF(threshold=0.3, name="b_lif")(L.Add(name="add")([y, x]))
    x = TimeFold(L.Flatten())(x)
    x = TimeFold(L.Dense(3, use_bias=False, name="c"))(x)
    model = randomize(snn.Model(inputs, snn.layers.MembraneReadout()(x)))
    data = spikes(2, 6, 7, 5, 1)
    profile = snn.analysis.profile(model, data)
    found = by_name(profile)
    train = trains(model, ["a_lif", "b_lif"], data)
    pooled = pooled_counts(train["a_lif"], (7, 5, 2))
    expected = {
        "a": synapses.operations(
            data.reshape(2, 6, -1), synapses.convolution((7, 5, 1), 2, (3, 3))
        ),
        "b": synapses.operations(
            pooled, synapses.convolution((3, 2, 2), 2, (3, 3))
        ),
        "add": pooled.sum() / 2,
        "c": synapses.operations(train["b_lif"], np.ones((12, 3), "int64")),
    }
    counted = {n: f.effective_acs for n, f in found.items() if f.effective_acs}
    assert counted == pytest.approx(expected)
    assert profile.effective_macs == 0
    pool = found["pool"]
    assert pool.spikes == pytest.approx(pooled.sum() / 2)
    assert pool.activation_sparsity == pytest.approx(1 - pooled.mean())
    # One counter an input, which is no neuron.
    assert pool.membrane_updates == 6 * 70
    assert [n for n, f in found.items() if f.neuron] == ["a_lif", "b_lif"]
    values = np.concatenate([x.ravel() for x in train.values()])
    assert profile.activation_sparsity == pytest.approx(np.mean(values == 0))


@pytest.mark.parametrize("kind", ["rate", "step"])
def test_max_pooling_of_currents_costs_nothing_more(kind):
    pooling = snn.layers.MaxRatePooling2D(name="pool")
    if kind == "step":
        pooling = TimeFold(L.MaxPooling2D(name="pool"))
    x = inputs = keras.Input((6, 7, 5, 1), name="events")
    x = TimeFold(L.Conv2D(2, 3, padding="same", name="a"))(x)
    x = IF(threshold=0.3, name="if")(pooling(x))
    x = TimeFold(L.Flatten())(x)
    x = TimeFold(L.Dense(3, use_bias=False, name="b"))(x)
    model = randomize(snn.Model(inputs, snn.layers.MembraneReadout()(x)))
    data = spikes(2, 6, 7, 5, 1)
    profile = snn.analysis.profile(model, data)
    found = by_name(profile)
    train = trains(model, ["if"], data)["if"]
    links = synapses.convolution((7, 5, 1), 2, (3, 3))
    expected = {
        "a": synapses.operations(data.reshape(2, 6, -1), links),
        "b": synapses.operations(train, np.ones((12, 3), "int64")),
    }
    counted = {n: f.effective_acs for n, f in found.items() if f.effective_acs}
    assert counted == pytest.approx(expected)
    assert profile.dense == 6 * (links.sum() + 36)
    assert sum(f.ann_adds for f in found.values()) == 0
    # Only what the step-by-step loop counts anyway is looked at.
    watched = Wiring(read(model)).watched.values()
    names = [x.node.name for x in watched]
    assert names == ["events", "if"]
    if kind == "rate":
        assert found["pool"].spikes is found["pool"].activation_sparsity is None
        assert found["pool"].membrane_updates == 6 * 70


def test_positions_are_exact_in_low_precision(mixed_bfloat16):
    """bfloat16 holds integers up to 256; these frames have 400 positions."""
    inputs = keras.Input((2, 20, 20, 1), name="events")
    x = TimeFold(L.ZeroPadding2D(1))(TimeFold(L.Permute((2, 1, 3)))(inputs))
    x = LIF()(TimeFold(L.Conv2D(3, 3, 2, name="a"))(x))
    y = TimeFold(L.Reshape((25, 16, 1)))(TimeFold(L.Flatten())(inputs))
    y = TimeFold(L.Cropping2D(((1, 0), (0, 3))))(y)
    y = TimeFold(L.UpSampling2D(2))(y)
    y = IF()(TimeFold(L.AveragePooling2D(3, name="b"))(y))
    flat = [TimeFold(L.Flatten())(z) for z in (x, y)]
    x = TimeFold(L.Dense(3, use_bias=False))(L.Concatenate()(flat))
    model = snn.Model(inputs, snn.layers.MembraneReadout()(x))
    data = spikes(2, 2, 20, 20, 1)
    found = by_name(snn.analysis.profile(model, data))
    turned = data.transpose(0, 1, 3, 2, 4)
    turned = np.pad(turned, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    kernel = synapses.convolution((22, 22, 1), 3, (3, 3), 2, "valid")
    count = synapses.operations(turned.reshape(2, 2, -1), kernel)
    assert found["a"].effective_acs == count
    larger = data.reshape(2, 2, 25, 16, 1)[:, :, 1:, :-3]
    larger = larger.repeat(2, axis=2).repeat(2, axis=3)
    pooling = synapses.depthwise((48, 26, 1), (3, 3), 3, "valid")
    count = synapses.operations(larger.reshape(2, 2, -1), pooling)
    assert found["b"].effective_acs == count


def test_a_layer_that_keeps_state_is_passed_through():
    @keras.saving.register_keras_serializable(package="tests")
    class Delay(TimeLayer):
        keeps_state = True

        def call(self, x):
            return keras.ops.concatenate(
                [keras.ops.zeros_like(x[:, :1]), x[:, :-1]], axis=1
            )

        def initial_state(self, frame_shape, dtype="float32"):
            return [keras.ops.zeros(frame_shape)]

        def step(self, frame, state, training=False):
            return state[0], [frame]

        def compute_output_shape(self, shape):
            return shape

    inputs = keras.Input((5, 3))
    x = Delay(name="delay")(LIF(threshold=0.5)(inputs))
    x = TimeFold(L.Dense(2, use_bias=False, name="d"))(x)
    model = snn.Model(inputs, snn.layers.MembraneReadout()(x))
    found = by_name(snn.analysis.profile(model, np.ones((1, 5, 3), "float32")))
    assert found["delay"].membrane_updates == 15
    assert found["d"].effective_acs == 4 * 3 * 2


def test_upsampling_copies_spikes():
    inputs = keras.Input((3, 2, 2, 1))
    x = TimeFold(L.UpSampling2D(2))(LIF(threshold=0.5)(inputs))
    x = TimeFold(L.Conv2D(1, 3, padding="same", use_bias=False, name="a"))(x)
    x = LIF()(x)
    x = TimeFold(L.Flatten())(x)
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(x))
    data = np.ones((1, 3, 2, 2, 1), "float32")
    found = by_name(snn.analysis.profile(model, data))
    links = synapses.convolution((4, 4, 1), 1, (3, 3))
    assert found["a"].effective_acs == found["a"].dense == 3 * links.sum()


def test_data_may_come_in_batches():
    inputs = keras.Input((4, 3))
    x = snn.layers.SpikeCountReadout()(LIF(threshold=0.5)(inputs))
    model, x, y = snn.Model(inputs, x), spikes(5, 4, 3), np.zeros(5)
    expected = snn.analysis.profile(model, x, batch_size=2).to_dict()
    assert expected["samples"] == 5

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return x[2 * i : 2 * i + 2], y[2 * i : 2 * i + 2]

    for data in ((x, y), [x[:3], x[3:]], [(x[:3], y[:3]), (x[3:],)], Data()):
        assert snn.analysis.profile(model, data).to_dict() == expected


def test_a_progress_bar_if_asked_for(capsys):
    inputs = keras.Input((4, 3))
    x = snn.layers.SpikeCountReadout()(LIF(threshold=0.5)(inputs))
    model, x = snn.Model(inputs, x), spikes(5, 4, 3)
    snn.analysis.profile(model, x)
    assert not capsys.readouterr().out
    snn.analysis.profile(model, x, verbose=1)
    assert "5/5" in capsys.readouterr().out
    snn.analysis.profile(model, [x], verbose=1)
    assert "5" in capsys.readouterr().out
    with pytest.raises(ValueError, match="`verbose` must be 1"):
        snn.analysis.profile(model, x, verbose="yes")


def test_layers_that_cannot_be_counted_are_all_named():
    x = inputs = keras.Input((4, 6, 6, 1))
    x = TimeFold(L.EinsumDense("bhwc,cd->bhwd", (6, 6, 2), name="sum"))(x)
    x = LIF()(x)
    x = TimeFold(L.UpSampling2D(2, interpolation="bilinear", name="up"))(x)
    x = TimeFold(
        keras.Sequential([L.Flatten(), L.Dense(2), L.Dense(3)], name="both")
    )(x)
    x = L.Dense(3, name="bare")(x)
    model = snn.Model(inputs, snn.layers.MembraneReadout()(x))
    pattern = (
        r"of 4 of its layers:\n- 'sum' .*no known synapses.*\n"
        r"- 'up' .*interpolates.*\n- 'both' .*own TimeFold\n"
        r"- 'bare' .*wrap it in TimeFold"
    )
    with pytest.raises(ValueError, match=pattern):
        snn.analysis.profile(model, spikes(1, 4, 6, 6, 1))


@pytest.mark.parametrize(
    "data, message",
    [
        (np.zeros((2, 7, 5, 2)), r"expects inputs of shape .*x\[None\]"),
        (np.zeros((0, 4, 7, 5, 2)), "at least one sample"),
        ([], "at least one sample"),
        (3, "Received: int"),
        ("x", "Received: str"),
    ],
)
def test_bad_data(data, message):
    with pytest.raises(ValueError, match=message):
        snn.analysis.profile(chain(), data)


def test_bad_models():
    with pytest.raises(ValueError, match="functional model.*Received: str"):
        snn.analysis.profile("lenet", spikes(1, 4))
    with pytest.raises(ValueError, match="not built"):
        snn.analysis.profile(keras.Sequential([L.Dense(2)]), spikes(1, 4))
    with pytest.raises(ValueError, match="`batch_size` must be a positive"):
        snn.analysis.profile(chain(), spikes(1, 4, 7, 5, 2), batch_size=0)
    images = np.zeros((1, 8, 8, 1), "uint8")
    model = snn.models.LeNet(input_shape=(8, 8, 1), width=0.1, time_steps=2)
    with pytest.raises(ValueError, match="astype"):
        snn.analysis.profile(model, images)
