"""Batch normalisation and dropout vanish without changing the output.

A network without ReLU converts to one without neurons, whose output is exact
at every T.
"""

import numpy as np
import pytest

import keras_snn as snn
from keras_snn.conversion import plain
from keras_snn.conversion.folding import folded
from tests.conversion.networks import (
    L,
    data,
    everything,
    functional,
    network,
    randomised,
)

NORM = L.BatchNormalization
TDBN = snn.layers.ThresholdBatchNormalization
FOLDED = {
    "after a convolution": lambda: [L.Conv2D(3, 3, padding="same"), NORM()],
    "after one without bias": lambda: [L.Conv2D(3, 3, use_bias=False), NORM()],
    "after a grouped one": lambda: [L.Conv2D(4, 3, groups=2), NORM()],
    "after a depthwise one": lambda: [
        L.DepthwiseConv2D(3, depth_multiplier=2),
        NORM(),
    ],
    "after a separable one": lambda: [L.SeparableConv2D(4, 3), NORM()],
    "after a transposed one": lambda: [L.Conv2DTranspose(4, 3), NORM()],
    "after a transposed one in 1D": lambda: [
        L.Reshape((64, 2)),
        L.Conv1DTranspose(4, 3, strides=2),
        NORM(),
    ],
    "after a transposed one in 3D": lambda: [
        L.Reshape((4, 4, 4, 2)),
        L.Conv3DTranspose(4, 2),
        NORM(),
    ],
    "after a separable one in 1D": lambda: [
        L.Reshape((64, 2)),
        L.SeparableConv1D(4, 3),
        NORM(),
    ],
    "after a dense layer": lambda: [L.Flatten(), L.Dense(5), NORM()],
    "behind an average pooling": lambda: [
        L.Conv2D(3, 3, use_bias=False),
        L.AveragePooling2D(2),
        NORM(),
    ],
    "behind a padded pooling and dropout": lambda: [
        L.Conv2D(3, 3),
        L.AveragePooling2D(3, 2, padding="same"),
        L.Dropout(0.5),
        TDBN(0.4),
    ],
    "behind a mean over all places": lambda: [
        L.Conv2D(3, 3),
        L.GlobalAveragePooling2D(),
        NORM(),
        L.Dense(2),
    ],
    "after dropout": lambda: [L.Conv2D(3, 3), L.Dropout(0.5), NORM()],
    "before a convolution": lambda: [NORM(), L.Conv2D(3, 3)],
    "before one with strides": lambda: [NORM(), L.Conv2D(3, 3, strides=2)],
    "before a depthwise one": lambda: [
        NORM(),
        L.DepthwiseConv2D(3, depth_multiplier=2),
    ],
    "before a dense layer": lambda: [L.Flatten(), NORM(), L.Dense(5)],
    "before a padded one": lambda: [NORM(), L.Conv2D(3, 3, padding="same")],
    "before a padded one with a normalisation": lambda: [
        NORM(),
        L.Conv2D(3, 3, strides=2, padding="same"),
        NORM(),
    ],
    "before a grouped one": lambda: [
        NORM(),
        L.Conv2D(6, 3, groups=2, use_bias=False),
    ],
    "before a dilated one": lambda: [
        NORM(),
        L.Conv2D(4, 2, dilation_rate=2, padding="same"),
    ],
    "before a separable one": lambda: [
        NORM(),
        L.SeparableConv2D(4, 3, depth_multiplier=2, padding="same"),
    ],
    "before a transposed one": lambda: [
        NORM(),
        L.Conv2DTranspose(4, 3, strides=2, padding="same"),
    ],
    "a scaling between": lambda: [
        L.Conv2D(3, 3),
        L.Rescaling(0.5, [0.0, 1.0, 2.0]),
        NORM(),
    ],
    "without scale and shift": lambda: [
        L.Conv2D(3, 3),
        L.BatchNormalization(center=False, scale=False),
    ],
    "to a threshold": lambda: [L.Conv2D(3, 3, use_bias=False), TDBN(0.4, 2.0)],
    "to a threshold, before": lambda: [TDBN(0.4), L.Conv2D(3, 3)],
    "twice": lambda: [L.Conv2D(3, 3), NORM(), NORM()],
}


@pytest.mark.parametrize("case", FOLDED)
def test_batch_normalisation_is_folded_exactly(case):
    ann, x = network(*FOLDED[case]()), data()
    model = snn.conversion.convert(ann, x, "max", time_steps=2)
    kinds = {type(getattr(layer, "layer", layer)) for layer in model.layers}
    assert not kinds & {NORM, TDBN, L.Dropout}
    np.testing.assert_allclose(
        model.predict(x, verbose=0), ann.predict(x, verbose=0), atol=1e-5
    )


def test_the_folded_network_equals_the_network():
    ann, x = functional(everything), data()
    graph = folded(ann)
    again = plain.reference(graph, [graph.output])
    np.testing.assert_allclose(
        again.predict(x, verbose=0), ann.predict(x, verbose=0), atol=1e-5
    )


STANDING = {
    "a sum": lambda x: NORM()(L.Add()([L.Conv2D(2, 1)(x), x])),
    "a branch": lambda x: L.Add()([c := L.Conv2D(2, 1)(x), NORM()(c)]),
    "einsum": lambda x: NORM()(L.EinsumDense("abcd,de->abce", (8, 8, 3))(x)),
    "input and sum": lambda x: L.Subtract()([NORM()(x), x]),
    "two layers": lambda x: L.Add()(
        [L.Conv2D(3, 3)(n := NORM()(x)), L.Conv2D(3, 3)(n)]
    ),
    "a function": lambda x: 2 - 3 * L.Add()([L.Conv2D(2, 1)(x), x]),
    "numbers of channels": lambda x: L.Rescaling([2.0, -1.0], [0.0, 1.0])(
        L.Average()([L.Conv2D(2, 1)(x), x])
    ),
    "an adapted scaling": lambda x: L.Normalization(
        mean=[1.0, 2.0], variance=[4.0, 0.5]
    )(L.Add()([L.Conv2D(2, 1)(x), x])),
    "its inverse": lambda x: L.Normalization(
        mean=[1.0, 2.0], variance=[4.0, 0.5], invert=True
    )(L.Add()([L.Conv2D(2, 1)(x), x])),
}


@pytest.mark.parametrize("case", STANDING)
def test_what_fits_no_layer_is_a_scale_and_a_bias(case):
    ann, x = functional(STANDING[case]), data()
    model = snn.conversion.convert(ann, x, "max", time_steps=2)
    stages = [getattr(layer, "layer", layer) for layer in model.layers]
    standing = [y for y in stages if isinstance(y, snn.layers.Affine)]
    assert standing and not any(isinstance(y, NORM) for y in stages)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), ann.predict(x, verbose=0), atol=1e-5
    )


def test_a_standing_normalisation_has_the_numbers_of_the_formula():
    """kernel = gamma / sqrt(variance + epsilon), bias = beta - kernel mean."""
    norm = NORM(name="norm")
    ann = functional(lambda x: L.ReLU()(norm(L.Add()([x, L.ReLU()(x)]))))
    graph = folded(ann)
    (op,) = [op for op in graph.ops if op.name == "norm"]
    deviation = np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    kernel = np.asarray(norm.gamma) / deviation
    np.testing.assert_allclose(op.weights["kernel"], kernel, rtol=1e-6)
    np.testing.assert_allclose(
        op.weights["bias"],
        np.asarray(norm.beta) - kernel * np.asarray(norm.moving_mean),
        rtol=1e-5,
    )


def test_another_axis_is_refused():
    ann = functional(lambda x: NORM(axis=1)(L.Conv2D(2, 1)(x)))
    with pytest.raises(ValueError, match="(?s)BatchNorm.*only the last axis"):
        snn.conversion.convert(ann, data())


def positive(model):
    """Let maxima keep their order under each normalisation."""
    for w in model.weights:
        if w.name == "gamma":
            w.assign(np.abs(w))
    return model


PAST = {
    "max pooling": lambda: [L.MaxPooling2D(2), L.Conv2D(3, 2)],
    "max pooling and flattening": lambda: [
        L.MaxPooling2D(3, 2, padding="same"),
        L.Flatten(),
        L.Dense(5),
    ],
    "the largest of all": lambda: [L.GlobalMaxPooling2D(), L.Dense(5)],
    "average pooling": lambda: [
        L.AveragePooling2D(3, 2, padding="same"),
        L.Conv2D(3, 2, padding="same"),
    ],
    "zero padding": lambda: [
        L.ZeroPadding2D(((1, 0), (2, 1))),
        L.Conv2D(3, 3, strides=2),
    ],
    "upsampling and cropping": lambda: [
        L.UpSampling2D(2),
        L.Cropping2D(1),
        L.Conv2D(3, 2),
    ],
}


@pytest.mark.parametrize("case", PAST)
def test_spikes_stay_spikes_past(case):
    """A Conv-ReLU-BatchNorm puts its normalisation where the weights are."""
    ann = network(L.Conv2D(4, 3), L.ReLU(), NORM(), *PAST[case]())
    graph, x = folded(positive(ann)), data()
    kinds = [type(op.layer) for op in graph.ops]
    relu = kinds.index(L.ReLU)
    scales = [
        op
        for op in graph.ops[relu:]
        if isinstance(op.layer, snn.layers.Affine) and "kernel" in op.weights
    ]
    assert not scales and NORM not in kinds
    again = plain.reference(graph, [graph.output])
    np.testing.assert_allclose(
        again.predict(x, verbose=0), ann.predict(x, verbose=0), atol=1e-5
    )


def test_a_negative_scale_stays_before_max_pooling():
    layers = [L.Conv2D(4, 3), L.ReLU(), NORM(), *PAST["max pooling"]()]
    ann, x = network(*layers), data()
    ann.layers[2].gamma.assign([1.0, -1.0, 0.5, 2.0])
    graph = folded(ann)
    kinds = [type(op.layer) for op in graph.ops]
    assert kinds.index(snn.layers.Affine) < kinds.index(L.MaxPooling2D)
    again = plain.reference(graph, [graph.output])
    np.testing.assert_allclose(
        again.predict(x, verbose=0), ann.predict(x, verbose=0), atol=1e-5
    )


@pytest.mark.parametrize(
    "name", ["VGG9", "ResNet11", "SpikingCNN", "SEWResNet18"]
)
@pytest.mark.parametrize("norm", ["batch", "weight"])
def test_networks_with_relus_of_every_builder_fold(name, norm):
    ann = getattr(snn.models, name)(
        width=1 / 32, norm=norm, seed=0, spiking=False
    )
    ann = randomised(ann)
    graph = folded(ann)
    assert "normalization" not in {op.role for op in graph.ops}
    x = data(4, (32, 32, 3))
    again = plain.reference(graph, [graph.output])
    expected = ann.predict(x, verbose=0)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(
        again.predict(x, verbose=0), expected, rtol=1e-3, atol=1e-4
    )
