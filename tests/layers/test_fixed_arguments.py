"""A layer's arguments are read-only: compiled functions have them built in."""

import copy
import pickle

import keras
import numpy as np
import pytest

from keras_snn import conversion, layers
from keras_snn.layers.encoders import Encoder

LAYERS = [
    (layers.LIF, {}, ["beta", "threshold", "reset", "learning_rule", "unroll"]),
    (layers.LIF, {}, ["factor", "initial_potential"]),
    (layers.IF, {}, ["beta", "threshold"]),
    (layers.PLIF, {}, ["beta", "threshold", "per_channel", "scale_input"]),
    (layers.ALIF, {}, ["beta", "amplitude", "rho", "reset"]),
    (layers.SynapticLIF, {}, ["beta", "alpha", "learning_rule"]),
    (layers.RecurrentLIF, {}, ["beta", "threshold"]),
    (layers.MembraneReadout, {}, ["beta", "learning_rule"]),
    (layers.SpikeCountReadout, {}, ["normalize"]),
    (layers.MaxRatePooling2D, {}, ["pool_size", "strides", "padding"]),
    (layers.MaxRatePooling1D, {}, ["pool_size", "strides", "padding"]),
    (layers.MaxRatePooling3D, {}, ["pool_size", "strides", "padding"]),
    (layers.Affine, {}, ["use_scale", "per_position"]),
    (layers.TimeConstantDropout, {"rate": 0.1}, ["rate", "seed"]),
    (layers.PoissonEncoder, {"time_steps": 2}, ["time_steps", "max_rate"]),
    (layers.RateEncoder, {"time_steps": 2}, ["time_steps", "max_rate"]),
    (layers.LatencyEncoder, {"time_steps": 2}, ["time_steps"]),
    (layers.RepeatEncoder, {"time_steps": 2}, ["time_steps"]),
    (layers.LIFCell, {"units": 2}, ["units", "beta", "threshold", "reset"]),
    (layers.IFCell, {"units": 2}, ["units", "threshold"]),
    (layers.ThresholdBatchNormalization, {}, ["threshold", "alpha"]),
    (conversion.QCFS, {}, ["levels", "threshold"]),
]


@pytest.mark.parametrize("kind, options, names", LAYERS)
def test_arguments_are_read_only(kind, options, names):
    layer = kind(**options)
    for name in names:
        before = getattr(layer, name)
        with pytest.raises(AttributeError, match=f"`{name}` of .*new layer"):
            setattr(layer, name, 50)
        assert getattr(layer, name) is before


def test_after_the_first_call_too():
    lif = layers.LIF(threshold=0.5)
    before = np.asarray(lif(np.full((1, 3, 2), 0.4, "float32")))
    with pytest.raises(AttributeError, match="threshold=0.2"):
        lif.threshold = 0.2
    after = np.asarray(lif(np.full((1, 3, 2), 0.4, "float32")))
    np.testing.assert_array_equal(after, before)


def test_what_keras_lets_change_still_changes():
    lif = layers.LIF()
    lif.trainable = False
    lif.dtype_policy = "mixed_float16"
    lif.note = "mine"
    assert not lif.trainable and lif.compute_dtype == "float16"
    assert lif.note == "mine"


class Doubled(layers.LIF):
    """A user's neuron, with an argument that `build` makes a weight of."""

    def __init__(self, gain=2.0, **kwargs):
        super().__init__(**kwargs)
        self.threshold = 2 * self.threshold
        self.gain = gain

    def build(self, currents_shape):
        self.gain = self.add_weight(shape=(), initializer="ones", name="gain")


def test_constructors_of_subclasses_may_set_arguments():
    neuron = Doubled(threshold=0.5)
    assert neuron.threshold == 1.0
    neuron.build((None, 3, 2))
    assert isinstance(neuron.gain, keras.Variable)
    with pytest.raises(AttributeError, match="`gain` of Doubled"):
        neuron.gain = 3.0


class Tripled(Encoder):
    """A user's encoder that leaves its config to Keras."""

    def __init__(self, time_steps, offset=0.0, **kwargs):
        super().__init__(time_steps, **kwargs)
        self.offset = offset


def test_keras_still_reads_the_arguments():
    assert Tripled(3, offset=1.0)._auto_config.config == {
        "time_steps": 3,
        "offset": 1.0,
    }


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_are_fixed_too(again):
    inputs = keras.Input((3, 2))
    model = keras.Model(inputs, layers.LIF(threshold=0.3)(inputs))
    for copied in (again(model), keras.models.clone_model(model)):
        lif = copied.layers[-1]
        assert lif.threshold == 0.3
        with pytest.raises(AttributeError, match="new layer"):
            lif.threshold = 0.2
