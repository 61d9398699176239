import json
import re

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


def two_layers():
    return network(
        L.Dense(12, activation="relu", name="first"),
        L.Dense(9, activation="relu", name="second"),
        L.Dense(3),
        shape=(6,),
    )


def spikes_of(currents, threshold, reset, start=0.5):
    """Return spikes (time, ...) of integrate-and-fire neurons, by a loop."""
    v, spikes = np.full_like(currents[0], start * threshold), []
    for current in currents:
        v = v + current
        s = (v > threshold).astype("float64")
        v = v - threshold * s if reset == "subtract" else v * (1 - s)
        spikes.append(s)
    return np.array(spikes)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_the_parts_of_an_error_follow_a_numpy_loop(reset):
    ann, x, t = two_layers(), data(40, (6,)), 7
    options = {"percentile": 90, "time_steps": t, "reset": reset}
    found = report(ann, convert(ann, x, "percentile", **options), x)
    w1, b1, w2, b2, *_ = (w.astype("float64") for w in ann.get_weights())
    current = np.repeat((x @ w1 + b1)[None], t, axis=0)
    before = np.maximum(current[0], 0)
    for row, following in zip(found.layers, ((w2, b2), None)):
        h = row.threshold
        spikes = spikes_of(current, h, reset)
        mean, rate = current.mean(0), h * spikes.mean(0)
        steady = np.repeat(mean[None], t, axis=0)
        steady = h * spikes_of(steady, h, "subtract").mean(0)
        meant = np.maximum(mean, 0)
        held = np.minimum(meant, h)
        parts = {
            "inherited": meant - before,
            "clipping": held - meant,
            "rounding": steady - held,
            "unevenness": rate - steady,
        }
        for name, part in parts.items():
            expected = np.linalg.norm(part) / np.linalg.norm(before)
            assert getattr(row, name) == pytest.approx(expected, abs=3e-3)
        error = np.linalg.norm(rate - before) / np.linalg.norm(before)
        assert row.relative_error == pytest.approx(error, abs=3e-3)
        silent = (rate == 0)[before > 0].mean()
        assert row.silent == pytest.approx(silent, abs=5e-3)
        if following:
            w, b = following
            current = h * spikes @ w + b
            before = np.maximum(before @ w + b, 0)
    assert found.layers[0].inherited < 1e-6
    assert found.layers[1].inherited > 0.01


def test_a_quantised_network_has_no_rounding_of_its_own():
    """QCFS rounds as the neurons do: of one layer no part is left."""
    ann = network(
        L.Dense(12),
        snn.conversion.QCFS(5, threshold=0.7),
        L.Dense(3),
        shape=(6,),
    )
    x = data(40, (6,))
    found = report(ann, convert(ann, None, "qcfs", time_steps=5), x)
    (row,) = found.layers
    for part in ("inherited", "clipping", "rounding", "unevenness"):
        assert getattr(row, part) < 1e-5
    assert found.reasons == [
        f"No layer loses 2% of its signal by itself; '{row.name}' is off "
        "most, by 0.0%."
    ]


def pooled():
    return network(
        L.Conv2D(4, 3, activation="relu", name="conv"),
        L.MaxPooling2D(2, name="pool"),
        L.Conv2D(4, 2, activation="relu", name="last"),
        L.Flatten(),
        L.Dense(3),
    )


# What is done to a network, what the report says first, and what to try.
MADE_WORSE = {
    "clipping": (
        {"percentile": 50, "time_steps": 256},
        r"'(conv|last)_relu' clips: .*Try method=.max.",
    ),
    "few steps": (
        {"method": "max", "time_steps": 4},
        r"'(conv|last)_relu' (rounds: in 4 steps|is uneven).*`time_steps`",
    ),
    "rest": (
        {"method": "max", "time_steps": 16, "initial_potential": 0.0},
        r"rounds: .*Try initial_potential=0.5",
    ),
    "reset": (
        {"method": "max", "time_steps": 256, "reset": "zero"},
        r"is uneven: .*reset to zero.*Try reset=.subtract.",
    ),
    "random input": (
        {"method": "max", "time_steps": 64, "encoder": "poisson"},
        r"input is inexact: PoissonEncoder.*Try encoder=.repeat.",
    ),
    "maxima of spikes": (
        {"method": "max", "time_steps": 64, "max_pooling": "spike"},
        r"'pool': the maximum of spikes .*Try max_pooling=.rate.",
    ),
}


@pytest.mark.parametrize("case", MADE_WORSE)
def test_the_report_says_what_is_wrong_and_what_to_try(case, capsys):
    pytest.importorskip("rich")
    options, sentence = MADE_WORSE[case]
    # Before the layers are made: their initializers draw their seeds then.
    keras.utils.set_random_seed(1)
    ann, x = pooled(), data(24)
    found = report(ann, convert(ann, x, **options), x)
    assert re.search(sentence, " ".join(found.reasons[:2]))
    assert "the last spiking layer" in found.reasons[-1]
    assert found.to_dict()["reasons"] == found.reasons
    found.summary()
    assert found.reasons[0].split(":")[0] in capsys.readouterr().out


def test_what_it_advises_helps():
    """The option that each sentence names lowers the error it names."""
    keras.utils.set_random_seed(1)
    ann, x = pooled(), data(24)
    for worse, better in (
        ({"percentile": 50, "time_steps": 256}, {"method": "max"}),
        ({"reset": "zero", "time_steps": 64}, {"reset": "subtract"}),
    ):
        before = report(ann, convert(ann, x, **worse), x)
        after = report(ann, convert(ann, x, **{**worse, **better}), x)
        assert after.mean_error < 0.7 * before.mean_error
