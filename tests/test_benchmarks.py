"""The benchmark programs at toy size, and the arithmetic in their tables."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from benchmarks import (
    accuracy,
    bounds,
    case,
    checkpoints,
    choices,
    choices_page,
    compare,
    gpu,
    networks,
    processes,
    profile_cost,
    recipes,
    report,
    time_to_accuracy,
)

ROOT = pathlib.Path(__file__).parents[1]
PEERS = ("snntorch", "spikingjelly")


def installed(*names):
    return all(importlib.util.find_spec(name) for name in names)


@pytest.mark.skipif(not installed("tensorflow"), reason="needs TensorFlow")
def test_engine_and_dense_products_are_timed(tmp_path, capsys):
    command = [sys.executable, "-m", "benchmarks.event_driven", "--quick"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "event_driven.json").read_text())[
        "results"
    ]
    assert len(results) == done.stdout.count("ms |") / 2 > 4
    for result in results:
        ratio = result["dense"] / result["event_driven"]
        assert result["ratio"] == ratio > 0


@pytest.mark.long
@pytest.mark.skipif(not installed("tensorflow"), reason="needs TensorFlow")
def test_compare_measures_time_memory_and_limits(tmp_path):
    compare.main(
        ["--quick", "--time-steps", "2", "--libraries", "keras_snn"]
        + ["--output", str(tmp_path)]
    )
    results = json.loads((tmp_path / "compare.json").read_text())
    assert [c["what"] for c in results["cases"]] == ["train", "inference"]
    for measured in results["cases"]:
        assert measured["status"] == "ok", measured.get("error")
        assert measured["runs_layer_by_layer"] is None
        assert measured["runs_densely"] is None
        assert measured["TF_ENABLE_ONEDNN_OPTS"] == "1"
        assert measured["import_seconds"] > 0
        assert measured["first_call_seconds"] > measured["median_seconds"] > 0
        assert measured["memory_peak"] > measured["memory_baseline"] > 0
    (limits,) = results["limits"]
    assert limits["gflops"] > 0 and limits["bandwidth_gb_s"] > 0
    assert len(limits["layers"]) == 4
    assert "| keras_snn |" in (tmp_path / "compare.md").read_text()
    again = ["--quick", "--time-steps", "2", "--resume"]
    again += ["--libraries", "keras_snn", "keras_snn-dense"]
    more = compare.main([*again, "--output", str(tmp_path)])
    assert more["cases"][:2] == results["cases"]
    assert [c["library"] for c in more["cases"][2:]] == [again[-1]] * 2
    for measured in more["cases"][2:]:
        assert measured["status"] == "ok", measured["error"]
        assert "disable()" in measured["runs_densely"]
    if installed("matplotlib"):
        assert (tmp_path / "compare_lenet_float32.png").stat().st_size > 1000


def test_profile_cost_measures_both(capsys):
    options = ["--images", "8", "--time-steps", "4", "--repeats", "1"]
    result = profile_cost.main(options)
    assert result["profile_seconds"] > 0 and result["predict_seconds"] > 0
    assert "8 images" in capsys.readouterr().out


@pytest.mark.slow
def test_checkpoints_are_timed_each_way(tmp_path, capsys):
    checkpoints.main(["--quick", "--rounds", "1", "--output", str(tmp_path)])
    result = json.loads((tmp_path / "checkpoints.json").read_text())
    assert all(t > 0 for t in result["seconds_of_two_updates"].values())
    assert result["bytes"] > 100_000


@pytest.mark.long
@pytest.mark.skipif(not installed("jax"), reason="needs JAX")
def test_gpu_benchmark_runs_at_toy_size(tmp_path, capsys):
    gpu.main(["--toy", "--output", str(tmp_path)])
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["check"]["same"], results["check"]
    assert results["matrix_rates"]["bfloat16"]["flops"] > 0
    ours = results["cases"][0]
    assert ours["status"] == "ok", ours.get("error")
    assert ours["library"] == "keras_snn-jax"
    assert ours["images_per_second"] > 0
    assert ours["share_of_matrix_rate"] > 0
    expected = {"ok"} if installed("torch") else {"not installed"}
    assert {c["status"] for c in results["cases"][1:]} == expected
    assert "| lenet | 2 | 2 | bfloat16 |" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(
    not installed("torch", "tensorflow"), reason="needs both frameworks"
)
def test_all_libraries_compute_the_same_network(tmp_path):
    peers = [name for name in PEERS if installed(name)]
    checks = compare.main(
        ["--quick", "--check", "--output", str(tmp_path)]
        + ["--libraries", "torch", "torch-layers", *peers]
    )
    assert {c["library"]: c["same"] for c in checks} == dict.fromkeys(
        ["torch", "torch-layers", *peers], True
    )


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_layout_agrees_with_the_builder(name):
    models = pytest.importorskip("keras_snn.models")
    builder = getattr(models, networks.NETWORKS[name].builder)
    model = builder(
        input_shape=networks.NETWORKS[name].input_shape,
        time_steps=2,
        norm="none",
        width=1 / 16,
    )
    kernels = networks.weights(name, 1 / 16)
    assert [w.shape for w in model.get_weights()] == [w.shape for w in kernels]


def test_operations_of_lenet():
    convolutions = 2 * 25 * 20 * 28**2 + 2 * 25 * 20 * 50 * 14**2
    dense = 2 * 50 * 7**2 * 200 + 2 * 200 * 10
    assert networks.flops("lenet") == convolutions + dense


def test_spike_trains_are_binary_and_repeatable():
    spikes = networks.spike_trains("lenet", 2, 50)
    assert spikes.shape == (2, 50, 28, 28, 1)
    assert set(spikes.ravel()) == {0.0, 1.0}
    assert spikes.mean() == pytest.approx(0.5, abs=0.01)
    assert (spikes == networks.spike_trains("lenet", 2, 50)).all()


def test_bound_counts_one_backward_pass_for_the_collapsed_rule():
    limits = {
        "step_seconds": 3.0,
        "first_layer_seconds": 1.0,
        "dtype": "float32",
        "batch": 2,
        "neurons": 5,
        "bandwidth_gb_s": 1e-9,
    }
    products, _ = bounds.lower_bound(limits, "train", 10, False)
    assert products == 10 * 3 + 5
    products, _ = bounds.lower_bound(limits, "train", 10, True)
    assert products == 10 * (3 + 5)
    products, everything = bounds.lower_bound(limits, "inference", 10, True)
    assert products == 10 * 3
    # A float32 current and spike, and the potential read and written.
    assert everything == 10 * 3 + 10 * 2 * 5 * 16


def test_missing_library_is_a_result(monkeypatch):
    monkeypatch.setitem(case.MODULES, "snntorch", "no_such_module")
    result = case.run({"library": "snntorch"})
    assert result["status"] == "not installed"


def test_running_out_of_memory_is_a_result(monkeypatch):
    def run(case):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")

    module = type(sys)("benchmarks.full")
    module.run = run
    monkeypatch.setitem(sys.modules, "benchmarks.full", module)
    monkeypatch.setitem(case.MODULES, "torch", "benchmarks.full")
    assert case.run({"library": "torch"})["status"] == "out of memory"


@pytest.mark.parametrize(
    ("limits", "status"),
    [({"timeout": 0.0}, "timeout"), ({"memory_limit": 1}, "out of memory")],
)
def test_limits_end_a_case(limits, status):
    result = processes.run_case({"library": "matrix"}, sys.executable, **limits)
    assert result["status"] == status


def test_tables_show_medians_over_rounds_and_failures():
    measured = [
        {
            "library": "snntorch",
            "what": "train",
            "time_steps": t,
            "status": status,
            "median_seconds": seconds,
        }
        for t, status, seconds in [
            (10, "ok", 0.1),
            (10, "ok", 0.3),
            (10, "ok", 0.2),
            (100, "timeout", None),
        ]
    ]
    text = report.table(
        measured, "train", "median_seconds", "Title", 1e3, "{:.0f}"
    )
    assert "| | T = 10 | T = 100 |" in text
    assert "| snnTorch | 200 | timeout |" in text


def test_gpu_cases_come_in_order_of_importance():
    cases = gpu.cases(gpu.FULL)
    assert len(cases) == 3 * 2 * 2 * 3 * 2
    assert [c["library"] for c in cases[:2]] == ["keras_snn-jax", "torch"]
    main = ("vgg9", 100, 64, "bfloat16")
    for first in cases[:2]:
        keys = ("network", "time_steps", "batch", "dtype")
        assert tuple(first[k] for k in keys) == main


def test_gpu_cases_without_time_are_skipped_and_named(tmp_path):
    (first, *_) = gpu.cases(gpu.TOY)
    result = gpu.Budget(0, 10, str(tmp_path)).run(first)
    assert result["status"] == "skipped"
    line = gpu.skipped({"cases": [result]})
    assert line == "Skipped, out of time: keras_snn lenet/2/2/bfloat16."


def test_the_accuracy_page_is_what_the_results_say():
    page = accuracy.PAGE.read_text("utf-8")
    assert accuracy.filled(page) == page


def made_cifar10(folder):
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (26 * 32, 50 * 32, 3), "uint8")
    Image.fromarray(pixels).save(folder / "data_batch_1.webp", lossless=True)
    labels = rng.integers(0, 10, 50_000, "uint8")
    np.save(folder / "train_labels.npy", labels)


def made_svhn(folder):
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    for split, count in (("train", 1300), ("test", 10)):
        pixels = rng.integers(0, 256, (32, 32, 3, count), "uint8")
        digits = rng.integers(1, 11, (count, 1), "uint8")
        savemat(folder / f"{split}_32x32.mat", {"X": pixels, "y": digits})


def test_seconds_to_accuracy_are_those_of_the_first_point_above():
    points = [
        {
            "updates": 50 * n,
            "seconds": 10.0 * n,
            "processor_seconds": 15.0 * n,
            "test_accuracy": accuracy,
        }
        for n, accuracy in ((1, 0.4), (2, 0.55), (3, 0.52), (4, 0.61))
    ]
    assert time_to_accuracy.seconds_to(points, 0.5) == 20.0
    assert time_to_accuracy.seconds_to(points, 0.7) is None
    rows = {"rate": {"points": points}}
    line = time_to_accuracy.table(rows).splitlines()[-1]
    cells = "| 0.20 s (0.30 s) | 10 s (15 s) | 20 s (30 s) | 40 s (60 s) |"
    assert cells in line


@pytest.mark.long
@pytest.mark.skipif(not installed("tensorflow"), reason="needs TensorFlow")
def test_a_row_of_time_to_accuracy(tmp_path, monkeypatch):
    monkeypatch.setattr(time_to_accuracy, "EVERY", 1)
    monkeypatch.setattr(time_to_accuracy, "BATCH", 10)
    monkeypatch.setattr(time_to_accuracy, "CHANNELS", (2,) * 6)
    rng = np.random.default_rng(0)
    for name, shape in (("images", (2, 10)), ("x_test", (20,))):
        pixels = rng.integers(0, 256, (*shape, 32, 32, 3), "uint8")
        np.save(tmp_path / f"{name}.npy", pixels)
    np.save(tmp_path / "labels.npy", rng.integers(0, 10, (2, 10)))
    np.save(tmp_path / "y_test.npy", rng.integers(0, 10, 20))
    shapes = {"conv1": (3, 3, 3, 2), "dense": (32, 10)}
    shapes |= {f"conv{i}": (3, 3, 2, 2) for i in range(2, 7)}
    weights = {k: rng.normal(0, 1, v) for k, v in shapes.items()}
    np.savez(tmp_path / "weights.npz", **weights)
    result = time_to_accuracy.run_row("rate", tmp_path)
    assert [p["updates"] for p in result["points"]] == [1, 2]
    assert 0 < result["points"][0]["seconds"] < result["points"][1]["seconds"]
    assert "tensorflow" in result["versions"]


def test_the_page_on_choices_is_what_the_results_say():
    page = choices.PAGE.read_text("utf-8")
    results = json.loads(choices.RESULTS.read_text("utf-8"))
    assert choices_page.filled(page, results) == page


@pytest.mark.slow
@pytest.mark.skipif(
    not installed("jax", "PIL", "scipy"), reason="needs JAX, Pillow and SciPy"
)
@pytest.mark.parametrize(
    ("row", "made", "titles"),
    [
        ("spikingcnn_cifar10", made_cifar10, ["ann", "spikes", "sparse"]),
        pytest.param(
            *("vgg9_svhn", made_svhn, ["ann", "spikes"]),
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_recipe_trains_all_its_phases_and_goes_on(
    tmp_path, row, made, titles
):
    made(tmp_path)
    command = [sys.executable, "-m", "benchmarks.recipes", row]
    command += ["--width", "0.03125", "--seconds", "9"]
    command += ["--data", str(tmp_path), "--output", str(tmp_path / "run")]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    for phases in (len(titles), 0):
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("held out") == phases
    weights, record = recipes.load(tmp_path / "run", row)
    assert [x["title"] for x in record["phases"]] == titles
    kept = titles if record["recipe"].get("keep_ann") else titles[1:]
    assert list(weights) == kept
    for phase in record["phases"]:
        assert phase["history"][-1]["loss"] > 0
    assert all(np.isfinite(x).all() for x in weights[titles[-1]])


def test_what_a_phase_saves_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "CHUNK", 100)
    weights = {"a": [np.ones((5, 9)), np.zeros(3)], "b": [np.full(70, 0.5)]}
    recipes.save(tmp_path, "row", weights, {"phases": [1]})
    found, record = recipes.load(tmp_path, "row")
    assert record == {"phases": [1]}
    assert len(list(tmp_path.iterdir())) > 1
    for title, arrays in weights.items():
        for ours, theirs in zip(arrays, found[title], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="beside TensorFlow's"
)
def test_a_gradient_without_zeros_is_the_dense_one():
    pytest.importorskip("numba")
    from benchmarks import silent_rows

    rng = np.random.default_rng(0)
    x, credit = rng.standard_normal((2, 4, 5, 5, 16), "float32")
    x *= rng.random(x.shape) < 0.3
    np.testing.assert_allclose(
        silent_rows.by_events(x, credit),
        silent_rows.dense(x, credit),
        rtol=1e-4,
        atol=1e-4,
    )


def test_every_library_has_a_name_in_the_report():
    assert compare.LIBRARIES.keys() == report.LABELS.keys()
