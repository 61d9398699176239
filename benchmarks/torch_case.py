"""Plain PyTorch: backpropagation through time with an arctan surrogate.

`"torch"` takes one step of all layers after the other, `"torch-layers"` all
steps of one layer after the other, with time folded into the batch.
"""

import functools
import math

import torch
from torch import nn

from benchmarks import measure, networks, torch_program


class Arctan(torch.autograd.Function):
    """Heaviside forward; derivative 1 / (1 + (pi x)^2) backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient / (1 + (math.pi * x).square())


class Neurons(nn.Module):
    """LIF neurons over one step, or over all steps if `all_steps`."""

    def __init__(self, beta, threshold, all_steps):
        super().__init__()
        self.beta = beta
        self.threshold = threshold
        self.all_steps = all_steps
        self.v = 0.0

    def forward(self, currents):
        if self.all_steps:
            return torch.stack([self.step(current) for current in currents])
        return self.step(currents)

    def step(self, current):
        u = self.v + current.float()
        spikes = Arctan.apply(u - self.threshold)
        self.v = self.beta * u * (1 - spikes.detach())
        return spikes.to(current.dtype)


def fold(module, x):
    """Apply a module of images to one step or to all of them."""
    if x.dim() == 4:
        return module(x)
    return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Residual(nn.Module):
    """Two convolutions and a shortcut; both currents meet in one layer."""

    def __init__(self, kernels, units, stride, channels, neurons):
        super().__init__()
        self.stride = stride
        self.conv1 = _convolution(next(kernels), 1)
        self.neurons1 = neurons()
        self.conv2 = _convolution(next(kernels), stride)
        self.shortcut = None
        if units != channels:
            self.shortcut = _convolution(next(kernels), stride)
        self.neurons2 = neurons()

    def forward(self, x):
        y = self.neurons1(fold(self.conv1, x))
        if self.shortcut is None:
            x = x[..., :: self.stride, :: self.stride]
        else:
            x = fold(self.shortcut, x)
        return self.neurons2(fold(self.conv2, y) + x)


def _convolution(kernel, stride):
    size, _, channels, units = kernel.shape
    module = nn.Conv2d(
        channels, units, size, stride, padding=size // 2, bias=False
    )
    module.weight = torch_program.parameter(kernel)
    return module


class Folded(nn.Module):
    """A module of images before neurons."""

    def __init__(self, module, neurons):
        super().__init__()
        self.module = module
        self.neurons = neurons

    def forward(self, x):
        return self.neurons(fold(self.module, x))


class Dense(nn.Module):
    """A dense layer before neurons, behind a flattening if there are images."""

    def __init__(self, kernel, spatial, neurons=None):
        super().__init__()
        self.linear = nn.Linear(*kernel.shape, bias=False)
        self.linear.weight = torch_program.parameter(kernel, spatial)
        self.spatial = spatial
        self.neurons = neurons

    def forward(self, x):
        currents = self.linear(x.flatten(-3) if self.spatial else x)
        return self.neurons(currents) if self.neurons else currents


class Network(nn.Module):
    """The stages of a network and its leaky readout."""

    def __init__(self, case, all_steps):
        super().__init__()
        self.all_steps = all_steps

        def lif():
            return Neurons(networks.BETA, networks.THRESHOLD, all_steps)

        def pooling_if():
            return Neurons(1.0, networks.POOL_THRESHOLD, all_steps)

        network = networks.NETWORKS[case["network"]]
        kernels = iter(networks.weights(case["network"], case["width"]))
        side, _, channels = network.input_shape
        stages = []
        for kind, *numbers in network.layers:
            if kind == "pool":
                side //= 2
                stages.append(Folded(nn.AvgPool2d(2), pooling_if()))
                continue
            units = max(1, round(numbers[0] * case["width"]))
            if kind == "conv":
                stages.append(Folded(_convolution(next(kernels), 1), lif()))
            elif kind == "residual":
                stride = numbers[1]
                stages.append(Residual(kernels, units, stride, channels, lif))
                side //= stride
            else:
                spatial = (side, channels) if side > 1 else None
                stages.append(Dense(next(kernels), spatial, lif()))
                side = 1
            channels = units
        stages.append(Dense(next(kernels), None))
        self.stages = nn.Sequential(*stages)
        self.neurons = [m for m in self.modules() if isinstance(m, Neurons)]

    def forward(self, spikes):
        for neurons in self.neurons:
            neurons.v = 0.0
        if self.all_steps:
            currents = self.stages(spikes)
        else:
            currents = [self.stages(x) for x in spikes]
        v = 0.0
        for current in currents:
            v = networks.BETA * (v + current.float())
        return v / len(spikes)


class Program(torch_program.Program):
    def build(self, case):
        network = Network(case, case["library"] == "torch-layers")
        if torch.cuda.is_available():
            network = network.to(memory_format=torch.channels_last)
        return network

    def reset(self):
        # Frees the graph of the last step.
        for neurons in self.network.neurons:
            neurons.v = 0.0


run = functools.partial(measure.program, Program)
