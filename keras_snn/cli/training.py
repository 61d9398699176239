"""`train`, `evaluate` and `import-data`."""

import contextlib
import dataclasses
import inspect
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from keras_snn import optional
from keras_snn.cli.common import (
    EXIT_INTERRUPTED,
    DataDir,
    Dataset,
    Limit,
    Quiet,
    TimeSteps,
    Width,
    app,
    check_early,
    console,
    import_quietly,
    network_option,
    output_option,
    print_spike_rates,
    setting,
    told_plainly,
    training_option,
)
from keras_snn.training import launching, recipes, records
from keras_snn.training.checkpoint_files import (
    EVERY,
    KEEP,
    Interval,
    positions,
)
from keras_snn.training.settings import Settings
from keras_snn.training.stopping import EXIT_STOPPED, Stopped, check_on_nan

# Samples whose spikes are drawn after every epoch.
RASTERS = 2

TRAIN_EPILOG = """
[bold]Examples[/bold]

The default: LeNet on the 8x8 digits of scikit-learn, about a minute on a CPU
\b
  keras-snn train

LeNet on MNIST, and once more as published (100 time steps, 125 epochs)
\b
  keras-snn train --dataset mnist --time-steps 25 --epochs 5
  keras-snn train --dataset mnist --time-steps 100 --epochs 125 --lr-drop 75

A compact network at four time steps, with ReLUs first
\b
  keras-snn train --model SpikingCNN --dataset cifar10 --ann-epochs 8 --epochs 6

From its weights, to fewer spikes
\b
  keras-snn train --model SpikingCNN --dataset cifar10 --epochs 8 \\
      --from-ann runs/spikingcnn-cifar10/best.keras --spike-rate 0.05 \\
      --output runs/quiet

Lose at most 100 updates, and go on after a kill; or add epochs
\b
  keras-snn train --dataset mnist --checkpoint-every 100
  keras-snn train --resume --output runs/lenet-mnist
  keras-snn train --resume --output runs/lenet-mnist --epochs 20

In two processes of this machine, and in those that SLURM has started
\b
  KERAS_BACKEND=jax keras-snn train --dataset mnist --workers 2
  KERAS_BACKEND=jax srun keras-snn train --dataset mnist --workers auto
"""
EVALUATE_EPILOG = """
[bold]Examples[/bold]

The best model of a run, as trained and with 10 time steps
\b
  keras-snn evaluate runs/lenet-digits/best.keras
  keras-snn evaluate runs/lenet-digits/best.keras --time-steps 10

The network that comes with the package
\b
  keras-snn evaluate mnist

A file that does not lie in the folder of a run
\b
  keras-snn evaluate net.keras --dataset mnist
  keras-snn evaluate net.weights.h5 --model vgg9 --dataset cifar10
"""
IMPORT_EPILOG = """
[bold]Example[/bold]

\b
  keras-snn import-data mnist ~/downloads/mnist --data-dir data
"""


def train(
    context: typer.Context,
    data_dir: DataDir = None,
    output: Annotated[
        Path | None,
        output_option(
            "Folder for history.json, best.keras, saved_model/ and backup/. "
            "[dim]\\[default: runs/MODEL-DATASET][/dim]"
        ),
    ] = None,
    resume: Annotated[
        bool,
        output_option(
            "Continue the run in the output folder; its options need not be "
            "repeated.",
            "--resume",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        output_option("Replace the run in the output folder.", "--overwrite"),
    ] = False,
    checkpoint_every: Annotated[
        str,
        output_option(
            "Updates, as 100, or time, as 30s, 5m or 1h, from one checkpoint "
            "to the next.",
            metavar="N|TIME",
        ),
    ] = EVERY,
    keep_checkpoints: Annotated[
        int, output_option("Checkpoints to keep.", metavar="N", min=1)
    ] = KEEP,
    on_nan: Annotated[
        str,
        output_option(
            "Where the loss is NaN or infinite: stop, and say where it began, "
            "or warn.",
            "--on-nan",
            metavar="stop|warn",
        ),
    ] = "stop",
    workers: Annotated[
        str | None,
        training_option(
            "Processes that train together, started here; or auto, for this "
            "process to be one of those that SLURM or the environment tell "
            "of. On TensorFlow the number of GPUs.",
            metavar="N|auto",
        ),
    ] = None,
    tensorboard: Annotated[
        bool,
        output_option(
            "Write spike rates and metrics to logs/ in the output folder; "
            "look at them with keras-snn monitor.",
            "--tensorboard",
        ),
    ] = False,
    quiet: Quiet = False,
    **given,
):
    """Train a spiking network and keep its files in one folder.

    A run that was killed goes on with --resume from its last checkpoint, to
    the same numbers. SIGTERM ends it after an update, with a checkpoint and
    exit code 75; Ctrl-C, or SIGTERM again a second later, ends it at once.

    Options left out have values that suit the model and the dataset: those
    published, or of normalized networks those for few time steps. The first
    line of the output says which.
    """
    with told_plainly(context.obj, quiet), _resumable(lambda: output):
        given = _settings_given(given)
        workers = _number_of(workers)
        Interval.of(checkpoint_every)
        check_on_nan(on_nan)
        check_early(
            data_dir=None if resume else data_dir,
            files=[given["from_ann"]],
            **given,
        )
        if output is not None and workers != "auto":
            records.find_run(output, resume=resume, overwrite=overwrite)
        import_quietly()
        scope, is_first = _workers(workers)
        with scope:
            from keras_snn.training import fitting

            settings, output = _settings_for_all(given, output, resume)
            if is_first:
                _print_settings(settings, output)
            record = fitting.train(
                settings,
                output,
                data_dir=data_dir,
                resume=resume,
                overwrite=overwrite,
                command=shlex.join(["keras-snn", *sys.argv[1:]]),
                callbacks=_monitors(output / "logs") if tensorboard else None,
                checkpoint_every=checkpoint_every,
                keep_checkpoints=keep_checkpoints,
                on_nan=on_nan,
            )
        if is_first:
            _print_result(record["result"], output)


def _number_of(workers):
    """Return a number of workers, `"auto"`, or None for one process."""
    if workers in (None, "auto"):
        return workers
    if not workers.isdecimal() or not int(workers):
        raise ValueError(
            "`--workers` expects a number, at least 1, or auto. Received: "
            f"{workers!r}."
        )
    return int(workers) if int(workers) > 1 else None


def _workers(workers):
    """Return a scope to train in, and whether this process shows output.

    On JAX, a number of workers is started here, and this process ends with
    them.
    """
    import keras

    if workers is None:
        return contextlib.nullcontext(), True
    if keras.config.backend() == "jax" and workers != "auto":
        command = [sys.executable, "-m", "keras_snn", *_without_workers()]
        raise typer.Exit(launching.launch(command, workers))
    from keras_snn.running import processes
    from keras_snn.training.distribution import distribute

    devices = None
    if workers != "auto":
        devices = _gpus(workers)
    distribution = distribute(devices=devices)
    return distribution.scope(), processes.is_first()


def _gpus(count):
    import tensorflow as tf

    found = len(tf.config.list_logical_devices("GPU"))
    if count > found:
        raise ValueError(
            f"--workers {count} needs as many GPUs on TensorFlow. There are: "
            f"{found}. With KERAS_BACKEND=jax workers are processes, which "
            "do with processors."
        )
    return [f"GPU:{number}" for number in range(count)]


def _without_workers():
    """Return the words of this command, for one of its workers."""
    words, others = iter(sys.argv[1:]), []
    for word in words:
        if word == "--workers":
            next(words)
        elif not word.startswith("--workers="):
            others.append(word)
    return [*others, "--workers", "auto"]


def _settings_for_all(given, output, resume):
    """Return the settings and the folder that the first process finds."""
    from keras_snn.running import processes

    def find():
        settings, folder = recipes.settings_for_run(
            given.pop("model"), given.pop("dataset"), output, resume, given
        )
        return json.dumps([settings.to_dict(), str(folder)]).encode()

    settings, folder = json.loads(processes.from_first(find))
    return Settings.from_dict(settings), Path(folder)


def _settings_given(options):
    """Return the values of options by field; None means "not given"."""
    given = {**options, "lr_drop": _epoch_list(options["lr_drop"])}
    for field in dataclasses.fields(Settings):
        if field.type is bool:
            is_changed = given[field.name]
            given[field.name] = not field.default if is_changed else None
    return given


def _with_settings(command):
    """Return a command whose `**given` are the options of `Settings`."""
    notes = {
        "model": f" [dim]\\[default: {recipes.DEFAULT_MODEL}][/dim]",
        "dataset": f" [dim]\\[default: {recipes.DEFAULT_DATASET}][/dim]",
    }
    first, *others, _ = inspect.signature(command).parameters.values()
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=False if field.type is bool else None,
            annotation=setting(field.name, notes.get(field.name, "")),
        )
        for field in dataclasses.fields(Settings)
    ]
    command.__signature__ = inspect.Signature([first, *options, *others])
    return command


app.command(epilog=TRAIN_EPILOG)(_with_settings(train))


@app.command(epilog=EVALUATE_EPILOG)
def evaluate(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A .keras or .weights.h5 file; or mnist (LeNet) or cifar10 "
            "(SpikingCNN), networks that come with the package.",
        ),
    ],
    dataset: Dataset = None,
    time_steps: TimeSteps = None,
    data_dir: DataDir = None,
    batch_size: Annotated[
        int, typer.Option(help="Images per batch.", rich_help_panel="Data")
    ] = 64,
    limit: Limit = None,
    model: Annotated[
        str | None,
        network_option("Name of the model that a weights file belongs to."),
    ] = None,
    width: Width = None,
    quiet: Quiet = False,
):
    """Print the accuracy, loss and spike rates of a saved model.

    The dataset is that of the run the file belongs to, unless given.
    """
    with told_plainly(context.obj, quiet):
        # A name without an ending is that of a network in the package.
        check_early(
            data_dir=data_dir,
            files=[path] if path.suffix else (),
            dataset=dataset,
            time_steps=time_steps,
            batch_size=batch_size,
            limit=limit,
            model=model,
            width=width,
        )
        import_quietly()
        from keras_snn.training import evaluate as measure

        shape = {} if width is None else {"width": width}
        result = measure(
            path,
            dataset,
            model=model,
            time_steps=time_steps,
            data_dir=data_dir,
            batch_size=batch_size,
            limit=limit,
            **shape,
        )
        print_spike_rates(result["spike_rates"])
        console.print(
            f"{result['images']} test images of {result['dataset']}, "
            f"{result['time_steps']} time steps: "
            f"accuracy [bold]{result['accuracy']:.2%}[/bold], "
            f"squared error per image {result['loss']:.4f}",
            highlight=False,
        )


@app.command("import-data", epilog=IMPORT_EPILOG)
def import_data(
    context: typer.Context,
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="mnist, cifar10, ...")
    ],
    source: Annotated[
        Path, typer.Argument(help="Folder with the original files, unpacked.")
    ],
    data_dir: DataDir = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier import.")
    ] = False,
    quiet: Quiet = False,
):
    """Make a dataset available from files that are on this machine."""
    with told_plainly(context.obj, quiet):
        check_early(dataset=dataset)
        if not source.is_dir():
            raise FileNotFoundError(f"No such folder: {source}.")
        import_quietly()
        from keras_snn import datasets

        datasets.import_data(dataset, source, data_dir, overwrite=overwrite)
        console.print(f"Imported {dataset} from {source}.", highlight=False)


def _monitors(folder):
    """Return a function that makes the callbacks which write to `folder`."""
    import keras

    from keras_snn.callbacks import SpikeRateMonitor
    from keras_snn.training import epochs

    rasters = RASTERS if optional.is_installed("matplotlib") else 0
    return lambda images: [
        # The monitor stands behind both, so that what it measures does not
        # fill the terminal, nor pages of TensorBoard a second time.
        epochs.Bar(),
        keras.callbacks.TensorBoard(str(folder), write_graph=False),
        SpikeRateMonitor(images[:64], log_dir=str(folder), rasters=rasters),
    ]


def _epoch_list(text):
    if text is None:
        return None
    if text.strip().lower() == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            "`--lr-drop` expects epochs separated by commas, such as "
            f"70,100,125, or none. Received: {text!r}."
        ) from None


@contextlib.contextmanager
def _resumable(output):
    try:
        yield
    except KeyboardInterrupt:
        _print_how_to_resume(output(), "Interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Stopped:
        _print_how_to_resume(output(), "Stopped by SIGTERM")
        raise typer.Exit(EXIT_STOPPED) from None


def _print_how_to_resume(output, why):
    record = records.read_record(output) if output else None
    if record is None:
        console.print(f"\n{why} before the training began.")
        return
    done = records.epochs_done(record)
    newest = next(iter(positions(output / records.BACKUP)), None)
    state = f"the state after {newest}" if newest else "no update"
    command = ["keras-snn", "train", "--resume", "--output", str(output)]
    console.print(
        f"\n{why}. {done} finished epoch(s) are kept in "
        f"{escape(str(output))}, and {state}. "
        "Continue with:",
        highlight=False,
    )
    console.print(f"  {shlex.join(command)}", highlight=False, soft_wrap=True)


def _print_settings(settings, output):
    rate = f"{settings.optimizer} {settings.learning_rate:g}"
    if settings.lr_drop:
        drops = ", ".join(str(epoch) for epoch in settings.lr_drop)
        rate += f" (x 0.2 after epochs {drops})"
    if settings.cosine:
        rate += " (cosine)"
    console.print(
        f"[bold]{settings.model}[/bold] on "
        f"[bold]{settings.dataset}[/bold]: {settings.time_steps} time steps, "
        f"width {settings.width:g}, {settings.encoder} encoder, "
        f"{settings.learning_rule} rule, {settings.epochs} epochs, {rate}, "
        f"batch {settings.batch_size}, seed {settings.seed}, "
        f"{settings.dtype}; "
        f"output in {escape(str(output))}",
        highlight=False,
    )


def _print_result(result, output):
    print_spike_rates(result["spike_rates"])
    summary = Table.grid(padding=(0, 2))
    summary.add_row(
        "Test accuracy, last epoch",
        f"[bold]{result['last_epoch_test_accuracy']:.2%}[/bold]",
        f"epoch {result['last_epoch']}, in {output / 'saved_model'}",
    )
    summary.add_row(
        "Test accuracy, best epoch",
        f"{result['best_epoch_test_accuracy']:.2%}",
        f"epoch {result['best_epoch']}, chosen on the "
        f"{result['best_epoch_chosen_on']}, in {output / 'best.keras'}",
    )
    summary.add_row("Time in epochs", f"{result['seconds']:.1f} s")
    console.print(summary)
    for note in result["notes"]:
        console.print(f"Note: {note}", highlight=False, style="yellow")
