"""A live stream through a network, its state kept inside."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_snn import event_driven
from keras_snn.layers.readouts import Readout
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network.reading import fits

# As in keras_snn_runtime.streams, which is imported where it is needed.
MOST_STEPS = 2**24


class Stream:
    """A network that takes one frame after the other.

    `keras_snn.streaming(model).stream()` returns one. Where the event-driven
    engine knows all layers (see `keras_snn.event_driven`) it runs in it, and a
    frame without events costs next to nothing if biases alone make no neuron
    fire; else the step model runs, compiled. Both have the same `state`.

    It works with the weights that the model has when it is made, or `reset`.
    Readouts without leak are exact for 2^24 steps (4.6 hours of milliseconds),
    since states are float32; there is a warning then.

    Attributes:
        steps: Number of frames since the beginning.
        dense_reason: Why it does not run event by event, or None.

    Example:

    >>> stream = keras_snn.streaming(model).stream()
    >>> for x, y, polarity in camera:  # the events of a millisecond
    ...     scores = stream.step_events(x, y, polarity)
    """

    def __init__(self, step_model: Any, batch_size: int = 1) -> None:
        self._model, self._batch = step_model, int(batch_size)
        if self._batch < 1:
            raise ValueError(
                "`batch_size` must be at least 1, the number of streams. "
                f"Received: {batch_size!r}."
            )
        self._shape = tuple(step_model.inputs[0].shape[1:])
        states = len(step_model.state_inputs)
        self._sides = len(step_model.inputs) - 1 - states
        self._outputs = len(step_model.outputs) - states
        self.dense_reason = _dense_reason(step_model)
        self.reset()

    def reset(self) -> None:
        """Forget all frames, and read the model's weights."""
        self._told = False
        kind = _Dense if self.dense_reason else _Events
        self._run = kind(self._model, self._batch)

    @property
    def steps(self) -> int:
        return self._run.steps

    @property
    def state(self) -> Any:
        """The state, a list of arrays in the order of the step model's.

        A copy: keep it, and set it to go on from there, here, in another
        stream, or in `step([frame, *state])`.
        """
        return self._run.state()

    @state.setter
    def state(self, state):
        expected = [x.shape for x in self._run.state()]
        state = [np.asarray(x, "float32") for x in state]
        if [x.shape for x in state] != expected:
            raise ValueError(
                f"`state` must be arrays of shapes {expected}, as the state of "
                f"a stream of {self._batch}. Received: "
                f"{[x.shape for x in state]}."
            )
        self._told = False
        self._run.begin_with(state)

    def step(self, frames: Any, *sides: Any) -> np.ndarray:
        """Take a frame of each stream; return the outputs for those so far.

        Args:
            frames: Floats `(batch, ...)`: what comes after the encoder.
            *sides: What the model takes besides, as in `step([frame, side])`.

        Returns:
            An array as the model's output, or a list of them.

        Raises:
            ValueError: If shapes or types do not fit.
        """
        frames = np.asarray(frames)
        expected = (self._batch, *self._shape)
        if frames.dtype.kind != "f" or frames.shape != expected:
            raise ValueError(
                f"`frames` must be floats of shape {expected}, the batch axis "
                f"first. Received: {frames.dtype} of shape {frames.shape}."
            )
        return self._advance(frames, sides)

    def step_events(
        self, x: Any, y: Any, channel: Any, *sides: Any
    ) -> np.ndarray:
        """Take the events of a step; return the outputs for the steps so far.

        For one stream of frames with axes (row, column, channel).

        Args:
            x: Integers, columns, from 0.
            y: Integers, rows, from 0.
            channel: Integers, e.g. polarities. Events of one place add up.
            *sides: As in `step`.

        Raises:
            ValueError: For events beyond the frame, lists of different
                lengths, several streams, or other frames.
        """
        from keras_snn_runtime.streams import frame_of_events

        if self._batch != 1 or len(self._shape) != 3:
            raise ValueError(
                "step_events() expects one stream of frames (row, column, "
                f"channel). Received: {self._batch} of frames of shape "
                f"{self._shape}. Use step(frames)."
            )
        frame = frame_of_events(self._shape, x, y, channel)
        return self._advance(None if frame is None else frame[None], sides)

    def _advance(self, frames, sides):
        if len(sides) != self._sides:
            raise ValueError(
                f"'{self._model.name}' takes {self._sides} input(s) besides "
                f"the frame. Received: {len(sides)}."
            )
        self._check_sides(sides)
        outputs = self._run.step(frames, sides)[: self._outputs]
        if self._run.steps == MOST_STEPS and not self._told:
            from keras_snn_runtime.streams import warn_of_steps

            self._told = True
            warn_of_steps(MOST_STEPS)
        return outputs[0] if len(outputs) == 1 else outputs

    def _check_sides(self, sides):
        """Refuse what would fail when the step has been taken."""
        for n, side in enumerate(sides, 1):
            symbol = self._model.inputs[n]
            expected = (self._batch, *symbol.shape[1:])
            received = np.shape(side)
            if not fits(received, expected) or received[0] != self._batch:
                raise ValueError(
                    f"'{self._model.name}' expects input {n} besides the "
                    f"frame, '{symbol.name}', of shape {expected}, the batch "
                    f"axis first. Received: shape {received}."
                )


def _dense_reason(step_model):
    """Return why a stream does not run event by event, or None."""
    network = step_model.streamed
    if network is None:
        return "the step model was loaded without its model"
    if reason := event_driven.why_not() or network.returns_sequences:
        return reason
    try:
        event_driven.Program(network, training=False)
    except event_driven.Unknown as unknown:
        return str(unknown)
    return None


class _Dense:
    """A stream by its step model, compiled as `predict` is."""

    def __init__(self, model, batch):
        self._compiled = model.snapshots.take()
        self._zeros = np.zeros((batch, *model.inputs[0].shape[1:]), "float32")
        state = model.initial_state(batch)
        self._state = [np.array(keras.ops.convert_to_numpy(x)) for x in state]

    @property
    def steps(self):
        return int(self._state[0][0])

    def state(self):
        return [x.copy() for x in self._state]

    def begin_with(self, state):
        self._state = [x.copy() for x in state]

    def step(self, frames, sides):
        frames = self._zeros if frames is None else frames
        found = self._compiled([frames, *sides, *self._state])
        outputs = len(found) - len(self._state)
        self._state = found[outputs:]
        return found[:outputs]


class _Events:
    """A stream in the event-driven engine."""

    def __init__(self, model, batch):
        from keras_snn_runtime.streams import Stepper

        network = model.streamed
        program = event_driven.Program(network, training=False)
        arrays = {
            name: np.array(keras.ops.convert_to_numpy(read()), "float32")
            for name, read in program.weights.items()
        }
        self._stepper = Stepper(program.operations, arrays, batch)
        self._batch, self.steps = batch, 0
        loop = [x for x in network.loop if isinstance(x.layer, TimeLayer)]
        self._keys = [x.key for x in loop if x.layer.keeps_state]
        self._divides = {
            x.key: x.layer.normalize
            for x in loop
            if isinstance(x.layer, Readout)
        }
        self._returned = [x.key for x in network.outputs]
        self._after = None
        if not self._divides.keys() >= set(self._returned):
            self._after = model.snapshots_after.take()

    def state(self):
        steps = np.full((self._batch,), self.steps, "float32")
        states = self._stepper.states()
        return [steps, *(states[key] for key in self._keys)]

    def begin_with(self, state):
        steps, *states = state
        if np.ptp(steps):
            raise ValueError(
                "`state` must be of streams that have taken equally many "
                f"frames, to run event by event. Received: {steps}."
            )
        self.steps = int(steps[0])
        self._stepper.begin_with(dict(zip(self._keys, states, strict=True)))

    def step(self, frames, sides):
        self._stepper.step(frames)
        self.steps += 1
        steps = np.float32(self.steps)
        results = {
            key: x / steps if self._divides[key] else x.copy()
            for key, x in self._stepper.results.items()
        }
        if self._after is None:
            return [results[key] for key in self._returned]
        return self._after([*results.values(), *sides])
