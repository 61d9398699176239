"""Accuracy against time: how early a network knows the answer."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_snn import checks
from keras_snn.analysis import plots
from keras_snn.analysis.batches import batches, check_array, network_of
from keras_snn.running import time_first, tracing
from keras_snn.running.states import CountingState


@dataclasses.dataclass(frozen=True)
class LatencyCurve:
    """What `latency_curve` found.

    Attributes:
        accuracy: Array of length T: fraction of samples classified right from
            the first t steps, t = 1..T.
        spikes: Array of length T: spikes of all spiking layers up to step t,
            mean per sample.
        samples: Number of samples.
    """

    accuracy: np.ndarray
    spikes: np.ndarray
    samples: int

    @property
    def time_steps(self) -> int:
        """Number of steps T."""
        return len(self.accuracy)

    def earliest(self, accuracy: float) -> int | None:
        """Return the first step t, from 1, at which `accuracy` is reached.

        Args:
            accuracy: Fraction in (0, 1].

        Returns:
            An int, or None if it never is.

        Raises:
            ValueError: If `accuracy` is out of range.
        """
        accuracy = checks.number(
            "accuracy",
            accuracy,
            "(0, 1]",
            "a fraction of the samples",
            "For percent divide by 100.",
        )
        reached = np.flatnonzero(self.accuracy >= accuracy)
        return int(reached[0]) + 1 if len(reached) else None

    def plot(self, ax: Any = None) -> Any:
        """Draw accuracy against steps; return the matplotlib `Axes`."""
        return plots.latency(self, ax=ax)


def latency_curve(
    model: keras.Model, x: Any, y: Any, batch_size: int = 64, verbose: int = 0
) -> LatencyCurve:
    """Classify after every step, in one pass through all T steps.

        accuracy(t) = fraction of samples whose largest output after the first
                      t steps is their label

    The outputs are those that the model would give if its input had stopped
    after t steps; at t = T they are the model's own. An encoder that plans
    ahead (latency, rate) is not told of the earlier end. Dropout is off.

    Args:
        model: A functional model whose sequences go through layers of
            `keras_snn.layers` and merges and end in readouts, with one output
            `(batch, classes)`.
        x: NumPy array of inputs, `(samples, ...)`.
        y: Labels: integers `(samples,)`, or one-hot `(samples, classes)`.
        batch_size: Samples run at once.
        verbose: 1 shows a progress bar, 0 does not.

    Returns:
        A `LatencyCurve`: `.accuracy`, `.spikes`, `.earliest(accuracy)`,
        `.plot()`.

    Raises:
        ValueError: If the model does not run one step at a time, or `x` and
            `y` do not fit it.

    Example:

    >>> curve = keras_snn.analysis.latency_curve(model, x_test, y_test)
    >>> curve.earliest(0.95)        # the first step with 95 % accuracy
    """
    network = network_of(model, "latency_curve")
    _check_network(network)
    for array in (x, y):
        check_array(array, "latency_curve")
    y = _labels(np.asarray(y), network.outputs[0].shape[-1])
    if len(x) != len(y):
        raise ValueError(
            "latency_curve() expects one label a sample. Received: "
            f"{len(x)} samples and {len(y)} labels."
        )
    probe = _Running(network)
    right, spikes = np.zeros(1), np.zeros(1)
    for batch, labels in batches(
        model, (x, y), batch_size, "latency_curve", verbose
    ):
        outputs, fired = tracing.predict_on_batch(probe, batch)
        answers = np.argmax(outputs, axis=-1)
        right = right + np.sum(answers == labels[None], axis=1)
        spikes = spikes + np.asarray(fired, "float64")
    return LatencyCurve(right / len(x), np.cumsum(spikes) / len(x), len(x))


def _check_network(network):
    if network.no_loop is not None:
        raise ValueError(
            "latency_curve() expects a model that runs one time step at a "
            f"time. '{network.name}' does not: {network.no_loop}."
        )
    shapes = [x.shape for x in network.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ValueError(
            "latency_curve() expects a model with one output of shape (batch, "
            f"classes). '{network.name}' has {shapes}."
        )


def _labels(y, classes):
    """Return labels as integers."""
    if y.ndim == 2 and y.shape[1] == classes and classes > 1:
        return np.argmax(y, axis=1)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    whole = y.ndim == 1 and np.all(y == np.floor(y))
    if not whole or (len(y) and not 0 <= y.min() <= y.max() < classes):
        raise ValueError(
            f"`y` must be integers from 0 to {classes - 1}, shape (samples,), "
            f"or one-hot, (samples, {classes}). Received: shape {y.shape}, "
            f"dtype {y.dtype}, values {np.unique(y)[:5]}..."
        )
    return y.astype("int64")


class _Running(keras.Model):
    """From inputs to the output after, and the spikes in, each step."""

    def __init__(self, network):
        super().__init__(name="running_output")
        # As an attribute it makes the weights known.
        self.model = network.model
        self.network_read = network

    def call(self, x):
        network = self.network_read
        values = time_first.values_before_loop(network, x, False)
        keep = time_first.Keep(sums=True)
        loop = time_first.TimeLoop(network, values, False, keep)
        batch = ops.shape(x)[0]
        outputs = ops.zeros(
            (loop.time_steps, batch, network.outputs[0].shape[-1])
        )

        def step(t, state, outputs, spikes):
            state = loop.step_at(t, state)
            # The model's output for the steps so far.
            results = loop.results(state, t + 1)
            now = time_first.outputs_after_loop(network, values, results, False)
            outputs = ops.slice_update(
                outputs, (t, 0, 0), ops.cast(now, "float32")[None]
            )
            fired = ops.cast(_fired(state), "float32")
            spikes = ops.slice_update(spikes, (t,), fired[None])
            return t + 1, state, outputs, spikes

        spikes = ops.zeros((loop.time_steps,))
        start = (0, loop.initial_state(), outputs, spikes)
        _, _, outputs, spikes = ops.while_loop(
            lambda t, *_: t < loop.time_steps, step, start
        )
        return outputs, spikes


def _fired(states):
    """Return the number of spikes of the last step, in all layers."""
    # The newest spike is the lowest bit of each neuron's byte.
    bits = [
        ops.sum(
            ops.cast(
                ops.bitwise_and(state.byte, ops.ones_like(state.byte)), "int32"
            )
        )
        for state in states
        if isinstance(state, CountingState)
    ]
    return sum(bits) if bits else ops.zeros((), "int32")
