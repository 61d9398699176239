"""Recordings in windows, with the state carried from batch to batch."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn.layers import (
    LIF,
    MembraneReadout,
    RecurrentLIF,
    SpikeCountReadout,
    SynapticLIF,
    TimeConstantDropout,
    TimeFold,
)
from keras_snn.training import Windows
from tests.helpers import gradients

L = keras.layers
SAMPLES, STEPS, WINDOW = 5, 12, 4


def recordings(samples=SAMPLES, steps=STEPS, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.4, 0.8, (samples, steps, 4)).astype("float32")


def network(**options):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None, 4))
    x = TimeFold(L.Dense(6))(inputs)
    x = LIF(0.75, learning_rule="arctan", **options)(x)
    x = TimeFold(L.Dense(5))(x)
    x = SynapticLIF(0.75, 0.5, alpha=0.5, reset="subtract")(x)
    x = RecurrentLIF(None, 0.75, 0.25)(x)
    x = TimeFold(L.Dense(3))(x)
    return snn.Model(inputs, MembraneReadout(0.75, "arctan")(x))


def small_network():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None, 4))
    x = TimeFold(L.Dense(6))(inputs)
    x = LIF(0.75, learning_rule="arctan")(x)
    x = TimeFold(L.Dense(3))(x)
    return snn.Model(inputs, MembraneReadout(0.75, "arctan")(x))


def with_sequences():
    keras.utils.set_random_seed(4)
    inputs = keras.Input((STEPS, 4))
    x = TimeFold(L.Dense(6))(inputs)
    options = {"learning_rule": "arctan", "return_potentials": True}
    spikes, potentials = LIF(0.75, initial_potential=0.5, **options)(x)
    x = TimeFold(L.Dense(3))(L.Concatenate()([spikes, potentials]))
    _, running = MembraneReadout(0.75, "arctan", return_potentials=True)(x)
    count = L.Dense(2)(SpikeCountReadout()(spikes))
    return keras.Model(inputs, [potentials, running, count])


def windows_of(x, size=WINDOW):
    return [x[:, t : t + size] for t in range(0, x.shape[1], size)]


def firsts(count, samples=SAMPLES):
    return [np.full(samples, n == 0) for n in range(count)]


@pytest.mark.parametrize("window", [4, 6])
def test_the_last_window_gives_what_the_whole_recording_does(window):
    model, x = network(), recordings()
    long = snn.stateful(model, SAMPLES)
    parts = windows_of(x, window)
    # Twice, as the second recording must not remember the first.
    for x_again in (x, x[::-1].copy()):
        for n, part in enumerate(windows_of(x_again, window)):
            found = long((part, firsts(len(parts))[n]))
            so_far = model(x_again[:, : (n + 1) * window])
            np.testing.assert_allclose(found, so_far, rtol=1e-5, atol=1e-6)
    assert np.any(found)


# In a graph the third window's length is none that is known.
UNEVEN = [(0, 5), (5, 11), (11, 14)]


def test_windows_of_several_lengths_give_what_the_recording_does():
    model, x = network(), recordings(steps=14)
    long = snn.stateful(model, SAMPLES)
    for (start, end), first in zip(UNEVEN, firsts(3), strict=True):
        found = long.predict_on_batch((x[:, start:end], first))
        np.testing.assert_allclose(found, model(x[:, :end]), atol=1e-5)


def test_windows_of_several_lengths_train_as_without_a_graph():
    x, y = recordings(steps=14), np.ones((SAMPLES, 3), "float32")
    learned = []
    for eagerly in (False, True):
        model = network()
        long = snn.stateful(model, SAMPLES)
        long.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=eagerly)
        for (start, end), first in zip(UNEVEN, firsts(3), strict=True):
            long.train_on_batch((x[:, start:end], first), y)
        learned.append(model.get_weights())
    for graph, eager in zip(*learned, strict=True):
        np.testing.assert_allclose(graph, eager, rtol=1e-4, atol=1e-5)


def test_sequences_are_those_of_the_window():
    model, x = with_sequences(), recordings()
    long = snn.stateful(model, SAMPLES)
    found = [long((p, f)) for p, f in zip(windows_of(x), firsts(3))]
    potentials, running, count = model(x)
    for number, whole in enumerate((potentials, running)):
        together = np.concatenate([part[number] for part in found], axis=1)
        np.testing.assert_allclose(together, whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[-1][2], count, rtol=1e-5)


def test_each_recording_begins_when_it_says_so():
    model, x = network(), recordings(2, 8)
    long = snn.stateful(model, 2)
    a, b = windows_of(x)
    long((a, np.array([True, True])))
    found = long((b, np.array([False, True])))
    np.testing.assert_allclose(found[0], model(x[:1])[0], atol=1e-5)
    np.testing.assert_allclose(found[1], model(b[1:])[0], atol=1e-5)


def by_steps(step, x, state):
    """Return scores after some steps, and the state, by `streaming`'s step."""
    for t in range(x.shape[1]):
        scores, *state = step([x[:, t], *state])
    return scores, state


def test_gradients_take_the_state_that_comes_in_as_constant():
    model, x = network(), recordings(2, 8)
    long = snn.stateful(model, 2)
    a, b = windows_of(x)
    g = np.random.default_rng(1).normal(size=(2, 3)).astype("float32")
    step = snn.streaming(model)
    state = step.initial_state(2)
    for part, first in ((a, True), (b, False)):
        # The state is that of constants: only this window is differentiated.
        state = [np.asarray(s) for s in state]
        value, expected = gradients(
            lambda part, state=state: ops.sum(
                by_steps(step, part, state)[0] * g
            ),
            [part],
            model.trainable_variables,
        )
        found_value, found = gradients(
            lambda part, first=first: ops.sum(
                long((part, np.full(2, first)), training=True) * g
            ),
            [part],
            model.trainable_variables,
        )
        long((part, np.full(2, first)))
        _, state = by_steps(step, part, state)
        np.testing.assert_allclose(found_value, value, rtol=1e-5)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
            assert np.any(theirs)


def fitted(model, epochs, batch_size=2, long=None, epoch=0, **compiling):
    x, y = recordings(), np.eye(3, dtype="float32")[[0, 1, 2, 0, 1]]
    if long is None:
        long = snn.stateful(model, batch_size)
        long.compile(keras.optimizers.Adam(0.01), "mse", **compiling)
    windows = Windows(x, y, WINDOW, batch_size, seed=1, epoch=epoch)
    history = long.fit(windows, epochs=epochs, verbose=0).history
    return long, history


def test_fit_is_a_loop_over_windows_in_order():
    """Against a loop of `train_on_batch`, whose state is that of a row."""
    long, _ = fitted(small_network(), 2)
    model = small_network()
    one = snn.stateful(model, 2)
    one.compile(keras.optimizers.Adam(0.01), "mse")
    x, y = recordings(), np.eye(3, dtype="float32")[[0, 1, 2, 0, 1]]
    for epoch in range(2):
        order = np.random.default_rng([1, 1, epoch]).permutation(SAMPLES)
        for rows in (order[:2], order[2:4], order[4:]):
            for n, part in enumerate(windows_of(x[rows])):
                one.train_on_batch((part, np.full(len(rows), n == 0)), y[rows])
    for ours, theirs in zip(
        long.model.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    before = small_network().get_weights()
    assert all(np.any(a != b) for a, b in zip(before, model.get_weights()))


def test_a_saved_run_goes_on_as_if_it_had_not_been_saved(tmp_path):
    through, _ = fitted(small_network(), 2)
    half, _ = fitted(small_network(), 1)
    half.save(tmp_path / "half.keras")
    again = keras.models.load_model(tmp_path / "half.keras")
    assert type(again) is snn.models.StatefulModel
    again, _ = fitted(None, 1, long=again, epoch=1)
    for ours, theirs in zip(
        again.model.get_weights(), through.model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_evaluate_and_predict_see_windows():
    model, x = small_network(), recordings()
    y = np.eye(3, dtype="float32")[[0, 1, 2, 0, 1]]
    long = snn.stateful(model, SAMPLES)
    long.compile("sgd", "mse")
    windows = Windows(x, y, WINDOW, SAMPLES, shuffle=False)
    expected = [model(x[:, :n]) for n in (4, 8, 12)]
    found = long.predict(windows, verbose=0)
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-5)
    mean = np.mean([(np.asarray(p) - y) ** 2 for p in expected])
    assert long.evaluate(windows, verbose=0) == pytest.approx(mean, rel=1e-4)


def test_targets_of_every_step():
    model, x = with_sequences(), recordings()
    model = keras.Model(model.input, model.outputs[1])
    y = np.random.default_rng(0).normal(size=(SAMPLES, STEPS, 3))
    long = snn.stateful(model, SAMPLES)
    long.compile("sgd", "mse")
    windows = Windows(x, y, WINDOW, SAMPLES, targets="step", shuffle=False)
    expected = np.mean((np.asarray(model(x)) - y) ** 2)
    found = long.evaluate(windows, verbose=0)
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_dropout_mask_lasts_for_a_recording():
    inputs = keras.Input((None, 4))
    x = TimeConstantDropout(0.5, seed=1)(inputs)
    model = keras.Model(inputs, SpikeCountReadout(normalize=False)(x))
    long = snn.stateful(model, 64)
    ones = np.ones((64, 3, 4), "float32")
    seen = []
    for first in (True, False, True):
        counts = long((ones, np.full(64, first)), training=True)
        seen.append(np.asarray(counts) > 0)
    np.testing.assert_array_equal(seen[0], seen[1])
    assert np.any(seen[1] != seen[2]) and np.any(seen[0]) and np.any(~seen[0])


def test_windows_are_in_order_and_groups_are_shuffled():
    x = np.arange(5)[:, None, None] * np.ones((1, 6, 1)) * 10
    x = x + np.arange(6)[None, :, None]
    y = np.arange(30).reshape(5, 6)
    windows = Windows(x, y, 2, 2, targets="step", seed=4)
    assert len(windows) == 9
    orders = []
    for epoch in range(2):
        rows = np.random.default_rng([4, 1, epoch]).permutation(5)
        for n in range(9):
            (part, first), target = windows[n]
            group = rows[n // 3 * 2 :][:2]
            at = n % 3 * 2
            np.testing.assert_array_equal(
                part[:, :, 0], 10 * group[:, None] + [at, at + 1]
            )
            np.testing.assert_array_equal(first, [at == 0] * len(group))
            np.testing.assert_array_equal(target, y[group, at : at + 2])
        orders.append(rows.tolist())
        windows.on_epoch_begin()
        windows.on_epoch_end()
    assert orders[0] != orders[1]
    windows = Windows(x, y[:, :3], 2, 2, targets="window", shuffle=False)
    np.testing.assert_array_equal(windows[1][1], y[:2, 1])


def refused(name):
    inputs = keras.Input((STEPS, 4))
    if name == "encoder":
        inputs = keras.Input((4,))
        return keras.Model(
            inputs,
            LIF(learning_rule="arctan")(snn.layers.RepeatEncoder(3)(inputs)),
        )
    if name == "two":
        other = keras.Input((STEPS, 4))
        x = LIF(learning_rule="arctan")(L.Add()([inputs, other]))
        return keras.Model([inputs, other], x)
    if name == "whole":
        x = LIF(learning_rule="arctan")(inputs)
        return keras.Model(inputs, L.GlobalAveragePooling1D()(x))
    if name == "regularizer":
        rates = snn.regularizers.SpikeRate(0.1)
        x = LIF(learning_rule="arctan", activity_regularizer=rates)(inputs)
        return keras.Model(inputs, MembraneReadout()(x))
    return keras.Model(
        inputs, MembraneReadout()(LIF(learning_rule=name)(inputs))
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("encoder", "RepeatEncoder.*makes the time axis.*Encode"),
        ("two", "with 2 inputs"),
        ("whole", "does not run so.*whole sequence"),
        ("regularizer", "activity regularizer"),
        ("collapsed", "'lif.*rule for whole.*collapsed.*surrogate"),
        ("exact", "rule for whole.*exact"),
        ("rate", "rule for whole.*Rate"),
    ],
)
def test_models_that_cannot_learn_in_windows_are_refused(name, words):
    with pytest.raises(ValueError, match=words):
        snn.stateful(refused(name), 2)


def test_a_regularizer_that_is_set_later_is_refused():
    model = small_network()
    long = snn.stateful(model, SAMPLES)
    fold = next(x for x in model.layers if isinstance(x, TimeFold))
    fold.layer.activity_regularizer = keras.regularizers.L2(0.5)
    with pytest.raises(ValueError, match="activity regularizer, which sees"):
        long((recordings()[:, :WINDOW], firsts(1)[0]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: Windows(x, steps=5), "multiple.*x\\[:, :10\\]"),
        (lambda x: Windows(x[:, :, 0], steps=2), "axes \\(samples, time"),
        (lambda x: Windows(x, x[:3], 4), "begins with \\(5,\\)"),
        (lambda x: Windows(x, x, 4, targets="window"), "begins with \\(5, 3"),
        (lambda x: Windows(x, x, 4, targets="frame"), "recording"),
        (lambda x: Windows(x, x, 0), "`steps`.*positive"),
        (
            lambda x: snn.stateful(small_network(), 2)((x[:, :2], np.ones(5))),
            "state of 2 recordings.*batch of 5",
        ),
        (
            lambda x: snn.stateful(small_network(), 5).fit(
                Windows(x, x, 4), shuffle=True
            ),
            "shuffle=True.*Windows",
        ),
    ],
)
def test_bad_arguments_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make(recordings())
