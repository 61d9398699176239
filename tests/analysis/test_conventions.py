"""What counts where: biases, sums, shared weights, delays, masks."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn import analysis

L, S, TimeFold = keras.layers, snn.layers, snn.layers.TimeFold


def out(x):
    return S.MembraneReadout()(
        TimeFold(L.Dense(3, use_bias=False))(TimeFold(L.Flatten())(x))
    )


def ones(*shape):
    return np.ones(shape, "float32")


def spikes(*shape, rate=0.3):
    return (np.random.default_rng(0).random(shape) < rate).astype("float32")


def row(model, x, name):
    (found,) = (y for y in analysis.profile(model, x).layers if y.name == name)
    return found


def images(layers):
    """Return a network of layers on pixels, and biases that it adds."""
    inputs = keras.Input((8, 8, 2))
    x = S.RepeatEncoder(4)(inputs)
    for layer in layers:
        x = TimeFold(layer)(x)
    return snn.Model(inputs, out(S.LIF()(x)))


def conv(**kwargs):
    return L.Conv2D(4, 3, padding="same", **kwargs)


def mean():
    return L.AveragePooling2D(2)


WHERE = {
    "pooling apart": (lambda: [conv(), L.MaxPooling2D(2)], 1024),
    "pooling within": (
        lambda: [keras.Sequential([conv(), L.MaxPooling2D(2)])],
        1024,
    ),
    "normalization": (lambda: [conv(), L.BatchNormalization()], 1024),
    "normalization alone": (
        lambda: [conv(use_bias=False), L.BatchNormalization()],
        1024,
    ),
    "normalization within": (
        lambda: [
            keras.Sequential([conv(use_bias=False), L.BatchNormalization()])
        ],
        1024,
    ),
    "behind a mean": (lambda: [conv(), mean(), L.BatchNormalization()], 1024),
    "behind a mean, without": (
        lambda: [conv(use_bias=False), mean(), L.BatchNormalization()],
        1024,
    ),
    "behind a maximum": (
        lambda: [conv(), L.MaxPooling2D(2), L.BatchNormalization()],
        1024 + 256,
    ),
    "two": (
        lambda: [conv(), L.BatchNormalization(), L.BatchNormalization()],
        1024,
    ),
}


@pytest.mark.parametrize("case", WHERE)
def test_biases_are_added_where_they_fold_to(case):
    layers, expected = WHERE[case]
    model = images(layers())
    x = ones(2, 8, 8, 2)
    assert analysis.profile(model, x).bias_adds == expected
    if case in ("normalization", "normalization alone") or "mean" in case:
        plain = snn.conversion.fold(model)
        assert analysis.profile(plain, x).bias_adds == expected


def test_a_sum_that_broadcasts_reaches_all_its_targets():
    x = spikes(3, 5, 4, 4, 2)
    inputs = keras.Input((5, 4, 4, 2))
    most = TimeFold(L.GlobalMaxPooling2D(keepdims=True))(inputs)
    total = L.Add(name="add")([inputs, most])
    found = row(snn.Model(inputs, out(S.LIF()(total))), x, "add")
    expected = x.sum() + 16 * x.max((2, 3)).sum()
    assert found.effective_acs == pytest.approx(expected / 3)
    assert found.dense == 2 * 32 * 5


@pytest.mark.parametrize(
    "layer",
    [L.BatchNormalization(beta_initializer="ones"), L.Rescaling(2.0)],
    ids=["normalization", "scaling"],
)
def test_spikes_behind_a_normalization_are_spikes(layer):
    x = spikes(3, 5, 6, rate=0.1)
    inputs = keras.Input((5, 6))
    model = snn.Model(inputs, out(S.LIF(name="b")(TimeFold(layer)(inputs))))
    found = row(model, x, "b")
    assert found.effective_acs == pytest.approx(x.sum() / 3)
    assert found.dense == 5 * 6


def test_spikes_beside_currents_are_counted():
    x = spikes(3, 5, 6)
    inputs = keras.Input((5, 6))
    twice = TimeFold(L.ZeroPadding1D(1))(
        TimeFold(L.Reshape((1, 11)))(
            L.Concatenate()([TimeFold(L.Dense(5))(inputs), inputs])
        )
    )
    twice = TimeFold(L.UpSampling1D(2))(twice)
    model = snn.Model(inputs, out(S.LIF(name="b")(twice)))
    found = row(model, x, "b")
    # Each gets to two neurons.
    assert found.effective_acs == pytest.approx(2 * x.sum() / 3)
    assert found.dense == 5 * 2 * 6


def test_a_separable_convolution_of_real_values_is_two():
    inputs = keras.Input((8, 7, 6))
    layer = L.SeparableConv2D(
        5, 3, padding="same", depth_multiplier=2, use_bias=False
    )
    x = TimeFold(layer, name="c")(S.RepeatEncoder(1)(inputs))
    found = row(snn.Model(inputs, out(S.LIF()(x))), ones(1, 8, 7, 6), "c")
    pairs = 22 * 19  # of positions, in windows of three
    assert found.ann_macs == pairs * 6 * 2 + 8 * 7 * 6 * 2 * 5
    assert found.dense == pairs * 6 * 5


def test_weights_in_two_folds_are_counted_once():
    dense, inputs = L.Dense(6, use_bias=False), keras.Input((6,))
    x = S.LIF()(TimeFold(dense, name="a")(S.RepeatEncoder(4)(inputs)))
    model = snn.Model(inputs, out(S.LIF()(TimeFold(dense, name="b")(x))))
    found = analysis.profile(model, ones(2, 6))
    assert found.parameters == model.count_params() == 54


def test_a_delay_has_no_potentials():
    inputs = keras.Input((5, 6))
    x = S.LIF(name="n")(TimeFold(L.Dense(4))(inputs))
    model = snn.Model(inputs, out(S.Delay(30, name="d")(x)))
    found = analysis.profile(model, spikes(3, 5, 6))
    updates = {x.name: x.membrane_updates for x in found.layers}
    assert updates["n"] == 20
    assert not updates.get("d")


def test_strides_beside_a_dilation_are_named():
    inputs = keras.Input((8, 8, 4))
    layer = L.DepthwiseConv2D(3, strides=2, dilation_rate=2, name="odd")
    x = TimeFold(layer, name="fold")(S.RepeatEncoder(3)(inputs))
    model = snn.Model(inputs, out(S.LIF()(x)))
    with pytest.raises(ValueError, match="'fold'.*strides and a dilation"):
        analysis.profile(model, ones(1, 8, 8, 4))


@pytest.mark.parametrize("verbose", [0, 1])
def test_a_dataset_that_does_not_know_its_length(verbose):
    tf = pytest.importorskip("tensorflow")
    inputs = keras.Input((6,))
    x = TimeFold(L.Dense(8))(S.RepeatEncoder(4)(inputs))
    model = snn.Model(inputs, out(S.LIF()(x)))
    batches = tf.data.Dataset.from_tensor_slices(ones(4, 6))
    batches = batches.filter(lambda x: True).batch(2)
    assert analysis.profile(model, batches, verbose=verbose).samples == 4


def masked():
    """Return a network whose sequences have 2 and 6 steps, and these."""
    x = np.random.default_rng(0).normal(size=(8, 6, 8)).astype("float32")
    x[:4, 2:] = -9.0
    inputs = keras.Input((6, 8))
    y = TimeFold(L.Dense(16))(L.Masking(-9.0)(inputs))
    return snn.Model(inputs, out(S.LIF(name="n", threshold=0.3)(y))), x


def test_rates_are_of_steps_that_exist():
    model, x = masked()
    neurons = keras.Model(model.input, model.get_layer("n").output)
    trains = neurons.predict(x, verbose=0)
    expected = trains.sum() / (4 * 2 + 4 * 6) / 16
    assert expected > 0.1
    for batch_size in (3, 8):
        found = snn.models.spike_rates(model, x, batch_size)
        assert found["n"] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["record", "profile", "latency_curve"])
def test_masks_are_refused(name):
    model, x = masked()
    more = [np.zeros(8, int)] if name == "latency_curve" else []
    with pytest.raises(ValueError, match="mask"):
        getattr(analysis, name)(model, x, *more)
