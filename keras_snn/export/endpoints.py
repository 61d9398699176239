"""What a network offers to other programs: functions of named tensors."""

import dataclasses
from collections.abc import Callable

import keras

from keras_snn.layers.time_layer import TimeLayer
from keras_snn.models.compilation import portable
from keras_snn.models.plan import nodes_of
from keras_snn.models.spike_rates import rate_probe
from keras_snn.models.spiking_model import inference_only


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A function from named tensors to named tensors.

    Attributes:
        run: Function of a dict of tensors that returns a dict of tensors.
        inputs: Dict from names to `keras.InputSpec`s, in order.
    """

    run: Callable
    inputs: dict


def serve(model):
    """Return the endpoint from inputs to class scores."""
    names = _output_names(model)

    def run(values):
        with inference_only(), portable():
            outputs = model(_packed(model, values), training=False)
        return dict(zip(names, keras.tree.flatten(outputs)))

    return Endpoint(run, _inputs(model))


def spike_rates(model):
    """Return the endpoint from inputs to each layer's spikes a step.

    Raises:
        ValueError: If the model has no spiking layer.
    """
    probe = rate_probe(model)

    def run(values):
        with portable():
            rates = probe(_packed(model, values))
        return {name: keras.ops.mean(x) for name, x in rates.items()}

    return Endpoint(run, _inputs(model))


def step(model):
    """Return the endpoint from a frame and the state to scores and state.

    Args:
        model: The `StepModel` of `keras_snn.streaming`.
    """
    states = state_names(model)
    scores = _output_names(model)[: -len(states)]
    if len(scores) == 1:
        scores = ["scores"]

    def run(values):
        with portable():
            outputs = model([values[name] for name in inputs], training=False)
        return dict(zip([*scores, *states], outputs))

    symbols = dict(zip(["frame", *states], model.inputs))
    inputs = {name: _spec(x, name) for name, x in symbols.items()}
    return Endpoint(run, inputs)


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
    return [f"state_{number}" for number in range(len(model.inputs) - 1)]


def time_steps(model):
    """Return the number of steps T of a model, or None for any."""
    for node in nodes_of(model):
        if isinstance(node.operation, TimeLayer):
            return node.input_tensors[0].shape[1]
    return None


def _output_names(model):
    if len(model.outputs) == 1:
        return ["scores"]
    names = [x._keras_history.operation.name for x in model.outputs]
    if len(set(names)) == len(names):
        return names
    return [f"{name}_{number}" for number, name in enumerate(names)]


def _inputs(model):
    return {x.name: _spec(x, x.name) for x in model.inputs}


def _spec(symbol, name):
    return keras.InputSpec(shape=symbol.shape, dtype=symbol.dtype, name=name)


def _packed(model, values):
    """Return the values of `model.inputs` in the structure it is called on."""
    flat = [values[x.name] for x in model.inputs]
    return keras.tree.pack_sequence_as(model.input, flat)
