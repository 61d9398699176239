"""One image in the engine and in dense programs: equal networks, and tables."""

import importlib.util
import json
import sys

import numpy as np
import pytest

import keras_snn as snn
from benchmarks.one_image import table

pytest.importorskip("numba")
pytest.importorskip("onnxruntime")
main = pytest.importorskip("benchmarks.one_image.__main__")
from benchmarks.one_image import onnx_files, prepare, runtime  # noqa: E402


def images(count):
    x = np.random.default_rng(0).normal(0, 0.5, (count, 32, 32, 3))
    return x.astype("float32")


def twins(builder):
    """Return a spiking network and the one of ReLUs with its weights."""
    build = getattr(snn.models, builder)
    spiking = build(width=1 / 16, seed=0)
    rng = np.random.default_rng(1)
    for w in spiking.weights:
        value = np.array(w)
        w.assign(value + rng.uniform(0, 0.2, value.shape))
    dense = build(width=1 / 16, spiking=False)
    dense.set_weights(spiking.get_weights())
    return spiking, dense


@pytest.mark.parametrize("builder", ["VGG9", "SpikingCNN"])
def test_the_dense_network_is_that_of_keras(builder, tmp_path):
    import onnxruntime

    spiking, dense = twins(builder)
    expected = dense.predict(images(3), verbose=0)
    path, int8 = tmp_path / "net.onnx", tmp_path / "int8.onnx"
    onnx_files.write(snn.event_driven.compile(spiking), path)
    x = np.ascontiguousarray(images(3).transpose(0, 3, 1, 2))
    onnx_files.quantize(path, int8, x)
    found, rounded = (
        onnxruntime.InferenceSession(y).run(None, {"image": x})[0]
        for y in (path, int8)
    )
    size = np.abs(expected).max()
    assert np.ptp(expected) > 0.1 * size
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * size)
    assert 0 < np.abs(rounded - expected).max() < 0.1 * size


def test_thresholds_give_all_layers_a_rate():
    network = snn.event_driven.compile(snn.models.VGG9(width=1 / 8, seed=0))
    x = images(4)
    found = prepare.thresholds(network, x, 3, 0.1)
    rates = runtime.with_settings(network, 3, found).spike_rates(x)
    assert len(rates) == 8
    np.testing.assert_allclose(rates, 0.1, rtol=0.1)


# After the first and second step, and the third and fourth, of three images:
# sure at once, later right, later wrong.
SCORES = np.repeat(
    [
        [[0.0, 5.0], [1.0, 2.0], [3.0, 1.0]],
        [[0.0, 4.0], [2.0, 1.0], [1.0, 2.0]],
    ],
    2,
    axis=0,
)


def test_steps_end_at_a_margin():
    answers, steps = prepare.stopped(SCORES.copy(), 2.0)
    assert answers.tolist() == [1, 0, 0]
    assert steps.tolist() == [2, 4, 2]
    answers, steps = prepare.stopped(SCORES.copy(), np.inf)
    assert answers.tolist() == [1, 0, 1] and steps.tolist() == [4, 4, 4]


def test_the_margin_chosen_is_the_least_that_costs_no_accuracy():
    # Two of three right after the second step, and after all steps.
    margin = prepare.chosen_margin(SCORES.copy(), np.array([1, 0, 0]))
    assert margin == 1
    margin = prepare.chosen_margin(SCORES.copy(), np.array([1, 0, 1]))
    assert 2 < margin <= 5


def test_steps_end_as_the_scores_say():
    model, x = snn.models.SpikingCNN(width=1 / 8, seed=0), images(6)
    network = snn.event_driven.compile(model)
    found = prepare.thresholds(network, x, 4, 0.2)
    network = runtime.with_settings(network, 4, found)
    scores = prepare.scores_by_step(network, x)
    second, first = np.sort(scores[1], axis=-1).T[-2:]
    margin = float(np.median(first - second))
    answers, steps = prepare.stopped(scores, margin)
    assert {*steps} == {2, 4}
    found, taken = network.predict_until_sure(x, margin)
    np.testing.assert_array_equal(found.argmax(-1), answers)
    np.testing.assert_array_equal(taken, steps)


@pytest.mark.slow
def test_rows_are_measured_once(tmp_path, capsys):
    options = ["--quick", "--output", str(tmp_path)]
    options += ["--networks", "spikingcnn", "--libraries", "runtime-float32"]
    options += ["exit-int8", "onnxruntime-int8"]
    torch = importlib.util.find_spec("torch")
    main.main([*options, "pytorch-spiking"])
    path = tmp_path / "one_image.json"
    results = json.loads(path.read_text())
    status = {x["library"]: x["status"] for x in results["rows"]}
    assert status.pop("pytorch-spiking") == ("ok" if torch else "not installed")
    assert set(status.values()) == {"ok"} and len(status) == 3
    for row in results["rows"][:3]:
        assert row["cells"][0]["median_ms"] > 0
        assert "folder" not in row
    text = capsys.readouterr().out
    assert "| **keras_snn, float32**, T = 2 |" in text
    main.main(options)
    again = json.loads(path.read_text())
    assert again["rows"][:3] == results["rows"][:3]


def row(library, network, columns, *cells, **given):
    return [
        {
            "library": library,
            "network": network,
            "images": images,
            "threads": threads,
            "status": "ok",
            "cells": [{"median_ms": x, **y} for x, y in cells],
            **given,
        }
        for images, threads in columns
    ]


def test_tables_show_medians_by_images_and_threads():
    results = {
        "machine": {"processor": "P", "cores": 2, "features": ["avx2"]},
        "networks": {},
        "rows": [
            *row(
                "openvino-default",
                "vgg9",
                [(1, 1), (32, 2)],
                (0.5, {}),
                precision="bf16",
            ),
            *row(
                "runtime-int8",
                "vgg9_trained",
                [(1, 1)],
                (1.25, {"time_steps": 2}),
                (2.5, {"time_steps": 4}),
            ),
            *row(
                "runtime-int8",
                "vgg9",
                [(1, 2)],
                (1.0, {"time_steps": 2, "rate": 0.02}),
                (3.0, {"time_steps": 2, "rate": 0.3}),
            ),
        ],
    }
    text = table.text(results)
    assert "P, 2 cores (avx2)." in text
    assert "| ReLUs, OpenVINO, bf16 | 0.50 ms | - | - | 0.50 ms |" in text
    assert "| **keras_snn, int8**, T = 4 | 2.50 ms | - | - | - |" in text
    assert "| VGG9 as built | 2% | 30% |" in text
    assert "| int8, two threads, T = 2 | 1.00 ms | 3.00 ms |" in text
    page = f"a\n{table.START}\nold\n\n{table.END}\nb\n"
    filled = table.filled(page, results)
    assert filled == f"a\n{table.START}\n{text}\n\n{table.END}\nb\n"


def test_the_page_is_what_the_results_say():
    page = table.PAGE.read_text("utf-8")
    path = table.PAGE.parent / "results" / "one_image.json"
    results = json.loads(path.read_text("utf-8"))
    assert table.filled(page, results) == page


def test_peers_run_by_their_own_python():
    args = main.arguments(["--peer-python", "PEERS"])
    sizes = main.FULL
    known = {
        "vgg9": {
            "thresholds": {
                main._key({"time_steps": t}, rate): [1.0] * 8
                for t in sizes["time_steps"]
                for rate in sizes["rates"]
            }
        },
        **{
            name: {"exits": {"float32": {"margin": 1}, "int8": {"margin": 2}}}
            for name in prepare.TRAINED
        },
    }
    cases = main.cases(args, known, sizes)
    names = {(c["network"], c["library"]) for c in cases}
    assert ("vgg9_trained", "openvino-int8") not in names
    assert ("vgg9", "exit-int8") not in names
    assert len(cases) == 3 * 2 * 4 + 2 * 7 * 4 + 2 * 2 * 2
    (first, *_) = cases
    assert (first["images"], first["threads"]) == (1, 1)
    assert len(first["cells"]) == 15
    assert args.peer_python != sys.executable
