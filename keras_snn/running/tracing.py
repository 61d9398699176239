"""TensorFlow's warning of repeated tracing, where nothing is repeated.

TensorFlow counts how often Keras' step functions are traced, by their code:
it takes one trace each of five models for five traces of one. Every model
that measures spikes is another.
"""

import contextlib
import logging

from keras_snn.running.scopes import Scope

_first_trace = Scope()


class _Expected(logging.Filter):
    """Drops the warning for Keras' functions within `first_trace`."""

    def filter(self, record):
        if not _first_trace.on:
            return True
        text = record.getMessage()
        is_step = "TensorFlowTrainer." in text
        return not (is_step and "triggered tf.function retracing" in text)


logging.getLogger("tensorflow").addFilter(_Expected())


def first_trace(model, kind):
    """Return a scope that drops the warning if a model is traced anew.

    Once a model has its function, TensorFlow's warning is of that function
    and the shapes it is given, and comes as ever.

    Args:
        model: A `keras.Model`.
        kind: `"train"`, `"test"` or `"predict"`.
    """
    if getattr(model, f"{kind}_function", None) is None:
        return _first_trace(True)
    return contextlib.nullcontext()
