"""All steps of one layer, then all steps of the next, and one backward pass.

The order for layers that see all steps together: batch normalization over
batch and time. A layer's T steps are kept while the next layer reads them,
and no longer: for the backward pass there are means over time and what the
neurons' learning rule makes of their spikes, as in `time_first`. Where all
steps are the same, one is computed.
"""

import functools
import itertools
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
    layer_events,
    normalization,
    pooled_convolution,
    processes,
    spike_history,
    states,
    time_first,
)
from keras_snn.running.by_products import ByProducts

# Steps of which a graph has a product each.
MOST_STEPS = 16
# Steps of neurons in one pass over memory, a divisor of those in a byte. More
# take long to compile.
TOGETHER = 4


class Train(NamedTuple):
    """A value at all steps, and its mean over time.

    Attributes:
        frames: List of one tensor a step, (batch, ...), constants to
            differentiation; of one only if it is the same at every step.
        mean: (batch, ...), differentiable.
        affine: Tensors `(scale, shift)` that the frames are still to be taken
            through, `scale * x + shift`, by whoever reads them; or None.
        due: The convolution that they are still to be taken through, together
            with the pooling that reads them; or None.
        ahead: Tuple of what neurons give, a `Train`, and their mean rate,
            where layers up to these ran as one; or None.
    """

    frames: list
    mean: Any
    affine: tuple | None = None
    due: Any = None
    ahead: tuple | None = None

    @property
    def held(self):
        """Whether it is the same at every step; T = 1 counts as such."""
        return len(self.frames) == 1


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
        if type(x.node.layer) is RepeatEncoder
        and inside >= set(x.takers)
        and x not in network.outputs
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


def _frame_of(train, t):
    """Return the frame of step `t` as it is kept."""
    return train.frames[0 if train.held else t]


def _step_of(train, t):
    """Return the frame of step `t`."""
    frame = _frame_of(train, t)
    if train.affine is None:
        return frame
    scale, shift = train.affine
    return ops.cast(frame, "float32") * scale + shift


def _moves(layer):
    """Return whether a layer moves values to other places, or puts zeros."""
    nearest = getattr(layer, "interpolation", "nearest") == "nearest"
    return kinds.of(layer).role == "wiring" and nearest


def _plain(train):
    """Return a train whose frames need not be taken through anything."""
    if train.affine is None:
        return train
    frames = [_step_of(train, t) for t in range(len(train.frames))]
    return Train(frames, train.mean)


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
        self.by_step = steps[0] <= MOST_STEPS and compilation.on_processors()
        self.shared = processes.current() is not None
        self.by_event = layer_events.may_run(network, steps[0], training)
        self.results, self.found = {}, ByProducts()

    def _source(self, value, x):
        if value.key in self.held:
            return Train([ops.stop_gradient(x)], x)
        constant = ops.stop_gradient(x)
        frames = [constant[:, t] for t in range(self.time_steps)]
        return Train(frames, ops.mean(ops.cast(x, "float32"), axis=1))

    def run(self):
        """Return the readouts' results by key."""
        self.network.run(self.trains, self._visit, self.network.loop)
        return self.results

    def _visit(self, node, trains):
        layer = node.layer
        if not isinstance(layer, TimeLayer):
            return [self._merge(node, trains)]
        train = trains[node.inputs[0].key]
        if train.ahead is not None:
            return [self._arrive(node, train)]
        if isinstance(layer, SpikingLayer):
            return [self._fire(node, train)]
        if isinstance(layer, Readout):
            return [self._read_out(node, train)]
        if type(layer) is TimeFold:
            return [self._fold(node, train)]
        return [self._step_by_step(node, train)]

    def _fold(self, node, train):
        """Run layers that see one frame each, one after the other."""
        stages = [*node.stages, self._reader(node)]
        for n, (stage, behind) in enumerate(itertools.pairwise(stages)):
            train = _plain(train)
            if self.by_event and train.due is None:
                chain = layer_events.chain_from(node, n, train)
                if chain is not None:
                    return self._run_ahead(chain, train)
            pooling = None
            if train.due is not None:
                stage, pooling = train.due, stage
                train = train._replace(due=None)
            elif pooled_convolution.fit(stage, behind, train.mean.shape):
                train = train._replace(due=stage)
                continue
            train = self._frames(stage, train, pooling)
        return train

    def _run_ahead(self, chain, train):
        """Run layers up to their neurons."""
        spikes, mean, rate = layer_events.run(
            chain, train, self.time_steps, self.training
        )
        return train._replace(ahead=(Train(spikes, mean), rate))

    def _arrive(self, node, train):
        """Return what a node gives that ran with those before it."""
        if not isinstance(node.layer, SpikingLayer):
            return train
        spikes, rate = train.ahead
        self.found.take(node, rate, spikes.mean)
        return spikes

    def _reader(self, node):
        """Return the layer of one frame that alone reads a node, or None."""
        takers = node.output.takers
        folds = all(type(x.layer) is TimeFold for x in takers)
        return takers[0].stages[0] if folds and len(takers) == 1 else None

    def _merge(self, node, trains):
        """Run a layer of several inputs on all steps, and on the means."""
        inputs = {x.key: trains[x.key] for x in node.inputs}
        (mean,) = node({key: train.mean for key, train in inputs.items()})
        added = [trains[x.key] for x in node.inputs]
        if self.by_event and layer_events.may_join(node, added):
            return Train(layer_events.Joined(added, _step_of), mean)
        steps = max(len(train.frames) for train in inputs.values())
        frames = []
        for t in range(steps):
            (y,) = node({key: _step_of(x, t) for key, x in inputs.items()})
            frames.append(ops.stop_gradient(y))
        return Train(frames, mean)

    def _frames(self, layer, train, pooling=None):
        """Run a layer that sees one plain frame on all steps, and on the mean.

        A convolution also with the pooling behind it.
        """
        if kinds.is_normalization(layer):
            if self.training and layer.trainable:
                affine, mean = self._normalize(layer, train)
                return self._rounded(layer, Train(train.frames, mean, affine))
            frames = self._apply(
                functools.partial(layer, training=False), train
            )
            return Train(frames, layer(train.mean, training=False))
        if isinstance(train.frames, spike_history.Spikes) and _moves(layer):
            return Train(train.frames.moved_by(layer), layer(train.mean))
        call = layer
        if pooling is not None:
            call = pooled_convolution.layer(layer, pooling)
        if self.by_event:
            found = layer_events.convolve(layer, pooling, train)
            if found is not None:
                return Train(*found)
        frames = list(map(ops.stop_gradient, self._apply(call, train)))
        mean = call(train.mean)
        known = sum(ops.cast(x, "float32") for x in frames) / len(frames)
        return Train(frames, means.known(mean, ops.cast(known, mean.dtype)))

    def _normalize(self, layer, train):
        """Return what `normalization.normalize` does."""
        if isinstance(train.frames, layer_events.Currents):
            found = layer_events.normalize(layer, train)
            if found is not None:
                return found
        return normalization.normalize(layer, list(train.frames), train.mean)

    def _apply(self, layer, train):
        """Return a layer's frames, constants to differentiation.

        Processors take one step after the other, which frees each as soon as
        it is read. Others gain by all steps in one call, and so do graphs of
        many steps.
        """
        frames = list(train.frames)
        if self.by_step or len(frames) == 1:
            return [ops.stop_gradient(layer(x)) for x in frames]
        if self.shared:
            return self._apply_to_samples(layer, frames)
        outputs = ops.stop_gradient(layer(ops.concatenate(frames, axis=0)))
        return [
            outputs[t * self.batch : (t + 1) * self.batch]
            for t in range(len(frames))
        ]

    def _apply_to_samples(self, layer, frames):
        """Do all steps in one call, those of a sample next to each other.

        A device has some of the samples. If steps came first, the devices
        would exchange all frames, to have some of the steps instead.
        """
        x = ops.stack(frames, axis=1)
        y = layer(ops.reshape(x, (-1, *x.shape[2:])))
        y = ops.reshape(y, (-1, len(frames), *y.shape[1:]))
        return [ops.stop_gradient(y[:, t]) for t in range(len(frames))]

    def _rounded(self, layer, train):
        """Return what is still to be normalized, in the layer's precision."""
        in_engine = isinstance(train.frames, layer_events.Currents)
        if in_engine or layer.compute_dtype == "float32":
            return train
        frames = _plain(train).frames
        frames = [ops.cast(x, layer.compute_dtype) for x in frames]
        return Train(frames, train.mean)

    def _fire(self, node, train):
        layer = node.layer
        if isinstance(train.frames, layer_events.Joined):
            spikes, mean, rate = layer_events.fire(
                layer, train, self.time_steps, self.training
            )
            self.found.take(node, rate, mean)
            return Train(spikes, mean)
        state = states.initial(node, self.batch, self.training, "credits")
        spikes, windows, since = [], [], 0
        for begin in range(0, self.time_steps, TOGETHER):
            end = min(begin + TOGETHER, self.time_steps)
            found, state = self._window(layer, train, state, begin, end)
            if layer.lif is None:
                spikes += map(ops.stop_gradient, found)
            else:
                windows.append((found, end - begin))
            if end - since == spike_history.WINDOW or end == self.time_steps:
                steps = ops.convert_to_tensor(end - since, "float32")
                last = ops.convert_to_tensor(end, "float32")
                state = states.absorbed(layer, state, steps, last)
                since = end
        outcome = states.outcome(layer, state, self.time_steps)
        outcome = means.Outcome(*map(ops.stop_gradient, outcome))
        mean = layer.collapsed(train.mean, outcome, None, self.training)
        self.found.take(node, ops.mean(outcome.value), mean)
        if windows:
            spikes = spike_history.Spikes(windows, layer.compute_dtype)
        return Train(spikes, mean)

    def _window(self, layer, train, state, begin, end):
        """Return the spikes of some steps, and the state behind them.

        Those of LIF neurons are in a byte, others are a list of frames.
        """
        if layer.lif is not None:
            currents = train.frames if train.held else train.frames[begin:end]
            last = end == self.time_steps
            return states.advance_lif(
                *(layer, currents, train.affine, state),
                *(end - begin, begin == 0, self.time_steps if last else None),
            )
        spikes = []
        for t in range(begin, end):
            frame = _step_of(train, t)
            s, state = states.advance(layer, frame, state, self.training)
            spikes.append(s)
        return spikes, state

    def _step_by_step(self, node, train):
        """Run another layer over time, such as dropout."""
        layer = node.layer
        own = states.initial(node, self.batch, self.training).own
        mean = layer.collapsed(train.mean, None, own, self.training)
        outputs = []
        for t in range(self.time_steps):
            y, own = layer.step(_step_of(train, t), own, self.training)
            outputs.append(ops.stop_gradient(y))
        return Train(outputs, mean)

    def _read_out(self, node, train):
        layer = node.layer
        state = states.initial(node, self.batch, self.training).own
        for t in range(self.time_steps):
            _, state = layer.step(_step_of(train, t), state)
        result = ops.stop_gradient(layer.result(state, self.time_steps))
        outcome = time_first.result_outcome(layer, result, self.time_steps)
        mean = layer.collapsed(train.mean, outcome, state, self.training)
        self.results[node.key] = mean
        return train
