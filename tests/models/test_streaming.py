import keras
import numpy as np
import pytest

import keras_snn as snn


def spikes(time_steps, shape=(8, 8, 1), batch=3):
    rng = np.random.default_rng(0)
    train = rng.random((batch, time_steps, *shape)) < 0.5
    return train.astype("float32")


def lenet(**options):
    return snn.models.LeNet(
        input_shape=(8, 8, 1),
        width=0.2,
        seed=1,
        encoder=None,
        time_steps=None,
        **options,
    )


@pytest.mark.parametrize("rule", ["collapsed", "exact", "arctan"])
def test_running_output_equals_the_model_at_every_step(rule):
    model, x = lenet(learning_rule=rule), spikes(7)
    step = snn.streaming(model)
    state = step.initial_state(batch_size=3)
    for t in range(7):
        scores, *state = step([x[:, t], *state])
        np.testing.assert_allclose(
            scores, model.predict(x[:, : t + 1], verbose=0), atol=1e-6
        )
    assert float(state[0][0]) == 7


def test_streams_start_from_the_initial_potential(tmp_path):
    inputs = keras.Input((5, 4))
    x = snn.layers.TimeFold(keras.layers.Dense(6))(inputs)
    x = snn.layers.IF(initial_potential=0.9, reset="subtract")(x)
    outputs = snn.layers.SpikeCountReadout()(x)
    model = snn.Model(inputs, outputs)
    frames = spikes(5, (4,))
    expected = keras.Model(inputs, outputs).predict(frames, verbose=0)
    np.testing.assert_array_equal(model.predict(frames, verbose=0), expected)
    snn.streaming(model).save(tmp_path / "step.keras")
    step = keras.models.load_model(tmp_path / "step.keras")
    state = step.initial_state(3)
    for t in range(5):
        scores, *state = step([frames[:, t], *state])
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_residual_networks_stream():
    model = snn.models.ResNet7(
        input_shape=(8, 8, 3),
        width=1 / 16,
        seed=1,
        encoder=None,
        time_steps=5,
        norm="none",
    )
    x = spikes(5, (8, 8, 3))
    step = snn.streaming(model)
    state = step.initial_state(3)
    for t in range(5):
        scores, *state = step([x[:, t], *state])
    np.testing.assert_allclose(scores, model.predict(x, verbose=0), atol=1e-6)


def test_streams_of_a_batch_may_be_of_different_age():
    model, x = lenet(), spikes(6)
    step = snn.streaming(model)
    state = step.initial_state(3)
    for t in range(3):
        _, *state = step([x[:, t], *state])
    fresh = step.initial_state(3)
    keep = np.array([True, False, True])
    state = [
        np.where(keep.reshape(-1, *[1] * (len(s.shape) - 1)), s, f)
        for s, f in zip(state, fresh)
    ]
    for t in range(3, 6):
        scores, *state = step([x[:, t], *state])
    scores = np.asarray(scores)
    whole, late = (
        model.predict(x, verbose=0),
        model.predict(x[:, 3:], verbose=0),
    )
    np.testing.assert_allclose(scores[keep], whole[keep], atol=1e-6)
    np.testing.assert_allclose(scores[1], late[1], atol=1e-6)


def test_weights_are_shared():
    model = lenet()
    step = snn.streaming(model)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    scores, *_ = step([spikes(1)[:, 0], *step.initial_state(3)])
    np.testing.assert_array_equal(scores, np.zeros((3, 10)))


def test_step_model_saves_and_loads(tmp_path):
    step, x = snn.streaming(lenet()), spikes(4)
    step.save(tmp_path / "step.keras")
    again = keras.models.load_model(tmp_path / "step.keras")
    state, state2 = step.initial_state(3), again.initial_state(3)
    for t in range(4):
        scores, *state = step([x[:, t], *state])
        scores2, *state2 = again([x[:, t], *state2])
    np.testing.assert_allclose(scores, scores2, atol=1e-6)


def test_a_cloned_step_model_asks_for_what_its_state_starts_with():
    step, x = snn.streaming(lenet()), spikes(2)
    clone = keras.models.clone_model(step)
    for begin in (clone.initial_state, clone.stream):
        with pytest.raises(ValueError, match="clone.initial_values = step"):
            begin()
    clone.initial_values = step.initial_values
    clone.set_weights(step.get_weights())
    stream, expected = clone.stream(3), step.stream(3)
    for t in range(2):
        np.testing.assert_allclose(
            stream.step(x[:, t]), expected.step(x[:, t]), atol=1e-6
        )


def test_layers_after_the_readout_see_the_running_output():
    model = lenet()
    softmax = snn.Model(model.input, keras.layers.Softmax()(model.output))
    step, x = snn.streaming(softmax), spikes(2)
    state = step.initial_state(3)
    for t in range(2):
        scores, *state = step([x[:, t], *state])
    np.testing.assert_allclose(scores, softmax.predict(x, verbose=0), atol=1e-6)


def test_a_model_that_needs_the_whole_sequence_is_refused():
    inputs = keras.Input((5, 3))
    spikes = snn.layers.LIF()(inputs)
    outputs = keras.layers.GlobalAveragePooling1D()(spikes)
    with pytest.raises(ValueError, match="works on the whole sequence"):
        snn.streaming(keras.Model(inputs, outputs))


def test_of_a_sequence_that_is_returned_a_step_gives_its_own():
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, snn.layers.LIF(beta=0.75)(inputs))
    x = np.random.default_rng(0).random((2, 5, 3), "float32")
    stream, expected = snn.streaming(model).stream(2), model(x)
    for t in range(5):
        np.testing.assert_array_equal(stream.step(x[:, t]), expected[:, t])
    assert np.any(expected)
