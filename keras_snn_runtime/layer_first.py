"""Some steps of an operation, then those of the next one.

The steps of a sample lie side by side, and so do samples: they share what is
read of large weights, and a row of potentials takes its steps at once.
"""

import math

import numpy as np

from keras_snn_runtime import kernels
from keras_snn_runtime.operations import (
    NEURON,
    PAIR,
    Convolution,
    Depthwise,
    Integration,
    Mask,
    Neurons,
    Normalization,
    Pooling,
    Product,
    Reshape,
    Source,
    Sum,
    Workspace,
)

_NO_SUMS = [np.empty((0, 0, 0, 0), "float32")] * 3

# Frames of so many steps stay in the cache: of samples together no more bytes
# than these.
STEPS, CACHED = 4, 2**21

_STATELESS = Convolution, Depthwise, Normalization, Pooling, Product, Reshape
_KNOWN = (*_STATELESS, Source, Sum, Mask, Neurons, Integration)


def suits(operations, outputs):
    """Return whether samples can go through operations like this.

    Args:
        operations: List of `operations`, in forward order.
        outputs: See `Workspace`.
    """
    histories = any(isinstance(x, tuple) and "history" in x for x in outputs)
    return not histories and all(
        isinstance(x, _KNOWN) and not getattr(x, "differ", False)
        for x in operations
    )


def together(operations):
    """Return how many samples' frames of some steps stay in the cache."""
    largest = max(math.prod(x.shape) for x in operations)
    return CACHED // (4 * STEPS * largest)


class LayerFirst(Workspace):
    """The arrays of some samples at some steps, and what is done to them.

    Frames are those of steps 0, 1, ... of the first sample, then those of the
    next one. Of what is held there is one frame a sample.

    Args:
        inputs, outputs, statistics, time_steps, others: See `Workspace`.
    """

    def __init__(self, inputs, outputs, statistics, time_steps, *others):
        super().__init__(
            *(inputs, outputs, statistics, time_steps, *others),
            steps=min(STEPS, time_steps),
        )
        # The samples that are taken now, and the steps that they have taken;
        # a crew knows how many.
        self._first, self._taken = 0, self.samples
        self._now = self.crew.now if self.crew else np.zeros(2, "int64")
        self._own = {
            Source: self._read,
            Sum: self._add,
            Neurons: self._fire,
        }

    def build(self, operation):
        own = self._own.get(type(operation))
        if own is None:
            operation.build(self)
        else:
            own(operation)

    def run(self, first, samples, sure=None):
        self.lost[:] = False
        self._first, self._taken = first, samples
        self._now[1] = samples
        for function in self.begin:
            function(first, samples)
        most = STEPS if sure is None else PAIR
        for t in range(0, self.time_steps, most):
            self._now[0] = t
            steps = min(most, self.time_steps - t)
            for function in self.sources:
                function(first, t, steps)
            for function in self.once if t == 0 else ():
                function(samples)
            for function in self.step:
                function(samples * steps)
            if sure is not None and sure(t + steps):
                break
        for function in self.end:
            function(first, samples)

    def steps_of(self, frames):
        return frames // self._taken

    def close(self):
        super().close()
        self._own.clear()

    def frame(self, key):
        frames = super().frame(key)
        return frames[: self.samples] if key in self.held else frames

    def _read(self, source):
        frames = self.new_frame(source.key, source.shape)
        sequence = self.inputs[source.key]
        sequence = sequence.reshape(*sequence.shape[:2], *frames.shape[1:])
        held = source.key in self.held

        def read(first, t, steps):
            if held and t:
                return
            steps = 1 if held else steps
            given = sequence[first : first + self._taken, t : t + steps]
            target = frames[: self._taken * steps]
            target.reshape(given.shape)[...] = given

        self.sources.append(read)

    def _add(self, x):
        self.follows(x.key, *x.sources)
        held = [key in self.held for key in x.sources]
        given = [self.frame(key) for key in x.sources]
        out = self.new_frame(x.key, x.shape)

        def step(count):
            steps = self.steps_of(count)
            whole = self._taken, steps, *out.shape[1:]
            target = out[:count].reshape(whole)
            first, second, *others = [
                frames[: self._taken, None]
                if one and not all(held)
                else frames[:count].reshape(whole)
                for frames, one in zip(given, held)
            ]
            np.add(first, second, target)
            for other in others:
                np.add(target, other, target)

        self.call(x.key, step)

    def _fire(self, x):
        currents, held = self.frame(x.source), x.source in self.held
        spikes = self.new_spikes(x.key, x.shape, unit=True)
        lists = spikes.indices, spikes.starts
        state = self.new_state(x.key, x.shape, x.initial_potential)
        kept = x.sums(self)
        sums = kept or (lambda first, samples: _NO_SUMS)
        kind, parameter = x.surrogate if x.is_by_rate(self) else (-1, 0)
        numbers = np.float32(x.beta), np.float32(x.threshold)
        given = *numbers, kind, np.float32(parameter), x.subtract, held
        arrays = currents, state, *lists, self.lost
        before = self.crew and self.crew.ending(currents)
        if before or self.shares(NEURON * state.size):
            fire = self.crew.neurons_of_steps(
                arrays, sums(0, self.samples), *given
            )
            (before.then if before else self.step.append)(fire)
            if kept:
                self.begin.append(lambda *which: fire.keep(kept(*which)))
            return
        self.step.append(
            lambda count: kernels.fire_steps(
                *arrays,
                *sums(self._first, self._taken),
                *given,
                *self._now,
                self.steps_of(count),
            )
        )
