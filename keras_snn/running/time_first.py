"""The loop over time around a whole network, and its one backward pass.

Forward, T steps run through all layers without being kept; each neuron keeps
the statistics of its spikes. Backward, the collapsed rule needs no more than
those, so the gradient is that of *one* pass through the same layers, in which
every activation is the mean of its spike train over time and every spiking
layer has the derivative `factor * t_last / T`.
"""

import contextlib
import dataclasses

import keras
from keras import ops

from keras_snn import event_driven
from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.neurons.means import Outcome, Sums
from keras_snn.running import (
    compilation,
    segments,
    spike_history,
    states,
)
from keras_snn.running.by_products import ByProducts, penalize
from keras_snn.running.scopes import own_process, penalized
from keras_snn.running.states import CountingState, NodeState


def run(network, inputs, training=False, differentiable=True):
    """Run a network with the loop over time outside its layers.

    Args:
        network: A `Network` that runs as one loop.
        inputs: What the model is called on.
        training: Whether dropout applies.
        differentiable: Whether gradients by the collapsed rule are wanted.

    Returns:
        What the model returns.
    """
    values = values_before_loop(network, inputs, training)
    weights = []
    if differentiable:
        weights, values = weights_before_loop(network, values)
    penalizes = (
        penalized.on and not differentiable and bool(network.regularized)
    )
    keep = Keep(credits=differentiable, sums=penalizes)
    loop = TimeLoop(network, values, training, keep)
    final = loop.run()
    results = loop.results(final)
    if differentiable:
        with compilation.with_weights(network.model, weights):
            products = ByProducts()
            results = _connect(loop, values, results, final, products)
        products.hand_on(network)
    if penalizes:
        _penalize(loop, final)
    return outputs_after_loop(network, values, results, training)


def infer(network, inputs):
    """Return what a model computes in inference, in one loop if that fits."""
    if network.no_loop is None:
        return run(network, inputs, differentiable=False)
    return network.model(inputs, training=False)


def count_spikes(network, inputs):
    """Run a network and count each neuron's spikes.

    For models that stay in this process, whose graph may call Python.

    Args:
        network: A `Network` that runs as one loop.
        inputs: What the model is called on.

    Returns:
        Tuple: dict from the name of each node of spiking neurons to its
        `Sums`; number of steps T.
    """
    values = values_before_loop(network, inputs, False)
    return count_spikes_in_loop(network, values)


def count_spikes_in_loop(network, values):
    """`count_spikes` from the `values` that the loop over time starts from."""
    with own_process():
        loop = TimeLoop(network, values, False, Keep(sums=True))
        final = loop.run()
    sums = {
        node.name: state.sums
        for node, state in zip(network.loop, final)
        if isinstance(state, CountingState)
    }
    return sums, loop.time_steps


def values_before_loop(network, inputs, training):
    """Return the values, by key, that the loop over time starts from."""
    values = network.start(inputs)

    def visit(node, values):
        return node(values, training)

    return network.run(values, visit, network.before)


def weights_before_loop(network, values):
    """Return the model's weights, and `values` whose sources wait for them."""
    keys = [x.key for x in network.sources]
    weights, sources = compilation.read_weights_first(
        network.model, [values[key] for key in keys]
    )
    return weights, {**values, **dict(zip(keys, sources))}


def outputs_after_loop(network, values, results, training):
    """Return what the model returns from the readouts' results."""

    def visit(node, values):
        return node(values, training)

    values = network.run({**values, **results}, visit, network.after)
    return network.pack([values[x.key] for x in network.outputs])


@dataclasses.dataclass(frozen=True)
class Keep:
    """What a loop over time is to remember.

    Attributes:
        sums: Each spiking layer's `Sums`.
        history: Besides, every spike at one bit, in `TimeLoop.histories`:
            uint8 tensors of axes (window, batch, ...) by key.
        credits: Instead of sums what the learning rule makes of them, in
            `TimeLoop.credits`: each spiking layer's `Outcome` by key.
    """

    sums: bool = False
    history: bool = False
    credits: bool = False


class TimeLoop:
    """The forward loop of a network: its state, one step, and all of them.

    Args:
        network: A `Network` that runs as one loop.
        values: What the loop starts from, by key.
        training: Whether dropout applies.
        keep: What to `Keep`.
    """

    def __init__(self, network, values, training, keep=Keep()):
        self.network = network
        self.training = training
        self.keep = keep
        self.histories = {}
        self.credits = {}
        # What ran in the event-driven engine.
        self.program = None
        self.time_steps, self.sources = _common_steps(
            network,
            {x.key: ops.stop_gradient(values[x.key]) for x in network.sources},
        )

    def run(self):
        """Run all steps; return the final state, a list of `NodeState`s."""
        learning = self.keep.credits or self.keep.history
        program = compilation.event_driven_program(
            self.network, self.training, learning
        )
        if program is not None:
            self.program = program
            return self._run_event_driven(program)
        if not (self.training or self.keep.credits or self.keep.history):
            split = compilation.event_driven_split(self.network)
            if split is not None:
                return self._run_segments(split)
        with _constant_variables(self.network.model):
            start = (0, self.initial_state())
            counting = any(isinstance(x, CountingState) for x in start[1])
            if counting:
                _, state, histories = ops.while_loop(
                    lambda t, *_: t < self.time_steps,
                    self._window,
                    (*start, self._empty_histories(start[1])),
                )
                self.histories = keras.tree.map_structure(
                    ops.stop_gradient, histories
                )
            else:
                _, state = self._steps(*start, self.time_steps)
        final = keras.tree.map_structure(ops.stop_gradient, state)
        if self.keep.credits:
            self.credits = {
                node.key: states.outcome(node.layer, state, self.time_steps)
                for node, state in zip(self.network.loop, final)
                if not isinstance(state, NodeState)
            }
        return final

    def _run_event_driven(self, program):
        """Run all steps in the event-driven engine; return the final state.

        Of the neurons' state it has the sums only, and nothing where it has
        `credits`.
        """
        statistics = "sums" if self.keep.sums else None
        if self.keep.credits:
            statistics = "credit"
        results = event_driven.run(
            program, self.sources, statistics, self.keep.history
        )
        results = {key: ops.stop_gradient(x) for key, x in results.items()}

        def found(node, *names):
            keys = [(node.key, name) for name in names]
            return [results[key] for key in keys if key in results]

        final = []
        for node in self.network.loop:
            sums = found(node, "total", "t_last", "trace")
            own = found(node, "state", "mask")
            final.append(
                CountingState(own, None, Sums(*sums))
                if sums
                else NodeState(own)
            )
            for history in found(node, "history"):
                self.histories[node.key] = history
            if credit := found(node, "rate", "derivative"):
                self.credits[node.key] = Outcome(*credit)
        return final

    def _run_segments(self, split):
        """Run all steps where some layers run through Keras."""
        final = segments.run(self, split)
        return keras.tree.map_structure(ops.stop_gradient, final)

    def _empty_histories(self, start):
        """Return zeros for the bytes of every window and spiking layer."""
        if not self.keep.history:
            return {}
        windows = -(-self.time_steps // spike_history.WINDOW)
        return {
            node.key: ops.zeros((windows, *ops.shape(state.byte)), "uint8")
            for node, state in zip(self.network.loop, start)
            if isinstance(state, CountingState)
        }

    def _steps(self, t, start, end):
        """Run the steps from `t` up to, not including, `end`."""
        return ops.while_loop(
            lambda t, _: t < end,
            lambda t, before: (t + 1, self.step_at(t, before)),
            (t, start),
        )

    def _window(self, t, before, histories):
        """Run up to eight steps and add up their spikes."""
        end = ops.minimum(t + spike_history.WINDOW, self.time_steps)
        steps = ops.cast(end - t, "float32")
        _, before = self._steps(t, before, end)
        if histories:
            window = ops.reshape(t // spike_history.WINDOW, (1, 1))
            histories = {
                node.key: ops.scatter_update(
                    histories[node.key], window, ops.expand_dims(state.byte, 0)
                )
                for node, state in zip(self.network.loop, before)
                if isinstance(state, CountingState)
            }
        end_step = ops.cast(end, "float32")
        summed = [
            states.absorbed(node.layer, state, steps, end_step)
            for node, state in zip(self.network.loop, before)
        ]
        return end, summed, histories

    def initial_state(self):
        """Return a list of `NodeState`s, one for each node of the loop."""
        batch = ops.shape(next(iter(self.sources.values())))[0]
        keep, training = self.keep, self.training
        counts = "credits" if keep.credits else "sums" if keep.sums else None
        return [
            states.initial(node, batch, training, counts)
            for node in self.network.loop
        ]

    def step_at(self, t, before):
        """Return the states after step `t` (counted from 0)."""
        return self.values_at(t, before)[1]

    def values_at(self, t, before):
        """Return the values of step `t`, by key, and the states after it."""
        frames = {key: x[:, t] for key, x in self.sources.items()}
        before, after = iter(before), []

        def visit(node, frames):
            outputs, state = self.step_of(node, frames, next(before))
            after.append(state)
            return outputs

        return self.network.run(frames, visit, self.network.loop), after

    def step_of(self, node, frames, state):
        """Return `(outputs, state)` of one node at one step."""
        if not isinstance(node.layer, TimeLayer):
            return node.infer_step(frames), state
        (frame, *_), _ = node.arguments(frames)
        output, state = states.advance(node.layer, frame, state, self.training)
        return [output], state

    def results(self, final, time_steps=None):
        """Return the readouts' results by key.

        Args:
            final: List of `NodeState`s.
            time_steps: Number of steps that they are after. None is all.
        """
        if time_steps is None:
            time_steps = self.time_steps
        return {
            node.key: node.layer.result(state.own, time_steps)
            for node, state in zip(self.network.loop, final)
            if isinstance(node.layer, Readout)
        }


def check_steps(network, steps):
    """Raise a `ValueError` unless all sequences have equally many steps.

    Args:
        network: The network.
        steps: Number of steps of each of its sources, None where unknown.
    """
    if len({n for n in steps if n is not None}) > 1:
        named = zip(network.sources, steps)
        found = ", ".join(f"'{x.name}' {n}" for x, n in named)
        raise ValueError(
            f"'{network.name}' runs over one time axis, and expects its "
            f"sequences to have equally many steps. Received: {found}. Pad or "
            "cut them to one length."
        )


def _common_steps(network, sources):
    """Return T, the same for all sources, and these, or raise an error."""
    check_steps(network, [sources[x.key].shape[1] for x in network.sources])
    time_steps, checked = compilation.checked_equal(
        [ops.shape(x)[1] for x in sources.values()],
        list(sources.values()),
        f"The sequences of '{network.name}' have different numbers of steps.",
    )
    return time_steps, dict(zip(sources, checked))


def _connect(loop, values, results, final, products):
    """Return `results` made differentiable by the collapsed rule.

    Runs the layers once on means over time. The currents' values are not
    used, only their derivatives, so that graph compilers drop the forward
    convolutions of this pass.
    """
    network = loop.network
    means = {
        x.key: ops.mean(ops.cast(values[x.key], "float32"), axis=1)
        for x in network.sources
    }
    found = iter(final)

    def visit(node, means):
        layer, state = node.layer, next(found)
        if not isinstance(layer, TimeLayer):
            return node(means)
        outcome = loop.credits.get(node.key)
        if isinstance(layer, Readout):
            outcome = result_outcome(layer, results[node.key], loop.time_steps)
        (mean, *_), _ = node.arguments(means)
        mean = layer.collapsed(mean, outcome, state.own, loop.training)
        if isinstance(layer, SpikingLayer):
            products.take(node, ops.mean(outcome.value), mean)
        return [mean]

    network.run(means, visit, network.loop)
    return {key: means[key] for key in results}


def _penalize(loop, final):
    """Add the penalties of spike rates to the loss."""
    steps = ops.cast(loop.time_steps, "float32")
    for node, state in zip(loop.network.loop, final):
        if isinstance(state, CountingState):
            penalize(node.layer, state.sums.total / steps)


def result_outcome(readout, result, time_steps):
    """Return the `Outcome` of a readout."""
    scale = 1.0 if readout.normalize else ops.cast(time_steps, result.dtype)
    return Outcome(result, ops.ones_like(result) * scale)


@contextlib.contextmanager
def _constant_variables(model):
    """Read the model's variables once, as constants to differentiation.

    JAX could not take the loop's derivative, and nobody asks for it. Seeds
    stay variables: they change.
    """
    if keras.config.backend() != "jax":
        yield
        return
    mapping = [(v, ops.stop_gradient(v.value)) for v in model.variables]
    with keras.StatelessScope(state_mapping=mapping) as scope:
        yield
    for v, constant in mapping:
        value = scope.get_current_value(v)
        if value is not None and value is not constant and not v.trainable:
            v.assign(value)
