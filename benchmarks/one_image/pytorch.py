"""Plain PyTorch layers, from the ONNX file: with ReLUs, or spiking.

The variant is `"relu"` or `"spiking"`. Spiking, all steps of a layer are taken
at once, and what is the same at every step once.
"""

import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

from benchmarks.one_image import dense


class Neurons:
    """Leaky neurons, reset by subtraction, over all steps.

    u[t] = v[t-1] + I[t];  s[t] = u[t] > 1;  v[t] = beta (u[t] - s[t])
    """

    def __init__(self, time_steps, beta):
        self.time_steps, self.beta = time_steps, beta

    def __call__(self, currents):
        v, spikes = 0.0, []
        for current in currents.expand(self.time_steps, *currents.shape[1:]):
            u = v + current
            spikes.append((u > 1).float())
            v = self.beta * (u - spikes[-1])
        return torch.stack(spikes)


class Layers(torch.nn.Module):
    """The layers of an ONNX file, of frames (step, image, ...).

    Args:
        graph: The file's graph.
        activation: Called with the input of each ReLU.
    """

    def __init__(self, graph, activation):
        super().__init__()
        self.activation = activation
        arrays = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
        self.calls = [_call(node, arrays) for node in graph.node]

    def forward(self, x):
        x = x[None]
        for call in self.calls:
            if call is None:
                x = self.activation(x)
            else:
                x = call(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return x.mean(0)


def _call(node, arrays):
    """Return what a node computes of images, None for a ReLU."""
    weights = [torch.from_numpy(arrays[x].copy()) for x in node.input[1:]]
    given = {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute}
    if node.op_type == "Relu":
        return None
    if node.op_type == "Flatten":
        return lambda x: x.flatten(1)
    if node.op_type == "Gemm":
        weight, *bias = weights
        weight = weight.T.contiguous()
        return lambda x: functional.linear(x, weight, *bias)
    if node.op_type in ("AveragePool", "MaxPool"):
        kind = "max_pool2d" if node.op_type == "MaxPool" else "avg_pool2d"
        pool = getattr(functional, kind)
        return lambda x: pool(x, given["kernel_shape"], given["strides"])
    weight, bias = (*weights, None)[:2]
    weight = weight.contiguous(memory_format=torch.channels_last)
    top, left, bottom, right = given["pads"]
    if (top, left) == (bottom, right):
        return lambda x: functional.conv2d(
            x, weight, bias, given["strides"], (top, left)
        )
    return lambda x: functional.conv2d(
        functional.pad(x, (left, right, top, bottom)),
        weight,
        bias,
        given["strides"],
    )


def run(case):
    """Measure all cells of a case."""
    torch.set_num_threads(case["threads"])
    graph = onnx.load(dense.path(case)).graph
    if case["library"].endswith("relu"):
        return _measured(graph, functional.relu, case)
    cells = []
    for cell in case["cells"]:
        found = _measured(graph, Neurons(**cell), case)
        cells.append({**cell, **found["cells"][0]})
    return {**found, "cells": cells}


def _measured(graph, activation, case):
    layers = Layers(graph, activation).eval()

    def call(x):
        x = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return layers(x).numpy()

    return dense.measured(call, case, torch)
