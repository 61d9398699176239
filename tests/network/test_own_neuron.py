"""Layers that users derive from the library's: never a silent bypass."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn.layers.spiking_layer import ThroughTimeNeuron
from keras_snn.neurons import means
from tests.helpers import gradients

L = snn.layers
T, INPUTS, UNITS, CLASSES = 7, 4, 5, 3
register = keras.saving.register_keras_serializable(package="tests")


@register
class Refractory(L.LIF):
    """LIF neurons that are deaf for one step after a spike."""

    def initial_state(self, frame_shape, dtype="float32"):
        return [
            *super().initial_state(frame_shape, dtype),
            ops.zeros(frame_shape, "float32"),
        ]

    def step(self, frame, state, training=False):
        v, fired = state
        spikes, (v,) = super().step(frame * (1 - fired), [v], training)
        return spikes, [v, spikes]


def refractory_loop(x, g, beta, threshold=1.0, start=0.0):
    """Return spikes and dL/dx in float64, written out by hand."""
    v, fired = np.full_like(x[:, 0], start), np.zeros_like(x[:, 0])
    us, spikes, before = [], [], []
    for t in range(x.shape[1]):
        u = v + x[:, t] * (1 - fired)
        before.append(fired)
        fired = (u > threshold).astype(float)
        v = beta * u * (1 - fired)
        us.append(u)
        spikes.append(fired)
    to_x, to_v, to_fired = np.zeros_like(x), 0 * v, 0 * v
    for t in reversed(range(x.shape[1])):
        # Arctan of alpha 2.
        slope = 1 / (1 + (np.pi * (us[t] - threshold)) ** 2)
        to_u = (g[:, t] + to_fired) * slope + beta * (1 - spikes[t]) * to_v
        to_x[:, t] = to_u * (1 - before[t])
        to_v, to_fired = to_u, -to_u * x[:, t]
    return np.stack(spikes, 1), to_x


@register
class Slow(L.SpikingLayer):
    """Neurons with a slow current and a weight, of two methods."""

    threshold = 1.0
    state_variables = 2
    learning_rule = snn.surrogates.Arctan()

    def build(self, currents_shape):
        self.gain = self.add_weight(
            shape=currents_shape[-1:], initializer="ones", name="gain"
        )

    def initial_state(self, frame_shape, dtype="float32"):
        ramp = ops.arange(frame_shape[-1], dtype="float32") / 10
        return [
            ops.broadcast_to(ramp, frame_shape),
            ops.full(frame_shape, 0.25, "float32"),
        ]

    def step(self, frame, state, training=False):
        v, i = state
        i = 0.7 * i + ops.convert_to_tensor(self.gain) * frame
        u = v + i
        spikes = self.learning_rule(u - self.threshold)
        v = 0.9 * (u - self.threshold * ops.stop_gradient(spikes))
        return spikes, [v, i]


def slow_loop(x, gain):
    v = np.broadcast_to(np.arange(x.shape[-1]) / 10, x[:, 0].shape)
    i, spikes = 0.25, []
    for t in range(x.shape[1]):
        i = 0.7 * i + gain * x[:, t]
        u = v + i
        s = (u > 1.0).astype(float)
        v = 0.9 * (u - s)
        spikes.append(s)
    return np.stack(spikes, 1)


@register
class Peak(L.Readout):
    """The largest input, or 0."""

    def step(self, frame, state, training=False):
        peak = ops.maximum(state[0], ops.cast(frame, "float32"))
        return peak, [peak]

    def result(self, state, time_steps):
        return state[0]


def frames(samples=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.6, 0.8, (samples, T, INPUTS)).astype("float32")


def network(neuron, readout=None, **kwargs):
    """Return a network of `neuron` between two dense layers."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((T, INPUTS))
    x = L.TimeFold(keras.layers.Dense(UNITS, name="first"))(inputs)
    x = neuron(x)
    x = L.TimeFold(keras.layers.Dense(CLASSES, name="last"))(x)
    readout = readout or L.SpikeCountReadout()
    return snn.Model(inputs, readout(x), **kwargs)


def dense(model, name, x):
    kernel, bias = map(np.asarray, model.get_layer(name).layer.get_weights())
    return x.astype("float64") @ kernel + bias


def streamed(model, x):
    step = snn.streaming(model)
    state = step.initial_state(len(x))
    for t in range(x.shape[1]):
        scores, *state = step([x[:, t], *state])
    return ops.convert_to_numpy(scores)


def assert_same_everywhere(model, x, expected):
    plain = keras.Model(model.input, model.output)
    for found in (
        model.predict(x, verbose=0),
        model(x),
        plain.predict(x, verbose=0),
        streamed(model, x),
    ):
        found = ops.convert_to_numpy(found)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_subclass_keeps_no_shortcut_of_another_step():
    assert Refractory.call is L.TimeLayer.call
    assert Refractory.window is L.TimeLayer.window
    for name in ("lif", "potential", "collapsed", "credit"):
        assert getattr(Refractory, name) is None
    # Without a step of its own it keeps them all.
    named = type("Named", (L.LIF,), {"note": 1})
    assert named.call is L.LIF.call and named.collapsed is L.LIF.collapsed


def test_a_step_from_a_mixin_counts_too():
    class Deaf:
        def step(self, frame, state, training=False):
            return ops.zeros_like(frame), state

    mixed = type("Mixed", (Deaf, L.LIF), {})
    assert mixed.lif is None and mixed.call is L.TimeLayer.call
    assert not np.any(mixed()(frames()))


def test_a_subclass_of_a_neuron_through_time_keeps_no_shortcut():
    class Quiet(L.ALIF):
        def step(self, frame, state, training=False):
            spikes, state = super().step(frame, state, training)
            return 0 * spikes, state

    assert Quiet.call is L.TimeLayer.call
    model = network(Quiet())
    silent = dense(model, "last", np.zeros((6, UNITS)))
    assert_same_everywhere(model, frames(), silent)
    # While those of the library share one.
    assert L.ALIF.call is L.RecurrentLIF.call is ThroughTimeNeuron.call


@pytest.mark.parametrize("rule", ["collapsed", "exact", "rate", "arctan"])
def test_a_lif_with_another_step_predicts_by_it(engine, rule):
    model = network(
        Refractory(beta=0.9, learning_rule=rule, initial_potential=0.3)
    )
    x = frames()
    currents = dense(model, "first", x)
    spikes, _ = refractory_loop(currents, 0 * currents, 0.9, start=0.3)
    assert 0.05 < spikes.mean() < 0.5
    expected = dense(model, "last", spikes).mean(axis=1)
    assert_same_everywhere(model, x, expected)
    if engine == "event_driven":
        assert "(Refractory) has no event" in model.dense_reason()


def test_a_lif_with_another_step_learns_by_its_own_derivative():
    x, rng = frames(), np.random.default_rng(1)
    g = rng.normal(size=x.shape).astype("float32")
    _, expected = refractory_loop(x.astype("float64"), g, 0.9)
    layer = Refractory(beta=0.9, learning_rule="arctan")

    def whole(x):
        return ops.sum(layer(x, training=True) * g)

    def windows(x):
        state = layer.initial_state((len(g), INPUTS))
        first, state = layer.window(x[:, :3], state, training=True)
        second, _ = layer.window(x[:, 3:], state, training=True)
        return ops.sum(ops.concatenate([first, second], axis=1) * g)

    for function in (whole, windows):
        _, (found,) = gradients(function, [x])
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.LIF(0.9, learning_rule="arctan"),
        lambda: L.LIF(0.9, reset="subtract", learning_rule="arctan"),
        lambda: L.PLIF(0.8, scale_input=True),
        lambda: L.ALIF(0.9, reset="subtract", amplitude=0.3),
        lambda: L.ALIF(0.9, amplitude=0.3),
        lambda: L.SynapticLIF(0.9, alpha=0.5),
        lambda: L.RecurrentLIF(beta=0.9),
    ],
)
def test_inherited_steps_have_the_derivative_of_whole_sequences(make):
    x, rng = frames(), np.random.default_rng(1)
    g = rng.normal(size=x.shape).astype("float32")
    layer = make()
    layer(x)

    def whole(x):
        return ops.sum(layer(x) * g)

    def by_step(x):
        state, total = layer.initial_state((len(g), INPUTS)), 0.0
        for t in range(T):
            spikes, state = layer.step(x[:, t], state)
            total = total + ops.sum(spikes * g[:, t])
        return total

    weights = layer.trainable_variables
    expected, found = (gradients(f, [x], weights) for f in (whole, by_step))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for a, b in zip(found[1], expected[1], strict=True):
        assert np.any(b)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", [snn.Model, keras.Model])
@pytest.mark.parametrize("rule", ["collapsed", "exact", "rate"])
def test_rules_of_lif_neurons_refuse_another_step(rule, kind):
    model = network(Refractory(learning_rule=rule, name="mine"))
    assert "'mine' (Refractory)" in model.runs_layer_by_layer
    assert model.dense_reason(training=True) is not None
    model = kind(model.input, model.output)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"'mine' has a `step` of its own.*a"):
        model.fit(frames(), np.zeros((6, CLASSES)), verbose=0)


@pytest.mark.parametrize("steps", [None, 3])
def test_training_is_that_of_a_plain_model(steps):
    def trained(kind):
        neuron = Refractory(beta=0.9, learning_rule="arctan")
        readout = L.MembraneReadout(0.9, learning_rule="arctan")
        model = network(neuron, readout, remat_steps=steps)
        if kind is keras.Model:
            model = keras.Model(model.input, model.output)
        model.compile(keras.optimizers.SGD(0.5), "mse")
        before = model.get_weights()
        model.fit(frames(), np.ones((6, CLASSES)), 6, verbose=0)
        return [b - a for a, b in zip(before, model.get_weights())]

    for found, expected in zip(trained(snn.Model), trained(keras.Model)):
        assert np.any(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_two_methods_make_a_neuron(engine, tmp_path):
    model = network(Slow(name="slow"), remat_steps=3)
    x, y = frames(), np.ones((6, CLASSES))
    assert model.runs_layer_by_layer is None
    monitor = snn.callbacks.SpikeRateMonitor(x, warn=False)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    history = model.fit(x, y, 6, 3, verbose=0, callbacks=[monitor]).history
    assert history["loss"][-1] < history["loss"][0]
    (gain,) = model.get_layer("slow").get_weights()
    assert np.all(gain != 1)
    currents = dense(model, "first", x)
    spikes = slow_loop(currents, gain)
    expected = dense(model, "last", spikes).mean(axis=1)
    assert_same_everywhere(model, x, expected)
    if engine == "event_driven":
        assert "'slow' (Slow) has no event" in model.dense_reason()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_everywhere(loaded, x, expected)
    snn.streaming(model).save(tmp_path / "step.keras")
    step = keras.models.load_model(tmp_path / "step.keras")
    state = step.initial_state(6)
    for t in range(T):
        scores, *state = step([x[:, t], *state])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    # The monitor measured after the last epoch.
    rate = spikes.mean()
    found = snn.models.spike_rates(model, x)["slow"]
    np.testing.assert_allclose(found, rate, rtol=1e-5)
    np.testing.assert_allclose(history["slow_spike_rate"][-1], rate, rtol=1e-5)
    recording = snn.analysis.record(model, x)
    np.testing.assert_array_equal(recording.spikes["slow"], spikes)
    assert "slow" not in recording.potentials
    profile = snn.analysis.profile(model, x)
    (row,) = (row for row in profile.layers if row.name == "slow")
    np.testing.assert_allclose(row.spikes, spikes.sum() / len(x), rtol=1e-5)
    assert row.membrane_updates == 2 * UNITS * T


def test_words_of_other_neurons_mean_nothing_in_ones_own():
    class Own(snn.layers.SpikingLayer):
        learning_rule = snn.surrogates.Arctan()
        steps = alpha = (1, 2, 3)

        def initial_state(self, shape, dtype="float32"):
            return [ops.zeros(shape)]

        def step(self, frame, state, training=False):
            spikes = self.learning_rule(state[0] + frame - 1.0)
            return spikes, state

    x = np.float32([[[0.5, 2.0], [2.0, 0.5]]])
    np.testing.assert_array_equal(Own()(x), [[[0, 1], [1, 0]]])


def test_scale_to_rate_reaches_ones_own_neuron():
    model = network(Slow(name="slow"))
    assert snn.models.scale_to_rate(model, frames(), 0.4).keys() == {"slow"}
    assert 0.3 < snn.models.spike_rates(model, frames())["slow"] < 0.51


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow writes these"
)
def test_ones_own_neuron_is_exported(tmp_path):
    import tensorflow as tf

    model, x = network(Slow(name="slow")), frames()
    expected = model.predict(x, verbose=0)
    found = snn.export.saved_model(model, tmp_path / "model")
    assert found["missing"] == {}
    loaded = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.serve(x), expected, atol=1e-5)
    state = loaded.initial_state(len(x))
    for t in range(T):
        scores, state = loaded.step(x[:, t], state)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


class Whole(Refractory):
    """The same neurons, with shortcuts of their own that count their calls."""

    calls = ()

    def window(self, sequence, state, training=False):
        type(self).calls += ("window",)
        return super().window(sequence, state, training)

    def collapsed(self, mean, outcome, state, training=False):
        type(self).calls += ("collapsed",)
        return means.replace(mean, outcome.value, 2 * ops.ones_like(mean))

    def credit(self, currents, carry, seen):
        type(self).calls += ("credit",)
        # Every step counts the same.
        total = ops.sum(currents, axis=1) + carry
        zero = total - ops.stop_gradient(total)
        return seen.spikes + currents - ops.stop_gradient(currents), zero


def updates(neuron, **kwargs):
    """Return the model, and what one step of SGD adds to its weights."""
    model = network(neuron, **kwargs)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    before = model.get_weights()
    model.fit(frames(), np.ones((6, CLASSES)), 6, verbose=0)
    return model, [b - a for a, b in zip(before, model.get_weights())]


def test_a_window_of_ones_own_is_used(monkeypatch):
    monkeypatch.setattr(Whole, "calls", ())
    options = {"learning_rule": "arctan", "beta": 0.9}
    model, found = updates(Whole(**options), remat_steps=3)
    assert model.runs_layer_by_layer is None and "window" in Whole.calls
    _, expected = updates(Refractory(**options), remat_steps=3)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", ["collapsed", "exact"])
def test_credit_of_ones_own_is_used(rule, monkeypatch, engine):
    monkeypatch.setattr(Whole, "calls", ())
    model, found = updates(Whole(learning_rule=rule, beta=0.9))
    assert model.runs_layer_by_layer is None
    assert {"collapsed": "collapsed", "exact": "credit"}[rule] in Whole.calls
    # The loss' derivative to the first kernel, by hand.
    x = frames()
    fresh = network(Refractory(beta=0.9))
    currents = dense(fresh, "first", x)
    spikes, _ = refractory_loop(currents, 0 * currents, 0.9)
    outputs = dense(fresh, "last", spikes).mean(axis=1)
    to_outputs = 2 * (outputs - 1) / outputs.size
    kernel = np.asarray(fresh.get_layer("last").layer.kernel)
    to_rate = to_outputs @ kernel.T
    # `credit` says 1 a step, and `collapsed` 2.
    to_mean = {"collapsed": 2, "exact": 1}[rule] * to_rate
    expected = -x.mean(axis=1).T @ to_mean
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-5)
    last = -spikes.mean(axis=1).T @ to_outputs
    np.testing.assert_allclose(found[2], last, rtol=1e-3, atol=1e-5)


def test_the_rate_rule_is_for_lif_alone():
    model = network(Whole(learning_rule="rate", name="mine"))
    assert "the rate rule is not defined" in model.runs_layer_by_layer


@pytest.mark.parametrize("rule", ["collapsed", "exact"])
def test_a_readout_need_not_be_linear(rule, engine):
    model = network(L.LIF(0.9, learning_rule=rule), Peak(name="peak"))
    x = frames()
    assert "'peak' (Peak)" in model.runs_layer_by_layer
    spikes = ops.convert_to_numpy(
        keras.Model(model.input, model.layers[2].output)(x)
    )
    sequence = dense(model, "last", spikes)
    assert_same_everywhere(model, x, np.maximum(sequence.max(axis=1), 0))


def test_a_readout_has_the_derivative_of_its_steps():
    x = frames()
    g = np.random.default_rng(2).normal(size=(6, INPUTS)).astype("float32")
    layer = Peak()
    _, (found,) = gradients(lambda x: ops.sum(layer(x) * g), [x])
    largest = x == x.max(axis=1, keepdims=True)
    expected = largest * (x > 0) * g[:, None]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_readout_with_another_result_keeps_no_shortcut():
    class Doubled(L.MembraneReadout):
        def result(self, state, time_steps):
            return 2 * super().result(state, time_steps)

    model = network(L.LIF(0.9), Doubled(0.8, name="doubled"))
    assert "'doubled' (Doubled)" in model.runs_layer_by_layer
    x = frames()
    expected = 2 * network(L.LIF(0.9), L.MembraneReadout(0.8)).predict(
        x, verbose=0
    )
    assert_same_everywhere(model, x, expected)


def test_a_linear_readout_of_ones_own_learns_in_one_pass():
    class Late(L.readouts.LinearReadout):
        """The sum over the steps, from one half."""

        normalize = False

        def initial_state(self, frame_shape, dtype="float32"):
            return [ops.full(frame_shape, 0.5, "float32")]

        def step(self, frame, state, training=False):
            return frame, [state[0] + ops.cast(frame, "float32")]

        def result(self, state, time_steps):
            return state[0]

    x, y = frames(), np.ones((6, CLASSES))
    kernels = []
    for kind in (snn.Model, keras.Model):
        model = network(L.LIF(0.9), Late())
        assert model.runs_layer_by_layer is None
        model = kind(model.input, model.output)
        model.compile(keras.optimizers.SGD(0.01), "mse")
        model.fit(x, y, 6, verbose=0)
        kernels.append(model.get_weights())
    for a, b in zip(*kernels):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("base", [L.LIF, L.ALIF, L.PLIF])
def test_a_call_without_a_step_is_not_run_by_the_old_step(base, engine):
    class Inverted(base):
        def call(self, currents):
            return 1 - super().call(currents)

    model = network(Inverted(name="inverted"))
    reason = "'inverted' (Inverted) has a `call` of its own, and no `step`"
    assert reason in model.runs_layer_by_layer
    assert model.dense_reason() is not None
    with pytest.raises(ValueError, match="has a `call` of its own"):
        snn.streaming(model)
    x = frames()
    plain = keras.Model(model.input, model.layers[2].output)
    spikes = 1 - base()(np.float32(dense(model, "first", x)))
    np.testing.assert_allclose(plain(x), spikes)
    expected = dense(model, "last", ops.convert_to_numpy(spikes)).mean(axis=1)
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)


def test_a_run_without_a_step_is_not_run_by_the_old_step():
    class Late(L.ALIF):
        def run(self, currents, state, unroll):
            return super().run(0 * currents, state, unroll)

    reason = network(Late()).runs_layer_by_layer
    assert "(Late) has a `call` of its own" in reason


@register
class Squared(L.TimeFold):
    """Squares what its layer gives."""

    def step(self, frame, state, training=False):
        frame, state = super().step(frame, state, training)
        return frame**2, state


@register
class Plain(L.TimeFold):
    """A TimeFold, for all that is known."""


@pytest.mark.parametrize("kind", [Squared, Plain])
def test_a_subclass_of_time_fold_is_not_taken_for_linear(kind, engine):
    inputs = keras.Input((T, INPUTS))
    fold = kind(keras.layers.Dense(UNITS, name="first"))
    x = L.LIF(0.9)(fold(inputs))
    x = L.TimeFold(keras.layers.Dense(CLASSES, name="last"))(x)
    model = snn.Model(inputs, L.SpikeCountReadout()(x))
    reason = f"'first' ({kind.__name__}) is not known to be linear"
    assert model.runs_layer_by_layer == reason
    if engine == "event_driven":
        assert f"'first' ({kind.__name__})" in model.dense_reason()
    x = frames()
    currents = dense(model, "first", x) ** (2 if kind is Squared else 1)
    spikes = ops.convert_to_numpy(L.LIF(0.9)(currents.astype("float32")))
    expected = dense(model, "last", spikes).mean(axis=1)
    assert_same_everywhere(model, x, expected)
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(x, np.ones((6, CLASSES)), verbose=0)
    assert np.any(before[0] != model.get_weights()[0])


class Halves(L.TimeConstantDropout):
    """Halves what is dropped instead of silencing it."""

    def step(self, frame, state, training=False):
        if not training:
            return frame, state
        return frame * (0.5 + 0.5 * state[0]), state


def test_a_subclass_of_dropout_has_one_mask_for_all_steps():
    layer = Halves(0.5, seed=1)
    x = np.ones((3, T, 50), "float32")
    np.testing.assert_array_equal(layer(x), x)
    dropped = ops.convert_to_numpy(layer(x, training=True))
    # 0.5 + 0.5 * m with m = 0 or 1 / (1 - 0.5).
    assert set(np.unique(dropped)) == {0.5, 1.5}
    np.testing.assert_array_equal(dropped, dropped[:, :1] * x)


def test_a_subclass_of_dropout_is_known_by_its_type_alone(engine):
    inputs = keras.Input((T, INPUTS))
    x = Halves(0.5, name="halves")(inputs)
    same = keras.layers.Dense(INPUTS, kernel_initializer="identity")
    x = L.LIF(0.9)(L.TimeFold(same)(x))
    model = snn.Model(inputs, L.SpikeCountReadout()(x))
    assert "'halves' (Halves)" in model.runs_layer_by_layer
    if engine == "event_driven":
        assert "'halves' (Halves)" in model.dense_reason()
    x = frames()
    expected = ops.mean(L.LIF(0.9)(x), axis=1)
    assert_same_everywhere(model, x, ops.convert_to_numpy(expected))
    model.compile("sgd", "mse")
    model.fit(x, np.ones((6, INPUTS)), verbose=0)


def test_noise_at_every_step_is_not_drawn_twice():
    class Noisy(Refractory):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seeds = keras.random.SeedGenerator(1)

    model = network(Noisy(learning_rule="arctan", name="mine"), remat_steps=3)
    assert "draws random numbers, at every step" in model.runs_layer_by_layer


def test_a_neuron_without_a_rule_says_how_it_learns():
    class Bare(L.SpikingLayer):
        def initial_state(self, frame_shape, dtype="float32"):
            return [ops.zeros(frame_shape)]

        def step(self, frame, state, training=False):
            u = 0.9 * state[0] + frame
            spikes = snn.surrogates.Sigmoid()(u - 1)
            return spikes, [u - spikes]

    model = network(Bare(name="bare"))
    assert "'bare' learns by 'surrogate'" in model.runs_layer_by_layer
    assert "bare" in snn.analysis.record(model, frames()).spikes
    _, found = updates(Bare())
    assert np.any(found[0])
