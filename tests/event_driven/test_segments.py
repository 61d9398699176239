"""Layers that the engine does not know run through Keras between the others."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn import event_driven
from keras_snn.event_driven import engine
from keras_snn.running import time_first

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="runs on TensorFlow only"
)

K, L = keras.layers, snn.layers
T, FRAME = 11, (6, 6, 2)


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    """Leave the choice as it was."""
    monkeypatch.setattr(event_driven.switch, "_choice", None)


@pytest.fixture
def calls(monkeypatch):
    """The steps of each call of the engine."""
    found, run = [], engine._run
    monkeypatch.setattr(
        engine, "_run", lambda *args: found.append(args[-1]) or run(*args)
    )
    return found


def spikes(*shape, seed=0):
    return (np.random.default_rng(seed).random(shape) < 0.3).astype("float32")


def on_a_grid(model):
    """Give a model weights of which all sums are exact."""
    rng = np.random.default_rng(1)
    for w in model.weights:
        if w.name in ("kernel", "depthwise_kernel", "bias", "beta"):
            w.assign(rng.integers(-6, 9, w.shape) / 8)
    return model


def conv(channels=2):
    return L.TimeFold(K.Conv2D(channels, 3, padding="same", use_bias=False))


def unknown(name):
    options = dict(padding="same", dilation_rate=2, use_bias=False, name=name)
    return L.TimeFold(K.DepthwiseConv2D(3, **options))


def lif():
    return L.LIF(beta=0.5, threshold=0.75, reset="subtract")


def scores(x, units=3):
    x = L.TimeFold(K.Flatten())(x)
    x = L.TimeFold(K.Dense(units))(x)
    return L.SpikeCountReadout(normalize=False)(x)


class Refractory(L.SpikingLayer):
    """Neurons that are deaf for a step after each of their spikes."""

    learning_rule = snn.surrogates.Arctan()

    def initial_state(self, frame_shape, dtype="float32"):
        return [ops.zeros(frame_shape), ops.zeros(frame_shape)]

    def step(self, frame, state, training=False):
        v, fired = state
        u = v + frame * (1 - fired)
        s = self.learning_rule(u - 0.75)
        return s, [0.5 * u * (1 - s), s]


class Peak(L.Readout):
    """The largest input so far, or 0."""

    def step(self, frame, state, training=False):
        peak = ops.maximum(state[0], ops.cast(frame, "float32"))
        return peak, [peak]

    def result(self, state, time_steps):
        return state[0]


def frames(*frame, steps=T):
    return keras.Input((steps, *(frame or FRAME)))


def first():
    x = inputs = frames()
    x = lif()(unknown("odd")(x))
    return inputs, scores(lif()(conv()(x))), ["odd"]


def middle():
    x = inputs = frames()
    x = lif()(conv()(x))
    x = lif()(unknown("odd")(x))
    return inputs, scores(x), ["odd"]


def last():
    x = inputs = frames()
    x = lif()(conv(3)(x))
    x = L.TimeFold(K.GlobalAveragePooling2D())(conv(4)(x))
    x = L.TimeFold(K.Dense(4, "relu", name="odd"))(x)
    return inputs, L.MembraneReadout(beta=0.5)(x), ["odd"]


def readout():
    x = inputs = frames()
    x = lif()(conv(3)(x))
    return inputs, Peak(name="odd")(conv(4)(x)), ["odd"]


def two():
    x = inputs = frames()
    x = lif()(unknown("odd")(x))
    x = lif()(conv()(x))
    x = L.TimeFold(K.Activation("relu", name="relu"))(unknown("odd2")(x))
    return inputs, scores(lif()(x)), ["odd", "odd2", "relu"]


def own_neurons():
    x = inputs = frames()
    x = lif()(conv()(x))
    x = Refractory(name="odd")(conv()(x))
    return inputs, scores(x), ["odd"]


def residual():
    """Branches of known and unknown layers, joined by both kinds."""
    inputs = frames()
    x = lif()(conv()(inputs))
    y = Refractory(name="odd")(conv()(x))
    x = lif()(K.Add()([conv()(y), x]))
    y = unknown("odd2")(lif()(conv()(x)))
    x = lif()(K.Add()([y, conv()(x), inputs]))
    x = K.Concatenate()([x, lif()(conv()(y))])
    return inputs, scores(lif()(x)), ["odd", "odd2"]


def several_inputs_and_outputs():
    one, other, side = frames(), frames(), keras.Input((4,))
    x = lif()(conv()(one))
    x = lif()(K.Add()([unknown("odd")(x), conv()(other)]))
    y = scores(x)
    y = K.Add()([K.Dense(3)(side), y])
    outputs = [y, L.SpikeCountReadout()(lif()(unknown("odd2")(other)))]
    return [one, other, side], outputs, ["odd", "odd2"]


def shared():
    """One unknown layer at two places."""
    x = inputs = frames()
    odd, even = unknown("odd"), conv()
    for _ in range(2):
        x = lif()(odd(x))
        x = lif()(even(x))
    return inputs, scores(x), ["odd", "odd_call2"]


def an_image_at_all_steps():
    images = keras.Input(FRAME)
    x = L.RepeatEncoder(T)(images)
    y = lif()(conv()(x))
    x = K.Add(name="sum")([unknown("odd")(conv()(x)), unknown("odd2")(x)])
    x = K.Add()([Refractory(name="odd3")(x), unknown("odd4")(y)])
    # A sum for nobody but Keras is left to Keras.
    names = ["odd", "odd2", "sum", "odd3", "odd4"]
    return images, scores(lif()(x)), names


def counts_between_unknown_layers():
    x = inputs = frames()
    x = lif()(unknown("odd")(x))
    x = L.MaxRatePooling2D(2, strides=1)(lif()(conv(3)(x)))
    x = L.MaxRatePooling2D(2, padding="same", name="odd2")(x)
    return inputs, scores(lif()(conv()(x))), ["odd", "odd2"]


def padding_that_is_pooled():
    x = inputs = frames()
    x = L.TimeFold(K.ZeroPadding2D(1, name="pad"))(lif()(conv()(x)))
    x = L.TimeFold(K.AveragePooling2D(2, name="pool"))(x)
    x = L.TimeFold(K.ZeroPadding2D(1))(lif()(x))
    x = L.TimeFold(K.Conv2D(3, 3, use_bias=False))(x)
    return inputs, scores(x), ["pad", "pool"]


def half_precision():
    x = inputs = frames()
    odd = L.TimeFold(
        K.Conv2D(2, 3, dtype="float16", name="odd"), dtype="float16"
    )
    return inputs, scores(lif()(odd(lif()(conv()(x))))), ["odd"]


def frames_of_four_axes():
    x = inputs = frames(2, 3, 4, 2)
    x = L.TimeFold(K.Conv3D(2, 2, use_bias=False, name="odd"))(x)
    x = L.TimeFold(K.Reshape((2, 3, 2), name="flat"))(x)
    return inputs, scores(lif()(conv()(x))), ["odd", "flat"]


NETWORKS = [
    first,
    middle,
    last,
    readout,
    two,
    own_neurons,
    residual,
    several_inputs_and_outputs,
    shared,
    an_image_at_all_steps,
    counts_between_unknown_layers,
    padding_that_is_pooled,
    half_precision,
    frames_of_four_axes,
]


def inputs_of(model, count=3):
    """Return inputs on a grid, spikes where there is time."""
    found = [
        spikes(count, *x.shape[1:], seed=i) for i, x in enumerate(model.inputs)
    ]
    return found if len(found) > 1 else found[0]


def densely(inputs, outputs, x):
    """Return what the dense loop predicts."""
    event_driven.disable()
    expected = snn.Model(inputs, outputs).predict_on_batch(x)
    event_driven.enable()
    return expected


def assert_equal(found, expected):
    for a, b in zip(*map(keras.tree.flatten, (found, expected)), strict=True):
        assert np.ptp(b) > 0
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda f: f.__name__)
def test_results_are_those_of_the_dense_loop(make, calls):
    inputs, outputs, names = make()
    model = on_a_grid(snn.Model(inputs, outputs))
    split = event_driven.split(model.network)
    assert [node.name for node in split.reasons] == names
    reason = model.dense_reason()
    assert reason.endswith("The other layers run event by event")
    assert all(f"'{x.layer.name}'" in reason for x in split.reasons)
    x = inputs_of(model)
    found = model.predict_on_batch(x)
    programs = [s for s in split.segments if s.program is not None]
    # T = 11 is a window of eight steps, and one of three.
    assert calls == [*[8] * len(programs), *[3] * len(programs)]
    expected = densely(inputs, outputs, x)
    assert len(calls) == 2 * len(programs)
    assert_equal(found, expected)
    # Layer by layer means are taken in another order.
    plain = keras.Model(inputs, outputs).predict_on_batch(x)
    for a, b in zip(*map(keras.tree.flatten, (found, plain)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("make", [residual, own_neurons])
def test_any_weights_give_what_the_dense_loop_gives(make):
    # Sums in another order may differ by a rounding, spikes by none here.
    inputs, outputs, _ = make()
    model = snn.Model(inputs, outputs)
    rng = np.random.default_rng(2)
    for w in model.weights:
        w.assign(rng.normal(0.1, 0.4, w.shape))
    x = inputs_of(model)
    np.testing.assert_allclose(
        model.predict_on_batch(x),
        densely(inputs, outputs, x),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("steps", [1, 8, 9, 16, 26])
@pytest.mark.parametrize("known", [True, False])
def test_any_number_of_steps(steps, known, calls):
    x = inputs = frames(steps=steps if known else None)
    x = Refractory()(conv()(x))
    x = lif()(unknown("odd")(x))
    outputs = scores(x), L.MembraneReadout(beta=0.5)(conv()(x))
    model = on_a_grid(snn.Model(inputs, outputs))
    x = spikes(2, steps, *FRAME)
    if known:
        found = model.predict_on_batch(x)
    else:
        import tensorflow as tf

        # Not known in the graph either.
        shape = tf.TensorSpec((None, None, *FRAME))
        data = tf.data.Dataset.from_generator(
            lambda: [x], output_signature=shape
        ).apply(tf.data.experimental.assert_cardinality(1))
        found = model.predict(data, verbose=0)
    assert max(calls) <= 8 and sum(calls) == 2 * steps
    for a, b in zip(found, densely(inputs, outputs, x), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("eagerly", [False, True])
def test_evaluate_and_predict_of_batches(eagerly, calls):
    inputs, outputs, _ = middle()
    model = on_a_grid(snn.Model(inputs, outputs))
    x, y = spikes(7, T, *FRAME), spikes(7, 3, seed=5)
    model.compile(loss="mse", run_eagerly=eagerly)
    plain = keras.Model(inputs, outputs)
    plain.compile(loss="mse", run_eagerly=eagerly)
    found = model.evaluate(x, y, 3, verbose=0)
    assert calls
    np.testing.assert_allclose(found, plain.evaluate(x, y, 3, verbose=0))
    np.testing.assert_array_equal(
        model.predict(x, 3, verbose=0), plain.predict(x, 3, verbose=0)
    )


@pytest.mark.parametrize("make", [residual, an_image_at_all_steps])
def test_sums_are_those_of_the_spikes(make, calls):
    inputs, outputs, _ = make()
    model = on_a_grid(snn.Model(inputs, outputs))
    x = inputs_of(model)
    found, _ = time_first.count_spikes(model.network, x)
    assert calls
    event_driven.disable()
    expected, _ = time_first.count_spikes(model.network, x)
    assert found.keys() == expected.keys()
    for name, sums in expected.items():
        assert np.any(sums.total), name
        np.testing.assert_array_equal(found[name].total, sums.total)
        np.testing.assert_array_equal(found[name].t_last, sums.t_last)
        assert isinstance(sums.trace, tuple) == isinstance(
            found[name].trace, tuple
        )
        if not isinstance(sums.trace, tuple):
            np.testing.assert_allclose(found[name].trace, sums.trace, 1e-5)


def test_rates_are_counted_in_both_kinds_of_segments(calls):
    inputs, outputs, _ = own_neurons()
    model = on_a_grid(snn.Model(inputs, outputs))
    x = spikes(5, T, *FRAME)
    found = snn.models.spike_rates(model, x)
    assert calls
    assert "odd" in found and all(found.values())
    assert found == snn.models.spike_rates(keras.Model(inputs, outputs), x)


def test_rates_of_an_image_through_several_windows(calls):
    images = keras.Input(FRAME)
    x = lif()(conv()(L.RepeatEncoder(25)(images)))
    outputs = scores(lif()(unknown("odd")(x)))
    model = on_a_grid(snn.Model(images, outputs))
    x = inputs_of(model)
    found = snn.models.spike_rates(model, x)
    assert calls == [8, 8, 8, 8, 8, 8, 1, 1] and all(found.values())
    assert found == snn.models.spike_rates(keras.Model(images, outputs), x)


def test_what_is_broken_stays_broken():
    inputs, outputs, _ = middle()
    model = on_a_grid(snn.Model(inputs, outputs))
    x = spikes(3, T, *FRAME)
    expected = model.predict_on_batch(x)
    x[1, 2, 0, 0, 0] = np.nan
    found = model.predict_on_batch(x)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


@keras.saving.register_keras_serializable(package="test_segments")
class Noise(K.Layer):
    """Adds noise, also in use."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(1)

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        noise = keras.random.randint(ops.shape(x), 0, 2, seed=self.seeds)
        return x + ops.cast(noise, x.dtype) / 2


def test_random_numbers_are_drawn_as_in_the_dense_loop():
    images = keras.Input(FRAME)
    x = L.TimeFold(Noise(name="odd"))(L.RepeatEncoder(T)(images))
    outputs = scores(lif()(conv()(x)))
    model = on_a_grid(snn.Model(images, outputs))
    x = inputs_of(model)
    seed = next(v for v in model.variables if "seed" in v.path)
    before = ops.convert_to_numpy(seed)
    found = model.predict_on_batch(x)
    again = model.predict_on_batch(x)
    assert np.any(found != again)
    seed.assign(before)
    np.testing.assert_array_equal(densely(images, outputs, x), found)


def test_dropout_of_each_step_is_nothing_in_use():
    x = inputs = frames()
    x = L.TimeFold(K.Dropout(0.5))(lif()(conv()(x)))
    outputs = scores(K.Dropout(0.5)(K.Identity()(x)))
    model = on_a_grid(snn.Model(inputs, outputs))
    assert model.dense_reason() is None
    assert model.dense_reason(training=True) is not None
    x = spikes(3, T, *FRAME)
    assert_equal(model.predict_on_batch(x), densely(inputs, outputs, x))


def test_where_nothing_is_gained_the_whole_runs_densely(calls):
    x = inputs = frames()
    x = L.SpikeCountReadout()(lif()(unknown("odd")(x)))
    model = on_a_grid(snn.Model(inputs, x))
    assert event_driven.split(model.network) is None
    reason = "'odd' (DepthwiseConv2D) has dilation"
    assert model.dense_reason() == reason
    model.predict_on_batch(spikes(3, T, *FRAME))
    assert not calls


def test_training_and_compiled_models_run_densely(calls):
    inputs, outputs, _ = middle()
    model = on_a_grid(snn.Model(inputs, outputs))
    x, y = spikes(3, T, *FRAME), spikes(3, 3)
    reason = "'odd' (DepthwiseConv2D) has dilation"
    assert model.dense_reason(training=True) == reason
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    model.compile(loss="mse", jit_compile=True)
    assert "jit_compile" in model.dense_reason()
    compiled = model.predict_on_batch(x)
    assert not calls
    np.testing.assert_allclose(compiled, densely(inputs, outputs, x), 1e-4)


def test_exported_graphs_hold_no_engine(tmp_path):
    import tensorflow as tf

    inputs, outputs, _ = middle()
    model = on_a_grid(snn.Model(inputs, outputs))
    x = spikes(3, T, *FRAME)
    expected = model.predict_on_batch(x)
    model.export(tmp_path / "plain", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "plain")
    np.testing.assert_array_equal(loaded.serve(x), expected)
