"""One page about a network."""

import re

import keras
import numpy as np
import pytest
from keras import layers

import keras_snn as snn

pytest.importorskip("matplotlib")
TITLES = [
    "Training",
    "Accuracy against time",
    "Spikes",
    "Operations and energy",
    "Execution",
]


def network(name="net"):
    fold = snn.layers.TimeFold
    x = inputs = keras.Input((8, 8, 1))
    x = snn.layers.RepeatEncoder(4)(x)
    x = fold(layers.Conv2D(3, 3, name="inner"), name="conv")(x)
    x = snn.layers.LIF(threshold=0.1, name="lif")(x)
    x = fold(layers.Flatten())(x)
    x = fold(layers.Dense(3), name="top")(x)
    return snn.Model(inputs, snn.layers.MembraneReadout()(x), name=name)


def data():
    rng = np.random.default_rng(0)
    return rng.random((6, 8, 8, 1), "float32"), np.eye(3)[np.arange(6) % 3]


def test_it_has_all_sections_and_needs_no_other_file(tmp_path):
    path = tmp_path / "page.html"
    snn.analysis.write_page(
        path,
        network("<b>net"),
        *data(),
        history={"accuracy": [0.2, 0.5], "val_accuracy": [0.1, 0.4]},
        facts={"data": "a & b"},
    )
    page = path.read_text("utf-8")
    assert re.findall("<h2>(.*?)</h2>", page) == TITLES
    # Names are text, and nothing is fetched.
    assert "&lt;b&gt;net" in page and "<b>net" not in page
    assert "a &amp; b" in page
    assert "http" not in page and "<script" not in page
    pictures = re.findall('src="(.{22})', page)
    assert len(pictures) >= 5
    assert set(pictures) == {"data:image/png;base64,"}
    for name in ("conv", "lif", "top"):
        assert f"<td>{name}</td>" in page


def test_it_does_without_history_and_facts(tmp_path):
    path = tmp_path / "page.html"
    snn.analysis.write_page(path, network(), *data())
    titles = re.findall("<h2>(.*?)</h2>", path.read_text("utf-8"))
    assert titles == TITLES[1:]


def test_an_unknown_device_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="abacus"):
        snn.analysis.write_page(
            tmp_path / "page.html", network(), *data(), device="abacus"
        )
    assert not any(tmp_path.iterdir())
