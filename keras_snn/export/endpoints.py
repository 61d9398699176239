"""What a network offers to other programs: functions of named tensors."""

import dataclasses
import re
from collections.abc import Callable

import keras
from keras import ops

from keras_snn.models.spike_rates import spiking_activity
from keras_snn.network import read
from keras_snn.running.scopes import inference_only, portable
from keras_snn.running.time_first import infer


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A function from named tensors to named tensors.

    Attributes:
        run: Function of a dict of tensors that returns a dict of tensors.
        inputs: Dict from names to `keras.InputSpec`s, in order.
        state: Names of those inputs that are the state of a stream.
    """

    run: Callable
    inputs: dict
    state: tuple = ()


def serve(model):
    """Return the endpoint from inputs to class scores."""
    network = read(model)
    names = _output_names(network)

    def run(values):
        with inference_only(), portable():
            outputs = infer(network, _packed(model, values))
        return dict(zip(names, keras.tree.flatten(outputs)))

    return Endpoint(run, _inputs(model))


def spike_rates(model):
    """Return the endpoint from inputs to each layer's spikes a step.

    Raises:
        ValueError: If the model has no spiking layer.
    """
    activity = spiking_activity(model, "spike_rates")

    def run(values):
        with portable():
            found = activity(_packed(model, values))
        return {name: _rate(x) for name, x in found["counts"].items()}

    return Endpoint(run, _inputs(model))


def _rate(counts):
    """Return the mean rate over the steps that are not masked."""
    steps = ops.maximum(ops.sum(counts["steps"]), 1)
    spikes = ops.mean(ops.cast(counts["active"], "float32"))
    return spikes / ops.cast(steps, "float32")


def step(model):
    """Return the endpoint from a frame and the state to scores and state.

    Args:
        model: The `StepModel` of `keras_snn.streaming`.
    """
    states = state_names(model)
    scores = _output_names(read(model))[: -len(states)]
    if len(scores) == 1:
        scores = ["scores"]
    sides = input_names(model)[1 : len(model.inputs) - len(states)]

    def run(values):
        with portable():
            outputs = model([values[name] for name in inputs], training=False)
        return dict(zip([*scores, *states], outputs))

    names = ["frame", *sides, *states]
    symbols = dict(zip(names, model.inputs))
    inputs = {name: _spec(x, name) for name, x in symbols.items()}
    return Endpoint(run, inputs, tuple(states))


def initial_state(model):
    """Return the endpoint from a number of streams to their first state."""
    states = state_names(model)

    def run(values):
        return dict(zip(states, model.initial_state(values["batch_size"])))

    batch_size = keras.InputSpec(shape=(), dtype="int32", name="batch_size")
    return Endpoint(run, {"batch_size": batch_size})


def state_names(model):
    """Return the names of a step model's state tensors.

    `state_0` is the number of steps so far.
    """
    return [f"state_{number}" for number in range(len(model.state_inputs))]


def input_names(model):
    """Return the names of a model's inputs, in letters, digits and `_`.

    Programs give them as keywords.
    """
    found = []
    for x in model.inputs:
        name = re.sub(r"\W", "_", x.name, flags=re.ASCII)
        if not name[:1].isalpha() or name == "self":
            name = f"input_{name}"
        while name in found:
            name += "_"
        found.append(name)
    return found


def time_steps(model):
    """Return the number of steps T of a model, or None for any."""
    for node in read(model).nodes:
        if node.output.over_time:
            return node.output.shape[1]
    return None


def _output_names(network):
    if len(network.outputs) == 1:
        return ["scores"]
    names = [x.node.name for x in network.outputs]
    if len(set(names)) == len(names):
        return names
    return [f"{name}_{number}" for number, name in enumerate(names)]


def _inputs(model):
    pairs = zip(input_names(model), model.inputs)
    return {name: _spec(x, name) for name, x in pairs}


def _spec(symbol, name):
    return keras.InputSpec(shape=symbol.shape, dtype=symbol.dtype, name=name)


def _packed(model, values):
    """Return the values of `model.inputs` in the structure it is called on."""
    return read(model).pack_inputs([values[x] for x in input_names(model)])
