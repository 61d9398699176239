"""The loop over time in segments: event by event, and through Keras between.

Segments take eight steps each before the next segment does, and then the next
eight steps: what lies between them is kept for these, so that memory does not
grow with the number of steps.
"""

import functools
import statistics
import time

import keras
from keras import ops

from keras_snn import event_driven
from keras_snn.neurons.means import Sums
from keras_snn.running import compilation, spike_history, states
from keras_snn.running.states import CountingState, NodeState

WINDOW = spike_history.WINDOW


def run(loop, split):
    """Return the final state of a loop, as `TimeLoop.run` does.

    Args:
        loop: A `time_first.TimeLoop` for inference.
        split: The `event_driven.Split` of its network.
    """
    runner = Runner(loop, split)
    state, time_steps = loop.initial_state(), loop.time_steps
    # Each window has a fixed number of steps, which are laid out.
    windows = time_steps // WINDOW
    state = _repeated(runner.window, state, 0, windows, WINDOW)
    done = windows * WINDOW
    if isinstance(time_steps, int):
        rest = time_steps - done
        return runner.window(done, rest, state) if rest else state
    return _repeated(runner.window, state, done, time_steps - done, 1)


def _repeated(window, state, start, count, steps):
    """Take `count` windows of `steps` steps each, from step `start`."""
    if isinstance(count, int) and count < 2:
        return window(start, steps, state) if count else state

    def body(n, before):
        after = window(start + n * steps, steps, before)
        return n + 1, keras.tree.map_structure(_shaped_like, after, before)

    return ops.while_loop(lambda n, _: n < count, body, (0, state))[1]


def _shaped_like(new, old):
    """Return a tensor of whose shape as much is known as of another's."""
    return ops.reshape(new, ops.shape(old))


class Runner:
    """Takes windows of steps through all segments.

    Args:
        loop: A `time_first.TimeLoop`.
        split: The `event_driven.Split` of its network.
    """

    def __init__(self, loop, split):
        self.loop, self.split = loop, split
        self.keys = [node.key for node in loop.network.loop]

    def window(self, start, steps, before):
        """Return the states after the steps `start`, `start + 1`, ...

        Args:
            start: First step, from 0.
            steps: Number of steps, an integer.
            before: The states before them.
        """
        return self.sequences(start, steps, before)[1]

    def sequences(self, start, steps, before):
        """Return `(values, states)` of some steps.

        Values are the sequences between segments, by key; one step of those
        that are the same at all.
        """
        values = {
            key: self._steps_of(key, x, start, steps)
            for key, x in self.loop.sources.items()
        }
        # Nothing of a window is there before the last one is done with.
        values = compilation.waiting(values, keras.tree.flatten(before))
        after = dict(zip(self.keys, before, strict=True))
        for segment in self.split.segments:
            function = self._by_events if segment.program else self._by_keras
            function(segment, values, after, start, steps)
        return values, [after[key] for key in self.keys]

    def _steps_of(self, key, x, start, steps):
        if key in self.split.held:
            return x[:, :1]
        numbers = ops.arange(steps, dtype="int32") + start
        return ops.take(x, numbers, axis=1)

    def _by_events(self, segment, values, after, start, steps):
        """Run a segment in the engine; update `values` and `after`."""
        program = segment.program
        stateful = [*program.neurons, *program.readouts, *program.counters]
        counts = any(isinstance(x, CountingState) for x in after.values())
        results = event_driven.run(
            program,
            {key: values[key] for key in program.sources},
            "sums" if counts else None,
            state={key: after[key].own[0] for key in stateful},
            steps=steps,
        )
        values.update((x, results[x, "sequence"]) for x in program.results)
        for key in stateful:
            own, state = [results[key, "state"]], after[key]
            if not isinstance(state, CountingState):
                after[key] = NodeState(own)
                continue
            names = [(key, name) for name in ("total", "t_last", "trace")]
            new = Sums(*(results[x] for x in names if x in results))
            sums = _added(program.neurons[key], state.sums, new, start, steps)
            after[key] = CountingState(own, state.byte, sums)

    def _by_keras(self, segment, values, after, start, steps):
        """Run a segment layer by layer; update `values` and `after`."""

        def visit(node, values):
            outputs, after[node.key] = self.layer(
                node, values, after[node.key], start, steps
            )
            return outputs

        self.loop.network.run(values, visit, segment.loop)

    def layer(self, node, values, state, start, steps):
        """Return `(outputs, state)` of one layer after some steps.

        Args:
            node: The layer's node.
            values: Sequences of these steps, by key.
            state: Its state before them.
            start: First step, from 0.
            steps: Number of steps.
        """
        inputs = {x.key: values[x.key] for x in node.inputs}
        if event_driven.works_on_frames(node):
            return self._all_at_once(node, inputs, state, steps), state
        outputs = []
        for t in range(steps):
            # Of what is the same at all steps there is one.
            frames = {
                k: x[:, 0 if k in self.split.held else t]
                for k, x in inputs.items()
            }
            output, state = self.loop.step_of(node, frames, state)
            outputs.append(output)
        stack = functools.partial(ops.stack, axis=1)
        size = ops.convert_to_tensor(steps, "float32")
        end = ops.cast(start + steps, "float32")
        state = states.absorbed(node.layer, state, size, end)
        return [stack(x) for x in zip(*outputs)], state

    def _all_at_once(self, node, inputs, state, steps):
        """Return the outputs of a layer that works on frames."""
        if not self.split.held.issuperset(inputs):
            inputs = {
                k: ops.repeat(x, steps, axis=1) if k in self.split.held else x
                for k, x in inputs.items()
            }
        count = 1 if self.split.held.issuperset(inputs) else steps
        frames = {
            k: ops.reshape(x, (-1, *x.shape[2:])) for k, x in inputs.items()
        }
        outputs, _ = self.loop.step_of(node, frames, state)
        return [ops.reshape(y, (-1, count, *y.shape[1:])) for y in outputs]


def _added(layer, sums, new, start, steps):
    """Return `Sums` up to a window, and those of the window, together."""
    start = ops.cast(start, "float32")
    t_last = ops.where(new.t_last > 0, start + new.t_last, sums.t_last)
    trace = sums.trace
    # The engine keeps none where each neuron has its own decay.
    if not isinstance(new.trace, tuple):
        trace = layer.beta**steps * trace + new.trace
    return Sums(sums.total + new.total, t_last, trace)


def sequences(loop, split):
    """Return the sequences between segments, by key, of all steps.

    Those that layers take which run through Keras are among them. For
    measurements, without a graph.
    """
    runner, state = Runner(loop, split), loop.initial_state()
    found = {}
    for start in range(0, loop.time_steps, WINDOW):
        steps = min(WINDOW, loop.time_steps - start)
        values, state = runner.sequences(start, steps, state)
        for key, x in values.items():
            x = ops.repeat(x, steps, axis=1) if key in split.held else x
            found.setdefault(key, []).append(x)
    return {key: ops.concatenate(x, axis=1) for key, x in found.items()}


def seconds(loop, split, values, repeats=5):
    """Return how long each layer takes that runs through Keras, by key.

    For all steps: what the first window takes, by the number of windows.

    Args:
        loop: The `TimeLoop`, without a graph.
        split: The `event_driven.Split` of its network.
        values: What `sequences` returns.
        repeats: Runs, of which the median counts.
    """
    steps = min(WINDOW, loop.time_steps)
    runner, start = Runner(loop, split), loop.initial_state()
    states_of = dict(zip(runner.keys, start))
    found = {}
    for node in split.reasons:
        inputs = {
            x.key: values[x.key][:, : 1 if x.key in split.held else steps]
            for x in node.inputs
        }
        arguments = node, inputs, states_of[node.key], 0, steps
        layer = compilation.graph_of(runner.layer, *arguments)
        layer()
        spent = [_timed(layer) for _ in range(repeats)]
        found[node.key] = statistics.median(spent) * loop.time_steps / steps
    return found


def _timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
