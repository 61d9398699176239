"""Activity counted neuron by neuron, in one pass over the data."""

import dataclasses

import keras
from keras import ops

from keras_snn.analysis.batches import batches
from keras_snn.analysis.graph import node_of
from keras_snn.analysis.sequences import Sequences
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.models import time_first


@dataclasses.dataclass
class Counts:
    """What was counted, summed over samples and steps.

    Attributes:
        samples: Number of samples.
        steps: Number of steps, summed over samples.
        active: Dict from tensor ids to arrays of one frame's shape: how often
            each position was not zero.
        analog: Ids of tensors with values other than -1, 0 and 1.
    """

    samples: int
    steps: int
    active: dict
    analog: set


def count(network, data, batch_size, verbose=0):
    """Return the `Counts` of the tensors that a network watches.

    Args:
        network: A `network.Network`.
        data: See `batches.batches`.
        batch_size: Samples run at once.
        verbose: 1 shows a progress bar, 0 does not.
    """
    probe = _TimeFirst(network)
    if not probe.applies:
        probe = _LayerByLayer(network)
    counts = Counts(0, 0, dict.fromkeys(network.watched, 0), set())
    for x, _ in batches(network.model, data, batch_size, "profile", verbose):
        active, analog, time_steps = probe.predict_on_batch(x)
        counts.samples += len(x)
        counts.steps += len(x) * int(time_steps)
        for key, array in zip(probe.keys, active):
            counts.active[key] = counts.active[key] + array.astype("int64")
        counts.analog |= {k for k, flag in zip(probe.keys, analog) if flag > 0}
    return counts


class _Probe(keras.Model):
    """From inputs to activity, how analog it is, and the number of steps."""

    def __init__(self, network):
        super().__init__(name="activity_probe")
        self.model = network.model
        self.keys = list(network.watched)
        self.over_time = {
            key: network.time.has_time(x) for key, x in network.watched.items()
        }

    def activity(self, key, x):
        """Return how often each position of `x` is not zero."""
        axes = (0, 1) if self.over_time[key] else 0
        return ops.sum(ops.cast(ops.not_equal(x, 0), "int32"), axis=axes)


class _TimeFirst(_Probe):
    """The whole network step by step, keeping one sum a neuron."""

    def __init__(self, network):
        super().__init__(network)
        plan = self.model._plan
        names = [n.operation.name for n in plan.neurons] if plan else []
        self.sums = {
            id(node.output_tensors[0]): node.operation.name
            for node in (plan.neurons if plan else [])
        }
        known = {*self.sums, *plan.sources} if plan else set()
        self.applies = (
            plan is not None
            and len(set(names)) == len(names)
            and known >= set(self.keys)
        )

    def call(self, x):
        model, plan = self.model, self.model._plan
        model._check_pixels(x)
        inputs = model._standardize_inputs(x)
        values = time_first.values_before_loop(plan, model, inputs, False)
        sums, time_steps = time_first.count_spikes_in_loop(plan, model, values)
        active, analog = [], []
        for key in self.keys:
            if key in self.sums:
                total = sums[self.sums[key]][0]
                active.append(ops.sum(ops.cast(total, "int32"), axis=0))
                analog.append(ops.zeros((), "int32"))
            else:
                active.append(self.activity(key, values[key]))
                analog.append(_is_analog(values[key]))
        return active, analog, ops.convert_to_tensor(time_steps, "int32")


class _LayerByLayer(_Probe):
    """Whole sequences, for networks that watch more than spikes."""

    def __init__(self, network):
        super().__init__(network)
        tensors = network.watched
        self.sequences = Sequences(network.model, list(tensors.values()))
        self.spiking = [
            isinstance(node_of(x).operation, SpikingLayer)
            for x in tensors.values()
        ]

    def call(self, x):
        values = self.sequences(x)
        time_steps = [
            ops.shape(x)[1]
            for key, x in zip(self.keys, values)
            if self.over_time[key]
        ]
        active = [self.activity(k, x) for k, x in zip(self.keys, values)]
        analog = [
            ops.zeros((), "int32") if spiking else _is_analog(x)
            for spiking, x in zip(self.spiking, values)
        ]
        time_steps = time_steps[0] if time_steps else 1
        return active, analog, ops.convert_to_tensor(time_steps, "int32")


def _is_analog(x):
    """Return 1 if a value of `x` is not -1, 0 or 1, else 0."""
    return ops.cast(ops.any(ops.not_equal(x, ops.sign(x))), "int32")
