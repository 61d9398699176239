"""The command line: what it prints, writes, refuses and resumes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

typer_testing = pytest.importorskip("typer.testing")

from keras_snn.cli import app  # noqa: E402
from keras_snn.training import fitting, records  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
ON_TENSORFLOW = keras.config.backend() == "tensorflow"
SMOKE = [
    *("--limit", "64", "--time-steps", "4", "--width", "0.2"),
    *("--epochs", "2", "--batch-size", "16"),
]


def run(*arguments):
    runner = typer_testing.CliRunner(env={"COLUMNS": "200"})
    return runner.invoke(app, [str(a) for a in arguments])


def run_python(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def error_of(result):
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def read_history(directory):
    return json.loads((directory / "history.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "run"
    result = run("train", *SMOKE, "--output", output)
    assert result.exit_code == 0, result.output
    return output, result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --model lenet6", "lenet6"),
        ("train --dataset letters", "letters"),
        ("train --dataset nmnist", "event camera"),
        ("train --time-steps 0", "`time_steps` must be at least 1"),
        ("train --encoder morse", "`encoder` must be one of poisson"),
        ("train --ema 1", "`ema` must lie in"),
        ("train --spike-rate 2", "`spike_rate` must lie in"),
        ("train --from-ann missing.keras", "No such file: missing.keras"),
        ("train --dataset mnist --data-dir missing", "no such folder"),
        ("train --output setup.py", "is a file"),
        ("evaluate missing.keras", "No such file"),
        ("evaluate mnist --batch-size 0", "`batch_size` must be at least 1"),
        ("analyze missing.keras", "No such file"),
        ("convert setup.py out.keras --dataset letters", "letters"),
        (
            "convert setup.py out.keras --dataset mnist --time-steps 0",
            "at leas",
        ),
        ("study --weights missing.keras", "No such file"),
        ("study --width 0", "`width` must be positive"),
        ("import-data letters .", "letters"),
        ("import-data mnist missing", "No such folder"),
    ],
)
def test_mistakes_are_answered_before_keras_is_imported(arguments, message):
    code = (
        "import sys\n"
        "sys.argv = ['keras-snn', *sys.argv[1:]]\n"
        "sys.modules['keras'] = None\n"  # importing it would be an error
        "from keras_snn.__main__ import main\n"
        "main()\n"
    )
    result = run_python(code, *arguments.split(), COLUMNS="200")
    assert result.returncode == 2, result.stderr
    assert message in result.stderr


@pytest.mark.parametrize("command", ["train", "evaluate", "import-data"])
def test_help_shows_examples(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"keras-snn {command}" in result.output


def test_a_missing_typer_names_the_extra():
    code = (
        "import sys\n"
        "sys.modules['typer'] = None\n"
        "from keras_snn.__main__ import main\n"
        "main()\n"
    )
    result = run_python(code)
    assert result.returncode == 1
    assert 'pip install "keras-snn[cli]"' in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_model_lists_the_models(tmp_path):
    result = run("train", "--model", "lenet6", "--output", tmp_path / "run")
    assert "lenet6" in error_of(result)
    assert "LeNet" in error_of(result) and "ResNet19" in error_of(result)
    assert not (tmp_path / "run").exists()


def test_unknown_dataset_lists_the_datasets(tmp_path):
    result = run("train", "--dataset", "letters", "--output", tmp_path / "run")
    assert "letters" in error_of(result)
    assert "digits" in error_of(result) and "mnist" in error_of(result)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option, value, advice",
    [
        ("--beta", "1.5", r"`beta` must lie in (0, 1]. Received: beta=1.5"),
        ("--epochs", "0", "`epochs` must be at least 1"),
        ("--optimizer", "lion", "one of sgd, adam"),
        ("--lr-drop", "soon", "separated by commas"),
        ("--lr-drop", "9,3", "increasing epochs"),
        ("--encoder", "morse", "morse"),
        ("--learning-rule", "hebb", "hebb"),
    ],
)
def test_invalid_options_say_what_is_expected(tmp_path, option, value, advice):
    result = run("train", option, value, "--output", tmp_path / "run")
    assert advice in error_of(result)
    assert not (tmp_path / "run").exists()


def test_training_writes_the_files_of_a_run(finished_run):
    output, _ = finished_run
    assert (output / "best.keras").is_file()
    assert (output / "saved_model" / "saved_model.pb").is_file() == (
        ON_TENSORFLOW
    )
    assert not list(output.glob("*partial*"))


def test_history_holds_settings_versions_and_result(finished_run):
    record = read_history(finished_run[0])
    assert record["status"] == "finished"
    assert record["settings"]["time_steps"] == 4
    assert record["settings"]["model"] == "LeNet"
    assert record["seed"] == 0
    assert record["versions"]["keras"] == keras.__version__
    assert record["versions"]["backend"] == keras.config.backend()
    assert len(record["history"]["val_accuracy"]) == 2
    result = record["result"]
    accuracies = record["history"]["val_accuracy"]
    assert result["last_epoch_test_accuracy"] == accuracies[-1]
    assert result["best_epoch_test_accuracy"] == max(accuracies)
    assert result["best_epoch_chosen_on"] == "test set"
    assert all(0 <= rate <= 1 for rate in result["spike_rates"].values())


def test_output_names_both_accuracies_and_every_layer(finished_run):
    output, result = finished_run
    assert "Test accuracy, last epoch" in result.output
    assert "Test accuracy, best epoch" in result.output
    assert "chosen on the test set" in result.output
    for layer in read_history(output)["result"]["spike_rates"]:
        assert layer in result.output


def test_held_out_images_choose_the_best_epoch(tmp_path):
    output = tmp_path / "run"
    result = run(
        "train", *SMOKE, "--validation-split", "0.25", "--output", output
    )
    assert result.exit_code == 0, result.output
    chosen_on = read_history(output)["result"]["best_epoch_chosen_on"]
    assert chosen_on == "held-out training images"


def test_cifar_images_are_augmented_batch_by_batch(tmp_path, monkeypatch):
    from keras_snn import datasets
    from keras_snn.training import Settings
    from keras_snn.training.data import load_run_data

    images = np.random.default_rng(0).random((48, 32, 32, 3), "float32")
    labels = np.eye(10, dtype="float32")[np.arange(48) % 10]
    monkeypatch.setattr(
        datasets, "load", lambda *_, **__: ((images, labels),) * 2
    )
    result = run(
        *("train", "--dataset", "cifar10", *SMOKE, "--limit", "20"),
        *("--seed", "5", "--output", tmp_path / "run"),
    )
    assert result.exit_code == 0, result.output
    assert "2/2 - " in result.output  # 20 images are two batches of 16
    settings = Settings(dataset="cifar10", limit=20, seed=5)
    published = load_run_data(settings).train
    assert (published.shift, published.padding) == (4, "zeros")
    assert (published.flip, published.cutout) == (True, 0)
    assert published.seed == 5
    settings = Settings(
        dataset="cifar10", shift=2, cutout=8, validation_split=0.25
    )
    ours = load_run_data(settings)
    assert (ours.train.shift, ours.train.padding) == (2, "reflect")
    assert ours.train.cutout == 8
    assert (len(ours.train.x), len(ours.watched[0])) == (36, 12)


def test_an_earlier_run_is_not_overwritten(finished_run):
    output, _ = finished_run
    before = (output / "history.json").read_bytes()
    message = error_of(run("train", *SMOKE, "--output", output))
    assert "not empty" in message
    assert "--resume" in message and "--overwrite" in message
    assert (output / "history.json").read_bytes() == before


def test_overwrite_deletes_only_files_of_a_run(tmp_path):
    (tmp_path / "notes.txt").write_text("keep me")
    (tmp_path / "history.json").write_text("{}")
    (tmp_path / "backup").mkdir()
    records.make_folder(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    (tmp_path / "notes.txt").write_text("not a run")
    message = error_of(run("train", "--resume", "--output", tmp_path))
    assert "no run to resume" in message


def interrupt_after(epochs, monkeypatch):
    """Make training raise KeyboardInterrupt in the middle of an epoch."""

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if self.epoch == epochs and batch == 1:
                raise KeyboardInterrupt

    original = keras.Model.fit

    def fit(self, *arguments, callbacks, **options):
        callbacks.callbacks.append(Interrupt())
        return original(self, *arguments, callbacks=callbacks, **options)

    monkeypatch.setattr(keras.Model, "fit", fit)


def test_an_interrupted_run_goes_on_and_keeps_its_history(
    tmp_path, monkeypatch
):
    output = tmp_path / "run"
    options = ["--epochs", "3", "--output", output]
    with monkeypatch.context() as patched:
        interrupt_after(2, patched)
        result = run("train", *SMOKE, *options)
    assert result.exit_code == 130
    assert "2 finished epoch(s) are kept" in result.output
    assert f"keras-snn train --resume --output {output}" in result.output
    before = read_history(output)
    assert before["status"] == "interrupted"
    assert len(before["history"]["val_accuracy"]) == 2
    assert (output / "best.keras").is_file()

    result = run("train", "--resume", "--output", output)
    assert result.exit_code == 0, result.output
    assert "Epoch 3/3" in result.output
    assert "Epoch 2/3" not in result.output
    after = read_history(output)
    assert after["status"] == "finished"
    assert len(after["commands"]) == 2
    for name, values in after["history"].items():
        assert len(values) == 3
        assert values[:2] == before["history"][name]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGTERM")
def test_sigterm_ends_a_process_with_code_75_and_what_to_do(tmp_path):
    output = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "keras_snn", "train", *SMOKE),
        *("--epochs", "10000", "--output", str(output)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout:
            if line.startswith("Epoch 2/"):
                run.terminate()
                break
        said = " ".join(run.stdout.read().split())
    assert run.returncode == 75
    assert "Stopped by SIGTERM. " in said and "the state after" in said
    assert "keras-snn train --resume --output" in said
    assert read_history(output)["status"] == "interrupted"


@pytest.mark.parametrize("value", ["0", "soon"])
def test_how_often_is_checked_before_anything_else(tmp_path, value):
    output = tmp_path / "run"
    message = error_of(
        run("train", "--checkpoint-every", value, "--output", output)
    )
    assert "as 30s, 5m or 1h" in message
    assert not output.exists()


def test_a_finished_run_takes_more_epochs_but_no_other_settings(tmp_path):
    output = tmp_path / "run"
    assert run("train", *SMOKE, "--output", output).exit_code == 0
    resume = ["train", "--resume", "--output", output]
    message = error_of(run(*resume, "--batch-size", "8"))
    assert "`batch_size` was 16, received 8" in message
    assert "epochs=1" in error_of(run(*resume, "--epochs", "1"))
    assert run(*resume, "--epochs", "3").exit_code == 0
    assert len(read_history(output)["history"]["loss"]) == 3


def test_a_killed_run_repeats_the_epoch_it_has_no_backup_of():
    record = {"history": {"loss": [3.0, 2.0, 1.0]}}
    records.add_epoch(record, 1, {"loss": 1.5})
    assert record["history"]["loss"] == [3.0, 1.5]


def test_evaluate_repeats_the_settings_of_the_run(finished_run):
    output, _ = finished_run
    result = run("evaluate", output / "best.keras", "--limit", "64")
    assert result.exit_code == 0, result.output
    assert "64 test images of digits, 4 time steps" in result.output
    assert "accuracy" in result.output


def test_evaluate_with_other_time_steps(finished_run):
    output, _ = finished_run
    model = output / "best.keras"
    result = run("evaluate", model, "--time-steps", "9", "--limit", "64")
    assert result.exit_code == 0, result.output
    assert "9 time steps" in result.output


def test_evaluate_a_weights_file(finished_run, tmp_path):
    output, _ = finished_run
    weights = tmp_path / "net.weights.h5"
    keras.models.load_model(output / "best.keras").save_weights(weights)
    assert "--dataset" in error_of(run("evaluate", weights))
    message = error_of(run("evaluate", weights, "--dataset", "digits"))
    assert "--model" in message
    result = run(
        *("evaluate", weights, "--dataset", "digits", "--model", "lenet"),
        *("--width", "0.2", "--time-steps", "4", "--limit", "64"),
    )
    assert result.exit_code == 0, result.output
    assert "4 time steps" in result.output


def test_evaluate_a_missing_file(tmp_path):
    message = error_of(run("evaluate", tmp_path / "best.keras"))
    assert "No such file" in message


def test_import_data_hands_its_arguments_on(tmp_path, monkeypatch):
    from keras_snn import datasets

    calls = []
    monkeypatch.setattr(
        datasets,
        "import_data",
        lambda *arguments, **options: calls.append((arguments, options)),
    )
    monkeypatch.chdir(tmp_path)
    Path("source").mkdir()
    result = run("import-data", "mnist", "source", "--data-dir", tmp_path)
    assert result.exit_code == 0, result.output
    assert calls == [
        (("mnist", Path("source"), tmp_path), {"overwrite": False})
    ]


def test_learning_rate_drops_after_the_given_epochs():
    settings = fitting_settings(learning_rate=1.0, lr_drop=(2, 3))
    rates = [fitting.learning_rate_at(epoch, settings) for epoch in range(4)]
    assert rates == pytest.approx([1.0, 1.0, 0.2, 0.04])


def test_cosine_goes_from_the_full_rate_towards_zero():
    settings = fitting_settings(learning_rate=1.0, cosine=True, epochs=4)
    rates = [fitting.learning_rate_at(epoch, settings) for epoch in range(5)]
    assert rates[0] == 1.0
    assert rates[2] == pytest.approx(0.5)
    assert rates[4] == pytest.approx(0.0)


def fitting_settings(**values):
    from keras_snn.training import Settings

    return Settings(**values)


@pytest.mark.parametrize(
    "options, advice",
    [
        ({"optimizer": "nesterov", "lr_drop": (2,)}, "schedule of its own"),
        ({"label_smoothing": 0.1}, 'belongs to `loss="cross_entropy"`'),
        ({"ann_epochs": 1, "from_ann": "ann.keras"}, "Received both"),
        ({"ann_epochs": -1}, "`ann_epochs` must not be negative"),
        ({"shift": -1}, "`shift` must not be negative"),
    ],
)
def test_settings_that_do_not_go_together(options, advice):
    with pytest.raises(ValueError, match=advice):
        fitting_settings(**options)


@pytest.mark.parametrize("model", ["vgg9", "ResNet11", "SpikingCNN", "VGG16"])
def test_recipes_of_deep_networks_are_for_few_steps(model):
    from keras_snn.training import recipe

    settings = recipe(model, "cifar10")
    assert (settings.time_steps, settings.encoder) == (4, "repeat")
    assert (settings.learning_rule, settings.norm) == ("rate", None)
    assert (settings.loss, settings.optimizer) == ("cross_entropy", "nesterov")
    assert recipe(model, "cifar10", ann_epochs=2).learning_rate == 0.02


def test_recipes_follow_what_is_asked_for():
    from keras_snn.training import recipe

    assert recipe("vgg9", "cifar10", norm="none").learning_rate == 0.0033
    assert recipe("vgg9", "cifar10", optimizer="adam").learning_rate == 1e-3
    squared = recipe("vgg9", "cifar10", loss="squared_error")
    assert squared.label_smoothing == 0.0
    rule = recipe("vgg9", "cifar10", learning_rule="exact", norm="batch")
    assert rule.time_steps == 4
    # A rate of a mean over 125 images, for their sum.
    assert squared.learning_rate == 0.1 / 125
    of_mine = {"loss": "squared_error", "learning_rate": 0.01}
    assert recipe("vgg9", "cifar10", **of_mine).learning_rate == 0.01
    assert recipe("vgg9", "cifar10", optimizer="sgd").learning_rate == 0.1
    nesterov = {"learning_rule": "collapsed", "optimizer": "nesterov"}
    nesterov = recipe("vgg9", "cifar10", **nesterov)
    assert nesterov.lr_drop == ()
    assert nesterov.learning_rate == 0.1 / 16
    lenet = recipe("lenet", "mnist", norm="batch")
    assert (lenet.time_steps, lenet.loss) == (4, "cross_entropy")


@pytest.mark.parametrize(
    "model, dataset, rate, batch_size",
    [
        ("lenet", "mnist", 0.0085, 64),
        ("vgg9", "cifar10", 0.0033, 16),
        ("ResNet11", "cifar10", 0.0025, 16),
    ],
)
def test_recipes_are_those_published(model, dataset, rate, batch_size):
    from keras_snn.training import recipe

    settings = recipe(model, dataset, learning_rule="collapsed")
    assert settings.optimizer == "sgd"
    assert settings.weight_decay == 5e-4
    assert (settings.learning_rate, settings.batch_size) == (rate, batch_size)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"epochs": 1.5}, "`epochs` must be an integer. Received: epochs=1.5"),
        ({"epochs": "3"}, "`epochs` must be an integer"),
        ({"limit": 2.5}, "`limit` must be an integer"),
        ({"seed": True}, "`seed` must be an integer"),
        ({"seed": -1}, "`seed` must not be negative"),
        ({"width": "1"}, "`width` must be a number"),
        ({"lr_drop": 70}, "`lr_drop` must be a list of increasing epochs"),
        ({"lr_drop": [1.5]}, "`lr_drop` must be a list of increasing epochs"),
    ],
)
def test_settings_of_other_types_are_refused(given, message):
    from keras_snn.training import recipe

    with pytest.raises(ValueError, match=message):
        recipe("lenet", "digits", **given)
