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


@on_tensorflow
def test_layers_that_are_not_known_are_dense_between_others():
    pytest.importorskip("numba")
    fold = L.TimeFold(layers.Conv2DTranspose(3, 2, name="odd"))
    model, x = (
        network(L.RepeatEncoder(9), middle=[L.ALIF(name="a"), fold]),
        images(),
    )
    report = snn.analysis.execution_report(model, x)
    assert report.reason is None
    rows = {row.name: row for row in report.layers}
    assert list(rows) == [n.name for n in model.network.loop]
    modes = {name: row.mode for name, row in rows.items()}
    assert modes.pop("conv") == "once"
    assert modes.pop("a") == modes.pop("odd") == "dense"
    assert set(modes.values()) == {"event by event"}
    reasons = {name: row.reason for name, row in rows.items() if row.reason}
    assert reasons == {
        "a": "'a' (ALIF) has no event-driven form",
        "odd": "'odd' (Conv2DTranspose) has no event-driven form",
    }
    rates = snn.models.spike_rates(model, x)
    assert {k: r.rate for k, r in rows.items() if r.rate is not None} == rates
    assert "a" in rates
    assert all(row.seconds > 0 for k, row in rows.items() if k != "flat")
    assert report.seconds == sum(row.seconds for row in report.layers)
    text = []
    report.summary(text.append)
    for line in ("all", *(f"Dense: {reason}." for reason in reasons.values())):
        assert line in text[0]


@pytest.mark.parametrize("cls", [keras.Model, snn.Model])
def test_what_runs_densely_says_why(cls):
    model = network(cls=cls)
    if cls is keras.Model:
        reason = "only a keras_snn.Model runs event by event"
    else:
        model.compile(jit_compile=True)
        reason = model.dense_reason()
    report = snn.analysis.execution_report(model, images())
    assert report.reason == reason is not None
    assert {row.reason for row in report.layers} == {reason}
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
