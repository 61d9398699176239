"""One sample: some steps of an operation, then those of the next one.

Its steps lie side by side as the samples of a batch do elsewhere: they share
what is read of large weights, and a row of potentials takes them at once.
"""

import functools

import numpy as np

from keras_snn_runtime import kernels
from keras_snn_runtime.kernels import _INTEGER, _NUMBER
from keras_snn_runtime.operations import (
    NEURON,
    PAIR,
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
        crew: See `Workspace`.
    """

    def __init__(self, operations, inputs, held, crew=None):
        super().__init__(inputs, {}, None, None, STEPS, held, crew)
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

    def take(self, inputs, outputs, time_steps, sure=None):
        """Take the one sample of `inputs` through all steps.

        Args:
            inputs: See `Workspace`; weights are those of before.
            outputs: Of readouts, see `Workspace`.
            time_steps: T.
            sure: As in `Workspace.run`.
        """
        self.inputs, self.lost[:] = inputs, False
        for function in self.begin:
            function()
        most = STEPS if sure is None else PAIR
        for t in range(0, time_steps, most):
            steps = min(most, time_steps - t)
            for function in self.sources:
                function(t, steps)
            for function in self.once if t == 0 else ():
                function(1)
            for function in self.step:
                function(steps)
            if sure is not None and sure(t + steps):
                break
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
        state = self._state(x, x.initial_potential)
        numbers = np.float32(x.beta), np.float32(x.threshold), x.subtract
        before = self.crew and self.crew.ending(currents)
        if before or self.shares(NEURON * state.size):
            fired = np.empty(state.size, "uint8")
            arrays = (currents, state, fired)
            arrays = (*arrays, spikes.indices, spikes.starts, self.lost)
            fire = self.crew.neurons_of_steps(arrays, *numbers)
            (before.then if before else self.step.append)(fire)
            return
        self.step.append(
            functools.partial(
                kernels.fire_steps,
                currents,
                state,
                np.empty(currents[0, 0].size, "uint8"),
                spikes.indices,
                spikes.starts,
                *numbers,
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
