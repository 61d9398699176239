"""Learning that needs the time course, one window of steps at a time.

The exact rule and backpropagation through time want every step's spikes (or
potentials) once more in the backward pass. Kept as floats for all layers and
steps they are most of the memory of training. Here the backward pass goes
through time in windows, and only one window is laid out in floats at a time:

- exact rule: the forward pass keeps one bit a spike, from which a window's
  spikes are unpacked; no convolution runs forward a second time;
- surrogates: the forward pass keeps the state between windows, from which a
  window's steps are computed again.
"""

import keras
from keras import ops

from keras_snn.layers import LIF
from keras_snn.layers.readouts import Readout
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.models import compilation, spike_history, time_first
from keras_snn.neurons import sequences


def run_exact(plan, model, inputs, training):
    """Run a functional model that learns by the exact rule.

    Args:
        plan: The model's `plan.Plan`.
        model: The functional model.
        inputs: Flat list of tensors, one for each of `model.inputs`.
        training: Whether dropout applies.

    Returns:
        Flat list of the model's outputs.
    """
    values = time_first.values_before_loop(plan, model, inputs, training)
    weights, values = time_first.weights_before_loop(plan, model, values)
    loop = time_first.TimeLoop(
        plan, model, values, training, statistics=True, fused=True, history=True
    )
    final, time_steps = loop.run()
    results = loop.results(final, time_steps)
    # What flows from window to window is the credit of each neuron's next
    # spike, and of the readouts: the derivatives of these zeros.
    carries = {}
    for node, (_, counters) in zip(plan.loop, final):
        key = id(node.output_tensors[0])
        if counters:
            carries[key] = ops.zeros_like(counters[1])
        elif key in results:
            carries[key] = ops.zeros_like(results[key], dtype="float32")

    def credit_window(window, frames, carries):
        return _credit_window(loop, final, window, frames, carries)

    carries = _through_windows(
        credit_window, loop, values, carries, weights, spike_history.WINDOW
    )
    connected = {
        key: time_first.replace(carries[key], y, ops.ones_like(y))
        for key, y in results.items()
    }
    return time_first.outputs_after_loop(
        plan, model, values, connected, training
    )


def _credit_window(loop, final, window, values, carries):
    """Pass one window's credit back through the layers.

    Forward this computes next to nothing: spikes come from the history, and
    the currents' values are not used.
    """
    steps = next(iter(values.values())).shape[1]
    values, carries = dict(values), dict(carries)
    for node, (state, counters) in zip(loop.plan.loop, final):
        layer, key = node.operation, id(node.output_tensors[0])
        args, kwargs = node.arguments.fill_in(values)
        if isinstance(layer, LIF):
            byte = ops.take(loop.histories[key], window, axis=0)
            spikes, carries[key] = sequences.credit_next_spike(
                ops.cast(args[0], "float32"),
                carries[key],
                spike_history.unpack(byte, steps),
                time_first.factor_of(layer, counters[1:]),
            )
            values[key] = ops.cast(spikes, layer.compute_dtype)
        elif isinstance(layer, Readout):
            current = ops.cast(args[0], "float32")
            if getattr(layer, "normalize", True):
                current = current / loop.time_steps
            carries[key] = sequences.credit_all_steps(current, carries[key])
        elif isinstance(layer, TimeLayer):
            values[key], _ = layer.window(args[0], state, loop.training)
        else:
            values[key] = layer(*args, **kwargs)
    return carries


def run_surrogate(plan, model, inputs, training, steps):
    """Run a functional model that learns through time.

    Args:
        plan: The model's `plan.Plan`.
        model: The functional model.
        inputs: Flat list of tensors, one for each of `model.inputs`.
        training: Whether dropout applies.
        steps: Steps in a window.

    Returns:
        Flat list of the model's outputs.
    """
    values = time_first.values_before_loop(plan, model, inputs, training)
    weights, values = time_first.weights_before_loop(plan, model, values)
    loop = time_first.TimeLoop(
        plan, model, values, training, statistics=False, fused=False
    )

    def run_window(window, values, states):
        values, after = dict(values), {}
        for node in plan.loop:
            layer, key = node.operation, id(node.output_tensors[0])
            args, kwargs = node.arguments.fill_in(values)
            if isinstance(layer, TimeLayer):
                values[key], after[key] = layer.window(
                    args[0], states[key], training
                )
            else:
                values[key] = layer(*args, **kwargs)
        return after

    states = {
        id(node.output_tensors[0]): state
        for node, (state, _) in zip(plan.loop, loop.initial_state())
        if isinstance(node.operation, TimeLayer)
    }
    states = _through_windows(run_window, loop, values, states, weights, steps)
    final = [
        (states.get(id(node.output_tensors[0]), []), []) for node in plan.loop
    ]
    results = loop.results(final, loop.time_steps)
    return time_first.outputs_after_loop(plan, model, values, results, training)


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
    sources = loop.plan.sources

    def flat_function(window, *tensors):
        # As an argument it has to be a float to be differentiable.
        window, tensors = ops.cast(window, "int32"), list(tensors)
        own = [tensors.pop(0) for _ in weights]
        frames = {key: tensors.pop(0) for key in sources}
        packed = keras.tree.pack_sequence_as(carries, tensors)
        with compilation.with_weights(loop.model, own):
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
