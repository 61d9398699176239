"""Norse's side of the exchange."""

import nir
import norse.torch as norse
import torch
from exchange import Spikes, main, on_grid, random_spikes
from norse.torch.module.iaf import IAFCell, IAFParameters
from norse.torch.module.lif import LIFCell
from norse.torch.utils.import_nir import CubaLIF

NEURONS = (norse.LIFBoxCell, IAFCell, LIFCell, CubaLIF)


def run_file(path, x):
    net = norse.from_nir(nir.read(path))
    return run(net, x)


def run(net, x):
    spikes, state = Spikes(net, NEURONS), None
    for t in range(x.shape[1]):
        output, state = net(x[:, t], state)
        spikes.add("output", output)
    return spikes.trains()


def lif():
    rate = torch.tensor([100.0])
    zero, one = torch.tensor([0.0]), torch.tensor([1.0])
    return norse.LIFBoxCell(
        norse.LIFBoxParameters(
            tau_mem_inv=rate, v_leak=zero, v_th=one / 8, v_reset=zero
        )
    )


def sequential(path):
    threshold = IAFParameters(v_th=torch.tensor([3.0]))
    net = on_grid(
        norse.SequentialState(
            torch.nn.Linear(12, 16, bias=False),
            lif(),
            torch.nn.Linear(16, 8),
            IAFCell(threshold),
            torch.nn.Linear(8, 3, bias=False),
        )
    )
    x = random_spikes(2, 50, 12)
    nir.write(path, norse.to_nir(net, x[:, 0]))
    return x, run(net, x)


def synaptic(path):
    tau_mem, tau_syn, threshold = (
        torch.tensor([x]) for x in (50.0, 200.0, 0.3)
    )
    neurons = norse.LIFParameters(
        tau_mem_inv=tau_mem,
        tau_syn_inv=tau_syn,
        v_th=threshold,
        v_leak=torch.tensor([0.0]),
        v_reset=torch.tensor([0.0]),
    )
    net = on_grid(
        norse.SequentialState(
            torch.nn.Linear(12, 16, bias=False),
            norse.LIFCell(neurons),
            torch.nn.Linear(16, 8),
            norse.LIFCell(neurons),
        )
    )
    x = random_spikes(2, 50, 12)
    nir.write(path, norse.to_nir(net, x[:, 0]))
    return x, run(net, x)


if __name__ == "__main__":
    main(run_file, {"sequential": sequential, "synaptic": synaptic})
