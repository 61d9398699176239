"""Regularizers of rates against their formulas, in layers of every rule."""

import math

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from tests.helpers import gradients

SpikeRate, Silence = snn.regularizers.SpikeRate, snn.regularizers.Silence


def spikes_of(shape=(4, 10, 3, 2), rate=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random(shape) < rate).astype("float32")


CASES = [
    (SpikeRate(target=0.2, weight=3.0), lambda r: 3 * (r - 0.2) ** 2),
    (SpikeRate(upper=0.3), lambda r: np.maximum(0, r - 0.3) ** 2),
    (Silence(0.3, weight=2.0), lambda r: 2 * np.maximum(0, 0.3 - r) ** 2),
]


@pytest.mark.parametrize("regularizer, formula", CASES)
@pytest.mark.parametrize("batch", [1, 4])
def test_penalty_of_a_layer_does_not_depend_on_the_batch_size(
    regularizer, formula, batch
):
    x = spikes_of()
    expected = formula(x.mean((0, 1))).mean()
    assert expected > 0
    if batch == 1:
        # The same spikes as one long sample.
        x = x.reshape(1, -1, *x.shape[2:])
    layer = snn.layers.IF(0.5, activity_regularizer=regularizer)
    np.testing.assert_array_equal(layer(x), x)
    assert float(sum(layer.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("regularizer, formula", CASES)
def test_gradient_is_the_same_at_every_step(regularizer, formula):
    x = spikes_of()
    _, (found,) = gradients(regularizer, [x])
    r, h = x.astype(float).mean((0, 1)), 1e-6
    slope = (formula(r + h) - formula(r - h)) / (2 * h)
    # What layers of today's Keras divide by, the batch size, is still in.
    samples = len(x) if snn.regularizers._LAYERS_DIVIDE else 1
    expected = samples * slope / r.size / (len(x) * x.shape[1])
    np.testing.assert_allclose(
        found, np.broadcast_to(expected, x.shape), rtol=1e-3, atol=1e-7
    )


@pytest.mark.parametrize("rule", ["collapsed", "rate", "exact", "arctan"])
@pytest.mark.parametrize(
    "regularizer, lowers",
    [(SpikeRate(target=0.0, weight=9.0), True), (Silence(1.0, 9.0), False)],
)
def test_training_by_every_rule_moves_the_rate(rule, regularizer, lowers):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((10, 6))
    dense = keras.layers.Dense(5, kernel_initializer="ones")
    x = snn.layers.TimeFold(dense)(inputs)
    lif = snn.layers.LIF(
        threshold=4.0, learning_rule=rule, activity_regularizer=regularizer
    )
    outputs = snn.layers.SpikeCountReadout()(lif(x))
    model = snn.Model(inputs, outputs)
    if rule in ("collapsed", "rate"):
        assert model.training_order == "time first"
    else:
        assert "activity regularizer" in model.runs_layer_by_layer
    # The loss proper asks for nothing.
    model.compile(keras.optimizers.SGD(0.3), lambda y, o: 0.0 * o[:, 0])
    x, y = spikes_of((8, 10, 6)), np.zeros((8, 1))
    before = model.predict(x, verbose=0).mean()
    assert 0.1 < before < 0.9
    model.fit(x, y, 8, 5, verbose=0)
    after = model.predict(x, verbose=0).mean()
    assert after < before - 0.05 if lowers else after > before + 0.05


def regularized(rule, norm):
    """Return inputs and outputs of two layers with a regularizer each."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((6, 5))
    for units, regularizer in [
        (7, SpikeRate(target=0.6, weight=2.0)),
        (4, SpikeRate(upper=0.1, weight=3.0)),
    ]:
        dense = keras.layers.Dense(units, kernel_initializer="he_normal")
        x = snn.layers.TimeFold(dense)(x)
        if norm:
            x = snn.layers.TimeFold(keras.layers.BatchNormalization())(x)
        x = snn.layers.LIF(
            0.9, 0.5, learning_rule=rule, activity_regularizer=regularizer
        )(x)
    return inputs, snn.layers.MembraneReadout(1.0, learning_rule=rule)(x)


@pytest.mark.parametrize("rule", ["collapsed", "rate"])
def test_one_pass_learns_as_layer_by_layer(rule):
    found = []
    for kind in (snn.Model, keras.Model):
        model = kind(*regularized(rule, norm=False))
        model.compile(keras.optimizers.SGD(0.5), lambda y, o: 0.0 * o[:, 0])
        data = spikes_of((8, 6, 5), 0.5), np.zeros((8, 1))
        history = model.fit(*data, 8, 1, verbose=0)
        found.append((history.history["loss"][0], model.get_weights()))
    (ours, our_weights), (theirs, their_weights) = found
    assert theirs > 0
    assert ours == pytest.approx(theirs, rel=1e-5)
    for a, b in zip(our_weights, their_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow",
    reason="losses are collected in a training step only",
)
@pytest.mark.parametrize("rule", ["collapsed", "rate"])
@pytest.mark.parametrize("norm", [False, True])
def test_one_pass_has_the_loss_and_gradients_of_layer_by_layer(rule, norm):
    inputs, outputs = regularized(rule, norm)
    one_pass = snn.Model(inputs, outputs)
    plain = keras.Model(inputs, outputs)
    order = "layer first" if norm or rule == "rate" else "time first"
    assert one_pass.training_order == order
    spikes = spikes_of((8, 6, 5), 0.5)

    def loss_of(model):
        def loss(x):
            y = model(x, training=not norm)
            return ops.sum(y**2) + sum(model.losses)

        return gradients(loss, [spikes], model.trainable_variables)

    (ours, ours_g), (theirs, theirs_g) = loss_of(one_pass), loss_of(plain)
    assert float(sum(plain.losses)) > 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    for a, b in zip(ours_g, theirs_g):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("time_steps", [6, 11])
@pytest.mark.parametrize(
    "kind, given",
    [
        ("LIF", {"learning_rule": "rate"}),
        ("LIF", {"learning_rule": "exact", "beta": 0.9}),
        ("PLIF", {"reset": "zero"}),
        ("ALIF", {}),
        ("SynapticLIF", {}),
        ("RecurrentLIF", {}),
    ],
)
def test_evaluation_counts_every_call_and_keeps_no_step(
    kind, given, time_steps, monkeypatch
):
    inputs = keras.Input((time_steps, 5))
    dense = keras.layers.Dense(7, kernel_initializer="he_normal")
    x = snn.layers.TimeFold(dense)(inputs)
    layer = getattr(snn.layers, kind)(
        threshold=0.5, activity_regularizer=SpikeRate(0.6, weight=3.0), **given
    )
    once = layer(x)
    twice = layer(snn.layers.TimeFold(keras.layers.Dense(7))(once))
    outputs = snn.layers.MembraneReadout(0.9)(twice)
    data = spikes_of((6, time_steps, 5), 0.5), np.zeros((6, 7), "float32")
    spikes = keras.Model(inputs, [once, twice])
    trains = [spikes.predict(x, verbose=0) for x in np.split(data[0], 2)]
    rates = np.array(trains).mean((2, 3))
    expected = 3 * 2 * np.mean((rates - 0.6) ** 2)

    def call(*args, **kwargs):
        raise AssertionError("called on a whole sequence")

    model = snn.Model(inputs, outputs)
    model.compile("sgd", lambda y, o: 0.0 * o[:, 0])
    # JAX builds it by calls of its own.
    model.evaluate(*data, verbose=0)
    monkeypatch.setattr(type(layer), "call", call)
    model.make_test_function(force=True)
    found = model.evaluate(*data, batch_size=3, verbose=0)
    assert found == pytest.approx(expected, rel=1e-5)
    model.predict(data[0], verbose=0)
    assert not model.losses


@pytest.mark.parametrize("rule", ["collapsed", "exact", "arctan"])
def test_a_silent_neuron_is_woken_by_surrogates_only(rule):
    layer = snn.layers.LIF(learning_rule=rule)
    penalty = Silence(0.1)
    x = np.full((2, 5, 3), 0.1, "float32")
    _, (found,) = gradients(lambda x: penalty(layer(x)), [x])
    if rule == "arctan":
        assert np.all(found < 0)
    else:
        assert not np.any(found)


def test_mixed_precision(mixed_bfloat16):
    x = spikes_of((4, 300, 2), rate=0.9)
    layer = snn.layers.IF(0.5, activity_regularizer=SpikeRate(target=0.0))
    layer(ops.cast(x, "bfloat16"))
    expected = (x.mean((0, 1)) ** 2).mean()
    # A sum of 1080 spikes has no place in eight bits.
    assert float(sum(layer.losses)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("regularizer, _", CASES)
def test_round_trip(regularizer, _, tmp_path):
    inputs = keras.Input((4, 3))
    layer = snn.layers.PLIF(activity_regularizer=regularizer)
    keras.Model(inputs, layer(inputs)).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    again = loaded.activity_regularizer
    assert type(again) is type(regularizer)
    assert again.get_config() == regularizer.get_config()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SpikeRate(), "either `target`.*or `upper`"),
        (lambda: SpikeRate(0.1, 0.2), "either `target`.*or `upper`"),
        (lambda: SpikeRate(1.5), r"`target` must lie in \[0, 1\]"),
        (lambda: SpikeRate(upper=True), r"`upper` must lie in \[0, 1\]"),
        (lambda: SpikeRate(0.1, weight=-1), "`weight` must be finite and"),
        (lambda: Silence(-0.1), r"`lower` must lie in \[0, 1\]"),
        (lambda: Silence(weight=math.nan), "`weight` must be finite and"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
