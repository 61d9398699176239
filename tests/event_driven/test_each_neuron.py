"""Neurons that differ, event by event."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.layers import LIF, MembraneReadout, TimeFold
from keras_snn.running.scopes import inference_only

pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="the engine is TensorFlow's"
)

L = keras.layers
BETAS = np.float32([0.25, 0.5, 0.875, 1.0] * 9)
THRESHOLDS = np.float32([[[0.5]], [[0.75]], [[1.25]], [[1.0]]])


def network(rule="rate", reset="zero", unknown=False, trains=False):
    """Return a network whose weights and numbers are exact in any order."""
    rng = np.random.default_rng(1)
    inputs = keras.Input((11, 4, 4, 2))
    options = {"learning_rule": rule, "reset": reset}
    x = TimeFold(L.Conv2D(36, 3, padding="same"))(inputs)
    # So many channels that the scalar kernel takes them 32 at a time.
    x = LIF(
        beta=BETAS, threshold=THRESHOLDS, initial_potential=0.25, **options
    )(x)
    if unknown:
        x = TimeFold(L.Conv2D(4, 1, groups=2))(x)
    x = TimeFold(L.Flatten())(x)
    x = TimeFold(L.Dense(6, use_bias=not unknown))(x)
    if trains:
        options["trainable_threshold"] = True
    x = LIF(beta=0.5, threshold=np.linspace(0.25, 1.5, 6), **options)(x)
    x = TimeFold(L.Dense(3))(x)
    model = snn.Model(inputs, MembraneReadout()(x))
    model.set_weights(
        [
            rng.integers(-4, 5, w.shape) / 16
            if "threshold" not in w.path
            else w
            for w in model.weights
        ]
    )
    return model


def spikes(samples=3):
    rng = np.random.default_rng(2)
    return (rng.random((samples, 11, 4, 4, 2)) < 0.4).astype("float32")


def dense(model, x):
    """Return what the model computes layer by layer."""
    return np.asarray(keras.Model(model.input, model.output)(x))


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_predictions_are_those_of_dense_products(reset):
    model, x = network(reset=reset), spikes()
    assert model.dense_reason() is None
    expected = dense(model, x)
    assert np.ptp(expected) > 0.1
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_between_layers_that_run_through_keras():
    model, x = network("collapsed", unknown=True), spikes()
    assert "groups" in model.dense_reason()
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, dense(model, x), rtol=1e-5, atol=1e-6)
    assert set(snn.models.spike_rates(model, x)) == {
        node.name for node in model.network.neurons
    }


def test_what_was_learned_runs_too():
    model, x = network("arctan", trains=True), spikes()
    trained = model.layers[-3]
    before = model.predict(x, verbose=0)
    trained.threshold.assign(trained.threshold * 0.5)
    assert model.dense_reason() is None
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, dense(model, x), rtol=1e-5, atol=1e-6)
    assert np.any(found != before)


def test_spikes_are_counted():
    model, x = network(), spikes()
    rates = snn.models.spike_rates(model, x)
    recording = snn.analysis.record(model, x)
    for name, rate in rates.items():
        assert 0 < rate < 1
        assert rate == pytest.approx(np.mean(recording.spikes[name]))


def test_a_stream_is_event_driven():
    model, x = network(), spikes(1)
    model.layers[1].layer.bias.assign(np.zeros(36))
    for layer in model.layers[4], model.layers[6]:
        layer.layer.bias.assign(np.zeros_like(layer.layer.bias))
    # With steps that are all zeros, at which potentials leak later.
    x[:, 3:7] = 0
    stream = snn.streaming(model).stream()
    assert stream.dense_reason is None
    for t in range(x.shape[1]):
        found = stream.step(x[:, t])
    np.testing.assert_allclose(found, dense(model, x), rtol=1e-5, atol=1e-6)


def test_the_runtime_has_them_in_its_file(tmp_path):
    import keras_snn_runtime

    model, x = network(), spikes()
    path = tmp_path / "net.npz"
    snn.export.runtime(model, path)
    again = keras_snn_runtime.load(path)
    expected = dense(model, x)
    np.testing.assert_allclose(again.predict(x), expected, rtol=1e-5, atol=1e-6)
    stream = again.stream()
    for frame in x[0]:
        scores = stream.step(frame)
    np.testing.assert_allclose(scores, expected[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", ["collapsed", "rate", "exact"])
def test_learning_runs_densely_and_says_so(rule):
    model, x = network(rule), spikes()
    assert "in inference alone" in model.dense_reason(training=True)
    y = np.eye(3, dtype="float32")
    for one in (model, keras.Model(model.input, model.output)):
        one.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    weights = model.get_weights()
    model.train_on_batch(x, y)
    ours = model.get_weights()
    model.set_weights(weights)
    one.train_on_batch(x, y)
    for a, b in zip(ours, one.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert any(np.any(a != b) for a, b in zip(ours, weights))


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    from keras_snn_runtime import files

    model = network()
    path = tmp_path / "net.npz"
    snn.export.runtime(model, path)
    description, arrays = files.read(path)
    neurons = next(
        x for x in description["operations"] if hasattr(x, "threshold")
    )
    for name, bad in (
        (neurons.beta, 1.5),
        (neurons.threshold, np.nan),
        (neurons.threshold, "shape"),
    ):
        changed = np.full_like(arrays[name], 0.5)
        changed = changed[:1] if bad == "shape" else changed * bad * 2
        with monkeypatch.context() as unchecked:
            unchecked.setattr(files, "_checked", lambda *x: None)
            files.write(path, description, {**arrays, name: changed})
        with pytest.raises(ValueError, match="beta|numbers"):
            files.read(path)
    with inference_only():
        assert np.all(np.isfinite(model(spikes())))
