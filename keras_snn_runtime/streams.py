"""A network's operations a frame at a time, and the events of a frame."""

import warnings

import numpy as np

from keras_snn_runtime.operations import (
    Integration,
    MaxRatePooling,
    Neurons,
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

    What follows from frames and spikes that are those of the last step is not
    computed again. A frame of zeros costs next to nothing where no neuron can
    fire: where a current I from biases alone keeps potentials below their
    threshold,

        v + I <= threshold;   I / (1 - beta) <= threshold

    Potentials then leak later, n steps at once:

        v[t + n] = beta^n v[t] + beta (1 - beta^n) / (1 - beta) I

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
        self._source = operations[0]
        shapes = {x.key: x.shape for x in operations}
        self._state_shapes = {
            x.key: shapes[x.source if isinstance(x, MaxRatePooling) else x.key]
            for x in operations
            if isinstance(x, Integration | MaxRatePooling | Neurons)
        }
        shape = samples, 1, *self._source.shape
        self._frame = np.zeros(shape, "float32")
        self.results = {
            x.key: np.zeros((samples, *x.shape), "float32")
            for x in self._readouts
        }
        outputs = {(key, "state"): x for key, x in self.results.items()}
        inputs = {self._source.key: self._frame, **arrays}
        self._changed = set()
        self._space = Workspace(
            inputs, outputs, None, 1, samples, changed=self._changed
        )
        for operation in operations:
            operation.build(self._space)
        self._thresholds, self._betas = (
            {x.key: x.number(name, arrays) for x in self._neurons}
            for name in ("threshold", "beta")
        )
        self._currents = self._resting_currents()
        self._quiet = all(map(self._stays_quiet, self._neurons))
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
        self._show(0 if frames is None else frames)
        self._space.take_step(0, self._samples, 0)
        for function in self._space.end:
            function(0, self._samples)

    def states(self):
        """Return a dict from keys of what keeps a state to the states.

        Axes are (sample, ...). Of neurons they are the potentials.
        """
        self._leak()
        return {
            key: self._space.states[key].reshape(-1, *shape).copy()
            for key, shape in self._state_shapes.items()
        }

    def begin_with(self, states):
        """Go on from what `states` returned, of this or another one."""
        self.reset()
        for key, x in states.items():
            state = self._space.states[key]
            state[...] = x.reshape(state.shape)
            if key in self.results:
                self.results[key][...] = x

    def _show(self, frames):
        """Let the source give frames, or one number everywhere."""
        if (self._frame[:, 0] == frames).all():
            self._changed.discard(self._source.key)
            return
        self._changed.add(self._source.key)
        self._frame[:, 0] = frames

    def _resting_currents(self):
        """Return the currents of neurons and readouts without any spike."""
        for x in self._neurons:
            # From where none fires.
            self._space.states[x.key].fill(-np.inf)
        self._space.take_step(0, self._samples, 0)
        return {
            x.key: self._space.frame(x.source).copy()
            for x in (*self._neurons, *self._readouts)
        }

    def _stays_quiet(self, neurons):
        """Return whether currents at rest alone never make neurons fire."""
        current, beta = self._currents[neurons.key], self._betas[neurons.key]
        leak = np.float64(1) - beta
        # Rounding adds up to this at most, times 1 / leak.
        error = 4 * np.finfo("float32").eps
        threshold = self._thresholds[neurons.key]
        return np.all(current * (leak + error) <= threshold * leak**2)

    def _settles(self):
        """Return whether no neuron spikes at a step without currents."""
        if self._settled is None:
            self._settled = all(
                np.all(self._space.states[key] + self._currents[key] <= limit)
                for key, limit in self._thresholds.items()
            )
        return self._settled

    def _rest(self):
        self._pending += 1
        lost = self._space.lost
        for x in self._readouts:
            state, result = self._space.states[x.key], self.results[x.key]
            np.add(state, self._currents[x.key], state)
            np.multiply(state, np.float32(x.beta), state)
            result[...] = state.reshape(result.shape)
            if lost.any():
                result[lost] = np.nan

    def _leak(self):
        """Let potentials leak by the steps that they still have to."""
        for x in self._neurons if self._pending else ():
            beta = np.float64(self._betas[x.key])
            decay = beta**self._pending
            leaking = beta < 1
            sums = (1 - decay) / np.where(leaking, 1 - beta, 1)
            sums = np.where(leaking, sums, self._pending)
            state = self._space.states[x.key]
            state *= decay.astype("float32")
            state += (beta * sums).astype("float32") * self._currents[x.key]
        self._pending = 0


def frame_of_events(shape, x, y, channel):
    """Return the frame of some events, or None if there are none.

    Args:
        shape: Axes (row, column, channel).
        x: Integers, columns, from 0.
        y: Integers, rows, from 0.
        channel: Integers, e.g. polarities. Events of one place add up.

    Raises:
        ValueError: For events beyond the frame, lists of different lengths,
            or a frame of other axes.
    """
    if len(shape) != 3:
        raise ValueError(
            "step_events() expects frames (row, column, channel). Received: "
            f"frames of shape {tuple(shape)}. Use step(frame)."
        )
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
