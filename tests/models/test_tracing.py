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


def test_spikes_of_plain_keras_models_are_measured_without_one(heard):
    for _ in range(2):
        snn.models.spike_rates(spiking(keras.Model), X)
    assert heard == []
