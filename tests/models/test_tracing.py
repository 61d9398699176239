"""TensorFlow is not heard warning of traces that every model needs once."""

import logging

import keras
import numpy as np
import pytest

import keras_snn as snn

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="TensorFlow's traces"
)

X = np.ones((2, 3, 4), "float32")
Y = np.eye(2, dtype="float32")


@pytest.fixture
def heard(monkeypatch):
    """Return the list of TensorFlow's warnings of traces, as they come."""
    from tensorflow.python.eager.polymorphic_function import (
        polymorphic_function,
    )

    # Other tests may have used up what TensorFlow says of one function. Two
    # traces, not five, are enough to be told, which takes fewer models.
    for name, value in (("MAX_WARNING_PER_DETECTOR", 10**6), ("THRESHOLD", 2)):
        name = f"FREQUENT_TRACING_WARNING_{name}"
        monkeypatch.setattr(polymorphic_function, name, value)
    texts = []

    class Handler(logging.Handler):
        def emit(self, record):
            if "retracing" in record.getMessage():
                texts.append(record.getMessage())

    handler = Handler()
    logging.getLogger("tensorflow").addHandler(handler)
    yield texts
    logging.getLogger("tensorflow").removeHandler(handler)


def spiking(kind=snn.Model):
    inputs = keras.Input((3, 4))
    x = snn.layers.TimeFold(keras.layers.Dense(2))(inputs)
    x = snn.layers.LIF(threshold=0.1, learning_rule="rate")(x)
    model = kind(inputs, snn.layers.SpikeCountReadout()(x))
    model.compile("sgd", "mse", metrics=["accuracy"])
    return model


def in_windows():
    inputs = keras.Input((None, 4))
    x = snn.layers.LIF(threshold=0.1, learning_rule="arctan")(inputs)
    x = snn.layers.SpikeCountReadout()(x)
    outputs = keras.layers.Dense(2)(x)
    model = snn.stateful(keras.Model(inputs, outputs), batch_size=2)
    model.compile("sgd", "mse")
    return model


TOOLS = {
    "predict": lambda m, path: m.predict(X, verbose=0),
    "predict_on_batch": lambda m, path: m.predict_on_batch(X),
    "evaluate": lambda m, path: m.evaluate(X, Y, verbose=0),
    "fit": lambda m, path: m.fit(X, Y, verbose=0),
    "fit and watch": lambda m, path: m.fit(
        X, Y, verbose=0, callbacks=[snn.callbacks.SpikeRateMonitor(X)]
    ),
    "spike_rates": lambda m, path: snn.models.spike_rates(m, X),
    "latency_curve": lambda m, path: snn.analysis.latency_curve(m, X, Y),
    "profile": lambda m, path: snn.analysis.profile(m, X),
    "record": lambda m, path: snn.analysis.record(m, X),
    "report": lambda m, path: snn.analysis.write_page(path / "a.html", m, X, Y),
    "fit in windows": lambda m, path: in_windows().fit(
        snn.training.Windows(X[:, :2], Y, steps=1, batch_size=2), verbose=0
    ),
}


@pytest.mark.filterwarnings("ignore:Most neurons")
@pytest.mark.parametrize("tool", TOOLS)
def test_two_models_are_traced_without_a_warning(tool, heard, tmp_path):
    for _ in range(2):
        TOOLS[tool](spiking(), tmp_path)
    assert heard == []


def test_five_models_by_tensorflows_own_limit(heard, monkeypatch):
    from tensorflow.python.eager.polymorphic_function import (
        polymorphic_function,
    )

    limit = "FREQUENT_TRACING_WARNING_THRESHOLD"
    monkeypatch.setattr(polymorphic_function, limit, 5)
    for _ in range(5):
        snn.models.spike_rates(spiking(), X)
    assert heard == []
    for _ in range(5):
        spiking(keras.Model).predict(X, verbose=0)
    assert heard


# Tools that run batches of their own, here of two samples and of one.
UNEVEN = {
    "latency_curve": lambda m, x, y: snn.analysis.latency_curve(m, x, y, 2),
    "profile": lambda m, x, y: snn.analysis.profile(m, x, 2),
    "record": lambda m, x, y: snn.analysis.record(m, x, batch_size=2),
    "convert": lambda m, x, y: converted(x),
}


def converted(x):
    inputs = keras.Input((3, 4))
    ann = keras.Model(inputs, keras.layers.Dense(2, activation="relu")(inputs))
    model = snn.conversion.convert(ann, x, time_steps=2, batch_size=2)
    snn.conversion.report(ann, model, x, batch_size=2)


@pytest.mark.parametrize("tool", UNEVEN)
def test_a_smaller_last_batch_is_traced_without_a_warning(tool, heard):
    for _ in range(2):
        UNEVEN[tool](spiking(), *(np.repeat(a, 2, 0)[:3] for a in (X, Y)))
    assert heard == []


@pytest.mark.filterwarnings("ignore:Most neurons")
@pytest.mark.parametrize("tool", TOOLS)
def test_a_function_made_again_and_again_is_heard_after(tool, heard, tmp_path):
    import tensorflow as tf

    TOOLS[tool](spiking(), tmp_path)
    for _ in range(5):
        tf.function(lambda x: x + 1)(tf.ones(3))
    assert len(heard) >= 1
    assert not any("TensorFlowTrainer." in text for text in heard)


def test_a_models_function_made_again_and_again_is_heard(heard):
    model = spiking()
    for _ in range(3):
        model.make_predict_function(force=True)
        model.predict_on_batch(X)
    assert heard


def test_spikes_of_plain_keras_models_are_measured_without_one(heard):
    for _ in range(2):
        snn.models.spike_rates(spiking(keras.Model), X)
    assert heard == []
