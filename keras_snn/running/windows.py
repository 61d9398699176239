"""Learning that needs the time course, one window of steps at a time.

The exact rule and backpropagation through time want every step's spikes (or
potentials) once more in the backward pass. Kept as floats for all layers and
steps they are most of the memory of training. Here the backward pass goes
through time in windows, and only one window is laid out in floats at a time:

- exact rule: the forward pass keeps one bit a spike, from which a window's
  spikes are unpacked; no convolution runs forward a second time. Where the
  event-driven engine knows all layers backwards, it takes all windows;
- surrogates: the forward pass keeps the state between windows, from which a
  window's steps are computed again.
"""

import keras
from keras import ops

from keras_snn import event_driven
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.neurons.means import Seen, replace
from keras_snn.running import compilation, spike_history, time_first
from keras_snn.running.states import CountingState, NodeState


def run_exact(network, inputs, training):
    """Run a network that learns by the exact rule.

    Args:
        network: A `Network` that runs as one loop.
        inputs: What the model is called on.
        training: Whether dropout applies.

    Returns:
        What the model returns.
    """
    values = time_first.values_before_loop(network, inputs, training)
    weights, values = time_first.weights_before_loop(network, values)
    keep = time_first.Keep(sums=True, history=True)
    loop = time_first.TimeLoop(network, values, training, keep)
    final = loop.run()
    results = loop.results(final)
    if loop.program and not event_driven.backward_reason(loop.program):
        with compilation.with_weights(network.model, weights):
            connected = _connect_by_events(loop, values, final, results)
        return time_first.outputs_after_loop(
            network, values, connected, training
        )
    # What flows from window to window is the credit of each neuron's next
    # spike, and of the readouts: the derivatives of these zeros.
    carries = {
        key: ops.zeros_like(x, dtype="float32") for key, x in results.items()
    }
    for node, state in zip(network.loop, final):
        if isinstance(state, CountingState):
            carries[node.key] = ops.zeros_like(state.sums.total)

    def credit_window(window, frames, carries):
        return _credit_window(loop, final, window, frames, carries)

    carries = _through_windows(
        credit_window, loop, values, carries, weights, spike_history.WINDOW
    )
    connected = {
        key: replace(carries[key], y, ops.ones_like(y))
        for key, y in results.items()
    }
    return time_first.outputs_after_loop(network, values, connected, training)


def _connect_by_events(loop, values, final, results):
    """Return `results`, differentiable by one backward pass in the engine."""
    known = {}
    for node, state in zip(loop.network.loop, final):
        if isinstance(state, CountingState):
            known[node.key, "history"] = loop.histories[node.key]
            known[node.key, "factor"] = node.layer.factor_of(state.sums)
        elif node.key in loop.program.masks:
            (known[node.key, "mask"],) = state.own
    return event_driven.connect_backward(
        loop.program,
        results,
        {x.key: values[x.key] for x in loop.network.sources},
        known,
        loop.time_steps,
    )


def _credit_window(loop, final, window, values, carries):
    """Pass one window's credit back through the layers.

    Forward this computes next to nothing: spikes come from the history, and
    the currents' values are not used.
    """
    steps = next(iter(values.values())).shape[1]
    carries, states = dict(carries), iter(final)

    def visit(node, values):
        layer, state = node.layer, next(states)
        if not isinstance(layer, TimeLayer):
            return node(values)
        (sequence, *_), _ = node.arguments(values)
        if node.key not in carries:
            return [layer.window(sequence, state.own, loop.training)[0]]
        seen = Seen(None, None, loop.time_steps)
        if isinstance(state, CountingState):
            byte = ops.take(loop.histories[node.key], window, axis=0)
            spikes = spike_history.unpack(byte, steps)
            seen = Seen(spikes, state.sums, loop.time_steps)
        output, carry = layer.credit(sequence, carries[node.key], seen)
        carries[node.key] = carry
        return [output]

    loop.network.run(dict(values), visit, loop.network.loop)
    return carries


def run_surrogate(network, inputs, training, steps):
    """Run a network that learns through time.

    Args:
        network: A `Network` that runs as one loop.
        inputs: What the model is called on.
        training: Whether dropout applies.
        steps: Steps in a window.

    Returns:
        What the model returns.
    """
    values = time_first.values_before_loop(network, inputs, training)
    weights, values = time_first.weights_before_loop(network, values)
    loop = time_first.TimeLoop(network, values, training)

    def run_window(window, values, states):
        after = {}

        def visit(node, values):
            layer = node.layer
            if not isinstance(layer, TimeLayer):
                return node(values)
            (sequence, *_), _ = node.arguments(values)
            output, after[node.key] = layer.window(
                sequence, states[node.key], training
            )
            return [output]

        network.run(dict(values), visit, network.loop)
        return after

    states = {
        node.key: state.own
        for node, state in zip(network.loop, loop.initial_state())
        if isinstance(node.layer, TimeLayer)
    }
    states = _through_windows(run_window, loop, values, states, weights, steps)
    final = [NodeState(states.get(node.key, [])) for node in network.loop]
    results = loop.results(final)
    return time_first.outputs_after_loop(network, values, results, training)


def _through_windows(function, loop, values, carries, weights, steps):
    """Take `carries` through all windows of `steps` steps.

    Args:
        function: Function of the window's number, its sources' values by
            tensor id, and carries; returns carries. Computed again in the
            backward pass instead of being kept.
        loop: The `TimeLoop`.
        values: Values by tensor id.
        carries: Nested structure of float32 tensors.
        weights: The model's weights, see `compilation.read_weights_first`.
        steps: Steps in a window; the last may have less.
    """
    sources = [x.key for x in loop.network.sources]

    def flat_function(window, *tensors):
        # As an argument it has to be a float to be differentiable.
        window, tensors = ops.cast(window, "int32"), list(tensors)
        own = [tensors.pop(0) for _ in weights]
        frames = {key: tensors.pop(0) for key in sources}
        packed = keras.tree.pack_sequence_as(carries, tensors)
        with compilation.with_weights(loop.network.model, own):
            after = function(window, frames, packed)
        return keras.tree.flatten(after)

    recomputed = keras.remat(compilation.traced_once(flat_function))
    flat = keras.tree.flatten(carries)
    for window, start in enumerate(range(0, loop.time_steps, steps)):
        end = min(start + steps, loop.time_steps)
        frames = [values[key][:, start:end] for key in sources]
        number = ops.convert_to_tensor(window, "float32")
        flat = recomputed(number, *weights, *frames, *flat)
    return keras.tree.pack_sequence_as(carries, flat)
