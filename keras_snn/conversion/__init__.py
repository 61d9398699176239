"""Conversion of trained ordinary networks to spiking ones."""

from keras_snn.conversion.convert import convert
from keras_snn.conversion.qcfs import QCFS
from keras_snn.conversion.quantize import quantize
from keras_snn.conversion.report import LayerReport, Report, report
from keras_snn.conversion.spiking_fold import fold

__all__ = [
    "LayerReport",
    "QCFS",
    "Report",
    "convert",
    "fold",
    "quantize",
    "report",
]
