"""What a model of the library does where its loop does not fit: as Keras."""

import threading

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn.running.scopes import in_turn
from tests.helpers import engine

L, S, TimeFold = keras.layers, snn.layers, snn.layers.TimeFold
RULES = ["rate", "collapsed", "exact", "arctan"]
on_tensorflow = keras.config.backend() == "tensorflow"


def drawn(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1.5, shape).astype("float32")


def pair(inputs, outputs, **given):
    """Return a `keras.Model`, which is the reference, and a `snn.Model`."""
    keras_model = keras.Model(inputs, outputs)
    return keras_model, snn.Model(inputs, outputs, **given)


def small(*between, rule="rate", time_steps=4, training=None):
    """Return inputs and outputs, with layers behind the neurons."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((time_steps, 10))
    dense = L.Dense(12, use_bias=False)
    x = S.LIF(threshold=0.3, learning_rule=rule)(TimeFold(dense)(inputs))
    for layer in between:
        x = layer(x) if training is None else layer(x, training=training)
    x = TimeFold(L.Dense(3))(x)
    return inputs, S.MembraneReadout(learning_rule=rule)(x)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "dropout", [L.Dropout, L.GaussianNoise, L.AlphaDropout, L.SpatialDropout1D]
)
def test_dropout_on_a_sequence_drops_in_training_only(dropout, rule):
    layer = dropout(0.9)
    keras_model, model = pair(*small(layer, rule=rule), remat_steps=2)
    x = drawn(6, 4, 10)
    quiet = model.predict(x, verbose=0)
    for on in (True, False):
        with engine(on):
            np.testing.assert_allclose(
                keras_model.predict(x, verbose=0),
                model.predict(x, verbose=0),
                atol=1e-5,
            )
    assert np.abs(model(x, training=True) - quiet).max() > 0.1
    assert repr(layer.name) in model.runs_layer_by_layer
    model.compile("sgd", "mse")
    model.fit(x, drawn(6, 3), verbose=0)


@pytest.mark.parametrize("on", [True, False])
def test_dropout_on_a_sequence_is_nothing_in_streams(on):
    model, x = snn.Model(*small(L.SpatialDropout1D(0.9))), drawn(6, 4, 10)
    with engine(on):
        step = snn.streaming(model)
        state = step.initial_state(6)
        for t in range(4):
            scores, *state = step([x[:, t], *state])
        rates = snn.models.spike_rates(model, x)
    np.testing.assert_allclose(scores, model.predict(x, verbose=0), atol=1e-5)
    recorded = snn.analysis.record(model, x).rates()
    assert rates == pytest.approx({name: recorded[name] for name in rates})


def test_identities_stay_in_the_loop():
    model = snn.Model(*small(L.Identity()))
    assert model.runs_layer_by_layer is None


# The results have no time to be masked in.
unmasked = pytest.mark.filterwarnings("ignore:.*does not support masking")


@unmasked
@pytest.mark.parametrize("rule", RULES)
def test_a_mask_holds(rule):
    keras_model, model = pair(*small(rule=rule))
    x, mask = drawn(6, 4, 10), np.array([[1, 1, 0, 0]] * 6, bool)
    expected = keras_model(x, mask=mask)
    assert np.abs(expected - keras_model(x)).max() > 0.01
    np.testing.assert_allclose(model(x, mask=mask), expected, atol=1e-6)


@unmasked
@pytest.mark.parametrize("outer", [keras.Model, snn.Model])
def test_a_mask_of_a_model_around_holds(outer):
    keras_model, model = pair(*small())
    x = drawn(6, 4, 10)
    x[:, 2:] = -1
    found = []
    for inner in (keras_model, model):
        inputs = keras.Input((4, 10))
        around = outer(inputs, inner(L.Masking(-1.0)(inputs)))
        found.append(around.predict(x, verbose=0))
    np.testing.assert_allclose(*found, atol=1e-6)
    assert np.abs(found[0] - keras_model.predict(x, verbose=0)).max() > 0.01


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("channels", [6, 4])
def test_sums_of_currents_that_are_normalized_along_any_axis(channels, axis):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 6, 3))

    def convolution(x):
        return TimeFold(L.Conv2D(channels, 3, padding="same"))(x)

    x = S.LIF(threshold=0.3, learning_rule="rate")(
        convolution(S.RepeatEncoder(4)(inputs))
    )
    normalization = L.BatchNormalization(
        axis=axis,
        beta_initializer="random_normal",
        gamma_initializer=keras.initializers.RandomUniform(0.2, 3.0),
    )
    y = TimeFold(normalization)(convolution(x))
    x = S.LIF(learning_rule="rate")(L.Add()([convolution(x), y]))
    x = TimeFold(L.Dense(3))(TimeFold(L.Flatten())(x))
    keras_model, model = pair(inputs, S.MembraneReadout(1.0, "rate")(x))
    x = drawn(6, 6, 6, 3) - 0.7
    expected = keras_model(x, training=True)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(model(x, training=True), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(5,), ()])
@pytest.mark.parametrize("rule", RULES)
def test_a_value_without_time_is_added_at_every_step(rule, shape):
    keras.utils.set_random_seed(0)
    inputs, other = keras.Input((4, 4)), keras.Input(shape)
    y = L.Dense(4)(other) if shape else other
    x = L.Add()([TimeFold(L.Dense(4))(inputs), y])
    x = S.LIF(threshold=0.5, learning_rule=rule)(x)
    x = TimeFold(L.Dense(3))(x)
    outputs = S.MembraneReadout(learning_rule=rule)(x)
    models = pair([inputs, other], outputs)
    data = [drawn(6, 4, 4), drawn(6, *shape)]
    found, weights = [], models[0].get_weights()
    for model in models:
        model.set_weights(weights)
        model.compile("sgd", "mse")
        prediction = model.predict(data, verbose=0)
        loss = model.train_on_batch(data, drawn(6, 3))
        found.append((prediction, loss, *model.get_weights()))
    for expected, actual in zip(*found, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


class Penalty(L.Layer):
    """Adds the mean of what it passes on to the loss."""

    def call(self, x):
        self.add_loss(ops.mean(x))
        return x

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("time_steps", [4, 12, 20])
@pytest.mark.parametrize("rule", ["rate", "exact"])
def test_what_a_layer_adds_to_the_loss_counts_once(rule, time_steps, nested):
    layer = Penalty()
    if nested:
        layer = keras.Sequential([layer])
    given = {"rule": rule, "time_steps": time_steps}
    found = []
    for model in pair(*small(TimeFold(layer), **given)):
        model.compile(keras.optimizers.SGD(0.0), "mse")
        data = drawn(6, time_steps, 10), drawn(6, 3)
        found.append(model.evaluate(*data, verbose=0))
        if on_tensorflow:  # JAX drops what is added in a gradient's trace
            found[-1] = found[-1], model.train_on_batch(*data)
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert "adds to the loss" in model.runs_layer_by_layer


def frozen(rule):
    """Return inputs and outputs with a normalization that does not learn."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 10))
    x = TimeFold(L.Dense(8))(inputs)
    x = TimeFold(L.BatchNormalization(trainable=False, name="bn"))(x)
    x = S.LIF(beta=0.9, threshold=0.3, learning_rule=rule)(x)
    x = TimeFold(L.Dense(3))(x)
    return inputs, S.MembraneReadout(learning_rule=rule)(x)


@pytest.mark.parametrize("rule", ["exact", "arctan"])
def test_a_normalization_that_is_unfrozen_sees_all_steps(rule):
    found = []
    for kind, given in ((keras.Model, {}), (snn.Model, {"remat_steps": 5})):
        model = kind(*frozen(rule), **given)
        model.layers[2].layer.trainable = True
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.train_on_batch(drawn(6, 20, 10), drawn(6, 3, seed=1))
        found.append(model.get_weights())
    for expected, actual in zip(*found, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5)
    assert "'bn'" in model.runs_layer_by_layer


@pytest.mark.parametrize("place", ["dense", "neurons"])
@pytest.mark.parametrize("rule", RULES)
def test_a_regularizer_that_is_set_later_counts(rule, place):
    inputs, outputs = small(rule=rule)
    keras_model, model = pair(inputs, outputs, remat_steps=2)
    fold, neurons = model.layers[1:3]
    layer = fold.layer if place == "dense" else neurons
    layer.activity_regularizer = keras.regularizers.L2(0.5)
    data, found = (drawn(6, 4, 10), drawn(6, 3)), []
    for each in (keras_model, model):
        each.compile(keras.optimizers.SGD(0.0), "mse")
        found.append((each.evaluate(*data, verbose=0),))
        if on_tensorflow or place == "neurons":
            found[-1] += (each.train_on_batch(*data),)
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert "activity regularizer" in model.runs_layer_by_layer


@pytest.mark.parametrize(
    "regularizer", [snn.regularizers.Silence(1.0), keras.regularizers.L2(0.5)]
)
@pytest.mark.parametrize("rule", RULES)
def test_evaluate_counts_penalties_of_models_behind_one_another(
    rule, regularizer
):
    def block(features, units):
        x = inputs = keras.Input((features,))
        x = TimeFold(L.Dense(8))(S.RepeatEncoder(5)(x))
        x = S.LIF(
            threshold=0.2, learning_rule=rule, activity_regularizer=regularizer
        )(x)
        outputs = S.MembraneReadout(learning_rule=rule)(
            TimeFold(L.Dense(units))(x)
        )
        return snn.Model(inputs, outputs)

    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    models = pair(inputs, block(4, 2)(block(6, 4)(inputs)))
    data, found = (drawn(4, 6), drawn(4, 2)), []
    for model in models:
        model.compile(keras.optimizers.SGD(0.0), "mse")
        found.append(model.evaluate(*data, verbose=0))
        found.append(model.train_on_batch(*data))
    assert "second sequence" in model.runs_layer_by_layer
    np.testing.assert_allclose(found, found[0], rtol=1e-5)


def test_an_encoder_may_be_an_output():
    inputs = keras.Input((10,))
    x = spikes = S.RepeatEncoder(4)(inputs)
    x = S.LIF(learning_rule="rate")(TimeFold(L.Dense(12))(x))
    x = S.MembraneReadout(learning_rule="rate")(TimeFold(L.Dense(3))(x))
    for model in pair(inputs, [x, spikes]):
        found = model(drawn(6, 10), training=True)
        assert [tuple(y.shape) for y in found] == [(6, 3), (6, 4, 10)]


def test_inputs_by_name_are_checked_as_themselves():
    pixels = keras.Input((10,), name="pixels")
    camera = keras.Input((), dtype="int32", name="camera")
    x = S.LIF()(S.RepeatEncoder(4)(pixels))
    x = S.MembraneReadout()(TimeFold(L.Dense(3))(x))
    outputs = L.Add()([x, L.Embedding(5, 3)(camera)])
    keras_model, model = pair([pixels, camera], outputs)
    data = {"pixels": drawn(6, 10), "camera": np.arange(6, dtype="int32") % 5}
    np.testing.assert_allclose(
        model.predict(data, verbose=0),
        keras_model.predict(data, verbose=0),
        atol=1e-6,
    )
    data["pixels"] = np.full((6, 10), 200, "uint8")
    with pytest.raises(ValueError, match="floating point images"):
        model(data)


CALLS = {
    "predict": lambda model, x, y: model.predict(x, verbose=0),
    "predict_on_batch": lambda model, x, y: model.predict_on_batch(x),
    "evaluate": lambda model, x, y: model.evaluate(x, y, verbose=0),
    "test_on_batch": lambda model, x, y: model.test_on_batch(x, y),
}


@pytest.mark.skipif(on_tensorflow, reason="threads need no turns there")
@pytest.mark.parametrize("name", CALLS)
def test_calls_of_several_threads_take_turns(name):
    model = snn.Model(*small())
    model.compile("sgd", "mse")
    data = model, drawn(6, 4, 10), drawn(6, 3)
    CALLS[name](*data)
    thread = threading.Thread(target=CALLS[name], args=data)
    with in_turn():
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(60)
    assert not thread.is_alive()


def test_rates_are_kept_in_fit_only():
    model = snn.Model(*small())
    model.compile("sgd", "mse")
    x = drawn(6, 4, 10)
    model.fit(x, drawn(6, 3), verbose=0)
    known = model.rates_of_fit.latest()
    assert min(known.values()) > 0
    model(0 * x, training=True)
    assert model.rates_of_fit.latest() == known


@pytest.mark.skipif(not on_tensorflow, reason="a TensorFlow file")
def test_a_module_is_saved_after_fit(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.model = snn.Model(*small())
    module.model.compile("sgd", "mse")
    x = drawn(6, 4, 10)
    module.model.fit(x, drawn(6, 3), verbose=0)
    signature = [tf.TensorSpec((None, 4, 10))]
    module.call = tf.function(
        lambda x: module.model(x), input_signature=signature
    )
    tf.saved_model.save(module, tmp_path / "saved")
    loaded = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(loaded.call(x), module.model(x), atol=1e-6)


def test_layers_built_with_training_train_unless_told_otherwise():
    dropout = S.TimeConstantDropout(0.5)
    for model in pair(*small(dropout, training=True)):
        x = drawn(6, 4, 10)
        assert np.abs(model(x) - model(x)).max() > 0.01
        once, again = (model.predict(x, verbose=0) for _ in range(2))
        np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("rule", RULES)
def test_no_samples_give_none(rule):
    spikes = S.LIF(learning_rule=rule)(np.zeros((0, 4, 3), "float32"))
    assert spikes.shape == (0, 4, 3)
