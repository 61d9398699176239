"""Spiking networks as functional Keras models."""

from keras_snn.models.calibration import calibrate
from keras_snn.models.compact import SpikingCNN
from keras_snn.models.files import load_model
from keras_snn.models.lenet import LeNet
from keras_snn.models.rate_scaling import scale_to_rate
from keras_snn.models.resnet import ResNet7, ResNet9, ResNet11, ResNet19
from keras_snn.models.sew import SEWResNet18
from keras_snn.models.spike_rates import spike_rates
from keras_snn.models.vgg import VGG5, VGG7, VGG8, VGG9, VGG11, VGG16
from keras_snn.running import (
    Model,
    StatefulModel,
    StepModel,
    Stream,
    stateful,
    streaming,
)

__all__ = [
    "LeNet",
    "Model",
    "ResNet11",
    "ResNet19",
    "ResNet7",
    "ResNet9",
    "SEWResNet18",
    "SpikingCNN",
    "VGG11",
    "VGG16",
    "VGG5",
    "VGG7",
    "VGG8",
    "VGG9",
    "StatefulModel",
    "StepModel",
    "Stream",
    "calibrate",
    "load_model",
    "scale_to_rate",
    "spike_rates",
    "stateful",
    "streaming",
]
