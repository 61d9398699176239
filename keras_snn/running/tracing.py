"""TensorFlow's warning of repeated tracing, where nothing is repeated.

TensorFlow counts how often Keras' step functions are traced, by their code:
it takes one trace each of five models for five traces of one. Every model
that measures spikes is another, and its last batch, if smaller, one more.
"""

import contextlib
import functools
import logging

import keras

from keras_snn.running.scopes import Scope

_expected = Scope()


class _Unexpected(logging.Filter):
    """Drops the warning for Keras' functions where it is expected."""

    def filter(self, record):
        if not _expected.on:
            return True
        text = record.getMessage()
        is_step = "TensorFlowTrainer." in text
        return not (is_step and "triggered tf.function retracing" in text)


logging.getLogger("tensorflow").addFilter(_Unexpected())


def in_tool():
    """Return a scope that drops the warning: its traces are few and known."""
    return _expected(True)


def predict_on_batch(model, x):
    """Return a model's outputs for one of the batches of a tool.

    The last batch may be smaller, and has a trace of its own then.
    """
    with in_tool():
        return model.predict_on_batch(x)


def _named(kind, name):
    """Return a method of `TracedOnce`."""

    @functools.wraps(getattr(keras.Model, name))
    def method(self, *args, **kwargs):
        # Once a model has its function, TensorFlow's warning is of that
        # function and the shapes it is given, and comes as ever.
        is_traced = getattr(self, f"{kind}_function", None) is not None
        with contextlib.nullcontext() if is_traced else _expected(True):
            return getattr(super(TracedOnce, self), name)(*args, **kwargs)

    return method


class TracedOnce:
    """A mixin before `keras.Model` that drops the warning at the first trace.

    No `keras.Model` itself, as Keras would make each model functional, or
    none.
    """

    fit = _named("train", "fit")
    evaluate = _named("test", "evaluate")
    predict = _named("predict", "predict")
    train_on_batch = _named("train", "train_on_batch")
    test_on_batch = _named("test", "test_on_batch")
    predict_on_batch = _named("predict", "predict_on_batch")
