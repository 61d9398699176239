"""Operations of networks drawn at random are those of a plain count."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.analysis import connections as synapses
from tests.analysis.networks import by_name, randomize, spikes, trains

TimeFold, LIF, L = snn.layers.TimeFold, snn.layers.LIF, keras.layers


class RandomNetwork:
    """Layers drawn one by one, and the synapses into each, written down.

    Attributes:
        x: The output so far.
        source: Name of the layer that made it.
        links: Dict from layer names to (what activates it, its synapses).
    """

    def __init__(self, rng):
        self.rng, self.links, self.source = rng, {}, "input"
        size = rng.integers(5, 8, 2).tolist()
        self.x = keras.Input((4, *size, 2), name="input")
        self.inputs = self.x
        for k in range(2):
            self.convolve(f"conv{k}")
            self.pool(f"pool{k}", rng.choice(["none", "mean", "max", "rate"]))
        x = TimeFold(L.Flatten())(self.x)
        self.links["dense"] = (self.source, np.ones((x.shape[-1], 3), "int64"))
        x = TimeFold(L.Dense(3, use_bias=False, name="dense"))(x)
        x = snn.layers.MembraneReadout(name="readout")(x)
        self.model = randomize(snn.Model(self.inputs, x))

    def draw(self, *kernels):
        """Return kernel, strides and padding that fit the frame."""
        kernel = self.rng.choice(kernels, 2).tolist()
        padding = str(self.rng.choice(["same", "valid"]))
        if min(self.x.shape[2:4]) < max(kernel):
            padding = "same"
        return kernel, int(self.rng.integers(1, 3)), padding

    def convolve(self, name):
        """Add a convolution, perhaps around a shortcut, and neurons."""
        shape, filters = self.x.shape[2:], int(self.rng.integers(1, 4))
        kernel, strides, padding = self.draw(1, 2, 3)
        joins = self.rng.random() < 0.5
        if joins:
            filters, strides, padding = shape[-1], 1, "same"
        layer = L.Conv2D(
            filters, kernel, strides, padding, use_bias=False, name=name
        )
        synapses_in = synapses.convolution(
            shape, filters, kernel, strides, padding
        )
        self.links[name] = (self.source, synapses_in)
        y = TimeFold(layer)(self.x)
        if joins:
            y = L.Add(name=f"{name}_add")([y, self.x])
            identity = np.eye(np.prod(shape), dtype="int64")
            self.links[f"{name}_add"] = (self.source, identity)
        self.fire(f"{name}_lif", y)

    def pool(self, name, kind):
        """Add a pooling, with neurons if it sums."""
        options = self.draw(2, 3)
        if kind == "mean":
            links = synapses.depthwise(self.x.shape[2:], *options)
            self.links[name] = (self.source, links)
            y = TimeFold(L.AveragePooling2D(*options, name=name))(self.x)
            self.fire(f"{name}_lif", y)
        elif kind == "max":
            self.x = TimeFold(L.MaxPooling2D(*options, name=name))(self.x)
            self.source = name
        elif kind == "rate":
            self.x = snn.layers.MaxRatePooling2D(*options, name=name)(self.x)
            self.source = name

    def fire(self, name, currents):
        self.x = LIF(threshold=0.3, name=name)(currents)
        self.source = name


@pytest.mark.parametrize("seed", range(3, 8))
def test_random_networks(seed):
    network = RandomNetwork(np.random.default_rng(seed))
    data = spikes(2, *network.inputs.shape[1:], seed=seed)
    profile = snn.analysis.profile(network.model, data)
    sources = dict.fromkeys(source for source, _ in network.links.values())
    train = trains(network.model, list(sources), data)
    found = by_name(profile)
    for name, (source, links) in network.links.items():
        count = synapses.operations(train[source], links)
        assert count > 0
        assert found[name].effective_acs == pytest.approx(count, abs=1e-9)
        assert found[name].dense == 4 * links.sum()
    total = sum(found[name].effective_acs for name in network.links)
    assert profile.effective_acs == pytest.approx(total)
    assert profile.effective_macs == 0
