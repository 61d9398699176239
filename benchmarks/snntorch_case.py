"""snnTorch as its tutorials use it: leaky neurons in a loop over time."""

import functools

import snntorch
import torch
from snntorch import surrogate
from torch import nn

from benchmarks import measure, networks, torch_program


class Network(nn.Module):
    """Synapses and neurons, one time step after the other."""

    def __init__(self, case):
        super().__init__()
        stages = torch_program.plain_stages(
            case, nn.Conv2d, nn.AvgPool2d, nn.Flatten, nn.Linear
        )
        self.synapses = nn.ModuleList(nn.Sequential(*m) for m, _ in stages)
        self.layers = nn.ModuleList(_neurons(kind) for _, kind in stages)
        self.neurons = list(self.layers)[:-1]

    def forward(self, spikes):
        potentials = [neurons.init_leaky() for neurons in self.layers]
        for x in spikes:
            for i, (synapse, neurons) in enumerate(
                zip(self.synapses, self.layers)
            ):
                x, potentials[i] = neurons(synapse(x), potentials[i])
        # Its leak precedes the input, ours follows it.
        return networks.BETA * potentials[-1] / len(spikes)


def _neurons(kind):
    if kind == "readout":
        return snntorch.Leaky(networks.BETA, reset_mechanism="none")
    beta, threshold = networks.BETA, networks.THRESHOLD
    if kind == "if":
        beta, threshold = 1.0, networks.POOL_THRESHOLD
    return snntorch.Leaky(
        beta,
        threshold=threshold,
        spike_grad=surrogate.atan(),
        reset_mechanism="zero",
    )


class Program(torch_program.Program):
    packages = ("snntorch",)

    def build(self, case):
        torch.manual_seed(0)
        return Network(case)


run = functools.partial(measure.program, Program)
