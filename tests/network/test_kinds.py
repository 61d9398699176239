"""The table of kinds: each cell is what it says, by a count of its own."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn.network import Handlers, kinds
from tests.helpers import slow_on_jax

L, S = keras.layers, snn.layers
ROLES = {
    "synapses",
    "average",
    "maximum",
    "wiring",
    "identity",
    "normalization",
    "scaling",
    "preprocessing",
    "activation",
    "merge",
    "join",
    "unknown",
}

LINE, IMAGE, VOLUME = (7, 2), (5, 6, 2), (3, 4, 4, 2)
# A layer of each kind, and the shape of one frame.
LAYERS = {
    "Conv1D": (lambda: L.Conv1D(3, 3, 2, "same"), LINE),
    "Conv1D causal": (lambda: L.Conv1D(3, 3, padding="causal"), LINE),
    "Conv2D": (lambda: L.Conv2D(3, (2, 3), (1, 2)), IMAGE),
    "Conv2D groups": (lambda: L.Conv2D(4, 3, groups=2, padding="same"), IMAGE),
    "Conv2D dilated": (lambda: L.Conv2D(3, 2, dilation_rate=2), IMAGE),
    "Conv3D": (lambda: L.Conv3D(2, 2, padding="same"), VOLUME),
    "Conv1DTranspose": (lambda: L.Conv1DTranspose(2, 3, 2), LINE),
    "Conv2DTranspose": (lambda: L.Conv2DTranspose(3, 3, 2, "same"), IMAGE),
    "Conv3DTranspose": (lambda: L.Conv3DTranspose(2, 2), VOLUME),
    "DepthwiseConv1D": (lambda: L.DepthwiseConv1D(3, padding="same"), LINE),
    "DepthwiseConv2D": (
        lambda: L.DepthwiseConv2D(2, depth_multiplier=2),
        IMAGE,
    ),
    "SeparableConv1D": (lambda: L.SeparableConv1D(3, 3), LINE),
    "SeparableConv2D": (lambda: L.SeparableConv2D(3, 3, 2, "same"), IMAGE),
    "StandardizedConv2D": (lambda: S.StandardizedConv2D(3, 3), IMAGE),
    "Dense": (lambda: L.Dense(4), (5,)),
    "Dense on images": (lambda: L.Dense(4), IMAGE),
    "StandardizedDense": (lambda: S.StandardizedDense(4), (5,)),
    "Affine": (S.Affine, IMAGE),
    "EinsumDense": (lambda: L.EinsumDense("ab,bc->ac", 4, bias_axes="c"), (5,)),
    "AveragePooling1D": (lambda: L.AveragePooling1D(3, 2), LINE),
    "AveragePooling2D": (lambda: L.AveragePooling2D(2, 1, "same"), IMAGE),
    "AveragePooling3D": (lambda: L.AveragePooling3D(2), VOLUME),
    "GlobalAveragePooling1D": (L.GlobalAveragePooling1D, LINE),
    "GlobalAveragePooling2D": (L.GlobalAveragePooling2D, IMAGE),
    "GlobalAveragePooling3D": (L.GlobalAveragePooling3D, VOLUME),
    "MaxPooling1D": (L.MaxPooling1D, LINE),
    "MaxPooling2D": (L.MaxPooling2D, IMAGE),
    "MaxPooling3D": (L.MaxPooling3D, VOLUME),
    "GlobalMaxPooling1D": (L.GlobalMaxPooling1D, LINE),
    "GlobalMaxPooling2D": (L.GlobalMaxPooling2D, IMAGE),
    "GlobalMaxPooling3D": (L.GlobalMaxPooling3D, VOLUME),
    "Flatten": (L.Flatten, IMAGE),
    "Reshape": (lambda: L.Reshape((6, 10)), IMAGE),
    "Permute": (lambda: L.Permute((3, 1, 2)), IMAGE),
    "RepeatVector": (lambda: L.RepeatVector(3), (5,)),
    "ZeroPadding1D": (lambda: L.ZeroPadding1D(2), LINE),
    "ZeroPadding2D": (lambda: L.ZeroPadding2D((1, 2)), IMAGE),
    "ZeroPadding3D": (L.ZeroPadding3D, VOLUME),
    "Cropping1D": (L.Cropping1D, LINE),
    "Cropping2D": (lambda: L.Cropping2D(1), IMAGE),
    "Cropping3D": (lambda: L.Cropping3D(1), VOLUME),
    "UpSampling1D": (L.UpSampling1D, LINE),
    "UpSampling2D": (L.UpSampling2D, IMAGE),
    "UpSampling3D": (L.UpSampling3D, VOLUME),
    "Identity": (L.Identity, IMAGE),
    "ActivityRegularization": (L.ActivityRegularization, IMAGE),
    "Rescaling": (lambda: L.Rescaling(0.5, 1.0), IMAGE),
    "Normalization": (
        lambda: L.Normalization(mean=[1.0, 2.0], variance=[4.0, 1.0]),
        IMAGE,
    ),
    "Add": (L.Add, IMAGE),
    "Average": (L.Average, IMAGE),
    "Subtract": (L.Subtract, IMAGE),
    "Concatenate": (L.Concatenate, IMAGE),
}
LINEAR = [name for name, (make, _) in LAYERS.items() if kinds.of(make()).linear]
COUNTED = [
    name for name, (make, _) in LAYERS.items() if kinds.of(make()).geometry
]
FOLDED = [
    name
    for name in LINEAR
    if kinds.of(LAYERS[name][0]()).role not in ("merge", "join")
]


def made(name):
    """Return a built layer of the table, with weights, and its shape."""
    make, shape = LAYERS[name]
    layer = make()
    rng = np.random.default_rng(0)
    called(layer, np.zeros((1, *shape), "float32"))
    for w in layer.trainable_weights:
        w.assign(rng.normal(0.1, 1.0, w.shape))
    return layer, shape


def called(layer, x):
    """Call a layer; one of several inputs gets `x` and twice `x` + 1."""
    if kinds.of(layer).role in ("merge", "join"):
        return ops.convert_to_numpy(layer([x, 2 * x + 1]))
    return ops.convert_to_numpy(layer(x))


def test_the_tests_know_every_linear_kind_and_every_geometry():
    tested = {type(make()) for make, _ in LAYERS.values()}
    for layer_type, kind in kinds._TABLE.items():
        if kind.linear or kind.geometry:
            assert layer_type in tested, layer_type


@pytest.mark.parametrize("layer_type", kinds._TABLE, ids=lambda x: x.__name__)
def test_every_kind_has_a_role_that_is_documented(layer_type):
    kind = kinds._TABLE[layer_type]
    assert kind.role in ROLES
    assert f'"{kind.role}"' in kinds.Kind.__doc__
    assert layer_type in kinds.types(kind.role)


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_kind_commutes_with_the_mean_over_time(name):
    layer, shape = made(name)
    sequence = np.random.default_rng(1).normal(size=(6, *shape))
    sequence = sequence.astype("float32")
    mean = sequence.mean(0, keepdims=True)
    np.testing.assert_allclose(
        called(layer, mean),
        called(layer, sequence).mean(0, keepdims=True),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "name", ["MaxPooling1D", "MaxPooling2D", "MaxPooling3D"]
)
def test_a_maximum_does_not(name):
    layer, shape = made(name)
    x = np.random.default_rng(1).normal(size=(6, *shape)).astype("float32")
    mean = called(layer, x.mean(0, keepdims=True))
    assert np.abs(mean - called(layer, x).mean(0)).max() > 0.05


@pytest.mark.parametrize("name", COUNTED)
def test_a_geometry_counts_the_outputs_that_an_impulse_reaches(name):
    layer, shape = made(name)
    size = int(np.prod(shape))
    impulses = np.eye(size, dtype="float32").reshape(size, *shape)
    silence = called(layer, np.zeros((1, *shape), "float32"))
    changed = np.abs(called(layer, impulses) - silence) > 1e-9
    reached = changed.reshape(size, -1).sum(1).reshape(shape)
    found = kinds.of(layer).geometry(layer, shape)
    np.testing.assert_array_equal(found, reached)


@pytest.mark.parametrize(
    "name",
    [
        # JAX compiles for long: every sixth kind there.
        pytest.param(name, marks=slow_on_jax if i % 6 else [])
        for i, name in enumerate(FOLDED)
    ],
)
def test_a_linear_kind_learns_in_the_loop_as_layer_by_layer(name):
    make, shape = LAYERS[name]
    rng = np.random.default_rng(2)
    x = (rng.random((3, 4, *shape)) < 0.5).astype("float32")
    weights, found = None, []
    for kind in (keras.Model, snn.Model):
        inputs = keras.Input((4, *shape))
        y = S.TimeFold(make(), name="frames")(inputs)
        y = S.LIF(0.5, threshold=0.4)(y)
        if len(y.shape) > 3:
            y = S.TimeFold(L.Flatten())(y)
        y = S.TimeFold(L.Dense(2))(y)
        model = kind(inputs, S.MembraneReadout(0.5)(y))
        if weights is None:
            weights = [grid(rng, w) for w in model.trainable_weights]
        for w, value in zip(model.trainable_weights, weights):
            w.assign(value)
        if kind is snn.Model:
            regularized = name == "ActivityRegularization"
            assert bool(model.runs_layer_by_layer) == regularized
        # One step does not repay a graph.
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
        model.fit(x, np.eye(2)[[0, 1, 1]], verbose=0, shuffle=False)
        found.append(model.get_weights())
    for plain, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


def grid(rng, w):
    """Return weights whose sums are exact in any order."""
    return rng.integers(-3, 6, w.shape) / 8


@pytest.mark.parametrize(
    "layer",
    [
        L.Dense(3, activation="relu"),
        L.BatchNormalization(),
        L.Dropout(0.5),
        L.MaxPooling2D(),
        L.LayerNormalization(),
        keras.Sequential([L.Dense(3), L.ReLU()]),
        S.TimeFold(L.Dense(3, activation="tanh")),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_is_not_linear_is_not_taken_for_it(layer):
    assert not kinds.is_linear(layer)


def test_a_quantized_layer_is_not_linear():
    layer = L.Dense(3)
    layer.build((None, 4))
    assert kinds.is_linear(layer)
    layer.quantize("int8")
    assert not kinds.is_linear(layer)


def test_a_subclass_is_not_known():
    class Mine(L.Dense):
        pass

    assert kinds.of(Mine(3)) is kinds.UNKNOWN
    assert kinds.of(L.Dense(3)).role == "synapses"


def test_a_kind_is_registered_once():
    with pytest.raises(ValueError, match="Dense is registered already"):
        kinds.register(L.Dense, role="wiring")


def test_stages_are_those_of_the_frame():
    inner = keras.Sequential([L.Flatten(), keras.Sequential([L.Dense(3)])])
    found = kinds.stages(S.TimeFold(inner))
    assert [type(x) for x in found] == [L.Flatten, L.Dense]
    assert kinds.stages(inner.layers[0]) == [inner.layers[0]]


# Handlers.


def test_an_exact_type_comes_before_its_role():
    handlers = Handlers("counted")
    handlers.register("synapses")(lambda: "role")
    handlers.register(L.Dense)(lambda: "type")
    assert handlers.of(L.Dense(2))() == "type"
    assert handlers.of(L.Conv2D(2, 3))() == "role"
    assert handlers.of(L.Flatten()) is None


def test_a_base_serves_its_subclasses_where_that_is_wanted():
    class Own(S.RecurrentLIF):
        pass

    class OwnDense(L.Dense):
        pass

    strict, wide = Handlers("counted"), Handlers("counted", bases=True)
    for handlers in (strict, wide):
        handlers.register(S.LIF)(lambda: "lif")
        handlers.register(snn.layers.spiking_layer.SpikingLayer)(lambda: "any")
        handlers.register("synapses")(lambda: "synapses")
    own = Own(L.Dense(3))
    assert strict.of(own) is strict.of(OwnDense(3)) is None
    # The nearest base, and no base of a layer whose own kind is registered.
    assert wide.of(own)() == "any"
    assert wide.of(S.LIF())() == "lif"
    assert wide.of(OwnDense(3)) is None
    assert wide.of(L.Dense(3))() == "synapses"


def test_one_function_handles_several_kinds():
    handlers = Handlers("counted")

    @handlers.register(L.Dense, "wiring")
    def count():
        return 1

    assert handlers.of(L.Flatten()) is handlers.of(L.Dense(2)) is count


def test_many_refusals_of_one_reason_are_one_line():
    layers = [L.LSTM(2, name=f"lstm{i}") for i in range(9)]
    handlers = Handlers("counted")
    text = str(handlers.error("net", handlers.refusals(layers)))
    assert text.startswith("'net' has 9 layer(s)")
    (line,) = text.split("\n")[1:]
    assert line.startswith("- 'lstm0', 'lstm1', 'lstm2' and 6 more (LSTM): re")
    few = str(handlers.error("net", handlers.refusals(layers[:4])))
    assert [s.split("'")[1] for s in few.split("\n")[1:]] == [
        "lstm0",
        "lstm1",
        "lstm2",
        "lstm3",
    ]


@pytest.mark.parametrize("kind", [L.Dense, "wiring"])
def test_registering_twice_is_an_error(kind):
    handlers = Handlers("counted")
    handlers.register(kind)(len)
    with pytest.raises(ValueError, match="has a handler already"):
        handlers.register(kind)(len)


def test_a_consumers_reason_comes_before_the_tables():
    handlers = Handlers("counted")
    handlers.refuse(L.LSTM, reason="it is slow")
    handlers.refuse("maximum", reason="it is no sum")
    assert handlers.reason(L.LSTM(2)) == "it is slow"
    assert handlers.reason(L.MaxPooling1D()) == "it is no sum"
    assert "time axis" in handlers.reason(L.GRU(2))
    assert handlers.reason(L.Dense(2)) == kinds.UNKNOWN.refusal
    handlers.register(L.Dense)(len)
    assert handlers.reason(L.Dense(2)) is None


def test_a_refusal_names_all_layers_at_once():
    x = inputs = keras.Input((3, 4))
    for layer in (
        S.TimeFold(L.Dense(4, name="dense"), name="dense"),
        S.TimeFold(
            keras.Sequential([L.UnitNormalization(name="unit")]), name="unit"
        ),
        S.LIF(name="lif"),
    ):
        x = layer(x)
    network = snn.Model(inputs, x, name="net").network
    handlers = Handlers("counted")
    handlers.register(L.Dense)(len)
    refusals = handlers.refusals(network)
    assert [layer.name for layer, _ in refusals] == ["unit", "lif"]
    text = str(handlers.error("net", refusals, "Dense is known."))
    assert text.startswith("'net' has 2 layer(s) that cannot be counted:")
    assert "- 'unit' (UnitNormalization): it divides by a statistic" in text
    assert "- 'lif' (LIF): no spiking counterpart is known." in text
    assert text.endswith("Dense is known.")
