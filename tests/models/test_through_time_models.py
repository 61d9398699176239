"""PLIF, ALIF, SynapticLIF, RecurrentLIF and tdBN in whole networks."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn.callbacks.probe import Probe

T, FRAME, CLASSES = 6, (4, 4, 2), 3
NEURONS = ("plif", "recurrent_lif", "alif", "synaptic_lif")
L = snn.layers


def graph(normalized=True, time_steps=T):
    """Return `(inputs, outputs)` of a network with one layer of each kind."""
    keras.utils.set_random_seed(0)
    fold = L.TimeFold
    x = inputs = keras.Input((time_steps, *FRAME), name="spikes")
    conv = keras.layers.Conv2D(3, 3, padding="same", use_bias=False)
    x = fold(conv, name="conv")(x)
    if normalized:
        x = fold(L.ThresholdBatchNormalization(0.5), name="norm")(x)
    x = L.PLIF(0.8, 0.5, per_channel=True, name="plif")(x)
    feedback = keras.layers.Conv2D(3, 3, padding="same", use_bias=False)
    x = L.RecurrentLIF(feedback, 0.9, 0.8, name="recurrent_lif")(x)
    x = fold(keras.layers.Flatten(), name="flatten")(x)
    x = fold(keras.layers.Dense(6, use_bias=False), name="dense1")(x)
    x = L.ALIF(0.9, 0.3, amplitude=0.2, name="alif")(x)
    x = fold(keras.layers.Dense(5, use_bias=False), name="dense2")(x)
    x = L.SynapticLIF(0.9, 0.3, alpha=0.5, name="synaptic_lif")(x)
    x = fold(keras.layers.Dense(CLASSES, use_bias=False), name="dense3")(x)
    return inputs, L.MembraneReadout(0.9, "arctan", name="readout")(x)


def spikes_of(batch=8, time_steps=T, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((batch, time_steps, *FRAME)) < 0.5).astype("float32")


def train(model, **options):
    """Train one step with SGD; return the loss."""
    model.compile(keras.optimizers.SGD(0.3), "mse", **options)
    labels = np.eye(CLASSES)[np.arange(8) % CLASSES]
    return model.train_on_batch(spikes_of(), labels)


@pytest.fixture(scope="module")
def trained():
    """Return a network whose statistics have moved, and its input."""
    model = snn.Model(*graph())
    train(model)
    x = spikes_of(seed=1)
    return model, x


@pytest.fixture(scope="module")
def trains(trained):
    """Return each spiking layer's output on the input."""
    model, x = trained
    outputs = [model.get_layer(name).output for name in NEURONS]
    found = keras.Model(model.input, outputs).predict(x, verbose=0)
    return dict(zip(NEURONS, found))


def test_every_layer_fires(trains):
    for train in trains.values():
        assert 0.02 < train.mean() < 0.98


def test_the_loop_over_time_equals_layer_by_layer(trained):
    model, x = trained
    expected = keras.Model(model.input, model.output).predict(x, verbose=0)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-6
    )


def test_training_moves_every_weight():
    model = snn.Model(*graph())
    before = [np.array(w) for w in model.get_weights()]
    assert np.isfinite(train(model))
    for weight, old, new in zip(model.weights, before, model.get_weights()):
        assert np.any(old != new), weight.path


def test_windows_equal_layer_by_layer():
    models = []
    for kind in (keras.Model, snn.Model):
        model = kind(*graph(normalized=False))
        if kind is snn.Model:
            assert "`remat_steps` is not set" in model.runs_layer_by_layer
            # The last window is a short one.
            model.remat_steps = 4
            assert model.runs_layer_by_layer is None
        train(model)
        models.append(model)
    for a, b in zip(*(m.get_weights() for m in models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_training_under_xla_equals_training_without():
    weights = []
    for jit_compile in (False, True):
        model = snn.Model(*graph())
        train(model, jit_compile=jit_compile)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_normalization_trains_layer_by_layer():
    model = snn.Model(*graph())
    model.remat_steps = 3
    reason = "'norm' (ThresholdBatchNormalization) works on all steps together"
    assert reason in model.runs_layer_by_layer


def test_mixed_rules_train_layer_by_layer():
    x = inputs = keras.Input((T, 4))
    for layer in (L.LIF(), L.PLIF()):
        x = layer(L.TimeFold(keras.layers.Dense(4))(x))
    model = snn.Model(inputs, L.SpikeCountReadout()(x))
    assert "learn by different rules" in model.runs_layer_by_layer


def test_running_output_equals_the_model_at_every_step(trained):
    model, x = trained
    any_time = snn.Model(*graph(time_steps=None))
    any_time.set_weights(model.get_weights())
    step = snn.streaming(any_time)
    state = step.initial_state(8)
    for t in range(T):
        scores, *state = step([x[:, t], *state])
        np.testing.assert_allclose(
            scores,
            any_time.predict(x[:, : t + 1], verbose=0),
            rtol=1e-4,
            atol=1e-6,
        )


def test_a_stream_follows_the_weights_and_is_saved(tmp_path):
    model = snn.Model(*graph())
    step = snn.streaming(model)
    train(model)
    step.save(tmp_path / "step.keras")
    x = spikes_of(2, seed=1)
    for stream in (step, keras.models.load_model(tmp_path / "step.keras")):
        state = stream.initial_state(2)
        for t in range(T):
            scores, *state = stream([x[:, t], *state])
        np.testing.assert_allclose(
            scores, model.predict(x, verbose=0), rtol=1e-4, atol=1e-6
        )


def test_saved_and_loaded(trained, tmp_path):
    model, x = trained
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is snn.Model
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5
    )


def test_exported_model_gives_equal_outputs(trained, tmp_path):
    if keras.config.backend() != "tensorflow":
        pytest.skip("SavedModel is TensorFlow's format")
    import tensorflow as tf

    model, x = trained
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(
        loaded.serve(x), model.predict(x, verbose=0), rtol=1e-4, atol=1e-6
    )


def test_rates_are_the_mean_of_the_spike_trains(trained, trains):
    model, x = trained
    rates = snn.models.spike_rates(model, x, batch_size=4)
    assert list(rates) == list(NEURONS)
    for name, train in trains.items():
        assert rates[name] == pytest.approx(train.mean(), abs=1e-6)


def test_the_monitors_probe_sees_every_neuron(trained, trains):
    model, x = trained
    rates = Probe(model).rates(x, batch_size=4)
    assert list(rates) == list(NEURONS)
    for name, train in trains.items():
        np.testing.assert_allclose(rates[name], train.mean((0, 1)), atol=1e-6)


def test_recorded_potentials_are_above_the_threshold_where_it_spikes(
    trained, trains
):
    model, x = trained
    recording = snn.analysis.record(model, x)
    assert set(recording.potentials) == set(NEURONS)
    for name, train in trains.items():
        np.testing.assert_array_equal(recording.spikes[name], train)
        above = recording.potentials[name] > recording.thresholds[name]
        np.testing.assert_array_equal(above, train == 1)


def test_profile_counts_spikes_states_and_feedback(trained, trains):
    model, x = trained
    layers = {y.name: y for y in snn.analysis.profile(model, x).layers}
    for name, train in trains.items():
        assert layers[name].neuron
        assert layers[name].spikes == pytest.approx(train.sum() / len(x))
    # Two variables a neuron.
    assert layers["alif"].membrane_updates == 2 * 6 * T
    assert layers["plif"].membrane_updates == 4 * 4 * 3 * T
    # A spike reaches all channels of the 3x3 places around it.
    reached = np.array([2, 3, 3, 2])
    fan_out = 3 * np.multiply.outer(reached, reached)[:, :, None]
    feedback = (trains["recurrent_lif"] * fan_out).sum() / len(x)
    direct = trains["plif"].sum() / len(x)
    assert layers["recurrent_lif"].weighted_acs == pytest.approx(feedback)
    assert layers["recurrent_lif"].effective_acs == pytest.approx(
        feedback + direct
    )
    # The normalization is in the convolution, but for its bias.
    assert layers["norm"].bias_adds == 4 * 4 * 3 * T


def test_feedback_that_cannot_be_counted_is_named():
    x = inputs = keras.Input((T, 4))
    feedback = keras.Sequential([keras.layers.Dense(4)])
    x = L.RecurrentLIF(feedback, name="loop")(x)
    model = snn.Model(inputs, L.SpikeCountReadout()(x))
    with pytest.raises(ValueError, match=r"'loop'.*feedback \(Sequential\)"):
        snn.analysis.profile(model, np.ones((1, T, 4)))


def test_latency_curve_counts_all_spikes(trained, trains):
    model, x = trained
    curve = snn.analysis.latency_curve(model, x, np.arange(8) % CLASSES)
    total = sum(train.sum() for train in trains.values()) / len(x)
    assert curve.spikes[-1] == pytest.approx(total)


def small_graph(*neurons):
    """Return `(inputs, outputs)` of dense layers before the given neurons."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((T, 8))
    for layer in neurons:
        x = layer(L.TimeFold(keras.layers.Dense(5, use_bias=False))(x))
    return inputs, L.SpikeCountReadout()(x)


def frames_of(batch=8):
    return spikes_of(batch)[:, :, :2, :2].reshape(batch, T, 8)


def test_scaling_to_a_rate_goes_past_all_kinds():
    neurons = (L.RecurrentLIF(name="a"), L.ALIF(name="b"))
    model = snn.Model(*small_graph(*neurons))
    factors = snn.models.scale_to_rate(model, frames_of(), rate=0.2)
    # The feedback is no kernel before a layer.
    assert list(factors) == ["a", "b"]
    rates = snn.models.spike_rates(model, frames_of())
    assert list(rates.values()) == pytest.approx([0.2, 0.2], rel=0.26)


def regularized(kind, weight):
    penalty = snn.regularizers.SpikeRate(target=0.9, weight=weight)
    layer = L.PLIF(threshold=0.2, activity_regularizer=penalty)
    model = kind(*small_graph(layer))
    model.compile(keras.optimizers.SGD(0.3), "mse")
    return model


def test_a_regularizer_counts_in_fit_and_evaluate():
    x, y, results = frames_of(), np.ones((8, 5)), []
    for kind in (keras.Model, snn.Model):
        model = regularized(kind, weight=4.0)
        loss = model.train_on_batch(x, y)
        evaluated = model.evaluate(x, y, verbose=0)
        results.append((loss, evaluated, *model.get_weights()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert "activity regularizer" in model.runs_layer_by_layer
    free = regularized(snn.Model, weight=0.0)
    free.set_weights(model.get_weights())
    rates = model.predict(x, verbose=0).mean(0)
    assert results[1][1] == pytest.approx(
        free.evaluate(x, y, verbose=0) + 4 * np.mean((rates - 0.9) ** 2),
        rel=1e-5,
    )


def test_a_model_with_a_regularizer_streams():
    model, x = regularized(snn.Model, weight=4.0), frames_of()
    step = snn.streaming(model)
    state = step.initial_state(8)
    for t in range(T):
        rates, *state = step([x[:, t], *state])
    np.testing.assert_allclose(rates, model.predict(x, verbose=0), atol=1e-6)
    (rate,) = snn.models.spike_rates(model, x).values()
    assert rate == pytest.approx(float(ops.mean(rates)), abs=1e-6)
    assert rate > 0


def test_a_regularizer_within_a_time_fold_keeps_the_loop_away():
    x = inputs = keras.Input((T, 4))
    dense = keras.layers.Dense(4, activity_regularizer="l1")
    x = L.PLIF()(L.TimeFold(dense, name="dense")(x))
    model = snn.Model(inputs, L.SpikeCountReadout()(x))
    with pytest.raises(ValueError, match="'dense' has an activity regular"):
        snn.streaming(model)
    assert model.predict(np.ones((2, T, 4)), verbose=0).shape == (2, 4)


def test_a_layer_that_is_used_twice_streams_with_two_states():
    shared = L.RecurrentLIF(beta=0.9, threshold=0.4, name="shared")
    x = inputs = keras.Input((T, 4))
    x = shared(shared(x))
    model = snn.Model(inputs, L.SpikeCountReadout()(x))
    frames = frames_of()[..., :4]
    step = snn.streaming(model)
    state = step.initial_state(8)
    for t in range(T):
        rates, *state = step([frames[:, t], *state])
    np.testing.assert_allclose(
        rates, model.predict(frames, verbose=0), atol=1e-6
    )
    assert float(ops.max(rates)) > 0
