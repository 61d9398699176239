import json

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.conversion.networks import L, data, everything, functional, network

convert, report = snn.conversion.convert, snn.conversion.report


def dense():
    return network(
        L.Dense(12, activation="relu", name="hidden"), L.Dense(3), shape=(6,)
    )


def test_numbers_of_one_layer_follow_a_numpy_loop():
    ann, x, t = dense(), data(40, (6,)), 12
    model = convert(ann, x, "percentile", percentile=80, time_steps=t)
    found = report(ann, model, x, batch_size=16)
    w1, b1, w2, b2 = ann.get_weights()
    current = x @ w1 + b1
    activation = np.maximum(current, 0)
    (row,) = found.layers
    v, count = np.full_like(current, row.threshold / 2), 0
    for _ in range(t):
        v = v + current
        s = v > row.threshold
        count, v = count + s, v - row.threshold * s
    rate = count / t
    error = row.scale * rate - activation
    assert row.name == "hidden_relu" and row.scale == row.threshold
    assert row.spike_rate == pytest.approx(rate.mean(), rel=1e-3)
    assert row.mean_activation == pytest.approx(activation.mean(), rel=1e-5)
    assert row.mean_error == pytest.approx(np.abs(error).mean(), rel=1e-2)
    relative = np.linalg.norm(error) / np.linalg.norm(activation)
    assert row.relative_error == pytest.approx(relative, rel=1e-2)
    assert row.cut_off == pytest.approx(np.mean(activation > row.scale))
    output = model.predict(x, verbose=0)
    expected = ann.predict(x, verbose=0)
    assert found.max_error == pytest.approx(
        np.abs(output - expected).max(), rel=1e-4
    )
    assert found.mean_error == pytest.approx(
        np.abs(output - expected).mean(), rel=1e-4
    )
    same = output.argmax(axis=1) == expected.argmax(axis=1)
    assert found.agreement == pytest.approx(same.mean())
    assert (found.samples, found.time_steps) == (40, 12)


def test_every_spiking_layer_has_a_row(tmp_path, capsys):
    pytest.importorskip("rich")
    ann, x = functional(everything), data()
    model = convert(ann, x, "max", time_steps=64)
    model.save(tmp_path / "model.keras")
    found = report(ann, keras.models.load_model(tmp_path / "model.keras"), x)
    neurons = [y for y in model.layers if isinstance(y, snn.layers.IF)]
    # Branches may come in any order.
    rows = [f"{row.name}_if" for row in found.layers]
    assert sorted(rows) == sorted(y.name for y in neurons)
    assert all(row.relative_error < 0.06 for row in found.layers)
    found.summary()
    text = capsys.readouterr().out
    assert "T = 64" in text and "same class for" in text
    assert json.loads(json.dumps(found.to_dict()))["samples"] == len(x)


def test_a_model_of_another_network_is_refused():
    model = convert(dense(), data(40, (6,)), time_steps=4)
    other = network(L.Dense(12), L.ReLU(name="act"), L.Dense(3), shape=(6,))
    with pytest.raises(ValueError, match="made by convert.*'act'"):
        report(other, model, data(4, (6,)))
