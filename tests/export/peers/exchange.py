"""What the peers' programs share: files in a folder, in and out.

`ours/NAME.nir` with `ours/NAME.npy`, an input (batch, time, ...), is run and
gives `ours/NAME.npz`: the spikes of every layer of neurons by name, and
`output`, all (batch, time, ...) with channels first. The peer's own networks
are written as `theirs/NAME.nir`, `.npy` and `.npz`.
"""

import pathlib
import sys

import numpy as np
import torch


def main(run_file, own_networks):
    """Run the files of the folder that the command line names.

    Args:
        run_file: Function of a path and an input that returns a dict of
            spikes.
        own_networks: Dict from names to functions of a path, which write a
            NIR file and return `(input, spikes)`.
    """
    torch.manual_seed(0)
    # Steps of small networks: threads only wait for each other.
    torch.set_num_threads(1)
    folder = pathlib.Path(sys.argv[1])
    for path in sorted((folder / "ours").glob("*.nir")):
        x = torch.from_numpy(np.load(path.with_suffix(".npy")))
        with torch.no_grad():
            _save(path, run_file(path, x))
    (folder / "theirs").mkdir(exist_ok=True)
    for name, write in own_networks.items():
        path = folder / "theirs" / f"{name}.nir"
        x, spikes = write(path)
        np.save(path.with_suffix(".npy"), x.numpy())
        _save(path, spikes)


def _save(path, spikes):
    arrays = {name: x.detach().numpy() for name, x in spikes.items()}
    np.savez(path.with_suffix(".npz"), **arrays)


class Spikes:
    """Keeps what modules return, step by step."""

    def __init__(self, net, kinds):
        self.steps = {}
        for name, module in net.named_modules():
            if isinstance(module, kinds):
                module.register_forward_hook(self._keeper(name))

    def _keeper(self, name):
        def keep(module, inputs, output):
            if isinstance(output, tuple):
                output = output[0]
            self.steps.setdefault(name, []).append(output)

        return keep

    def add(self, name, output):
        self.steps.setdefault(name, []).append(output)

    def trains(self):
        """Return the spikes by name, (batch, time, ...)."""
        return {name: torch.stack(x, 1) for name, x in self.steps.items()}


def random_spikes(*shape):
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(shape, generator=generator) < 0.4).float()


def on_grid(net):
    """Give weights on a grid, whose sums are the same in any order."""
    generator = torch.Generator().manual_seed(2)
    for weight in net.parameters():
        if weight.ndim > 1:
            fan_in = weight[0].numel()
            values = torch.randn(weight.shape, generator=generator)
            values = 0.15 + values * 2.0 / fan_in**0.5
            weight.data = torch.round(values * 1024) / 1024
        elif weight.numel() > 1:
            weight.data = torch.round(weight.data * 1024) / 1024
    return net
