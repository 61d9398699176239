"""keras_snn as its users run it: a compiled model, batch by batch.

The variant is the part of the library's name after the dash: a learning rule,
`"arctan-remat"` (with `remat_steps` at the square root of T), `"layers"` (a
plain `keras.Model`, layer by layer, collapsed rule), `"dense"` (collapsed rule
with dense products, the event-driven engine switched off), `"one"` (on one
processor), `"compiled"` (inference in `event_driven.compile`'s network, without
TensorFlow), or nothing (`keras_snn.Model`, collapsed rule, event by event where
the backend is TensorFlow). A backend is chosen by KERAS_BACKEND.
"""

import functools
import importlib.metadata
import os

import keras
import numpy as np

import keras_snn
from benchmarks import measure, networks

LEARNING_RULES = ("collapsed", "exact", "arctan")


class Program:
    """A network, one batch of spike trains, and its steps."""

    def __init__(self, case):
        if case["dtype"] == "bfloat16":
            keras.config.set_dtype_policy("mixed_bfloat16")
        variant = case["library"].partition("-")[2]
        if variant == "one":
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        rule, _, remat = variant.partition("-")
        rule = rule if rule in LEARNING_RULES else "collapsed"
        network = networks.NETWORKS[case["network"]]
        model = getattr(keras_snn.models, network.builder)(
            input_shape=network.input_shape,
            classes=networks.CLASSES,
            time_steps=case["time_steps"],
            encoder=None,
            learning_rule=rule,
            norm="none",
            beta=networks.BETA,
            dropout=0.0,
            width=case["width"],
        )
        model.set_weights(networks.weights(case["network"], case["width"]))
        if remat:
            model.remat_steps = round(case["time_steps"] ** 0.5)
        if variant == "dense":
            keras_snn.event_driven.disable()
        if variant == "layers":
            model = keras.Model(model.input, model.output)
        model.compile(
            keras.optimizers.SGD(case["learning_rate"]),
            keras_snn.losses.SummedSquaredError(),
        )
        self.model = model
        self.spikes = keras.ops.convert_to_tensor(
            networks.spike_trains(
                case["network"], case["batch"], case["time_steps"]
            )
        )
        if variant == "compiled":
            network = keras_snn.event_driven.compile(model)
            spikes = np.asarray(self.spikes)
            self.inference_step = lambda: network.predict(spikes)
        self.targets = keras.ops.convert_to_tensor(
            networks.targets(case["batch"])
        )

    def train_step(self):
        return float(self.model.train_on_batch(self.spikes, self.targets))

    def inference_step(self):
        return self.model.predict_on_batch(self.spikes)

    def outputs(self):
        """Return outputs, spikes of each layer, and one step's updates."""
        model = self.model
        result = {"outputs": np.asarray(self.inference_step()).tolist()}
        spiking = [
            layer.output
            for layer in model.layers
            if isinstance(layer, keras_snn.layers.LIF)
        ]
        trains = keras.Model(model.input, spiking).predict_on_batch(self.spikes)
        result["spikes"] = [int(np.sum(train)) for train in trains]
        before = model.get_weights()
        result["loss"] = self.train_step()
        result["updates"] = [
            float(np.linalg.norm(new - old))
            for new, old in zip(model.get_weights(), before)
        ]
        return result

    def description(self):
        backend = keras.config.backend()
        versions = {
            name: importlib.metadata.version(name)
            for name in ("keras", backend)
        }
        return {
            "versions": {**versions, "keras_snn": keras_snn.__version__},
            "backend": backend,
            "runs_layer_by_layer": getattr(
                self.model, "runs_layer_by_layer", "a plain keras.Model"
            ),
            "runs_densely": self._runs_densely(),
            "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
            "device": _device(),
        }

    def _runs_densely(self):
        if not isinstance(self.model, keras_snn.Model):
            return "a plain keras.Model"
        return self.model.dense_reason(training=True)

    def device_memory(self):
        if keras.config.backend() != "jax":
            return None
        import jax

        statistics = jax.devices()[0].memory_stats() or {}
        return statistics.get("peak_bytes_in_use")


def _device():
    if keras.config.backend() != "jax":
        return "cpu"
    import jax

    device = jax.devices()[0]
    return "cpu" if device.platform == "cpu" else device.device_kind


run = functools.partial(measure.program, Program)
