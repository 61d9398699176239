"""What a trained network does, and what it costs."""

from keras_snn.analysis import plots
from keras_snn.analysis.devices import DEVICES, Device, register_device
from keras_snn.analysis.energy import Energy
from keras_snn.analysis.execution import (
    ExecutionReport,
    LayerExecution,
    execution_report,
)
from keras_snn.analysis.latency import LatencyCurve, latency_curve
from keras_snn.analysis.page import write_page
from keras_snn.analysis.profiling import LayerProfile, Profile, profile
from keras_snn.analysis.recording import Recording, record
from keras_snn.analysis.tables import print_devices

__all__ = [
    "DEVICES",
    "Device",
    "Energy",
    "ExecutionReport",
    "LatencyCurve",
    "LayerExecution",
    "LayerProfile",
    "Profile",
    "Recording",
    "execution_report",
    "latency_curve",
    "plots",
    "print_devices",
    "profile",
    "record",
    "register_device",
    "write_page",
]
