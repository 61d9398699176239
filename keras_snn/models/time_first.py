"""The loop over time around a whole network, and its one backward pass.

Forward, T steps run through all layers without being kept; each neuron keeps
the statistics of its spikes. Backward, the collapsed rule needs no more than
those, so the gradient is that of *one* pass through the same layers, in which
every activation is the mean of its spike train over time and every spiking
layer has the derivative `factor * t_last / T`.
"""

import contextlib

import keras
from keras import ops

from keras_snn import event_driven
from keras_snn.layers import LIF, TimeConstantDropout, TimeFold
from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.models import compilation, spike_history
from keras_snn.neurons import learning_rules


def run(plan, model, inputs, training=False, differentiable=True):
    """Run a functional model with the loop over time outside its layers.

    Args:
        plan: The model's `plan.Plan`.
        model: The functional model.
        inputs: Flat list of tensors, one for each of `model.inputs`.
        training: Whether dropout applies.
        differentiable: Whether gradients by the collapsed rule are wanted.

    Returns:
        Flat list of the model's outputs.
    """
    values = values_before_loop(plan, model, inputs, training)
    weights = []
    if differentiable:
        weights, values = weights_before_loop(plan, model, values)
    loop = TimeLoop(
        plan,
        model,
        values,
        training,
        statistics=differentiable,
        fused=True,
        credits=differentiable,
    )
    final, time_steps = loop.run()
    results = loop.results(final, time_steps)
    if differentiable:
        with compilation.with_weights(model, weights):
            results = _connect(plan, loop, values, results, final, time_steps)
    return outputs_after_loop(plan, model, values, results, training)


def count_spikes(plan, model, inputs):
    """Run a functional model and count each neuron's spikes.

    For models that stay in this process, whose graph may call Python.

    Args:
        plan: The model's `plan.Plan`.
        model: The functional model.
        inputs: Flat list of tensors, one for each of `model.inputs`.

    Returns:
        Tuple: dict from each spiking layer's name to its sums
        `(total, t_last, ...)`, axes (batch, ...); number of steps T.
    """
    values = values_before_loop(plan, model, inputs, False)
    return count_spikes_in_loop(plan, model, values)


def count_spikes_in_loop(plan, model, values):
    """`count_spikes` from the `values` that the loop over time starts from."""
    with compilation.own_process():
        loop = TimeLoop(
            plan, model, values, training=False, statistics=True, fused=True
        )
        final, time_steps = loop.run()
    return loop.statistics_by_name(final), time_steps


def values_before_loop(plan, model, inputs, training):
    """Return the values, by tensor id, that the loop over time starts from."""
    values = {id(x): y for x, y in zip(model.inputs, inputs)}
    for node in plan.before:
        run_node(node, values, training)
    return values


def weights_before_loop(plan, model, values):
    """Return the model's weights, and `values` whose sources wait for them."""
    weights, sources = compilation.read_weights_first(
        model, [values[key] for key in plan.sources]
    )
    return weights, {**values, **dict(zip(plan.sources, sources))}


def outputs_after_loop(plan, model, values, results, training):
    """Return the model's outputs from the readouts' results."""
    values = {**values, **results}
    for node in plan.after:
        run_node(node, values, training)
    return [values[id(x)] for x in model.outputs]


class TimeLoop:
    """The forward loop of a plan: its state, one step, and all of them.

    Args:
        plan: The model's `plan.Plan`.
        model: The functional model.
        values: What the loop starts from, by tensor id.
        training: Whether dropout applies.
        statistics: Whether to keep each spiking layer's sums.
        fused: Whether neurons may run as one compiled operation.
        history: Whether to keep every spike, at one bit, in `histories`:
            uint8 tensors of axes (window, batch, ...) by tensor id.
        credits: Whether to keep, instead of the sums, what the collapsed rule
            makes of them, in `credits`: lists `[rate, derivative]` of
            float32 tensors by tensor id.
    """

    def __init__(
        self,
        plan,
        model,
        values,
        training,
        statistics,
        fused,
        history=False,
        credits=False,
    ):
        self.plan = plan
        self.fused = fused
        self.training = training
        self.statistics = statistics
        self.model = model
        self.sources = {
            key: ops.stop_gradient(values[key]) for key in plan.sources
        }
        self.keeps_history = history
        self.histories = None
        self.gives_credits = credits
        self.credits = {}
        self.time_steps = ops.shape(next(iter(self.sources.values())))[1]

    def run(self):
        """Run all steps; return the final state and T."""
        program = compilation.event_driven_program(
            self.plan, self.model, self.training
        )
        if program is not None:
            return self._run_event_driven(program), self.time_steps
        with _constant_variables(self.model):
            start = (0, self.initial_state())
            if self.statistics:
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
        if self.gives_credits:
            self.credits = {
                id(node.output_tensors[0]): self._credit(node, counters)
                for node, (_, counters) in zip(self.plan.loop, final)
                if counters
            }
        return final, self.time_steps

    def _credit(self, node, counters):
        """Return the rate and the derivative that a layer's sums give."""
        layer, (total, t_last, *_) = node.operation, counters[1:]
        time_steps = ops.cast(self.time_steps, "float32")
        derivative = factor_of(layer, counters[1:]) * t_last / time_steps
        return [total / time_steps, derivative]

    def _run_event_driven(self, program):
        """Run all steps in the event-driven engine; return the final state.

        Of the neurons' state it has the sums only, and nothing where it has
        `credits`.
        """
        statistics = "sums" if self.statistics else None
        if self.gives_credits:
            statistics = "credit"
        results = event_driven.run(
            program, self.sources, statistics, self.keeps_history
        )
        results = {key: ops.stop_gradient(x) for key, x in results.items()}

        def found(node, *names):
            keys = [(id(node.output_tensors[0]), name) for name in names]
            return [results[key] for key in keys if key in results]

        final, self.histories, self.credits = [], {}, {}
        for node in self.plan.loop:
            sums = found(node, "total", "t_last", "trace")
            state = found(node, "state", "mask")
            final.append((state, [None, *sums] if sums else []))
            key = id(node.output_tensors[0])
            for history in found(node, "history"):
                self.histories[key] = history
            if credit := found(node, "rate", "derivative"):
                self.credits[key] = credit
        return final

    def _empty_histories(self, state):
        """Return zeros for the bytes of every window and spiking layer."""
        if not self.keeps_history:
            return {}
        windows = -(-self.time_steps // spike_history.WINDOW)
        return {
            id(node.output_tensors[0]): ops.zeros(
                (windows, *ops.shape(counters[0])), "uint8"
            )
            for node, (_, counters) in zip(self.plan.loop, state)
            if counters
        }

    def _steps(self, t, state, end):
        """Run the steps from `t` up to, not including, `end`."""
        return ops.while_loop(
            lambda t, state: t < end,
            lambda t, state: (t + 1, self.step_at(t, state)),
            (t, state),
        )

    def _window(self, t, state, histories):
        """Run up to eight steps and add up their spikes."""
        end = ops.minimum(t + spike_history.WINDOW, self.time_steps)
        steps = ops.cast(end - t, "float32")
        _, state = self._steps(t, state, end)
        if histories:
            window = ops.reshape(t // spike_history.WINDOW, (1, 1))
            histories = {
                key: ops.scatter_update(
                    histories[key], window, ops.expand_dims(counters[0], 0)
                )
                for key, counters in (
                    (id(node.output_tensors[0]), counters)
                    for node, (_, counters) in zip(self.plan.loop, state)
                )
                if counters
            }
        summed = []
        for node, (inner, counters) in zip(self.plan.loop, state):
            if counters:
                byte, *sums = counters
                layer = node.operation
                absorb = spike_history.absorb(
                    layer.beta, len(sums) == 3, tuple(byte.shape)
                )
                sums = absorb(byte, sums, steps, ops.cast(end, "float32"))
                counters = [ops.zeros_like(byte), *sums]
            summed.append((inner, counters))
        return end, summed, histories

    def initial_state(self):
        """Return, for each node of the loop, its layer's state and counters."""
        batch = ops.shape(next(iter(self.sources.values())))[0]
        return [self._initial(node, batch) for node in self.plan.loop]

    def _initial(self, node, batch):
        layer = node.operation
        if not isinstance(layer, TimeLayer):
            return [], []
        if isinstance(layer, TimeConstantDropout) and not self.training:
            return [], []
        shape = (batch, *node.input_tensors[0].shape[2:])
        state = layer.initial_state(shape, layer.compute_dtype)
        if not (self.statistics and isinstance(layer, SpikingLayer)):
            return state, []
        # Only the rule of LIF layers asks for the leaky trace.
        factor = layer.factor if isinstance(layer, LIF) else None
        count = 3 if factor == "leak_corrected" else 2
        sums = [ops.zeros(shape, "float32") for _ in range(count)]
        return state, [ops.zeros(shape, "uint8"), *sums]

    def step_at(self, t, states):
        """Return the state after step `t` (counted from 0)."""
        frames = {key: x[:, t] for key, x in self.sources.items()}
        new_states = []
        for node, (state, counters) in zip(self.plan.loop, states):
            layer = node.operation
            args, kwargs = node.arguments.fill_in(frames)
            if isinstance(layer, LIF) and (self.fused or counters):
                output, state, counters = _fire(layer, args[0], state, counters)
            elif isinstance(layer, TimeLayer):
                output, state = layer.step(
                    args[0], state, training=self.training
                )
                if counters:
                    byte = spike_history.append(counters[0], output)
                    counters = [byte, *counters[1:]]
            else:
                output = layer(*args, **kwargs)
            frames[id(node.output_tensors[0])] = output
            new_states.append((state, counters))
        return new_states

    def results(self, final, time_steps):
        """Return the readouts' results by tensor id."""
        return {
            id(node.output_tensors[0]): node.operation.result(state, time_steps)
            for node, (state, _) in zip(self.plan.loop, final)
            if isinstance(node.operation, Readout)
        }

    def statistics_by_name(self, final):
        """Return each spiking layer's counters by its name."""
        return {
            node.operation.name: counters[1:]
            for node, (_, counters) in zip(self.plan.loop, final)
            if counters
        }


def _fire(layer, current, state, counters):
    """Advance a spiking layer, its spikes' byte included, in one pass."""
    neuron = (
        layer.beta,
        layer.threshold,
        layer.reset,
        layer.compute_dtype,
        tuple(current.shape),
    )
    if not counters:
        spikes, v = spike_history.plain_step(*neuron)(state[0], current)
        return spikes, [v], counters
    byte, *sums = counters
    step = spike_history.counting_step(*neuron)
    spikes, v, byte = step(state[0], current, byte)
    return spikes, [v], [byte, *sums]


def _connect(plan, loop, values, results, final, time_steps):
    """Return `results` made differentiable by the collapsed rule.

    Runs the layers once on means over time. The currents' values are not
    used, only their derivatives, so that graph compilers drop the forward
    convolutions of this pass.
    """
    time_steps = ops.cast(time_steps, "float32")
    means = {
        key: ops.mean(ops.cast(values[key], "float32"), axis=1)
        for key in plan.sources
    }
    connected = {}
    for node, (state, _) in zip(plan.loop, final):
        layer, key = node.operation, id(node.output_tensors[0])
        args, kwargs = node.arguments.fill_in(means)
        if isinstance(layer, LIF):
            means[key] = replace(args[0], *loop.credits[key])
        elif isinstance(layer, Readout):
            scale = 1.0 if getattr(layer, "normalize", True) else time_steps
            scale = ops.ones_like(results[key]) * ops.cast(
                scale, results[key].dtype
            )
            connected[key] = replace(args[0], results[key], scale)
        elif isinstance(layer, TimeConstantDropout):
            mask = ops.cast(state[0], args[0].dtype) if state else 1.0
            means[key] = args[0] * mask
        elif isinstance(layer, TimeFold):
            means[key], _ = layer.step(args[0], state, training=loop.training)
        else:
            means[key] = layer(*args, **kwargs)
    return connected


def factor_of(layer, sums):
    """Return the leak-corrected factor of one spiking layer."""
    total, _, *trace = sums
    return learning_rules.resolve_factor(
        layer.factor, total, *(trace or [None]), layer.beta, layer.threshold
    )


@ops.custom_gradient
def replace(x, value, derivative):
    """Return `value`, whose derivative to `x` is `derivative`."""

    def grad(*args, upstream=None):
        if upstream is None:
            (upstream,) = args
        credit = ops.cast(upstream, derivative.dtype) * derivative
        return (
            ops.cast(credit, x.dtype),
            ops.zeros_like(value),
            ops.zeros_like(derivative),
        )

    return value, grad


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


def run_node(node, values, training):
    """Run one node of a functional model; put its outputs into `values`."""
    args, kwargs = node.arguments.fill_in(values)
    if getattr(node.operation, "_call_has_training_arg", False):
        kwargs["training"] = training
    outputs = node.operation(*args, **kwargs)
    for x, y in zip(node.outputs, keras.tree.flatten(outputs)):
        values[id(x)] = y
