"""What the programs of the PyTorch libraries share."""

import importlib.metadata
import os

import numpy as np
import torch

from benchmarks import networks


def parameter(kernel, spatial=None):
    """Return a Keras kernel as a PyTorch parameter.

    Args:
        kernel: NumPy kernel, of a convolution or a dense layer.
        spatial: `(side, channels)` of the images in front of a dense layer,
            whose axes PyTorch flattens in another order.
    """
    if kernel.ndim == 4:
        kernel = kernel.transpose(3, 2, 0, 1)
    else:
        if spatial:
            side, channels = spatial
            kernel = kernel.reshape(side, side, channels, -1)
            kernel = kernel.transpose(2, 0, 1, 3)
            kernel = kernel.reshape(side * side * channels, -1)
        kernel = kernel.T
    return torch.nn.Parameter(torch.from_numpy(np.ascontiguousarray(kernel)))


def plain_stages(case, convolution, pooling, flatten, linear):
    """Return the synapses of a network without residual blocks, in order.

    Args:
        case: The case; its network and width count.
        convolution, pooling, flatten, linear: The library's classes, called
            as those of `torch.nn`.

    Returns:
        List of `(modules, kind)`, kind `"lif"`, `"if"` or `"readout"`.
    """
    network = networks.NETWORKS[case["network"]]
    kernels = iter(networks.weights(case["network"], case["width"]))
    side, _, channels = network.input_shape
    stages = []
    for kind, *numbers in (*network.layers, ("dense", networks.CLASSES)):
        if kind == "pool":
            side //= 2
            stages.append(([pooling(2)], "if"))
            continue
        kernel = next(kernels)
        units = kernel.shape[-1]
        if kind == "conv":
            size = numbers[1]
            module = convolution(
                channels, units, size, padding=size // 2, bias=False
            )
            module.weight = parameter(kernel)
            stages.append(([module], "lif"))
        else:
            module = linear(kernel.shape[0], units, bias=False)
            spatial = (side, channels) if side > 1 else None
            module.weight = parameter(kernel, spatial)
            modules = [flatten(), module] if spatial else [module]
            stages.append((modules, "lif"))
            side = 1
        channels = units
    modules, _ = stages.pop()
    return [*stages, (modules, "readout")]


class Program:
    """A module over spike trains, one batch, and its steps.

    Subclasses give `build(case)`, a module that takes spikes, axes
    (time, batch, channels, height, width), to outputs, and has the list
    `neurons` of its spiking modules; and `reset()`, run after every call.
    """

    packages = ()

    def __init__(self, case):
        torch.set_num_threads(os.cpu_count())
        # As Keras' JAX backend does for float32 on these cards.
        torch.backends.cuda.matmul.allow_tf32 = True
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.half = case["dtype"] == "bfloat16"
        self.network = self.build(case).to(self.device)
        spikes = networks.spike_trains(
            case["network"], case["batch"], case["time_steps"]
        )
        spikes = np.ascontiguousarray(spikes.transpose(1, 0, 4, 2, 3))
        self.spikes = torch.from_numpy(spikes).to(self.device)
        self.targets = torch.from_numpy(networks.targets(case["batch"])).to(
            self.device
        )
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), case["learning_rate"]
        )

    def reset(self):
        pass

    def forward(self):
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            return self.network(self.spikes)

    def train_step(self):
        self.optimizer.zero_grad()
        loss = (self.forward().float() - self.targets).square().sum()
        loss.backward()
        self.optimizer.step()
        self.reset()
        # Waits for the device.
        return loss.item()

    def inference_step(self):
        with torch.no_grad():
            outputs = self.forward()
        self.reset()
        return outputs.float().cpu().numpy()

    def outputs(self):
        """Return outputs and spikes of each layer."""
        counts = [0] * len(self.network.neurons)

        def counter(index):
            def count(module, inputs, spikes):
                # snnTorch's neurons return their potential too.
                spikes = spikes[0] if isinstance(spikes, tuple) else spikes
                counts[index] += int(spikes.sum())

            return count

        hooks = [
            module.register_forward_hook(counter(index))
            for index, module in enumerate(self.network.neurons)
        ]
        outputs = self.inference_step()
        for hook in hooks:
            hook.remove()
        return {"outputs": outputs.tolist(), "spikes": counts}

    def description(self):
        return {
            "versions": {
                name: importlib.metadata.version(name)
                for name in ("torch", *self.packages)
            },
            "device": (
                torch.cuda.get_device_name() if self.device == "cuda" else "cpu"
            ),
        }

    def device_memory(self):
        if self.device == "cpu":
            return None
        return torch.cuda.max_memory_allocated()
