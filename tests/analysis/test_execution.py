"""Where layers run, and what they take."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_snn as snn

L = snn.layers
on_tensorflow = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="the engine is of TensorFlow"
)


def network(encoder=None, cls=snn.Model, middle=()):
    x = inputs = keras.Input((8, 8, 1))
    x = (encoder or L.RepeatEncoder(4))(x)
    x = L.TimeFold(layers.Conv2D(3, 3, name="c"), name="conv")(x)
    x = L.LIF(threshold=0.1, name="lif1")(x)
    for layer in middle:
        x = layer(x)
    x = L.TimeFold(layers.Flatten(), name="flat")(x)
    x = L.TimeFold(layers.Dense(5), name="dense")(x)
    x = L.LIF(threshold=0.1, name="lif2")(x)
    x = L.TimeFold(layers.Dense(2), name="top")(x)
    return cls(inputs, L.MembraneReadout(name="readout")(x))


def images(count=3):
    return np.random.default_rng(0).random((count, 8, 8, 1), "float32")


@on_tensorflow
def test_each_layer_has_its_time_and_rate():
    pytest.importorskip("numba")
    model, x = network(), images()
    report = snn.analysis.execution_report(model, x)
    assert report.reason is None
    names = ["conv", "lif1", "flat", "dense", "lif2", "top", "readout"]
    assert [row.name for row in report.layers] == names
    rows = dict(zip(names, report.layers))
    assert rows["conv"].kind == "Conv2D"
    # The same image at all steps: its products are computed once.
    modes = {name: row.mode for name, row in rows.items()}
    assert modes.pop("conv") == "once"
    assert set(modes.values()) == {"event by event"}
    rates = snn.models.spike_rates(model, x)
    assert {k: r.rate for k, r in rows.items() if r.rate is not None} == rates
    assert all(rows[k].seconds > 0 for k in names if k != "flat")
    assert report.seconds == sum(row.seconds for row in report.layers)


@on_tensorflow
def test_random_spikes_come_at_every_step():
    pytest.importorskip("numba")
    model = network(L.PoissonEncoder(4, seed=1))
    report = snn.analysis.execution_report(model, images(1))
    assert {row.mode for row in report.layers} == {"event by event"}


@pytest.mark.parametrize(
    "options", [{"cls": keras.Model}, {"middle": [L.ALIF(name="alif")]}]
)
def test_what_runs_densely_says_why(options):
    model = network(**options)
    report = snn.analysis.execution_report(model, images())
    if "cls" in options:
        assert report.reason == "only a keras_snn.Model runs event by event"
    else:
        assert report.reason == model.dense_reason() is not None
    text = []
    report.summary(text.append)
    assert f"It runs densely: {report.reason}" in " ".join(text[0].split())
    assert report.seconds is None
    assert {row.mode for row in report.layers} == {"dense"}
    assert {row.seconds for row in report.layers} == {None}
    assert report.layers[1].rate > 0


@on_tensorflow
def test_the_table_has_all_layers_and_the_sum():
    pytest.importorskip("numba")
    text = []
    snn.analysis.execution_report(network(), images(1)).summary(text.append)
    for name in ("conv", "once", "event by event", "readout", "all"):
        assert name in text[0]


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        snn.analysis.execution_report(network(), images(0))
