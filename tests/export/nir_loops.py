"""NIR's equations in plain NumPy, one Euler step after the other."""

import nir
import numpy as np


class Loop:
    """The nodes of a graph, in the order in which they stand there.

    An edge to a node that stands before brings what its start gave at the
    step before; before the first, what it makes of no spikes.
    """

    def __init__(self, graph, dt=1e-4):
        self.graph, self.dt = graph, dt
        self.state, self.before, self.inner = {}, {}, {}

    def step(self, x):
        """Return what every node gives, by name."""
        outputs = {}
        for name, node in self.graph.nodes.items():
            found = [s for s, y in self.graph.edges if y == name]
            if isinstance(node, nir.Input):
                outputs[name] = x
                continue
            inputs = [
                outputs[s] if s in outputs else self.late(s) for s in found
            ]
            outputs[name] = self.advance(name, node, sum(inputs))
        self.before = outputs
        return outputs

    def late(self, name):
        node = self.graph.nodes[name]
        nothing = np.asarray(getattr(node, "bias", 0.0), float)
        axes = (1,) * (np.ndim(getattr(node, "weight", 0.0)) - 2)
        return self.before.get(name, nothing.reshape((*nothing.shape, *axes)))

    def advance(self, name, node, x):
        kind = type(node).__name__
        if isinstance(node, nir.NIRGraph):
            inner = self.inner.setdefault(name, Loop(node, self.dt))
            (end,) = [
                k for k, n in node.nodes.items() if isinstance(n, nir.Output)
            ]
            return inner.step(x)[end]
        if kind in ("LIF", "IF", "CubaLIF", "LI", "I"):
            return self.neuron(name, node, x)
        return getattr(self, kind.lower())(node, x)

    def neuron(self, name, node, x):
        v, i = self.state.get(name, (0.0, 0.0))
        if isinstance(node, nir.CubaLIF):
            i = i + self.dt / node.tau_syn * (node.w_in * x - i)
            x = i
        slope = node.r * x
        tau = getattr(node, "tau", getattr(node, "tau_mem", None))
        if tau is not None:
            slope = (node.v_leak - v + slope) / tau
        v = v + self.dt * slope
        if not hasattr(node, "v_threshold"):
            self.state[name] = v, i
            return v
        spikes = v > node.v_threshold
        self.state[name] = np.where(spikes, node.v_reset, v), i
        return spikes.astype(float)

    @staticmethod
    def threshold(node, x):
        return (x > node.threshold).astype(float)

    @staticmethod
    def output(node, x):
        return x

    @staticmethod
    def linear(node, x):
        return x @ np.asarray(node.weight, float).T

    @staticmethod
    def affine(node, x):
        return Loop.linear(node, x) + node.bias

    @staticmethod
    def scale(node, x):
        return x * node.scale

    @staticmethod
    def flatten(node, x):
        return x.reshape(len(x), -1)

    @staticmethod
    def conv1d(node, x):
        return convolve(node, x, 1)

    @staticmethod
    def conv2d(node, x):
        return convolve(node, x, 2)

    @staticmethod
    def avgpool2d(node, x):
        return Loop.sumpool2d(node, x) / np.prod(node.kernel_size)

    @staticmethod
    def sumpool2d(node, x):
        axes = (-2, -1)
        windows = np.lib.stride_tricks.sliding_window_view(
            x, tuple(node.kernel_size), axes
        )
        rows, columns = node.stride
        return windows[:, :, ::rows, ::columns].sum(axes)


def convolve(node, x, rank):
    stride, padding, dilation = (
        np.broadcast_to(n, (rank,)).tolist()
        for n in (node.stride, node.padding, node.dilation)
    )
    x = np.pad(x, [(0, 0), (0, 0), *((n, n) for n in padding)])
    weight = np.asarray(node.weight, float)
    shape = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation)]
    axes = tuple(range(2, 2 + rank))
    windows = np.lib.stride_tricks.sliding_window_view(x, shape, axes)
    cut = [slice(None, None, n) for n in (*stride, *dilation)]
    windows = windows[(slice(None), slice(None), *cut)]
    groups = int(node.groups)
    parts = zip(
        np.split(windows, groups, axis=1), np.split(weight, groups, axis=0)
    )
    outputs = [
        np.tensordot(
            part, w, ((1, *range(2 + rank, 2 + 2 * rank)), range(1, 2 + rank))
        )
        for part, w in parts
    ]
    outputs = np.moveaxis(np.concatenate(outputs, -1), -1, 1)
    return outputs + np.reshape(node.bias, (-1, *(1 for _ in range(rank))))


def run(graph, x, dt=1e-4):
    """Return what every node gives over time, channels last.

    Args:
        graph: A `nir.NIRGraph` whose nodes stand in order.
        x: Array (batch, time, ..., channels).
        dt: Length of a step.
    """
    loop, steps = Loop(graph, dt), []
    for frame in np.moveaxis(x, 1, 0):
        steps.append(loop.step(np.moveaxis(frame, -1, 1).astype(float)))
    return {
        name: np.stack([np.moveaxis(s[name], 1, -1) for s in steps], 1)
        for name in graph.nodes
    }
