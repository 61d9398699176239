"""Thresholds from the spikes themselves, layer by layer."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_snn.conversion import calibration, plain, spiking
from keras_snn.layers.readouts import Readout
from keras_snn.models import Model


@keras.saving.register_keras_serializable(package="keras_snn")
class PeakReadout(Readout):
    """The largest current so far: `y = max(0, max_t I(t))`."""

    def call(self, currents):
        self.check_sequence(currents)
        peak = ops.relu(ops.max(ops.cast(currents, "float32"), axis=1))
        return ops.cast(peak, self.compute_dtype)

    def step(self, frame, state, training=False):
        peak = ops.maximum(state[0], ops.cast(frame, "float32"))
        return peak, [peak]

    def result(self, state, time_steps):
        return ops.cast(state[0], self.compute_dtype)


def balanced_thresholds(graph, known, settings, data, batch_size):
    """Return each layer's largest current of a single time step.

    The layers before are spiking already, with the thresholds found for
    them, so the layers are taken one after the other.

    Args:
        graph: A folded `Graph`.
        known: Dict of thresholds that are given (of QCFS activations).
        settings: `spiking.SpikingOptions` with an encoder.
        data: Array of inputs.
        batch_size: Samples run at once.
    """
    thresholds = dict(known)
    for op in graph.neurons():
        if op in thresholds:
            continue
        # An encoder of its own for each model: layers keep one graph.
        encoder = type(settings.encoder).from_config(
            settings.encoder.get_config()
        )
        fresh = dataclasses.replace(settings, encoder=encoder)
        inputs, currents = spiking.currents_into(graph, op, thresholds, fresh)
        model = Model(
            inputs, PeakReadout(dtype="float32")(currents), name="balancing"
        )
        largest = 0.0
        found = plain.predict_batches(
            model, data, batch_size, f"Balancing {op.name}"
        )
        for _, (peak,) in found:
            largest = max(largest, float(np.max(peak)))
        calibration.check_active(op, largest)
        thresholds.update(calibration.limited({op: largest}))
    return thresholds
