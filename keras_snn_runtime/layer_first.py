"""One sample: some steps of an operation, then those of the next one.

Its steps lie side by side as the samples of a batch do elsewhere: they share
what is read of large weights, and a row of potentials takes them at once.
"""

import functools

import numpy as np
from numba import types

from keras_snn_runtime import kernels
from keras_snn_runtime.kernels import _INDICES, _INTEGER, _NUMBER, _STARTS
from keras_snn_runtime.operations import (
    Convolution,
    Integration,
    Neurons,
    Normalization,
    Pooling,
    Product,
    Reshape,
    Source,
    Sum,
    Workspace,
    aligned,
    as_frame,
)

# Frames of so many steps stay in the cache.
STEPS = 4

_STATELESS = Convolution, Normalization, Pooling, Product, Reshape, Sum
_KNOWN = (*_STATELESS, Source, Neurons, Integration)


@kernels.compiled(
    kernels._read(4),
    kernels._write(4),
    kernels._array(types.uint8, 1),
    _INDICES,
    _STARTS,
    *[_NUMBER] * 2,
    types.boolean,
    kernels._array(types.boolean, 1),
    _INTEGER,
)
def fire_steps(
    currents,
    potentials,
    fired,
    indices,
    starts,
    beta,
    threshold,
    subtract,
    lost,
    steps,
):
    """Do what `kernels.fire` does for some steps of one sample.

    Args:
        currents: Axes (step, row, pixel, channel); one step is all of them.
        potentials: Axes (1, row, pixel, channel), updated.
        fired: Room for the spikes of one row.
        indices, starts: Receive the spikes of each step.
        beta, threshold, subtract: As there.
        lost: Becomes True if a potential is no number.
        steps: Number of steps.
    """
    count, rows, pixels, channels = currents.shape
    size = pixels * channels
    one = np.float32(1)
    for y in range(rows):
        v = potentials[0, y].reshape(size)
        for t in range(steps):
            current = currents[min(t, count - 1), y].reshape(size)
            for k in range(size):
                u = v[k] + current[k]
                spike = u > threshold
                kept = u - threshold * spike if subtract else u * (one - spike)
                v[k] = beta * kept
                fired[k] = spike
            kernels.list_fired(fired, channels, indices[t, y], starts[t, y])
        missing = np.uint32(0)
        for k in range(size):
            missing |= np.uint32(v[k] != v[k])
        if missing:
            lost[0] = True


@kernels.compiled(kernels._read(4), kernels._write(4), _NUMBER, _INTEGER)
def integrate_steps(currents, state, beta, steps):
    """Take steps of a readout, `state = beta * (state + current)`.

    Args:
        currents: As in `fire_steps`.
        state: Axes (1, row, pixel, channel), updated.
        beta: Decay per step.
        steps: Number of steps.
    """
    for t in range(steps):
        current = currents[min(t, len(currents) - 1)].reshape(state.size)
        total = state.reshape(state.size)
        for k in range(state.size):
            total[k] = beta * (total[k] + current[k])


def suits(operations, inputs, statistics):
    """Return whether one sample can go through operations like this.

    Args:
        operations: List of `operations`, in forward order.
        inputs, statistics: See `Workspace`.
    """
    return statistics is None and all(
        isinstance(x, _KNOWN)
        and not getattr(x, "differ", False)
        and (x.key, "state") not in inputs
        for x in operations
    )


class LayerFirst(Workspace):
    """The arrays of one sample at some steps, and what is done to them.

    Args:
        operations: List of `operations` that suit, in forward order.
        inputs, held: See `Workspace`; sequences are those of each `take`.
    """

    def __init__(self, operations, inputs, held):
        super().__init__(inputs, {}, None, None, STEPS, held)
        own = {
            Source: self._read,
            Neurons: self._fire,
            Integration: self._integrate,
        }
        for x in operations:
            if type(x) in own:
                own[type(x)](x)
            else:
                x.build(self)

    def take(self, inputs, outputs, time_steps):
        """Take the one sample of `inputs` through all steps.

        Args:
            inputs: See `Workspace`; weights are those of before.
            outputs: Of readouts, see `Workspace`.
            time_steps: T.
        """
        self.inputs, self.lost[:] = inputs, False
        for function in self.begin:
            function()
        for t in range(0, time_steps, STEPS):
            steps = min(STEPS, time_steps - t)
            for function in self.sources:
                function(t, steps)
            for function in self.once if t == 0 else ():
                function(1)
            for function in self.step:
                function(steps)
        for (key, _), result in outputs.items():
            result[...] = self.states[key].reshape(result.shape)
            if self.lost[0]:
                result.fill(np.nan)

    def _read(self, source):
        frames = self.new_frame(source.key, source.shape)
        held = source.key in self.held

        def read(t, steps):
            given = self.inputs[source.key][0]
            given = given.reshape(-1, *frames.shape[1:])
            if not held:
                frames[:steps] = given[t : t + steps]
            elif t == 0:
                frames[0] = given[0]

        self.sources.append(read)

    def _state(self, x, initial):
        """Return the array of a state, which begins anew at each sample."""
        state = self.states[x.key] = aligned((1, *as_frame(x.shape)))
        self.begin.append(functools.partial(state.fill, initial))
        return state

    def frame(self, key):
        """Return `key` as an array: one frame if it is the same every time."""
        frames = super().frame(key)
        return frames[:1] if key in self.held else frames

    def _fire(self, x):
        currents = self.frame(x.source)
        spikes = self.new_spikes(x.key, x.shape, unit=True)
        self.step.append(
            functools.partial(
                fire_steps,
                currents,
                self._state(x, x.initial_potential),
                np.empty(currents[0, 0].size, "uint8"),
                spikes.indices,
                spikes.starts,
                np.float32(x.beta),
                np.float32(x.threshold),
                x.subtract,
                self.lost,
            )
        )

    def _integrate(self, x):
        state = self._state(x, 0)
        self.step.append(
            functools.partial(
                integrate_steps,
                self.frame(x.source),
                state,
                np.float32(x.beta),
            )
        )
