"""The event-driven engine: work that goes with the number of spikes.

A dense convolution multiplies every zero of a spike train. The engine lists
each layer's spikes and adds the weights of those alone,

    I[y, x, :] = sum_{dy, dx, c: s != 0} s[y+dy, x+dx, c] * w[dy, dx, c, :]

a few samples at a time, so that their potentials stay in the processor's
cache. The sums are those of dense products up to the rounding of their order.

`keras_snn.Model` runs in it by itself, forward, in `fit` by the rules
`"rate"`, `"collapsed"` and `"exact"` (by this backward, too, where layers with
weights take spikes), in `evaluate`, `predict`, and where `keras_snn.analysis`
and the callbacks count spikes,

- on TensorFlow, in float32, on a CPU, without `jit_compile=True`; in `fit`
  layer first also under `mixed_bfloat16`, whose type the products of the
  backward pass then have;
- if Numba is installed (`pip install "keras-snn[numba]"`), which compiles what
  a network needs once, in ten to twenty seconds, and keeps it on disk;
- if it knows all layers between the encoder and the readout: LIF, IF,
  TimeConstantDropout, both readouts, Add, Concatenate, MaxRatePooling, and in
  a TimeFold convolutions of one and two axes (depthwise and separable ones,
  too), Dense, their average, maximum and global poolings, zero padding,
  Flatten, Reshape, Rescaling, and what does nothing but in training: Dropout;
  and BatchNormalization and Affine that do not train.

Networks that learn layer first (see `Model.training_order`) do so at up to 31
steps: each convolution or dense layer of spikes runs event by event with a
normalization and the neurons behind it, all steps of a layer before the next
one, and layers that it does not know run through Keras.

In `evaluate`, `predict` and where spikes are counted, layers that it does not
know run through Keras between those that it knows, eight steps at a time; in
`fit` time first one such layer makes all forward passes dense.

`keras_snn_runtime` is the same engine without Keras, for streams, too.
Everything else, other exported models included, computes densely;
`model.dense_reason()` says why, and `keras_snn.analysis.execution_report`
how long each layer takes. The engine gains where neurons fire seldom
(see `benchmarks/README.md`): where most of them fire at most steps, `disable`
it.
"""

from __future__ import annotations

import importlib
from typing import Any

import keras

from keras_snn import optional
from keras_snn.event_driven.switch import (
    disable,
    enable,
    is_enabled,
    why_not,
)

# These need Numba.
_LAZY = {
    "backward_reason": "backward",
    "connect_backward": "backward",
    "Program": "lowering",
    "Unknown": "lowering",
    "missing_places": "lowering",
    "surrogate_of": "lowering",
    "Convolution": "layers",
    "Layer": "layers",
    "connect": "layers",
    "convolve": "layers",
    "convolve_means": "layers",
    "join": "layers",
    "mean_spikes": "layers",
    "run_layer": "layers",
    "run": "engine",
    "seconds": "engine",
    "split": "segments",
    "works_on_frames": "segments",
}

WEIGHTS = "float32", "int8"

__all__ = ["compile", "disable", "enable", "is_enabled", "why_not"]


def compile(model: keras.Model, weights: str = "float32") -> Any:
    """Return a network of its own that runs a model event by event.

    It has `predict`, `spike_rates` and `stream`, as one that is loaded from
    the file of `keras_snn.export.runtime`. With `weights="int8"` each kernel
    takes a quarter of the memory, with a scale of each output channel c,

        s_c = max |w_c| / 127;   q_c = round(w_c / s_c)
        I_c[t] = s_c * (sum_{k: spike} q_c[k]) + b_c

    where the sum over spikes is one of integers, which is exact in any order:
    spikes are those of the model with the weights `s_c * q_c`, but for the
    rounding of its own sums in float32. Other values than spikes (averages of
    them, analogue sequences) are multiplied by `q_c` in float32. What stays
    float32: biases, decays, thresholds, and the weights that a
    `RepeatEncoder`'s pixels are multiplied by, once for all steps, since int8
    there costs accuracy and saves nothing, and those of depthwise
    convolutions. Before, normalizations are folded into weights and biases,
    and average poolings into the convolutions before them.

    Args:
        model: A functional model of layers that the engine knows, between one
            input and one readout. It stays as it is; weights that it learns
            later are not in the network.
        weights: `"float32"` (default) or `"int8"`.

    Returns:
        A `keras_snn_runtime.Network`.

    Raises:
        ValueError: If the model has a layer that the engine does not know,
            several inputs or outputs, layers behind its readout, or weights
            that are not finite, for int8.
        ImportError: If Numba is not installed.

    Example:

    >>> network = keras_snn.event_driven.compile(model, weights="int8")
    >>> network.predict(images)  # (samples, classes)
    """
    if weights not in WEIGHTS:
        raise ValueError(
            f"`weights` must be one of {WEIGHTS}. Received: {weights!r}."
        )
    optional.require("numba", "numba")
    compiling = importlib.import_module("keras_snn.event_driven.compiling")
    return compiling.compiled(model, weights)


def __getattr__(name):
    if name in _LAZY:
        module = f"keras_snn.event_driven.{_LAZY[name]}"
        return getattr(importlib.import_module(module), name)
    raise AttributeError(
        f"module 'keras_snn.event_driven' has no attribute {name!r}"
    )
