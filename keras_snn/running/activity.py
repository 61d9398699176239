"""How often a network's neurons fire: the one probe of everything measured."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.network.reading import mask_of
from keras_snn.running import time_first, tracing
from keras_snn.running.scopes import in_turn
from keras_snn.running.shared_model import SharedModel


class Activity(SharedModel, keras.Model):
    """Counts what is not zero, position by position, in one forward pass.

    Runs the loop over time, and layer by layer where there is none. The
    neurons' own sums are enough for those, which the event-driven engine
    gives; anything else in the loop is counted step by step. Neither weights
    nor random seeds of the model change, if it is used by `counts`.

    Args:
        network: A `Network`.
        values: Dict from names to the `Value`s to watch. None is the output
            of every spiking node, by its name.
    """

    def __init__(self, network, values=None):
        super().__init__(name="activity", autocast=False)
        if values is None:
            values = {node.name: node.output for node in network.neurons}
        # As an attribute it makes the weights known.
        self.model = network.model
        self.network_read = network
        self.values = values
        known = {node.key for node in network.looped_neurons}
        known |= {x.key for x in [*network.inputs, *network.sources]}
        known |= {node.key for node in network.before}
        self.time_first = network.no_loop is None and all(
            x.key in known for x in values.values()
        )

    def call(self, inputs):
        """Return a dict of counts by name; see `counts`."""
        network, masks = self.network_read, {}
        if network.no_loop is None:
            values = time_first.values_before_loop(network, inputs, False)
            count = self._neurons if self.time_first else self._step_by_step
            counted, time_steps = count(values)
        else:
            values = all_values(network, inputs)
            counted, time_steps = {}, _time_steps(network, values)
            masks = {
                name: mask_of(values[x.key]) for name, x in self.values.items()
            }
        found = {
            name: counted.get(name) or _counted(x, values[x.key], x.over_time)
            for name, x in self.values.items()
        }
        time_steps = ops.convert_to_tensor(time_steps, "int32")
        samples = ops.shape(next(iter(values.values())))[0]
        size = ops.cast(ops.stack([samples, time_steps]), "int32")
        all_steps = ops.prod(size)
        for name, x in found.items():
            mask = masks.get(name)
            x["steps"] = all_steps
            if mask is not None:
                x["steps"] = ops.sum(ops.cast(mask, "int32"))
        found = keras.tree.map_structure(lambda x: x[None], found)
        # Outputs of batch size 1, which `predict` strings together.
        return {"counts": found, "size": size[None]}

    def _neurons(self, values):
        """Return what the neurons' sums tell, by name, and T."""
        sums, time_steps = time_first.count_spikes_in_loop(
            self.network_read, values
        )
        found = {
            name: {
                "active": ops.sum(
                    ops.cast(sums[x.node.name].total, "int32"), axis=0
                ),
                "analog": ops.zeros((), "int32"),
            }
            for name, x in self.values.items()
            if x.node.name in sums
        }
        return found, time_steps

    def _step_by_step(self, values):
        """Return what is watched in the loop, by name, and T.

        `values` receive what comes after the loop.
        """
        network = self.network_read
        loop = time_first.TimeLoop(network, values, False)
        inside = {x.key for node in network.loop for x in node.outputs}
        inside = {
            name: x
            for name, x in self.values.items()
            if x.key in inside and x.over_time
        }

        def step(t, state, found):
            seen, state = loop.values_at(t, state)
            now = {
                name: _counted(x, seen[x.key], False)
                for name, x in inside.items()
            }
            return t + 1, state, keras.tree.map_structure(ops.add, found, now)

        nothing = {
            name: {
                "active": ops.zeros(x.frame, "int32"),
                "analog": ops.zeros((), "int32"),
            }
            for name, x in inside.items()
        }
        _, final, found = ops.while_loop(
            lambda t, *_: t < loop.time_steps,
            step,
            (0, loop.initial_state(), nothing),
        )
        values.update(loop.results(final))
        network.run(
            values, lambda node, known: node(known, False), network.after
        )
        return found, loop.time_steps

    def counts(self, x, batch_size=64):
        """Return the `Counts` of some samples.

        Args:
            x: Arrays as for the model's `predict`.
            batch_size: Samples run at once.
        """
        with in_turn(), seeds_kept(self.network_read):
            found = self.predict(x, batch_size=batch_size, verbose=0)
        return self._added(found)

    def counts_of_batch(self, x):
        """Return the `Counts` of one batch."""
        with in_turn():
            return self._added(tracing.predict_on_batch(self, x))

    def _added(self, found):
        """Return the `Counts` of what `call` gave, in forward order."""
        # JAX sorts dicts by their keys.
        counts = {name: found["counts"][name] for name in self.values}
        return Counts().add({**found, "counts": counts})


class Counts:
    """What was counted, summed over samples and steps.

    Attributes:
        samples: Number of samples.
        steps: Number of steps, summed over samples.
        active: Dict from names to integer arrays of one frame's shape: how
            often each position was not zero.
        existing: Dict from names to the number of steps, summed over samples,
            that are not masked.
        analog: Names of values other than -1, 0 and 1.
    """

    def __init__(self):
        self.samples = self.steps = 0
        self.active, self.existing, self.analog = {}, {}, set()

    def add(self, found):
        """Add what an `Activity` returned; return the sum."""
        size = np.asarray(found["size"], "int64")
        self.samples += int(size[:, 0].sum())
        self.steps += int(np.prod(size, axis=1).sum())
        for name, x in found["counts"].items():
            self._add(
                name,
                np.sum(x["active"], axis=0, dtype="int64"),
                np.sum(x["steps"], dtype="int64"),
            )
            if np.any(x["analog"]):
                self.analog.add(name)
        return self

    def merge(self, other):
        """Add other counts of the same values."""
        self.samples += other.samples
        self.steps += other.steps
        for name, active in other.active.items():
            self._add(name, active, other.existing[name])
        self.analog |= other.analog

    def _add(self, name, active, steps):
        self.active[name] = self.active.get(name, 0) + active
        self.existing[name] = self.existing.get(name, 0) + steps

    def rates(self):
        """Return each position's rate in events a step, by name.

        Masked steps are none.
        """
        return {
            name: x / np.maximum(self.existing[name], 1)
            for name, x in self.active.items()
        }


class Sequences(SharedModel, keras.Model):
    """Some of a network's values at all steps, computed layer by layer.

    Args:
        network: A `Network`.
        values: List of its `Value`s.
    """

    def __init__(self, network, values):
        super().__init__(name="sequences", autocast=False)
        self.model = network.model
        self.network_read = network
        self.keys = [x.key for x in values]

    def call(self, inputs):
        values = all_values(self.network_read, inputs)
        return [values[key] for key in self.keys]


def _counted(value, x, over_time):
    """Return how often each position of `x` is not 0, and if it is `analog`.

    Args:
        value: The `Value` that it is of.
        x: Axes (sample, time, ...) if it is `over_time`, else (sample, ...).
        over_time: As above.
    """
    axes = (0, 1) if over_time else 0
    active = ops.sum(ops.cast(ops.not_equal(x, 0), "int32"), axis=axes)
    analog = ops.zeros((), "int32")
    if not isinstance(value.node.layer, SpikingLayer):
        analog = ops.any(ops.not_equal(x, ops.sign(x)))
    return {"active": active, "analog": ops.cast(analog, "int32")}


def all_values(network, inputs):
    """Return all values of a network by key, computed layer by layer."""
    return network.run(
        network.start(inputs), lambda node, values: node(values, False)
    )


def _time_steps(network, values):
    """Return the number of steps T, 1 where nothing runs over time."""
    for node in network.nodes:
        if node.output.over_time:
            return ops.shape(values[node.key])[1]
    return 1


@contextlib.contextmanager
def seeds_kept(network):
    """Give seed generators back the state they had before this scope."""
    seeds = [v for v in network.model.variables if "seed_generator" in v.path]
    before = [np.array(ops.convert_to_numpy(v)) for v in seeds]
    try:
        yield
    finally:
        for v, value in zip(seeds, before):
            v.assign(value)
