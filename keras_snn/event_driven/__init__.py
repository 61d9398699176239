"""The event-driven engine: work that goes with the number of spikes.

A dense convolution multiplies every zero of a spike train. The engine lists
each layer's spikes and adds the weights of those alone,

    I[y, x, :] = sum_{dy, dx, c: s != 0} s[y+dy, x+dx, c] * w[dy, dx, c, :]

a few samples at a time, so that their potentials stay in the processor's
cache. The sums are those of dense products up to the rounding of their order.

`keras_snn.Model` runs in it by itself, forward, in `fit` by the rules
`"collapsed"` and `"exact"`, in `evaluate`, `predict`, and where
`keras_snn.analysis` and the callbacks count spikes,

- on TensorFlow, in float32, on a CPU, without `jit_compile=True`;
- if Numba is installed (`pip install "keras-snn[numba]"`), which compiles the
  engine once, in about ten seconds, and keeps it on disk;
- if it knows all layers between the encoder and the readout: LIF, IF,
  TimeConstantDropout, both readouts, Add, and in a TimeFold Conv1D, Conv2D,
  Dense, their average, maximum and global poolings, zero padding, Flatten,
  Reshape, Rescaling, and what does nothing but in training: Dropout; and
  BatchNormalization and Affine that do not train.

In `evaluate`, `predict` and where spikes are counted, layers that it does not
know run through Keras between those that it knows, eight steps at a time; in
`fit` one such layer makes all forward passes dense.

`keras_snn_runtime` is the same engine without Keras, for streams, too.
Everything else, other exported models included, computes densely;
`model.dense_reason()` says why, and `keras_snn.analysis.execution_report`
how long each layer takes. The engine gains where neurons fire seldom
(see `benchmarks/README.md`): where most of them fire at most steps, `disable`
it.
"""

import importlib

from keras_snn.event_driven.switch import (
    disable,
    enable,
    is_enabled,
    why_not,
)

# These need Numba.
_LAZY = {
    "Program": "lowering",
    "Unknown": "lowering",
    "run": "engine",
    "seconds": "engine",
    "split": "segments",
    "works_on_frames": "segments",
}

__all__ = ["disable", "enable", "is_enabled", "why_not"]


def __getattr__(name):
    if name in _LAZY:
        module = f"keras_snn.event_driven.{_LAZY[name]}"
        return getattr(importlib.import_module(module), name)
    raise AttributeError(
        f"module 'keras_snn.event_driven' has no attribute {name!r}"
    )
