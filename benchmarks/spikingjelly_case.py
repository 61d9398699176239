"""SpikingJelly in its multi-step mode: layer by layer, all steps at once."""

import functools

import numpy as np
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

from benchmarks import measure, networks, torch_program


def _above(threshold):
    """Return the next float32: this library fires at its threshold too."""
    return float(np.nextafter(np.float32(threshold), np.float32(np.inf)))


def _neurons(kind):
    common = {
        "v_reset": 0.0,
        "surrogate_function": surrogate.ATan(),
        "step_mode": "m",
    }
    if kind == "if":
        return neuron.IFNode(_above(networks.POOL_THRESHOLD), **common)
    return neuron.LIFNode(
        tau=1 / (1 - networks.BETA),
        decay_input=False,
        v_threshold=_above(networks.THRESHOLD),
        **common,
    )


class LastPotential(nn.Module):
    """The leaky readout; SpikingJelly's own scales its input by 1 / tau."""

    def forward(self, currents):
        v = 0.0
        for current in currents:
            v = networks.BETA * (v + current)
        return v / len(currents)


class Network(nn.Sequential):
    """Synapses and neurons, one layer after the other."""

    def __init__(self, case):
        stages = torch_program.plain_stages(
            case, layer.Conv2d, layer.AvgPool2d, layer.Flatten, layer.Linear
        )
        modules, neurons = [], []
        for synapse, kind in stages:
            modules += synapse
            if kind == "readout":
                modules.append(LastPotential())
            else:
                neurons.append(_neurons(kind))
                modules.append(neurons[-1])
        super().__init__(*modules)
        self.neurons = neurons
        functional.set_step_mode(self, "m")


class Program(torch_program.Program):
    packages = ("spikingjelly",)

    def build(self, case):
        return Network(case)

    def reset(self):
        functional.reset_net(self.network)


run = functools.partial(measure.program, Program)
