"""Padding that is masked: as if it were not there.

The truth is each sample without its masked steps, on its own. What stands at
masked steps, forwards and backwards, is garbage.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn
from keras_snn.layers import (
    ALIF,
    IF,
    LIF,
    PLIF,
    MaxRatePooling2D,
    MembraneReadout,
    PoissonEncoder,
    RecurrentLIF,
    SpikeCountReadout,
    SynapticLIF,
    TimeConstantDropout,
    TimeFold,
)
from keras_snn.layers.readouts import Readout
from keras_snn.layers.time_layer import TimeLayer, counts_or_draws
from tests.helpers import compiled, gradients, slow_on_jax

CHANNELS = 3
# At the end, in front, in the middle, everywhere, nowhere.
MASK = np.array(
    [
        [1, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 1, 1],
        [1, 1, 0, 0, 0, 0, 0, 1],
        [0, 1, 0, 1, 1, 0, 1, 1],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ],
    bool,
)
SAMPLES, TIME_STEPS = MASK.shape
# As many steps in every sample, so that they make a batch without padding.
EQUAL = np.array(
    [
        [1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 1],
        [0, 1, 1, 0, 1, 0, 1],
    ],
    bool,
)

NEURONS = {
    "collapsed": lambda: LIF(0.9, 0.7),
    "exact": lambda: LIF(0.9, 0.7, learning_rule="exact"),
    "arctan": lambda: LIF(0.9, 0.7, learning_rule="arctan"),
    "rate": lambda: LIF(0.9, 0.7, learning_rule="rate"),
    "rate, subtract": lambda: LIF(
        0.9, 0.7, reset="subtract", learning_rule="rate", unroll=True
    ),
    # What is left after the last step goes on firing.
    "collapsed, going on": lambda: IF(
        0.2, reset="subtract", factor="leak_corrected"
    ),
    "exact, going on": lambda: LIF(
        0.99, 0.2, reset="subtract", learning_rule="exact"
    ),
    # 0.5^-T is large.
    "fast": lambda: LIF(0.5, 0.4, initial_potential=0.2),
    "unrolled": lambda: LIF(0.9, 0.7, unroll=True),
    "PLIF": lambda: PLIF(0.8, 0.7, per_channel=True),
    "ALIF": lambda: ALIF(0.9, 0.7, amplitude=0.3),
    "SynapticLIF": lambda: SynapticLIF(0.9, 0.7, reset="subtract"),
    "RecurrentLIF": lambda: RecurrentLIF(beta=0.9, threshold=0.7),
}
READOUTS = {
    "membrane": lambda: MembraneReadout(0.9),
    "membrane arctan": lambda: MembraneReadout(0.5, learning_rule="arctan"),
    "rate": SpikeCountReadout,
    "count": lambda: SpikeCountReadout(normalize=False),
}


def normal(shape, seed, mean=0.3):
    rng = np.random.default_rng(seed)
    return rng.normal(mean, 0.6, shape).astype("float32")


def padded(x, mask, value):
    return np.where(mask[(...,) + (None,) * (x.ndim - 2)], x, value)


def existing(x, mask):
    """Return each sample without its masked steps, a batch of one."""
    return [x[b, mask[b]][None] for b in range(len(x))]


def check_sequence_layer(layer, x, mask=MASK, found_mask=None):
    """Check outputs and gradients of a layer from sequence to sequence."""
    layer(x[:1])
    weights = layer.trainable_variables
    g = normal(layer.compute_output_shape(x.shape), 7, mean=0.0)
    spoiled = padded(x, mask, 9.0).astype("float32")
    output = np.asarray(layer(spoiled, mask=mask))
    _, found = gradients(
        lambda x: ops.sum(layer(x, mask=mask) * g), [spoiled], weights
    )
    of_weights = [np.zeros(v.shape) for v in weights]
    for b, (x, g) in enumerate(zip(existing(x, mask), existing(g, mask))):
        np.testing.assert_allclose(
            output[b, mask[b]], np.asarray(layer(x))[0], atol=1e-6
        )
        _, (of_x, *rest) = gradients(
            lambda x: ops.sum(layer(x) * g), [x], weights
        )
        np.testing.assert_allclose(
            found[0][b, mask[b]], of_x[0], rtol=1e-5, atol=1e-6
        )
        of_weights = [a + b for a, b in zip(of_weights, rest, strict=True)]
    assert not output[~mask].any() and not found[0][~mask].any()
    assert np.any(output) and np.any(found[0])
    for a, b in zip(found[1:], of_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NEURONS)
def test_neurons_hold_their_state_at_masked_steps(name):
    layer = NEURONS[name]()
    check_sequence_layer(layer, normal((SAMPLES, TIME_STEPS, CHANNELS), 0))


@pytest.mark.parametrize("name", ["collapsed", "exact", "rate", "PLIF"])
def test_neurons_with_several_axes_of_features(name):
    layer = NEURONS[name]()
    check_sequence_layer(layer, normal((SAMPLES, TIME_STEPS, 2, 1, 2), 1))


def test_max_rate_pooling_keeps_its_counts_at_masked_steps():
    spikes = normal((SAMPLES, TIME_STEPS, 2, 4, 1), 2) > 0.5
    check_sequence_layer(MaxRatePooling2D(), spikes.astype("float32"))


def test_folded_layers_run_on_steps_that_exist():
    layer = TimeFold(keras.layers.Dense(2, bias_initializer="ones"))
    check_sequence_layer(layer, normal((SAMPLES, TIME_STEPS, CHANNELS), 3))


@pytest.mark.parametrize("name", READOUTS)
def test_readouts_divide_by_the_steps_that_exist(name):
    layer = READOUTS[name]()
    x = normal((SAMPLES, TIME_STEPS, CHANNELS), 4)
    spoiled = padded(x, MASK, 9.0).astype("float32")
    g = normal((SAMPLES, CHANNELS), 5)
    output = np.asarray(layer(spoiled, mask=MASK))
    _, (found,) = gradients(
        lambda x: ops.sum(layer(x, mask=MASK) * g), [spoiled]
    )
    for b, x in enumerate(existing(x, MASK)):
        np.testing.assert_allclose(output[b], layer(x)[0], rtol=1e-5)
        _, (of_x,) = gradients(lambda x: ops.sum(layer(x) * g[b]), [x])
        np.testing.assert_allclose(found[b, MASK[b]], of_x[0], rtol=1e-5)
    assert not found[~MASK].any()


@pytest.mark.parametrize(
    "make", [*NEURONS.values(), *READOUTS.values(), MaxRatePooling2D]
)
def test_a_sample_without_any_step_gives_zero(make):
    layer = make()
    features = (2, 2, 1) if isinstance(layer, MaxRatePooling2D) else (CHANNELS,)
    x, mask = normal((2, 5, *features), 6, mean=2.0), np.ones((2, 5), bool)
    mask[0] = False
    layer(x)
    output, (of_x, *of_weights) = gradients(
        lambda x: ops.sum(ops.square(layer(x, mask=mask))[0]),
        [x],
        layer.trainable_variables,
    )
    assert output == 0.0
    assert not any(np.any(g) for g in (of_x, *of_weights))


def network(time_steps, neuron, masked, rank=3, dropout=0.2):
    """Return a residual network of spiking layers with batch norm."""
    features = (CHANNELS,) if rank == 3 else (2, 2, CHANNELS)
    inputs = x = keras.Input((time_steps, *features))
    if masked:
        x = keras.layers.Masking(-1.0)(x)

    def block(x):
        x = TimeFold(keras.layers.Dense(CHANNELS))(x)
        x = TimeFold(keras.layers.BatchNormalization())(x)
        return neuron(threshold=0.3)(x)

    x = TimeConstantDropout(dropout, seed=3)(block(x))
    x = keras.layers.Add()([x, block(x)])
    x = keras.layers.Concatenate()([x, block(x)])
    x = TimeFold(keras.layers.Dense(2))(TimeFold(keras.layers.Flatten())(x))
    return keras.Model(inputs, MembraneReadout()(x))


def weights_after_a_step(model, start, x, y, jit_compile=False):
    """Return the weights of `model` after one step of training."""
    model.set_weights(start)
    optimizer = keras.optimizers.SGD(0.5)
    model.compile(optimizer, "mse", jit_compile=jit_compile)
    model.train_on_batch(x, y)
    return model.get_weights()


def assert_equal_weights(found, expected, start):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=3e-5)
    assert any(np.any(a != b) for a, b in zip(expected, start))


def lif_with(rule):
    return lambda **options: LIF(0.9, learning_rule=rule, **options)


@pytest.mark.parametrize(
    "rule, rank",
    [
        pytest.param("collapsed", 5, marks=slow_on_jax),
        ("exact", 3),
        ("rate", 3),
        ("sigmoid", 3),
    ],
)
def test_a_network_trains_as_on_sequences_without_padding(rule, rank):
    features = (CHANNELS,) if rank == 3 else (2, 2, CHANNELS)
    x, y = normal((*EQUAL.shape, *features), 8), normal((3, 2), 9)
    model = network(None, lif_with(rule), masked=True, rank=rank)
    short = network(None, lif_with(rule), masked=False, rank=rank)
    start = model.get_weights()
    full = np.concatenate(existing(x, EQUAL))
    assert_equal_weights(
        weights_after_a_step(model, start, padded(x, EQUAL, -1.0), y),
        weights_after_a_step(short, start, full, y),
        start,
    )


def test_samples_of_unequal_length_in_one_batch():
    x = normal((SAMPLES, TIME_STEPS, CHANNELS), 10)
    model = network(None, lif_with("collapsed"), masked=True)
    found = model.predict(padded(x, MASK, -1.0), verbose=0)
    for b, x in enumerate(existing(x, MASK)):
        np.testing.assert_allclose(found[b], model(x)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", ["collapsed", "rate"])
def test_training_under_xla_equals_eager(rule):
    x, y = normal((*EQUAL.shape, CHANNELS), 11), normal((3, 2), 12)
    x = padded(x, EQUAL, -1.0)
    # TensorFlow draws other numbers under XLA.
    model = network(EQUAL.shape[1], lif_with(rule), masked=True, dropout=0.0)
    start = model.get_weights()
    assert_equal_weights(
        weights_after_a_step(model, start, x, y, jit_compile=True),
        weights_after_a_step(model, start, x, y),
        start,
    )


def test_a_sequential_model_passes_masks_on():
    x = normal((SAMPLES, TIME_STEPS, CHANNELS), 13)
    model = keras.Sequential(
        [
            keras.layers.Masking(-1.0),
            TimeFold(keras.layers.Dense(4)),
            LIF(0.9, 0.3),
            SpikeCountReadout(),
        ]
    )
    found = model.predict(padded(x, MASK, -1.0), verbose=0)
    assert np.any(found)
    for b, x in enumerate(existing(x, MASK)):
        np.testing.assert_allclose(found[b], model(x)[0], rtol=1e-5)


def test_embedded_words_are_masked():
    words = np.array([[3, 1, 2, 0, 0], [2, 2, 2, 2, 2]])
    embedding = keras.layers.Embedding(
        4, 6, embeddings_initializer="ones", mask_zero=True
    )
    readout = SpikeCountReadout()(LIF(1.0, 1.5)(embedding(words)))
    # Every other step: after 3 steps 1 spike, after 5 steps 2.
    np.testing.assert_allclose(readout[:, 0], [1 / 3, 2 / 5], rtol=1e-6)


def test_masks_of_one_pixel_each_become_masks_of_steps():
    # The first frame is padding in one pixel, the second in both.
    x = np.ones((1, 3, 1, 2, 1), "float32")
    x[0, 0, 0, 0] = x[0, 1] = -1.0
    masked = keras.layers.Masking(-1.0)(x)
    readout = SpikeCountReadout()(IF(0.5)(masked))
    np.testing.assert_allclose(np.ravel(readout), [0.5, 1.0])


def test_a_step_counts_after_a_merge_where_it_exists_in_any_input():
    ones = np.ones((1, 4, 1), "float32")
    masks = np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool)
    trains = [IF(0.5)(ones, mask=mask) for mask in masks]
    total = SpikeCountReadout()(keras.layers.Add()(trains))
    np.testing.assert_allclose(np.ravel(total), [4 / 3], rtol=1e-6)
    beside = keras.layers.Concatenate()(trains)
    np.testing.assert_allclose(
        np.ravel(SpikeCountReadout()(beside)), [2 / 3, 2 / 3], rtol=1e-6
    )
    after = keras.layers.Concatenate(axis=1)(trains)
    np.testing.assert_allclose(np.ravel(SpikeCountReadout()(after)), [1.0])


def test_batch_norm_takes_statistics_over_steps_that_exist():
    x = normal((SAMPLES, TIME_STEPS, CHANNELS), 14)
    norm = keras.layers.BatchNormalization(momentum=0.0)
    layer = TimeFold(norm)
    layer(padded(x, MASK, 9.0), mask=MASK, training=True)
    frames = x[MASK].astype("float64")
    np.testing.assert_allclose(norm.moving_mean, frames.mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, frames.var(0), rtol=1e-5)


def test_half_precision_stays_half():
    x = normal((SAMPLES, TIME_STEPS, CHANNELS), 15)
    for layer in (LIF(0.9, dtype="mixed_bfloat16"), SpikeCountReadout()):
        whole = layer(x, mask=np.ones_like(MASK))
        np.testing.assert_array_equal(whole, layer(x))
        assert whole.dtype == layer(x).dtype


def test_a_mask_may_be_known_at_run_time_only():
    x = normal((SAMPLES, TIME_STEPS, CHANNELS), 16)
    layer = LIF(0.9, 0.5)
    run = compiled(lambda x, mask: layer(x, mask=mask))
    found = run(ops.convert_to_tensor(x), ops.convert_to_tensor(MASK))
    np.testing.assert_array_equal(found, layer(x, mask=MASK))


@pytest.mark.parametrize(
    "layer", [LIF(), PLIF(), TimeFold(keras.layers.Dense(2))]
)
def test_outputs_carry_the_mask_and_readouts_do_not(layer):
    x = layer(keras.layers.Masking(-1.0)(keras.Input((4, CHANNELS))))
    # A layer that says when it gets a mask.
    reshape = keras.layers.Reshape((1, -1))
    reshape(SpikeCountReadout()(x))
    with pytest.warns(UserWarning, match="does not support masking"):
        reshape(x)


class Sum(TimeLayer):
    """A layer of one's own, told step by step."""

    keeps_state = True

    def initial_state(self, frame_shape, dtype="float32"):
        return [ops.zeros(frame_shape)]

    def step(self, frame, state, training=False):
        state = [0.5 * state[0] + frame]
        return state[0], state

    def compute_output_shape(self, shape):
        return shape


def test_a_layer_of_steps_runs_on_those_that_exist():
    check_sequence_layer(Sum(), normal((SAMPLES, TIME_STEPS, CHANNELS), 18))


class Last(Readout):
    def step(self, frame, state, training=False):
        return frame, [frame]

    def result(self, state, time_steps):
        return state[0]


class Doubling(TimeLayer):
    def call(self, sequences):
        return 2 * sequences

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize(
    "layer, message",
    [
        (Doubling(), "Doubling.*takes no `mask`.*`mask=None`"),
        (Last(), "Last.*Write its `call"),
        (
            LIF(activity_regularizer=keras_snn.regularizers.Silence()),
            "activity regularizer Silence would count padding",
        ),
    ],
)
def test_layers_that_would_count_padding_are_refused(layer, message):
    x = keras.layers.Masking()(keras.Input((4, CHANNELS)))
    with pytest.raises(ValueError, match=message):
        layer(x)
    layer(keras.Input((4, CHANNELS)))


def test_statistics_within_a_folded_model_are_refused_in_training():
    norm = keras.Sequential([keras.layers.BatchNormalization()])
    layer = TimeFold(norm)
    x = keras.layers.Masking()(normal((2, 4, CHANNELS), 17))
    layer(x, training=False)
    with pytest.raises(ValueError, match="one layer in each TimeFold"):
        layer(x, training=True)


def test_frozen_kernels_beside_lora_are_no_statistics():
    mask = np.array([[True, True, False]])
    layer = TimeFold(keras.layers.Dense(5))
    x = normal((1, 3, CHANNELS), 18)
    expected = np.asarray(layer(x)) * mask[..., None]
    layer.layer.enable_lora(2)
    found = layer(x, training=True, mask=mask)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not counts_or_draws(layer.layer)
    assert counts_or_draws(keras.Sequential([keras.layers.Dropout(0.5)]))


def test_a_mask_without_a_time_axis_is_refused():
    with pytest.raises(ValueError, match=r"axes \(batch, time\)"):
        LIF()(np.ones((2, 4, 1), "float32"), mask=np.ones(2, bool))


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow has them"
)
@pytest.mark.parametrize(
    "layer",
    [
        LIF(),
        PLIF(),
        TimeFold(keras.layers.Dense(2)),
        TimeConstantDropout(0.1),
        MembraneReadout(),
        PoissonEncoder(3),
    ],
)
def test_ragged_sequences_are_refused(layer):
    import tensorflow as tf

    x = tf.RaggedTensor.from_row_lengths(np.ones((3, 2), "float32"), [2, 1])
    with pytest.raises(ValueError, match="(?s)ragged.*to_tensor.*Masking"):
        layer(x)


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="of TensorFlow alone"
)
@pytest.mark.parametrize("how", ["predict", "fit", "stateful"])
def test_ragged_sequences_are_refused_by_models(how):
    import tensorflow as tf

    x = tf.ragged.constant([[[1.0, 2.0]], [[1.0, 2.0]] * 3], ragged_rank=1)
    inputs = keras.Input((None, 2))
    spikes = LIF(learning_rule="arctan")(inputs)
    model = keras_snn.Model(inputs, MembraneReadout()(spikes))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="(?s)ragged.*to_tensor.*Masking"):
        if how == "predict":
            model.predict(x, verbose=0)
        elif how == "fit":
            model.fit(x, np.zeros((2, 2)), verbose=0)
        else:
            keras_snn.stateful(model, 2)((x, np.ones(2)))
