"""Spikes of a network in training, taken without a trace."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.models import Model, time_first
from keras_snn.models.plan import nodes_of


class Probe:
    """Rates and spike trains of a model's spiking layers.

    Compiled at the first use and kept, so that one probe serves a whole
    training. Neither weights nor random seeds of the model change.

    Args:
        model: A functional model, built, with spiking layers, e.g. `LIF`.

    Attributes:
        names: Names of the spiking layers, in forward order.
    """

    def __init__(self, model):
        network = _functional(model)
        outputs = _spikes_by_name(network)
        if not outputs:
            raise ValueError(
                "SpikeRateMonitor expects a functional model with spiking "
                "layers, e.g. keras_snn.layers.LIF or IF. "
                f"'{model.name}' has none."
            )
        self.model = model
        self.names = list(outputs)
        self._network = network
        with _strategy_of(model):
            self._trains = keras.Model(network.inputs, outputs, name="trains")
            self._totals = _Totals(network, self._trains)

    def check(self, x):
        """Raise a `ValueError` unless arrays `x` fit the model."""
        arrays, inputs = keras.tree.flatten(x), self._network.inputs
        expected = [tuple(y.shape) for y in inputs]
        if [len(y) for y in expected] != [y.ndim for y in arrays] or any(
            n not in (None, m)
            for shape, array in zip(expected, arrays)
            for n, m in zip(shape[1:], array.shape[1:])
        ):
            raise ValueError(
                f"`x` of SpikeRateMonitor must hold samples for the inputs of "
                f"'{self.model.name}', of shape {_listed(expected)}, without "
                "labels and with the batch axis first (a single sample is "
                f"x[None]). Received: shape {_listed(y.shape for y in arrays)}."
            )
        self._network._check_pixels(x)

    def rates(self, x, batch_size):
        """Return each layer's rates by neuron, averaged over samples.

        Args:
            x: Arrays as for the model's `predict`.
            batch_size: Samples run at once.

        Returns:
            Dict from layer names to float64 arrays of shape `features`, in
            spikes a step.
        """
        with _seeds_kept(self._network):
            sums = self._totals.predict(x, batch_size=batch_size, verbose=0)
        samples = len(keras.tree.flatten(x)[0])
        rates = {}
        for name in self.names:
            total = np.sum(sums[name]["total"], axis=0, dtype="float64")
            time_steps = int(sums[name]["time_steps"][0])
            rates[name] = total / (samples * time_steps)
        return rates

    def trains(self, x):
        """Return each layer's spikes, `(samples, time, ...features)`."""
        with _seeds_kept(self._network):
            return self._trains.predict(x, verbose=0)


class _Totals(keras.Model):
    """Spikes of each layer's neurons, summed over the samples of a batch."""

    def __init__(self, network, trains):
        super().__init__(name="totals", autocast=False)
        self.network = network
        self.trains = trains
        # The loop's statistics have one entry a layer, not one a call.
        once = len(trains.outputs) == sum(
            isinstance(layer, SpikingLayer) for layer in network.layers
        )
        self.time_first = network._plan is not None and once

    def call(self, inputs):
        if not self.time_first:
            trains = self.trains(inputs)
            return {
                name: _sums(spikes, ops.shape(spikes)[1])
                for name, spikes in trains.items()
            }
        statistics, time_steps = time_first.count_spikes(
            self.network._plan,
            self.network,
            self.network._standardize_inputs(inputs),
        )
        return {
            name: _sums(total[:, None], time_steps)
            for name, (total, *_) in statistics.items()
        }


def _sums(spikes, time_steps):
    """Return outputs of batch size 1, which `predict` strings together."""
    total = ops.sum(ops.cast(spikes, "float32"), axis=(0, 1))
    time_steps = ops.cast(time_steps, "int32")
    return {"total": total[None], "time_steps": ops.reshape(time_steps, (1,))}


def _functional(model):
    if isinstance(model, Model):
        return model
    try:
        return Model(model.inputs, model.outputs, name=model.name)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            "SpikeRateMonitor expects a functional model, e.g. of "
            "keras_snn.models or keras_snn.Model(inputs, outputs). Received: "
            f"'{model.name}' ({type(model).__name__}), which is not one."
        ) from error


def _spikes_by_name(network):
    """Return the symbolic output of each call of each spiking layer."""
    nodes = set(map(id, nodes_of(network)))
    outputs = {}
    for layer in network.layers:
        if not isinstance(layer, SpikingLayer):
            continue
        calls = [n for n in layer._inbound_nodes if id(n) in nodes]
        for i, node in enumerate(calls):
            name = f"{layer.name}_call{i + 1}" if i else layer.name
            outputs[name] = node.output_tensors[0]
    return outputs


@contextlib.contextmanager
def _seeds_kept(network):
    """Give seed generators back the state they had before this scope."""
    seeds = [v for v in network.variables if "seed_generator" in v.path]
    before = [np.array(ops.convert_to_numpy(v)) for v in seeds]
    try:
        yield
    finally:
        for v, value in zip(seeds, before):
            v.assign(value)


def _strategy_of(model):
    """Return the scope of the model's `tf.distribute` strategy, if any."""
    if keras.config.backend() == "tensorflow":
        return model.distribute_strategy.scope()
    return contextlib.nullcontext()


def _listed(shapes):
    shapes = [str(tuple(shape)) for shape in shapes]
    return shapes[0] if len(shapes) == 1 else f"[{', '.join(shapes)}]"
