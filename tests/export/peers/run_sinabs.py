"""sinabs' side of the exchange."""

import nir
import torch
from exchange import Spikes, main, on_grid, random_spikes
from sinabs import activation
from sinabs.layers import IAFSqueeze, LIFSqueeze
from sinabs.nir import from_nir, to_nir

NEURONS = (IAFSqueeze, LIFSqueeze)


def run_file(path, x):
    graph = nir.read(path, type_check=False)
    net = from_nir(graph, batch_size=len(x))
    for name, layer in net.named_modules():
        if isinstance(layer, LIFSqueeze):
            layer.spike_fn = activation.SingleSpike
            if graph.nodes[name].metadata.get("reset") != "subtract":
                layer.reset_fn = activation.MembraneReset()
    return run(net, x)


def run(net, x):
    spikes = Spikes(net, NEURONS)
    output = net(x.flatten(0, 1))
    spikes.add("output", output[0] if isinstance(output, tuple) else output)
    return {
        name: steps[0].unflatten(0, x.shape[:2])
        for name, steps in spikes.steps.items()
    }


def neurons(kind, **options):
    # The defaults, several spikes a step and a soft reset, are in no file.
    return kind(
        batch_size=2,
        spike_fn=activation.SingleSpike,
        reset_fn=activation.MembraneReset(),
        **options,
    )


def leaky(tau):
    return neurons(
        LIFSqueeze,
        tau_mem=torch.tensor([tau]),
        spike_threshold=torch.tensor([1.0]),
        norm_input=False,
    )


def sequential(path):
    # A convolution that sinabs exports has no input shape, and nir.write
    # fails on it.
    x = random_spikes(2, 50, 12)
    net = on_grid(
        torch.nn.Sequential(
            torch.nn.Linear(12, 16, bias=False),
            leaky(9.0),
            torch.nn.Linear(16, 8),
            neurons(IAFSqueeze, spike_threshold=torch.tensor(3.0)),
            torch.nn.Linear(8, 6),
            leaky(5.0),
        )
    )
    run(net, x)
    nir.write(path, to_nir(net, x.flatten(0, 1)))
    for layer in net.modules():
        if isinstance(layer, NEURONS):
            layer.reset_states()
    return x, run(net, x)


if __name__ == "__main__":
    main(run_file, {"sequential": sequential})
