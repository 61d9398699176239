"""The commands `analyze`, `convert`, `study` and `monitor`."""

import io
import json
import re
import subprocess
import warnings

import keras
import pytest

pytest.importorskip("typer.testing")

import rich.console  # noqa: E402

import keras_snn as snn  # noqa: E402
from keras_snn.cli import common  # noqa: E402
from tests.test_cli import error_of, run  # noqa: E402

COMMANDS = ("analyze", "convert", "study", "monitor")


@pytest.fixture(scope="module")
def spiking(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "snn.keras"
    snn.models.LeNet(
        input_shape=(8, 8, 1), time_steps=4, width=0.2, seed=0
    ).save(path)
    return path


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "ann.keras"
    keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    ).save(path)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"keras-snn {command}" in result.output


def test_analyze_prints_and_writes_the_profile(spiking, tmp_path):
    options = ("--dataset", "digits", "--images", "20", "--output", tmp_path)
    result = run("analyze", spiking, *options, "--device", "loihi")
    assert result.exit_code == 0, result.output
    assert "after 4 time steps" in result.output
    profile = json.loads((tmp_path / "profile.json").read_text())
    assert profile["samples"] == 20 and profile["time_steps"] == 4
    for name in ("energy.png", "accuracy.png"):
        assert (tmp_path / name).stat().st_size > 5000


def test_analyze_names_the_devices(spiking):
    options = ("--dataset", "digits", "--device", "abacus")
    assert "loihi" in error_of(run("analyze", spiking, *options))


def test_convert_writes_a_spiking_network(ordinary, tmp_path):
    target = tmp_path / "snn.keras"
    options = ("--dataset", "digits", "--time-steps", "8", "--images", "20")
    result = run("convert", ordinary, target, *options)
    assert result.exit_code == 0, result.output
    assert "20 test images" in result.output
    model = keras.models.load_model(target)
    assert isinstance(model, snn.Model)
    assert "exists" in error_of(run("convert", ordinary, target, *options))


def test_convert_refuses_bad_input(ordinary, tmp_path):
    target = tmp_path / "snn.keras"
    assert "--dataset" in error_of(run("convert", ordinary, target))
    missing = run("convert", tmp_path / "no.keras", target)
    assert "No such file" in error_of(missing)
    wrong = run("convert", ordinary, tmp_path / "snn.h5", "--dataset", "digits")
    assert ".keras" in error_of(wrong)
    method = ("--dataset", "digits", "--method", "magic")
    assert "percentile" in error_of(run("convert", ordinary, target, *method))
    assert not target.exists()


@pytest.mark.slow
def test_study_writes_its_report(tmp_path):
    result = run(
        *("study", "--dataset", "digits", "--epochs", 1, "--limit", 128),
        *("--time-steps", 4, "--width", 0.2, "--most-steps", 8),
        *("--images", 20, "--output", tmp_path / "study"),
    )
    assert result.exit_code == 0, result.output
    assert "iso-accuracy" in result.output
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    assert study["settings"]["time_steps"] == 4
    assert study["command"].startswith("keras-snn")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Most neurons are silent")
def test_train_writes_what_monitor_opens(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    output = tmp_path / "run"
    result = run(
        *("train", "--limit", 64, "--time-steps", 4, "--width", 0.2),
        *("--epochs", 1, "--tensorboard", "--output", output),
    )
    assert result.exit_code == 0, result.output
    assert list((output / "logs" / "spikes").glob("events.out.tfevents.*"))
    history = json.loads((output / "history.json").read_text())["history"]
    assert any(name.endswith("_spike_rate") for name in history)
    # A line an epoch does not list every layer.
    assert "_spike_rate" not in result.output
    page = run("report", output, "--images", 20)
    assert page.exit_code == 0, page.output
    assert "test accuracy, last epoch" in (output / "report.html").read_text()
    commands = []
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **_: (
            commands.append(command) or subprocess.CompletedProcess(command, 0)
        ),
    )
    assert run("monitor", tmp_path).exit_code == 0
    assert str(tmp_path) in commands[0]


def test_report_of_what_is_no_run(tmp_path):
    assert "no folder of a run" in error_of(run("report", tmp_path))


def test_monitor_says_how_to_write_logs(tmp_path):
    assert "--tensorboard" in error_of(run("monitor", tmp_path))


def test_version_and_warmup():
    assert snn.__version__ in run("--version").output
    pytest.importorskip("numba")
    result = run("warmup")
    assert result.exit_code == 0, result.output
    assert "engine is ready" in result.output


def test_a_folder_of_data_that_is_not_there_is_not_made(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    mistyped = tmp_path / "dtaa"
    for command in ("train", "evaluate", "study"):
        options = ["mnist"] if command == "evaluate" else ["--dataset", "mnist"]
        result = run(command, *options, "--data-dir", mistyped)
        assert "there is no such folder" in error_of(result)
        assert not mistyped.exists()


@pytest.fixture
def terminal(monkeypatch):
    """Return what is written to a terminal of 80 columns."""
    written = io.StringIO()
    console = rich.console.Console(file=written, force_terminal=True, width=80)
    monkeypatch.setattr(common, "error_console", console)
    return written


CONTROL = re.compile("[\\x00-\\x09\\x0b-\\x1f]")
LONG = {
    "analyze": ("Counting operations", "Accuracy at every step"),
    "convert": ("Largest values", "Percentiles", "Comparing layers"),
    "evaluate": ("Classifying",),
}


def run_long(command, spiking, ordinary, *options):
    path = ordinary if command == "convert" else spiking
    more = {
        "analyze": ("--images", 20),
        "convert": (path.with_name("new.keras"), "--overwrite"),
        "evaluate": ("--limit", 20, "--model", "LeNet"),
    }[command]
    result = run(command, path, *more, "--dataset", "digits", *options)
    assert result.exit_code == 0, result.output
    # The words, less what colors them.
    assert not CONTROL.search(re.sub(r"\x1b\[[0-9;]*m", "", result.output))
    return result


@pytest.mark.parametrize("command", LONG)
def test_a_terminal_shows_how_far_it_is(command, spiking, ordinary, terminal):
    run_long(command, spiking, ordinary)
    bars = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    for doing in LONG[command]:
        assert re.search(rf"{doing} .* +100% \d:\d\d:\d\d", bars)
    assert max(len(line) for line in re.split("[\r\n]", bars)) <= 80


@pytest.mark.parametrize("command", LONG)
def test_a_file_and_quiet_show_results_alone(
    command, spiking, ordinary, terminal, monkeypatch
):
    run_long(command, spiking, ordinary, "--quiet")
    assert terminal.getvalue() == ""
    monkeypatch.undo()
    result = run_long(command, spiking, ordinary)
    assert not any(doing in result.output for doing in LONG[command])


def test_warnings_are_sentences(terminal):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with common.told_plainly(traceback=False):
            warnings.warn("Mostly silent.", UserWarning, stacklevel=1)
    text = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert text == "Warning: Mostly silent.\n"
