"""SpikingJelly's side of the exchange."""

import torch
from exchange import Spikes, main, on_grid, random_spikes
from spikingjelly.activation_based import layer, neuron
from spikingjelly.activation_based.nir_exchange import (
    export_to_nir,
    import_from_nir,
)

NEURONS = (
    neuron.IFNode,
    neuron.LIFNode,
    neuron.CUBALIFNode,
    neuron.ParametricLIFNode,
)


def run_file(path, x):
    net = import_from_nir(path)
    holders = tuple({type(m) for m in net.modules() if hasattr(m, "module")})
    spikes, state = Spikes(net, holders), None
    for t in range(x.shape[1]):
        output, state = net(x[:, t], state)
        spikes.add("output", output)
    return spikes.trains()


def own(net, x, path):
    export_to_nir(net, x[:, 0], path)
    spikes = Spikes(net, NEURONS)
    for t in range(x.shape[1]):
        spikes.add("output", net(x[:, t]))
    return x, spikes.trains()


def sequential(path):
    net = on_grid(
        torch.nn.Sequential(
            layer.Conv2d(2, 4, 3, padding=1),
            neuron.LIFNode(tau=4.0),
            layer.AvgPool2d(2),
            neuron.IFNode(v_threshold=0.75),
            layer.Flatten(),
            layer.Linear(64, 6, bias=False),
            neuron.LIFNode(tau=8.0, decay_input=False),
            layer.Linear(6, 3),
        )
    )
    return own(net, random_spikes(2, 50, 2, 8, 8), path)


class Residual(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = layer.Conv2d(2, 4, 3, padding=1, bias=False)
        self.lif1 = neuron.LIFNode(tau=4.0, decay_input=False)
        self.conv2 = layer.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.lif2 = neuron.LIFNode(tau=4.0, decay_input=False)
        self.conv3 = layer.Conv2d(6, 6, 3, padding=1, bias=False)
        self.shortcut = layer.Conv2d(4, 6, 1, stride=2, bias=False)
        self.lif3 = neuron.LIFNode(tau=4.0, decay_input=False)

    def forward(self, x):
        x = self.lif1(self.conv1(x))
        y = self.conv3(self.lif2(self.conv2(x)))
        return self.lif3(y + self.shortcut(x))


def synaptic(path):
    cuba = {"c_decay": 0.75, "v_decay": 0.9375, "v_threshold": 3.0}
    net = on_grid(
        torch.nn.Sequential(
            layer.Linear(12, 10, bias=False),
            neuron.CUBALIFNode(v_reset=0.0, **cuba),
            layer.Linear(10, 6),
            neuron.ParametricLIFNode(init_tau=4.0, decay_input=False),
        )
    )
    return own(net, random_spikes(2, 50, 12), path)


def residual(path):
    return own(on_grid(Residual()), random_spikes(2, 50, 2, 8, 8), path)


if __name__ == "__main__":
    networks = {
        "sequential": sequential,
        "residual": residual,
        "synaptic": synaptic,
    }
    main(run_file, networks)
