"""The measured networks, their weights and their input, free of any framework.

Every library gets the same NumPy arrays: kernels in Keras' axis order and
spike trains of axes (batch, time, height, width, channels).
"""

import dataclasses
import math

import numpy as np

BETA = 0.99
THRESHOLD = 1.0
POOL_THRESHOLD = 0.75
CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of the paper.

    Attributes:
        builder: Name of its builder in `keras_snn.models`.
        input_shape: `(height, width, channels)`.
        batch: Batch size it is measured with.
        layers: Tuples `("conv", filters, kernel size)`, `("pool",)`,
            `("residual", filters, stride)` and `("dense", units)`. The
            readout of 10 classes follows.
        gain: Factor of the first weights' published standard deviation,
            with which all layers fire within ten steps.
    """

    builder: str
    input_shape: tuple
    batch: int
    layers: tuple
    gain: float = 1.0


NETWORKS = {
    "lenet": Network(
        "LeNet",
        (28, 28, 1),
        64,
        (
            ("conv", 20, 5),
            ("pool",),
            ("conv", 50, 5),
            ("pool",),
            ("dense", 200),
        ),
    ),
    "vgg9": Network(
        "VGG9",
        (32, 32, 3),
        32,
        (
            ("conv", 64, 3),
            ("conv", 64, 3),
            ("pool",),
            ("conv", 128, 3),
            ("conv", 128, 3),
            ("pool",),
            ("conv", 256, 3),
            ("conv", 256, 3),
            ("conv", 256, 3),
            ("pool",),
            ("dense", 1024),
        ),
        gain=1.5,
    ),
    "resnet11": Network(
        "ResNet11",
        (32, 32, 3),
        32,
        (
            ("conv", 64, 3),
            ("pool",),
            ("residual", 128, 1),
            ("residual", 256, 2),
            ("residual", 512, 1),
            ("residual", 512, 2),
            ("dense", 1024),
        ),
    ),
}


@dataclasses.dataclass(frozen=True)
class Synapse:
    """A convolution or dense layer: its kernel and the sides of its images."""

    kernel: tuple
    input_side: int = 1
    output_side: int = 1

    @property
    def flops(self):
        """Operations for one image and one time step, two a product."""
        return 2 * math.prod(self.kernel) * self.output_side**2


def layout(name, width=1.0):
    """Return `(synapses, neurons)` of a network.

    Args:
        name: Key of `NETWORKS`.
        width: Multiplies every channel count.

    Returns:
        List of `Synapse` in forward order, the order of
        `model.get_weights()`; list of the number of neurons of each layer.
    """
    network = NETWORKS[name]
    side, _, channels = network.input_shape
    synapses, neurons = [], []

    def connect(kernel, output_side):
        synapses.append(Synapse(kernel, side, output_side))
        return synapses[-1]

    for kind, *numbers in network.layers:
        if kind == "pool":
            side //= 2
            neurons.append(side * side * channels)
            continue
        units = max(1, round(numbers[0] * width))
        if kind == "conv":
            size = numbers[1]
            connect((size, size, channels, units), side)
        elif kind == "residual":
            stride = numbers[1]
            connect((3, 3, channels, units), side)
            neurons.append(side * side * units)
            connect((3, 3, units, units), side // stride)
            if channels != units:
                connect((1, 1, channels, units), side // stride)
            side //= stride
        else:
            connect((side * side * channels, units), 1)
            side = 1
        channels = units
        neurons.append(side * side * channels)
    connect((channels, CLASSES), 1)
    return synapses, neurons


def flops(name, width=1.0):
    """Return the operations of one forward step of one image."""
    return sum(synapse.flops for synapse in layout(name, width)[0])


def weights(name, width=1.0, seed=0):
    """Return normal kernels of deviation `gain * sqrt(2 / fan_in)`."""
    random = np.random.default_rng(seed)
    gain = NETWORKS[name].gain
    kernels = []
    for synapse in layout(name, width)[0]:
        fan_in = math.prod(synapse.kernel[:-1])
        kernel = random.standard_normal(synapse.kernel, "float32")
        kernels.append(kernel * np.float32(gain * math.sqrt(2 / fan_in)))
    return kernels


def spike_trains(name, batch, time_steps, seed=1):
    """Return Poisson spikes of images whose pixels are uniform in (0, 1)."""
    random = np.random.default_rng(seed)
    shape = (batch, *NETWORKS[name].input_shape)
    rates = random.random(shape, "float32")
    spikes = np.empty((batch, time_steps, *shape[1:]), "float32")
    for t in range(time_steps):
        spikes[:, t] = random.random(shape, "float32") < rates
    return spikes


def targets(batch, seed=2):
    """Return one-hot labels."""
    labels = np.random.default_rng(seed).integers(0, CLASSES, batch)
    return np.eye(CLASSES, dtype="float32")[labels]
