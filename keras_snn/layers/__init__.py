"""Spiking layers. Axes are always (batch, time, ...features)."""

from keras_snn.layers.adaptive import ALIF
from keras_snn.layers.cells import IFCell, LIFCell
from keras_snn.layers.dropout import TimeConstantDropout
from keras_snn.layers.encoders import (
    LatencyEncoder,
    PoissonEncoder,
    RateEncoder,
    RepeatEncoder,
)
from keras_snn.layers.neurons import IF, LIF
from keras_snn.layers.normalization import ThresholdBatchNormalization
from keras_snn.layers.parametric import PLIF
from keras_snn.layers.pooling import MaxRatePooling2D
from keras_snn.layers.readouts import MembraneReadout, SpikeCountReadout
from keras_snn.layers.recurrent import RecurrentLIF
from keras_snn.layers.standardized import (
    StandardizedConv2D,
    StandardizedDense,
)
from keras_snn.layers.synaptic import SynapticLIF
from keras_snn.layers.time_fold import TimeFold

__all__ = [
    "ALIF",
    "IF",
    "IFCell",
    "LIF",
    "LIFCell",
    "LatencyEncoder",
    "MaxRatePooling2D",
    "MembraneReadout",
    "PLIF",
    "PoissonEncoder",
    "RateEncoder",
    "RecurrentLIF",
    "RepeatEncoder",
    "SpikeCountReadout",
    "StandardizedConv2D",
    "StandardizedDense",
    "SynapticLIF",
    "ThresholdBatchNormalization",
    "TimeConstantDropout",
    "TimeFold",
]
