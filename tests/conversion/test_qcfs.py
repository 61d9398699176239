import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.conversion.networks import L, data, everything, functional, network
from tests.helpers import gradients

convert, QCFS = snn.conversion.convert, snn.conversion.QCFS


def test_the_staircase():
    y = QCFS(levels=4)(np.float32([-1, 0.1, 0.2, 0.4, 0.6, 0.9, 3]))
    np.testing.assert_allclose(y, [0, 0, 0.25, 0.5, 0.5, 1, 1], atol=1e-6)


def test_gradients_follow_the_formulas():
    layer = QCFS(levels=4, threshold=2.0)
    x = np.float32([-1.0, 0.3, 1.1, 1.7, 2.5])
    layer.build(x.shape)
    _, (dx, dthreshold) = gradients(
        lambda x: keras.ops.sum(layer(x)), [x], [layer.scale]
    )
    np.testing.assert_allclose(dx, [0, 1, 1, 1, 0])
    z = np.clip(x / 2, 0, 1)
    expected = np.floor(4 * z + 0.5) / 4 - z + (x > 2)
    assert dthreshold == pytest.approx(expected.sum(), abs=1e-5)


@pytest.mark.parametrize("levels", [1, 4, 15])
def test_the_spiking_layer_is_exact_after_as_many_steps(levels):
    ann = network(
        L.Conv2D(5, 3), QCFS(levels, threshold=0.6), L.Flatten(), L.Dense(3)
    )
    x = data(32)
    model = convert(ann, None, "qcfs", time_steps=levels)
    (neuron,) = [y for y in model.layers if isinstance(y, snn.layers.IF)]
    assert neuron.threshold == pytest.approx(0.6, rel=1e-6)
    assert neuron.initial_potential == pytest.approx(0.3, rel=1e-6)
    assert neuron.reset == "subtract"
    np.testing.assert_allclose(
        model.predict(x, verbose=0), ann.predict(x, verbose=0), atol=1e-5
    )


def test_quantize_replaces_each_relu_and_keeps_all_else():
    ann, x = functional(everything), data()
    fine = snn.conversion.quantize(ann, 4096, x)
    kinds = [type(y) for y in fine.layers]
    assert kinds.count(QCFS) == 5 and L.ReLU not in kinds
    assert L.Dropout in kinds and L.BatchNormalization in kinds
    # So many levels that only the cut at the 99.9 percentile is left.
    np.testing.assert_allclose(
        fine.predict(x, verbose=0), ann.predict(x, verbose=0), atol=0.01
    )
    first = next(y for y in fine.layers if isinstance(y, QCFS))
    assert first.levels == 4096
    plain = snn.conversion.quantize(ann, 4)
    assert {y.threshold for y in plain.layers if isinstance(y, QCFS)} == {8.0}


def test_training_moves_thresholds_and_conversion_reads_them(tmp_path):
    ann, x = functional(everything), data()
    quantised = snn.conversion.quantize(ann, 4, x)
    quantised.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy")
    quantised.fit(x, np.eye(3)[np.arange(16) % 3], epochs=2, verbose=0)
    quantised.save(tmp_path / "quantised.keras")
    loaded = keras.models.load_model(tmp_path / "quantised.keras")
    model = convert(loaded, x, "qcfs", time_steps=4)
    for layer in loaded.layers:
        if isinstance(layer, QCFS):
            neuron = model.get_layer(f"{layer.name}_if")
            assert neuron.threshold == pytest.approx(float(layer.scale))
            assert neuron.threshold != pytest.approx(layer.threshold, rel=1e-5)
    many = convert(loaded, x, "percentile", time_steps=4)
    assert [w.shape for w in many.weights] == [w.shape for w in model.weights]


def test_relu_networks_are_told_to_quantize_first():
    ann = network(L.Conv2D(5, 3, activation="relu", name="c"), L.Flatten())
    ann = keras.Sequential([ann, L.Dense(3)])
    with pytest.raises(ValueError, match="'c_relu'.*conversion.quantize"):
        convert(ann, data(), "qcfs")


def test_quantize_needs_a_relu():
    with pytest.raises(ValueError, match="with ReLU activations"):
        snn.conversion.quantize(network(L.Flatten(), L.Dense(3)))


def test_one_that_has_not_run_has_its_initial_threshold():
    inputs = keras.Input((6, 8))
    x = L.Conv1D(4, 3, activation=QCFS(8, 2.0), name="c")(inputs)
    ann = keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))
    model = convert(ann, None, method="qcfs", time_steps=8)
    (neuron,) = (x for x in model.layers if isinstance(x, snn.layers.IF))
    assert float(np.max(neuron.threshold)) == 2.0
