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
    "before a padded one, without shift": lambda: [
        L.BatchNormalization(center=False),
        L.Conv2D(3, 3, padding="same"),
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
    if case.endswith("without shift"):
        ann.layers[0].moving_mean.assign(np.zeros(2))
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


@pytest.mark.parametrize(
    "body, reason",
    [
        (
            lambda x: L.Conv2D(3, 3, padding="same")(NORM()(x)),
            "pads with zeros.*padding=.valid",
        ),
        (
            lambda x: NORM()(L.Add()([L.Conv2D(2, 1)(x), x])),
            "no convolution or dense layer stands directly",
        ),
        (
            lambda x: L.Add()([c := L.Conv2D(2, 1)(x), NORM()(c)]),
            "goes nowhere else",
        ),
        (
            lambda x: NORM()(L.EinsumDense("abcd,de->abce", (8, 8, 3))(x)),
            "no convolution or dense layer stands directly",
        ),
        (lambda x: NORM(axis=1)(L.Conv2D(2, 1)(x)), "only the last axis"),
    ],
    ids=["padded", "sum", "branch", "einsum", "axis"],
)
def test_what_cannot_be_folded_is_refused(body, reason):
    with pytest.raises(ValueError, match=f"(?s)BatchNormalization.*{reason}"):
        snn.conversion.convert(functional(body), data())


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
