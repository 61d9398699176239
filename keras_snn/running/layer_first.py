"""All steps of one layer, then all steps of the next, and one backward pass.

The order for layers that see all steps together: batch normalization over
batch and time. A layer's T steps are kept while the next layer reads them,
and no longer: for the backward pass there are means over time and what the
neurons' learning rule makes of their spikes, as in `time_first`. Convolutions
run on time * batch frames at once, and on the frames of one step where all
steps are the same.
"""

from typing import Any, NamedTuple

from keras import ops

from keras_snn.layers import RepeatEncoder, TimeFold
from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network import kinds
from keras_snn.neurons import means
from keras_snn.running import (
    compilation,
    normalization,
    spike_history,
    states,
    time_first,
)
from keras_snn.running.by_products import ByProducts


class Train(NamedTuple):
    """A value at all steps, and its mean over time.

    Attributes:
        frames: (time * batch, ...), a constant to differentiation; or (batch,
            ...) if it is the same at every step.
        mean: (batch, ...), differentiable.
        held: Whether it is the same at every step.
    """

    frames: Any
    mean: Any
    held: bool


def run(network, inputs, training):
    """Run a network that learns by the rate or the collapsed rule.

    Args:
        network: A `Network` that runs as one loop, T known.
        inputs: What the model is called on.
        training: Whether dropout applies and normalizations take statistics.

    Returns:
        What the model returns.
    """
    values = _values_before_loop(network, inputs, training)
    weights, values = time_first.weights_before_loop(network, values)
    with compilation.with_weights(network.model, weights):
        layers = _Layers(network, values, training)
        results = layers.run()
    layers.found.hand_on(network)
    return time_first.outputs_after_loop(network, values, results, training)


def _held(network):
    """Return the keys of sources that are the same at every step."""
    inside = set(network.loop)
    return {
        x.key
        for x in network.sources
        if type(x.node.layer) is RepeatEncoder and inside >= set(x.takers)
    }


def _values_before_loop(network, inputs, training):
    """Return the values by key; a held source is that of one step."""
    held = _held(network)

    def visit(node, values):
        if node.key in held:
            x = values[node.inputs[0].key]
            return [ops.cast(x, node.layer.compute_dtype)]
        return node(values, training)

    return network.run(network.start(inputs), visit, network.before)


class _Layers:
    """One walk through a network, layer by layer."""

    def __init__(self, network, values, training):
        self.network = network
        self.training = training
        self.held = _held(network)
        steps = [
            (x if x.key in self.held else values[x.key]).shape[1]
            for x in network.sources
        ]
        time_first.check_steps(network, steps)
        self.time_steps = steps[0]
        self.trains = {
            x.key: self._source(x, values[x.key]) for x in network.sources
        }
        first = next(iter(self.trains.values()))
        self.batch = ops.shape(first.mean)[0]
        self.results, self.found = {}, ByProducts()

    def _source(self, value, x):
        if value.key in self.held:
            return Train(ops.stop_gradient(x), x, True)
        frames = ops.stop_gradient(ops.moveaxis(x, 1, 0))
        frames = ops.reshape(frames, (-1, *ops.shape(frames)[2:]))
        return Train(frames, ops.mean(ops.cast(x, "float32"), axis=1), False)

    def run(self):
        """Return the readouts' results by key."""
        self.network.run(self.trains, self._visit, self.network.loop)
        return self.results

    def _visit(self, node, trains):
        layer = node.layer
        if not isinstance(layer, TimeLayer):
            return [self._merge(node, trains)]
        train = trains[node.inputs[0].key]
        if isinstance(layer, SpikingLayer):
            return [self._fire(node, train)]
        if isinstance(layer, Readout):
            return [self._read_out(node, train)]
        if type(layer) is TimeFold:
            for stage in node.stages:
                train = self._frames(stage, train)
            return [train]
        return [self._step_by_step(node, train)]

    def _merge(self, node, trains):
        """Run a layer of several inputs on all steps, and on the means."""
        held = all(trains[x.key].held for x in node.inputs)
        frames, mean = {}, {}
        for x in node.inputs:
            frames[x.key] = self._all_steps(trains[x.key], held)
            mean[x.key] = trains[x.key].mean
        (frames,), (mean,) = node(frames), node(mean)
        return Train(ops.stop_gradient(frames), mean, held)

    def _all_steps(self, train, held):
        """Return the frames of all steps, or of one if all inputs are held."""
        if held or not train.held:
            return train.frames
        shape = ops.shape(train.frames)
        frames = ops.expand_dims(train.frames, 0)
        frames = ops.repeat(frames, self.time_steps, axis=0)
        return ops.reshape(frames, (-1, *shape[1:]))

    def _frames(self, layer, train):
        """Run a layer that sees one frame on all steps, and on the mean."""
        if kinds.is_normalization(layer):
            if self.training and layer.trainable:
                frames, mean = normalization.normalize(
                    layer, train.frames, train.mean
                )
                return Train(frames, mean, train.held)
            frames = layer(train.frames, training=False)
            mean = layer(train.mean, training=False)
            return Train(ops.stop_gradient(frames), mean, train.held)
        frames = ops.stop_gradient(layer(train.frames))
        # The value is known, so that compilers drop this product.
        mean = layer(train.mean)
        known = ops.cast(self._mean(frames, train.held), mean.dtype)
        mean = means.replace(mean, known, ops.ones_like(known))
        return Train(frames, mean, train.held)

    def _mean(self, frames, held):
        if held:
            return frames
        shape = ops.shape(frames)
        by_step = ops.reshape(frames, (self.time_steps, -1, *shape[1:]))
        return ops.mean(ops.cast(by_step, "float32"), axis=0)

    def _step_of(self, train, t):
        """Return the frame of step `t`."""
        if train.held:
            return train.frames
        start = t * self.batch
        return train.frames[start : start + self.batch]

    def _fire(self, node, train):
        layer = node.layer
        state = states.initial(node, self.batch, self.training, "credits")
        spikes, since = [], 0
        for t in range(self.time_steps):
            frame = self._step_of(train, t)
            s, state = states.advance(layer, frame, state, self.training)
            spikes.append(s)
            now = t + 1
            if now - since == spike_history.WINDOW or now == self.time_steps:
                steps = ops.convert_to_tensor(now - since, "float32")
                end = ops.convert_to_tensor(now, "float32")
                state = states.absorbed(layer, state, steps, end)
                since = now
        outcome = states.outcome(layer, state, self.time_steps)
        outcome = means.Outcome(*map(ops.stop_gradient, outcome))
        mean = layer.collapsed(train.mean, outcome, state.own, self.training)
        self.found.take(node, outcome, mean)
        frames = ops.stop_gradient(ops.concatenate(spikes, axis=0))
        return Train(frames, mean, False)

    def _step_by_step(self, node, train):
        """Run another layer over time, such as dropout."""
        layer = node.layer
        own = states.initial(node, self.batch, self.training).own
        mean = layer.collapsed(train.mean, None, own, self.training)
        outputs = []
        for t in range(self.time_steps):
            y, own = layer.step(self._step_of(train, t), own, self.training)
            outputs.append(y)
        frames = ops.stop_gradient(ops.concatenate(outputs, axis=0))
        return Train(frames, mean, False)

    def _read_out(self, node, train):
        layer = node.layer
        state = states.initial(node, self.batch, self.training).own
        for t in range(self.time_steps):
            _, state = layer.step(self._step_of(train, t), state)
        result = ops.stop_gradient(layer.result(state, self.time_steps))
        outcome = time_first.result_outcome(layer, result, self.time_steps)
        mean = layer.collapsed(train.mean, outcome, state, self.training)
        self.results[node.key] = mean
        return train
