"""Spiking layers. Axes are always (batch, time, ...features)."""

from keras_snn.layers.adaptive import ALIF
from keras_snn.layers.affine import Affine
from keras_snn.layers.cells import IFCell, LIFCell
from keras_snn.layers.delay import Delay
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
from keras_snn.layers.pooling import (
    MaxRatePooling1D,
    MaxRatePooling2D,
    MaxRatePooling3D,
)
from keras_snn.layers.readouts import (
    MembraneReadout,
    Readout,
    SpikeCountReadout,
)
from keras_snn.layers.recurrent import RecurrentLIF
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.standardized import (
    StandardizedConv2D,
    StandardizedDense,
)
from keras_snn.layers.synaptic import SynapticLIF
from keras_snn.layers.time_fold import TimeFold
from keras_snn.layers.time_layer import TimeLayer

__all__ = [
    "ALIF",
    "Affine",
    "Delay",
    "IF",
    "IFCell",
    "LIF",
    "LIFCell",
    "LatencyEncoder",
    "MaxRatePooling1D",
    "MaxRatePooling2D",
    "MaxRatePooling3D",
    "MembraneReadout",
    "PLIF",
    "PoissonEncoder",
    "RateEncoder",
    "Readout",
    "RecurrentLIF",
    "RepeatEncoder",
    "SpikeCountReadout",
    "SpikingLayer",
    "StandardizedConv2D",
    "StandardizedDense",
    "SynapticLIF",
    "ThresholdBatchNormalization",
    "TimeConstantDropout",
    "TimeFold",
    "TimeLayer",
]
