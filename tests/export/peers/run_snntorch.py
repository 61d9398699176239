"""snnTorch's side of the exchange."""

import nir
import snntorch
import torch
from exchange import Spikes, main, on_grid, random_spikes
from snntorch import utils
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import import_from_nir

NEURONS = (snntorch.Leaky, snntorch.Synaptic)


def run_file(path, x):
    net = import_from_nir(nir.read(path))
    return run(net, x)


def run(net, x):
    spikes, state = Spikes(net, NEURONS), None
    for t in range(x.shape[1]):
        output, state = net(x[:, t], state)
        spikes.add("output", output)
    return spikes.trains()


def leaky(beta, *shape):
    # The defaults are a soft reset, one step late, of which NIR knows none.
    # Parameters of another shape than the layer fail NIR's type check.
    return snntorch.Leaky(
        beta=torch.full(shape, beta),
        threshold=torch.ones(shape),
        init_hidden=True,
        reset_mechanism="zero",
        reset_delay=False,
    )


def own(net, x, path):
    graph = export_to_nir(net, x[:, 0], ignore_dims=[0])
    nir.write(path, graph)
    utils.reset(net)
    spikes = Spikes(net, (*NEURONS, snntorch.RLeaky))
    for t in range(x.shape[1]):
        spikes.add("output", net(x[:, t]))
    return x, spikes.trains()


def sequential(path):
    net = on_grid(
        torch.nn.Sequential(
            torch.nn.Conv2d(2, 4, 3, padding=1),
            leaky(0.9, 4, 8, 8),
            torch.nn.AvgPool2d(2),
            leaky(0.8, 4, 4, 4),
            torch.nn.Flatten(),
            torch.nn.Linear(64, 6),
            leaky(0.95, 6),
            torch.nn.Linear(6, 3),
        )
    )
    return own(net, random_spikes(2, 50, 2, 8, 8), path)


def recurrent(path):
    options = {
        "init_hidden": True,
        "reset_mechanism": "zero",
        "reset_delay": False,
    }
    net = on_grid(
        torch.nn.Sequential(
            torch.nn.Linear(12, 10),
            snntorch.Synaptic(
                alpha=torch.full((10,), 0.75),
                beta=torch.full((10,), 0.9),
                threshold=torch.full((10,), 3.0),
                **options,
            ),
            torch.nn.Linear(10, 6),
            snntorch.RLeaky(beta=0.9, linear_features=6, **options),
            torch.nn.Linear(6, 3),
        )
    )
    return own(net, random_spikes(2, 50, 12), path)


if __name__ == "__main__":
    main(run_file, {"sequential": sequential, "recurrent": recurrent})
