"""Streams that keep their state inside, event by event or compiled."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn import event_driven
from tests.helpers import ON_JAX

K, L = keras.layers, snn.layers
T, FRAME = 6, (6, 5, 2)
ENGINES = ["dense"] if ON_JAX else ["dense", "event_driven"]


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    """Run streams in one engine or the other."""
    choice = request.param == "event_driven"
    if choice:
        pytest.importorskip("numba")
    monkeypatch.setattr(event_driven.switch, "_choice", choice)
    return request.param


def network(neuron=None, bias=False, side=False):
    """Return a model with weights of which all sums are exact."""
    x = inputs = keras.Input((None, *FRAME))
    x = L.TimeFold(K.Conv2D(3, 3, use_bias=bias))(x)
    x = (neuron or L.LIF(beta=0.5, reset="subtract"))(x)
    x = L.TimeFold(K.Flatten())(x)
    x = L.LIF(beta=0.5, threshold=0.5)(L.TimeFold(K.Dense(5))(x))
    x = L.TimeFold(K.Dense(4, use_bias=bias))(x)
    y = L.MembraneReadout(beta=0.5)(x)
    if side:
        other = keras.Input((4,))
        y = K.Dense(2)(K.Add()([y, other]))
        inputs = [inputs, other]
    model = snn.Model(inputs, [y, L.SpikeCountReadout()(x)] if side else y)
    rng = np.random.default_rng(1)
    for w in model.weights:
        w.assign(rng.integers(-6, 9, w.shape) / 8)
    return model


def frames(batch=1, steps=T):
    rng = np.random.default_rng(0)
    x = (rng.random((batch, steps, *FRAME)) < 0.2).astype("float32")
    x[:, 2:4] = 0
    return x


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_are_the_models_for_the_steps_so_far(engine, batch, bias):
    model, x = network(bias=bias), frames(batch)
    stream = snn.streaming(model).stream(batch)
    assert (stream.dense_reason is None) == (engine == "event_driven")
    for _ in range(2):
        for t in range(T):
            found = stream.step(x[:, t])
            assert stream.steps == t + 1
        expected = model.predict(x, verbose=0)
        assert np.any(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        stream.reset()


def test_what_the_engine_does_not_know_streams_compiled(engine):
    model, x = network(L.PLIF(name="odd")), frames()
    stream = snn.streaming(model).stream()
    if engine == "event_driven":
        assert "'odd' (PLIF)" in stream.dense_reason
    for t in range(T):
        found = stream.step(x[:, t])
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_state_is_that_of_the_step_model(engine):
    model, x = network(), frames()
    step = snn.streaming(model)
    stream, state = step.stream(), step.initial_state()
    # The third and fourth frame are empty.
    for t in range(4):
        stream.step(x[:, t])
        _, *state = step([x[:, t], *state])
    kept = stream.state
    for a, b in zip(kept, state, strict=True):
        np.testing.assert_array_equal(a, b)
    expected, *_ = step([x[:, 4], *state])
    np.testing.assert_array_equal(stream.step(x[:, 4]), expected)
    other = step.stream()
    other.state = kept
    np.testing.assert_array_equal(other.step(x[:, 4]), expected)
    with pytest.raises(ValueError, match="arrays of shapes"):
        other.state = kept[:-1]


def test_events_are_frames(engine):
    model, x = network(), frames()
    by_frame, by_events = (snn.streaming(model).stream() for _ in range(2))
    for t in range(T):
        rows, columns, channels = np.nonzero(x[0, t])
        found = by_events.step_events(columns, rows, channels)
        np.testing.assert_array_equal(found, by_frame.step(x[:, t]))
    assert np.any(found)
    # Two events of one place are an input of 2.
    found = by_events.step_events([1, 1], [2, 2], [0, 0])
    double = np.zeros((1, *FRAME), "float32")
    double[0, 2, 1, 0] = 2
    np.testing.assert_array_equal(found, by_frame.step(double))


def test_what_follows_the_readouts_and_other_inputs(engine):
    model, x = network(side=True), frames()
    side = np.array([[0.5, -1.0, 2.0, 0.0]], "float32")
    stream = snn.streaming(model).stream()
    for t in range(T):
        found = stream.step(x[:, t], side)
    expected = model.predict([x, side], verbose=0)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ValueError, match="takes 1 input"):
        stream.step(x[:, 0])


def test_a_stream_reads_weights_when_it_begins(engine):
    model, x = network(), frames()
    stream = snn.streaming(model).stream()
    stream.step(x[:, 0])
    model.set_weights([w + 0.25 for w in model.get_weights()])
    stream.reset()
    for t in range(T):
        found = stream.step(x[:, t])
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-6)


@pytest.mark.parametrize("side", [False, True])
def test_a_stream_keeps_the_weights_it_began_with(engine, side):
    model, x = network(side=side), frames()
    sides = [np.ones((1, 4), "float32")] if side else []
    expected = model.predict([x, *sides] if side else x, verbose=0)
    stream = snn.streaming(model).stream()
    for t in range(T):
        found = stream.step(x[:, t], *sides)
        model.set_weights([w + 0.25 for w in model.get_weights()])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_step_with_a_wrong_input_is_not_taken(engine):
    model, x = network(side=True), frames(2)
    stream = snn.streaming(model).stream(2)
    side = np.ones((2, 4), "float32")
    stream.step(x[:, 0], side)
    before = stream.state
    for wrong in (side[:, :3], side[:1], side[0]):
        with pytest.raises(ValueError, match=r"input 1 besides.*\(2, 4\)"):
            stream.step(x[:, 1], wrong)
    assert stream.steps == 1
    for a, b in zip(stream.state, before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(stream.step(x[:, 1], side)[0])


def test_a_loaded_step_model_streams_compiled(tmp_path):
    model, x = network(), frames()
    snn.streaming(model).save(tmp_path / "step.keras")
    stream = keras.models.load_model(tmp_path / "step.keras").stream()
    assert "loaded without its model" in stream.dense_reason
    for t in range(T):
        found = stream.step(x[:, t])
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-6)


def test_what_does_not_fit_is_refused():
    step = snn.streaming(network())
    with pytest.raises(ValueError, match="at least 1"):
        step.stream(0)
    stream = step.stream(2)
    with pytest.raises(ValueError, match=r"floats of shape \(2, 6, 5, 2\)"):
        stream.step(frames()[:, 0])
    with pytest.raises(ValueError, match="one stream"):
        stream.step_events([0], [0], [0])
    stream = step.stream()
    with pytest.raises(ValueError, match=r"`x` must be .* 0\.\.4"):
        stream.step_events([5], [0], [0])
    with pytest.raises(ValueError, match="of one length"):
        stream.step_events([1, 2], [0], [0])
