"""Networks whose state goes on from batch to batch, for long recordings."""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.layers.encoders import Encoder
from keras_snn.layers.readouts import Readout
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network import read
from keras_snn.running.keras_files import KerasFiles
from keras_snn.running.tracing import TracedOnce


def stateful(model: keras.Model, batch_size: int) -> StatefulModel:
    """Return a model that goes on, in each batch, where the one before ended.

        outputs, state = model(window, state)
        state = initial_state where first, else the state before

    For recordings that are too long to lay out all their steps: backpropagation
    through time, truncated to windows. Forward, nothing changes: after the
    last window the outputs are those of `model` for the whole recording.
    Backward, each window has its own gradient, in which the state that comes
    in is a constant.

    It shares the weights of `model`; train one, and save or use the other. The
    state is not of `model`: it lies in variables of the stateful model, one
    row a sample of the batch, and goes into its files and checkpoints. Batch
    normalization and per-step dropout see a window at a time.

    Args:
        model: A functional model of layers of `keras_snn.layers` and merges
            that takes one sequence, and ends in readouts or returns sequences.
            Its neurons learn through time, by a surrogate.
        batch_size: Number of recordings side by side, the most that come in
            a batch.

    Returns:
        A `StatefulModel`, called on `(window, first)`: the sequence's steps,
        `(batch, steps, ...)`, and `(batch,)` booleans, True where a recording
        begins. `keras_snn.training.Windows` makes both from whole recordings.
        A readout's output is that for all steps so far; of a sequence it is
        the window's.

    Raises:
        ValueError: If `model` does not run some steps at a time, or learns by
            a rule that needs whole recordings; the message names the layer.

    Example:

    >>> long = keras_snn.stateful(model, batch_size=8)
    >>> long.compile("adam", loss)
    >>> windows = keras_snn.training.Windows(x, y, steps=50, batch_size=8)
    >>> long.fit(windows, epochs=10)
    >>> model.save("model.keras")
    """
    return StatefulModel(model, batch_size)


@keras.saving.register_keras_serializable(package="keras_snn")
class StatefulModel(KerasFiles, TracedOnce, keras.Model):
    """The model that `keras_snn.stateful` returns.

    Its `fit` keeps the batches in order. `reset_state()` forgets all
    recordings, as a batch does with `first`.

    Args:
        model: As in `keras_snn.stateful`.
        batch_size: As in `keras_snn.stateful`.
    """

    def __init__(
        self, model: keras.Model, batch_size: int, **kwargs: Any
    ) -> None:
        kwargs.setdefault("name", f"{getattr(model, 'name', 'model')}_stateful")
        super().__init__(**kwargs)
        self.batch_size = checks.batch_size(batch_size)
        self.model = model
        self.network_read = read(model, "stateful").by_steps()
        _check(self.network_read)
        self.steps = self._variable("steps", (self.batch_size,), "float32")
        self.state_of = [
            self._variables_of(node) for node in self.network_read.loop
        ]

    def _variable(self, name, shape, dtype):
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer="zeros",
            trainable=False,
            autocast=False,
        )

    def _variables_of(self, node):
        # A dropout's mask is drawn for its shape alone: no seed moves on.
        with keras.StatelessScope():
            state = _first_state(node, self.batch_size)
        return [
            self._variable(
                f"{node.name}_state_{number}",
                tuple(x.shape),
                keras.backend.standardize_dtype(x.dtype),
            )
            for number, x in enumerate(state)
        ]

    def reset_state(self) -> None:
        """Begin all recordings anew, with zeros; `first` does it properly."""
        for v in keras.tree.flatten([self.steps, self.state_of]):
            v.assign(ops.zeros_like(v))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        window, first = inputs
        checks.dense(f"'{self.name}'", window)
        batch = ops.shape(window)[0]
        if isinstance(batch, int) and batch > self.batch_size:
            raise ValueError(
                f"'{self.name}' keeps the state of {self.batch_size} "
                f"recordings. Received: a batch of {batch}. Make it with "
                f"stateful(model, batch_size={batch})."
            )
        first = ops.cast(first, "bool")
        network, training = self.network_read, bool(training)
        _check_penalties(network)
        (source,) = network.sources
        values, states = {source.key: window}, iter(self.state_of)
        length = ops.cast(ops.shape(window)[1], "float32")
        steps = self._before(first, self.steps, ops.zeros((batch,))) + length
        self._keep(self.steps, steps)

        def visit(node, values):
            layer, variables = node.layer, next(states)
            if not isinstance(layer, TimeLayer):
                return node(values, training)
            start = _first_state(node, batch)
            (sequence, *_), _ = node.arguments(values)
            before = [
                self._before(first, v, x) for v, x in zip(variables, start)
            ]
            output, after = layer.window(sequence, before, training)
            for v, x in zip(variables, after):
                self._keep(v, x)
            if not isinstance(layer, Readout):
                return keras.tree.flatten(output)
            count = ops.reshape(steps, (-1,) + (1,) * (len(after[0].shape) - 1))
            return [layer.result(after, count), output][: len(node.outputs)]

        network.run(values, visit, network.loop)
        network.run(values, lambda node, x: node(x, training), network.after)
        return network.pack([values[x.key] for x in network.outputs])

    def _before(self, first, variable, start):
        """Return the state of a batch's samples before its first step."""
        kept = ops.convert_to_tensor(variable)[: ops.shape(first)[0]]
        shape = (-1,) + (1,) * (len(variable.shape) - 1)
        start = ops.cast(start, variable.dtype)
        return ops.stop_gradient(
            ops.where(ops.reshape(first, shape), start, kept)
        )

    def _keep(self, variable, x):
        """Keep the state of a batch's samples, which may be less than all."""
        x = ops.cast(ops.stop_gradient(x), variable.dtype)
        others = ops.convert_to_tensor(variable)[ops.shape(x)[0] :]
        x = ops.concatenate([x, others], axis=0)
        variable.assign(ops.reshape(x, variable.shape))

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, shuffle=False, **kwargs):
        if shuffle:
            raise ValueError(
                f"'{self.name}' goes on, in each batch, where the one before "
                "ended, so fit(shuffle=True) would mix recordings up. Leave it "
                "out; keras_snn.training.Windows shuffles whole recordings."
            )
        return super().fit(*args, shuffle=False, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "batch_size": self.batch_size,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> Any:
        config = dict(config)
        model = keras.saving.deserialize_keras_object(
            config.pop("model"), custom_objects=custom_objects
        )
        return cls(model, **config)


def _first_state(node, batch):
    """Return the state of a node before a recording's first step, a list."""
    layer = node.layer
    if not isinstance(layer, TimeLayer):
        return []
    frame = (batch, *node.inputs[0].frame)
    return list(layer.initial_state(frame, layer.compute_dtype))


_EXPECTED = (
    "stateful() expects a model that takes one sequence, runs some steps at a "
    "time, and learns through time."
)


def _check_penalties(network):
    """Raise a `ValueError` if a layer regularizes its activity."""
    for layer in network.regularized:
        raise ValueError(
            f"{_EXPECTED} '{layer.name}' has an activity regularizer, which "
            "sees whole sequences. Set its activity_regularizer to None."
        )


def _check(network):
    """Raise a `ValueError` unless windows of a recording can be learned."""
    if network.no_loop:
        raise ValueError(
            f"{_EXPECTED} '{network.name}' does not run so: {network.no_loop}."
        )
    encoders = [n.layer for n in network.nodes if isinstance(n.layer, Encoder)]
    if encoders:
        kind = type(encoders[0]).__name__
        raise ValueError(
            f"{_EXPECTED} '{encoders[0].name}' ({kind}) of '{network.name}' "
            "makes the time axis itself. Encode the recordings first, and "
            "build the model on keras.Input((None, ...))."
        )
    if network.before or len(network.inputs) != 1:
        raise ValueError(
            f"{_EXPECTED} Received: '{network.name}', with "
            f"{len(network.inputs)} inputs, and {len(network.before)} layers "
            "before the first that runs over time."
        )
    _check_penalties(network)
    for node in network.looped_neurons:
        if node.layer.rule != "surrogate":
            raise ValueError(
                f"{_EXPECTED} '{node.name}' learns by a rule for whole "
                f"sequences. Received: learning_rule="
                f"{node.layer.learning_rule!r}. Use a surrogate, e.g. "
                'learning_rule="arctan"; or train on whole recordings, for '
                "which the memory of this rule does not grow with time in a "
                "keras_snn.Model."
            )
