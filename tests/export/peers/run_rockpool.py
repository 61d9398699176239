"""Rockpool's side of the exchange: its own files."""

import nir
import torch
from exchange import main, on_grid, random_spikes
from rockpool.nn.combinators import Sequential
from rockpool.nn.modules.torch import (
    ExpSynTorch,
    LIFNeuronTorch,
    LIFTorch,
    LinearTorch,
)
from rockpool.nn.modules.torch.nir import to_nir

DT = 1e-3
ONE_SPIKE = {"max_spikes_per_dt": torch.tensor(1.0), "dt": DT}


class Weights:
    """The weights of a network, as a network of PyTorch gives them."""

    def __init__(self, net):
        layers = net.modules().values()
        self.found = [x.weight for x in layers if isinstance(x, LinearTorch)]

    def parameters(self):
        return self.found


def own(net, x, path):
    on_grid(Weights(net))
    nir.write(path, to_nir(net))
    spikes = {}
    with torch.no_grad():
        for name, module in net.modules().items():
            x, *_ = module(x)
            if isinstance(module, (LIFTorch, LIFNeuronTorch)):
                spikes[name] = x
    return {**spikes, "output": x}


def sequential(path):
    net = Sequential(
        LinearTorch((12, 16), has_bias=False),
        LIFTorch(16, tau_mem=0.02, tau_syn=0.005, threshold=2.5, **ONE_SPIKE),
        LinearTorch((16, 8)),
        LIFNeuronTorch(8, tau_mem=torch.linspace(0.005, 0.05, 8), **ONE_SPIKE),
        LinearTorch((8, 3), has_bias=False),
        LIFNeuronTorch(3, tau_mem=0.01, threshold=0.5, **ONE_SPIKE),
    )
    x = random_spikes(2, 50, 12)
    return x, own(net, x, path)


def synapses(path):
    synapses = ExpSynTorch(8, tau=0.005, dt=DT)
    # Its exporter does not detach it.
    synapses.tau.requires_grad_(False)
    net = Sequential(
        LinearTorch((12, 8), has_bias=False),
        synapses,
        LIFNeuronTorch(8, tau_mem=0.02, threshold=2.5, **ONE_SPIKE),
    )
    x = random_spikes(2, 50, 12)
    return x, own(net, x, path)


if __name__ == "__main__":
    main(None, {"sequential": sequential, "synapses": synapses})
