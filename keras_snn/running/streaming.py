"""A network one time step at a time, with its state in the open."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_snn.layers import TimeFold
from keras_snn.layers.readouts import Readout
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network import read, readable
from keras_snn.network.reading import check_shapes
from keras_snn.running.keras_files import KerasFiles
from keras_snn.running.live import Stream
from keras_snn.running.snapshots import Snapshots
from keras_snn.typing import State


def streaming(model: keras.Model) -> StepModel:
    """Return a step model of `model` for live streams of unknown length.

        output(t), state(t) = step([frame(t), *state(t-1)])

    The step model is a functional `keras.Model` that shares the weights of
    `model` (train one, the other follows). Its first input is one time step
    of what follows the encoder, its other inputs are the state; its first
    output is the running result, what `model` would return for the steps so
    far, and its other outputs are the new state. After T steps from
    `initial_state` the output equals `model`'s for the whole sequence.

    What the model takes besides, joined behind a readout, follows the frame:
    `step([frame(t), side, *state(t-1)])`.

    Nothing is hidden: keep one state a stream, copy it, batch it, save it.
    Dropout is off. `step.stream()` returns a `Stream` that keeps the state
    inside, and takes events, too: event by event where that is possible, and
    compiled elsewhere, both many times faster.

    Args:
        model: A functional model whose sequences go through layers of
            `keras_snn.layers` and merges and end in readouts, or are
            returned, with one spike train (or encoder) as its source.

    Returns:
        A `StepModel`.

    Raises:
        ValueError: If `model` does not run one step at a time; the message
            names the layer.

    Example:

    >>> step = keras_snn.streaming(model)
    >>> state = step.initial_state(batch_size=1)
    >>> for frame in camera:                       # (1, height, width, 2)
    ...     scores, *state = step([frame, *state])
    """
    network = read(model, "streaming").by_steps()
    if network.no_loop:
        raise ValueError(
            "streaming() expects a model that runs one time step at a time. "
            f"'{model.name}' does not: {network.no_loop}."
        )
    if len(network.sources) != 1:
        raise ValueError(
            "streaming() expects a model with one spike train as its source. "
            f"'{model.name}' has {len(network.sources)}."
        )
    return _build(network)


def _build(network):
    (source,) = network.sources
    frame = keras.Input(source.frame, dtype=source.symbol.dtype, name="frame")
    sides = _side_inputs(network)
    steps = keras.Input((), dtype="float32", name="steps")
    values = {source.key: frame, **{x.key: side for x, side in sides}}
    inputs = [frame, *(side for _, side in sides), steps]
    states, initial, steps_of = [], [0.0], {}
    now = steps + 1.0

    def visit(node, values):
        layer = node.layer
        if not isinstance(layer, TimeLayer):
            return node.infer_step(values)
        before, start = _state_inputs(node, len(states) + 1)
        inputs.extend(before)
        initial.extend(start)
        (x, *_), _ = node.arguments(values)
        outputs, after = _step(layer, x, before, steps_of)
        states.extend(after)
        if isinstance(layer, Readout):
            outputs[0] = layer.result(after, _over(now, after[0]))
        return outputs

    network.run(values, visit, [*network.loop, *network.after])
    outputs = [values[x.key] for x in network.outputs]
    step = StepModel(inputs, [*outputs, now, *states], name="step")
    step.initial_values = initial
    step.streamed = network
    return step


def _after(network):
    """Return the model from readouts' results, and sides, to the outputs."""
    results = [
        (x.output, keras.Input(x.output.shape[1:], name=x.name))
        for x in network.loop
        if isinstance(x.layer, Readout)
    ]
    found = [*results, *_side_inputs(network)]
    values = {x.key: symbol for x, symbol in found}
    network.run(values, lambda node, x: node(x, False), network.after)
    outputs = [values[x.key] for x in network.outputs]
    return keras.Model([symbol for _, symbol in found], outputs)


def _side_inputs(network):
    """Return `(value, input)` of what is needed behind the readouts only.

    Those are inputs of the model, or what else is known before the first
    step: they are the same at every step.
    """
    given = {x.key for node in network.loop for x in node.outputs}
    needed = {}
    for node in network.after:
        needed.update((x.key, x) for x in node.inputs if x.key not in given)
        given.update(x.key for x in node.outputs)
    needed.update((x.key, x) for x in network.outputs if x.key not in given)
    return [
        (x, keras.Input(x.shape[1:], dtype=x.symbol.dtype, name=x.name))
        for x in needed.values()
    ]


def _step(layer, frame, state, steps_of):
    """Return `(outputs, state)` of one step, as symbolic tensors.

    Args:
        layer: A `TimeLayer`.
        frame: Symbolic frame.
        state: List of symbolic tensors.
        steps_of: Dict from layers to their `Step`s, to share those, too.
    """
    if isinstance(layer, TimeFold):
        return layer.step_outputs(frame, state)
    # Weights may be read, and derivatives of one's own used, within a layer's
    # call only: a graph of symbolic tensors would keep the weights' values of
    # today.
    if layer not in steps_of:
        steps_of[layer] = Step(layer, name=layer.name)
    found = steps_of[layer]([frame, *state])
    outputs = len(found) - len(state)
    return found[:outputs], found[outputs:]


def _over(steps, x):
    """Return `steps`, one a sample, shaped to divide `x`."""
    return ops.reshape(steps, (-1,) + (1,) * (len(x.shape) - 1))


def _state_inputs(node, first):
    """Return symbolic inputs for one call's state, and their first values.

    Args:
        node: The call.
        first: Number of its first state tensor.
    """
    layer = node.layer
    # Dropout's mask is no state of a network in use.
    if not layer.keeps_state:
        return [], []
    state = layer.initial_state((1, *node.inputs[0].frame))
    inputs = [
        keras.Input(
            x.shape[1:], dtype="float32", name=f"{node.name}_state_{number}"
        )
        for number, x in enumerate(state, first)
    ]
    return inputs, [_first_value(ops.convert_to_numpy(x)[0]) for x in state]


def _first_value(x):
    """Return an array as one number, where all its values are the same."""
    values = np.unique(x)
    return values.item() if len(values) == 1 else x.tolist()


@keras.saving.register_keras_serializable(package="keras_snn")
class Step(keras.layers.Layer):
    """One step of a layer: from [frame, *state] to [*outputs, *state].

    Args:
        layer: A `TimeLayer`, built or not.
    """

    # For `network.read`: there is no sequence in it.
    hides_neurons = False

    def __init__(self, layer, **kwargs):
        super().__init__(dtype=layer.dtype_policy, autocast=False, **kwargs)
        self.layer = layer

    def build(self, shapes):
        if not self.layer.built:
            batch, *frame = shapes[0]
            self.layer.build((batch, None, *frame))
            self.layer.built = True

    def call(self, inputs):
        frame, *state = inputs
        outputs, state = self.layer.step_outputs(frame, state)
        return [*outputs, *state]

    def get_config(self):
        config = super().get_config()
        del config["dtype"]
        return {
            **config,
            "layer": keras.saving.serialize_keras_object(self.layer),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        layer = keras.saving.deserialize_keras_object(config.pop("layer"))
        return cls(layer, **config)


@readable
@keras.saving.register_keras_serializable(package="keras_snn")
class StepModel(KerasFiles, keras.Model):
    """The functional model that `keras_snn.streaming` returns.

    Attributes:
        initial_values: The value that each state tensor starts with: a
            number, or nested lists of the shape of one sample's.
        streamed: The `Network` whose step this is; None of a loaded one.
    """

    initial_values = ()
    streamed = None

    @property
    def after(self) -> Any:
        """The model behind the readouts."""
        return _after(self.streamed)

    @functools.cached_property
    def snapshots(self) -> Snapshots:
        """Its `Snapshots`, for streams."""
        return Snapshots(self)

    @functools.cached_property
    def snapshots_after(self) -> Snapshots:
        """The `Snapshots` of the model behind the readouts."""
        return Snapshots(self.after)

    def stream(self, batch_size: int = 1) -> Stream:
        """Return a `Stream`, which keeps the state inside.

            outputs = stream.step(frame)

        Event by event where the engine knows the network.

        Args:
            batch_size: Number of streams side by side.
        """
        return Stream(self, batch_size)

    @property
    def state_inputs(self) -> list[Any]:
        """The symbolic inputs of the state, the last ones."""
        if not self.initial_values:
            raise ValueError(
                f"'{self.name}' does not know what its state starts with: "
                "keras.models.clone_model copies layers alone. Use "
                "keras_snn.streaming on a clone of the model, or set "
                "clone.initial_values = step.initial_values."
            )
        return self.inputs[len(self.inputs) - len(self.initial_values) :]

    def __call__(self, inputs, *args, **kwargs):
        # Frames come from sensors as NumPy arrays, states as tensors; Keras
        # refuses the mixture.
        inputs = keras.tree.map_structure(ops.convert_to_tensor, inputs)
        check_shapes(self, keras.tree.flatten(inputs), inputs)
        return super().__call__(inputs, *args, **kwargs)

    def initial_state(self, batch_size: int = 1) -> State:
        """Return the state before the first step, a list of tensors."""
        return [
            ops.broadcast_to(
                ops.convert_to_tensor(value, x.dtype),
                (batch_size, *x.shape[1:]),
            )
            for x, value in zip(self.state_inputs, self.initial_values)
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial_values": self.initial_values}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> Any:
        config = dict(config)
        initial_values = config.pop("initial_values")
        step = super().from_config(config, custom_objects)
        step.initial_values = initial_values
        return step
