"""A network's operations a frame at a time, and the events of a frame."""

import warnings

import numpy as np

from keras_snn_runtime.operations import (
    NO_BIAS,
    Integration,
    Neurons,
    Normalization,
    Workspace,
)

# Counts and sums of steps in float32 stop growing there.
MOST_STEPS = 2**24


def warn_of_steps(steps):
    """Warn at the step from which on counts in float32 are not exact."""
    if steps == MOST_STEPS:
        warnings.warn(
            f"This stream has taken {steps} steps. Readouts count and sum in "
            "float32, which is exact up to there: one without leak does not "
            "grow any more. Call reset() now and then.",
            stacklevel=4,
        )


class Stepper:
    """Operations that keep their state between frames.

    A frame of zeros costs next to nothing where nothing can follow from it:
    where all layers give zeros for zeros (no biases), and no potential is
    above its threshold. Potentials then leak later, all steps at once.

    Args:
        operations: List of `operations`, in forward order, with one source,
            the first.
        arrays: Dict of weights by name.
        samples: Number of streams side by side.

    Attributes:
        results: Dict from keys of readouts to their states, axes (sample,
            ...), NaN where a stream met a number that is none.
    """

    def __init__(self, operations, arrays, samples=1):
        self._samples = samples
        self._neurons = [x for x in operations if isinstance(x, Neurons)]
        self._readouts = [x for x in operations if isinstance(x, Integration)]
        source = operations[0]
        self._frame = np.zeros((samples, 1, *source.shape), "float32")
        self.results = {
            x.key: np.zeros((samples, *x.shape), "float32")
            for x in self._readouts
        }
        outputs = {(key, "state"): x for key, x in self.results.items()}
        inputs = {source.key: self._frame, **arrays}
        self._space = Workspace(inputs, outputs, None, 1, samples)
        for operation in operations:
            operation.build(self._space)
        self._thresholds, self._betas = (
            {x.key: x.number(name, arrays) for x in self._neurons}
            for name in ("threshold", "beta")
        )
        self._quiet = all(_keeps_zeros(x, arrays) for x in operations)
        self.reset()

    def reset(self):
        """Begin again."""
        self._space.lost[:] = False
        # Steps without a spike, by which potentials are still to leak, and
        # whether another such step has no spike either: None if not known.
        self._pending, self._settled = 0, None
        for function in self._space.begin:
            function(0, self._samples)
        for key, x in self.results.items():
            x[...] = self._space.states[key].reshape(x.shape)

    def step(self, frames=None):
        """Take a frame of each stream.

        Args:
            frames: Array of axes (sample, ...); None is zeros.
        """
        if self._quiet and (frames is None or not frames.any()):
            if self._settles():
                self._rest()
                return
        self._leak()
        self._settled = None
        self._frame[:, 0] = 0 if frames is None else frames
        self._space.take_step(0, self._samples, 0)
        for function in self._space.end:
            function(0, self._samples)

    def states(self):
        """Return a dict from keys of neurons and readouts to their states.

        Axes are (sample, ...). Of neurons they are the potentials.
        """
        self._leak()
        return {
            x.key: self._space.states[x.key].reshape(-1, *x.shape).copy()
            for x in (*self._neurons, *self._readouts)
        }

    def begin_with(self, states):
        """Go on from what `states` returned, of this or another one."""
        self.reset()
        for key, x in states.items():
            state = self._space.states[key]
            state[...] = x.reshape(state.shape)
            if key in self.results:
                self.results[key][...] = x

    def _settles(self):
        """Return whether no neuron spikes at a step without currents."""
        if self._settled is None:
            self._settled = all(
                np.all(self._space.states[key] <= threshold)
                for key, threshold in self._thresholds.items()
            )
        return self._settled

    def _rest(self):
        self._pending += 1
        lost = self._space.lost
        for x in self._readouts:
            state, result = self._space.states[x.key], self.results[x.key]
            if x.beta != 1:
                np.multiply(state, np.float32(x.beta), state)
                result[...] = state.reshape(result.shape)
                if lost.any():
                    result[lost] = np.nan

    def _leak(self):
        """Let potentials leak by the steps that they still have to."""
        for x in self._neurons if self._pending else ():
            if x.differ:
                decay = np.float64(self._betas[x.key]) ** self._pending
                self._space.states[x.key] *= decay.astype("float32")
            elif x.beta != 1:
                self._space.states[x.key] *= np.float32(x.beta**self._pending)
        self._pending = 0


def _keeps_zeros(operation, arrays):
    """Return whether an operation gives currents of zeros for zeros."""
    bias = getattr(operation, "bias", NO_BIAS)
    if bias != NO_BIAS:
        return not np.any(arrays[bias])
    if isinstance(operation, Normalization):
        named = {name: arrays[key] for name, key in operation.weights}
        return not any(
            np.any(named[x]) for x in ("beta", "moving_mean") if x in named
        )
    return True


def frame_of_events(shape, x, y, channel):
    """Return the frame of some events, or None if there are none.

    Args:
        shape: Axes (row, column, channel).
        x: Integers, columns, from 0.
        y: Integers, rows, from 0.
        channel: Integers, e.g. polarities. Events of one place add up.

    Raises:
        ValueError: For events beyond the frame, or lists of different
            lengths.
    """
    sizes = dict(zip(("y", "x", "channel"), shape))
    given = {"y": y, "x": x, "channel": channel}
    places = [_places(name, given[name], sizes[name]) for name in given]
    if len({len(p) for p in places}) > 1:
        raise ValueError(
            "`x`, `y` and `channel` must be of one length. Received: "
            f"{len(places[1])}, {len(places[0])} and {len(places[2])}."
        )
    if not len(places[0]):
        return None
    frame = np.zeros(shape, "float32")
    np.add.at(frame, tuple(places), np.float32(1))
    return frame


def _places(name, values, size):
    """Return integers in 0..size - 1 as an array, or raise an error."""
    values = np.asarray(values)
    if values.ndim == 1 and not len(values):
        return values
    if values.dtype.kind not in "iub" or values.ndim != 1:
        raise ValueError(
            f"`{name}` must be a list of integers in 0..{size - 1}. "
            f"Received: {values!r}."
        )
    wrong = (values < 0) | (values >= size)
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(
            f"`{name}` must be a list of integers in 0..{size - 1}. "
            f"Received: {values[first]} in event {first}."
        )
    return values.astype("int64")
