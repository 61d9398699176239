"""`analyze`, `convert`, `study`, `monitor` and `warmup`."""

import importlib
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from keras_snn import atomic, optional, progress
from keras_snn.cli.common import (
    EXIT_ERROR,
    DataDir,
    Dataset,
    Limit,
    Quiet,
    TimeSteps,
    Width,
    app,
    check_early,
    console,
    error_console,
    import_quietly,
    network_option,
    output_option,
    told_plainly,
    training_option,
)
from keras_snn.training import records

ANALYZE_EPILOG = """
[bold]Examples[/bold]

\b
  keras-snn analyze runs/lenet-mnist/best.keras
  keras-snn analyze net.keras --dataset mnist --device loihi --output report
"""
REPORT_EPILOG = """
[bold]Example[/bold]

\b
  keras-snn report runs/lenet-digits
"""
CONVERT_EPILOG = """
[bold]Example[/bold]

\b
  keras-snn convert ann.keras snn.keras --dataset mnist --time-steps 64
"""
STUDY_EPILOG = """
[bold]Examples[/bold]

\b
  keras-snn study --model lenet --dataset digits
  keras-snn study --model lenet --dataset mnist --weights lenet_mnist.keras
"""
MONITOR_EPILOG = """
[bold]Example[/bold]

\b
  keras-snn train --tensorboard
  keras-snn monitor runs
"""

# Modules whose functions are compiled.
ENGINE = (
    "keras_snn_runtime.kernels",
    "keras_snn_runtime.crew",
    "keras_snn.event_driven.backward_kernels",
    "keras_snn.event_driven.layer_kernels",
)

Device = Annotated[
    str,
    typer.Option(help="Whose energies are printed.", rich_help_panel="Energy"),
]
Images = Annotated[
    int, typer.Option(min=1, help="Test images used.", rich_help_panel="Data")
]
Method = Annotated[
    str,
    network_option("max, percentile, threshold_balancing or qcfs."),
]


@app.command(epilog=ANALYZE_EPILOG)
def analyze(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A .keras file.")
    ],
    dataset: Dataset = None,
    time_steps: TimeSteps = None,
    device: Device = "45nm-float32",
    images: Images = 1000,
    data_dir: DataDir = None,
    output: Annotated[
        Path | None,
        output_option("Folder for profile.json and pictures."),
    ] = None,
    quiet: Quiet = False,
):
    """Print spikes, operations and energy of a model, layer by layer."""
    with told_plainly(context.obj, quiet):
        check_early(
            data_dir=data_dir,
            files=[path],
            dataset=dataset,
            time_steps=time_steps,
        )
        if output is not None:
            optional.require("matplotlib", "plot")
        import_quietly()
        from keras_snn import analysis, datasets
        from keras_snn.analysis.devices import get_device
        from keras_snn.training import open_model

        get_device(device)
        model, settings = open_model(path, dataset, time_steps=time_steps)
        _, (x, y) = datasets.load(settings.dataset, data_dir=data_dir)
        x, y = x[:images], y[:images]
        profile = analysis.profile(model, x)
        profile.summary(device)
        curve = analysis.latency_curve(model, x, y)
        best = curve.accuracy.argmax()
        console.print(
            f"accuracy [bold]{curve.accuracy[-1]:.2%}[/bold] after "
            f"{curve.time_steps} time steps, best: "
            f"{curve.accuracy[best]:.2%} after {best + 1}",
            highlight=False,
        )
        if output is not None:
            _write_analysis(output, profile, curve, device)


@app.command(epilog=REPORT_EPILOG)
def report(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder that train filled."),
    ],
    device: Device = "45nm-float32",
    images: Images = 1000,
    data_dir: DataDir = None,
    output: Annotated[
        Path | None,
        output_option(
            "The page. [dim]\\[default: report.html in the folder][/dim]"
        ),
    ] = None,
    quiet: Quiet = False,
):
    """Write a run's training, spikes, cost and speed into one HTML page."""
    with told_plainly(context.obj, quiet):
        optional.require("matplotlib", "plot")
        record = records.read_record(run)
        if record is None or not (run / records.BEST).exists():
            raise FileNotFoundError(
                f"{run} is no folder of a run: it has no {records.HISTORY} or "
                f"no {records.BEST}. Expected what keras-snn train wrote."
            )
        import_quietly()
        from keras_snn import analysis, datasets
        from keras_snn.analysis.devices import get_device
        from keras_snn.training import open_model

        get_device(device)
        model, settings = open_model(run / records.BEST)
        _, (x, y) = datasets.load(settings.dataset, data_dir=data_dir)
        output = output or run / "report.html"
        analysis.write_page(
            output,
            model,
            x[:images],
            y[:images],
            history=record["history"],
            facts=_facts(record),
            device=device,
        )
        console.print(f"Written to {escape(str(output))}", highlight=False)


def _facts(record):
    """Return what a page says of a run before all else."""
    names = ("dataset", "model", "time_steps", "learning_rule", "norm")
    settings = record["settings"]
    facts = {name.replace("_", " "): settings.get(name) for name in names}
    facts["epochs"] = records.epochs_done(record)
    result = record.get("result")
    if result:
        accuracy = result["last_epoch_test_accuracy"]
        facts["test accuracy, last epoch"] = f"{accuracy:.2%}"
        facts["seconds of training"] = f"{result['seconds']:.0f}"
    facts["command"] = next(iter(record["commands"][-1:]), None)
    return {name: value for name, value in facts.items() if value is not None}


def _write_analysis(output, profile, curve, device):
    output.mkdir(parents=True, exist_ok=True)
    profile.to_json(output / "profile.json")
    _draw(output / "accuracy.png", curve.plot())
    # A device without multiplications runs no analog input.
    if profile.energy(device).snn is not None:
        _draw(output / "energy.png", profile.plot(device))
    console.print(f"Written to {escape(str(output))}", highlight=False)


def _draw(path, axes):
    with atomic.written(path) as draft:
        axes.figure.savefig(draft, dpi=120)


@app.command(epilog=CONVERT_EPILOG)
def convert(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="ANN", help="A .keras file.")],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT", help="The .keras file to write."),
    ],
    dataset: Dataset = None,
    method: Method = "percentile",
    time_steps: TimeSteps = 128,
    reset: Annotated[str, network_option("subtract or zero.")] = "subtract",
    encoder: Annotated[str, network_option("repeat or poisson.")] = "repeat",
    max_pooling: Annotated[
        str, network_option("rate, spike or average.")
    ] = "rate",
    images: Images = 1000,
    data_dir: DataDir = None,
    overwrite: Annotated[
        bool, output_option("Replace OUTPUT if it exists.", "--overwrite")
    ] = False,
    quiet: Quiet = False,
):
    """Make a spiking network of a trained ordinary one, and compare them.

    Thresholds come from the first 1000 training images of the dataset.
    """
    with told_plainly(context.obj, quiet):
        _check_convert(path, output, dataset, overwrite)
        check_early(data_dir=data_dir, dataset=dataset, time_steps=time_steps)
        import_quietly()
        from keras_snn import analysis, conversion, datasets
        from keras_snn.models import load_model
        from keras_snn.running import tracing

        (x_train, _), (x, y) = datasets.load(dataset, data_dir=data_dir)
        ann = load_model(path)
        model = conversion.convert(
            ann,
            x_train[:1000],
            method,
            time_steps=time_steps,
            reset=reset,  # type: ignore[arg-type]
            encoder=encoder,
            max_pooling=max_pooling,
        )
        with atomic.written(output) as draft:
            model.save(draft)
        conversion.report(ann, model, x[:100]).summary()
        x, y = x[:images], y[:images]
        curve = analysis.latency_curve(model, x, y)
        with tracing.in_tool():
            scores = ann.predict(x, verbose=0)
        hits = scores.argmax(-1) == y.argmax(-1)
        console.print(
            f"{len(x)} test images: ordinary network {hits.mean():.2%}, "
            f"spiking network [bold]{curve.accuracy[-1]:.2%}[/bold] after "
            f"{time_steps} time steps; written to {escape(str(output))}",
            highlight=False,
        )


def _check_convert(path, output, dataset, overwrite):
    if not path.is_file():
        raise FileNotFoundError(
            f"No such file: {path}. Expected a .keras file."
        )
    if output.suffix != ".keras":
        raise ValueError(f"OUTPUT must end in .keras. Received: {output}.")
    if output.exists() and not overwrite:
        raise ValueError(
            f"{output} exists. Choose another file, or pass --overwrite."
        )
    if dataset is None:
        raise ValueError(
            "Which dataset was the network trained on? Pass --dataset; its "
            "first training images set the thresholds."
        )


@app.command(epilog=STUDY_EPILOG)
def study(
    context: typer.Context,
    model: Annotated[
        str,
        network_option(
            "LeNet, VGG..., ResNet..., SEWResNet18 or SpikingCNN, in any case."
        ),
    ] = "lenet",
    dataset: Dataset = "digits",
    weights: Annotated[
        Path | None,
        network_option(
            "A trained spiking network, a .keras file, instead of training one."
        ),
    ] = None,
    time_steps: TimeSteps = None,
    width: Width = None,
    method: Annotated[
        str, network_option("max, percentile or threshold_balancing.")
    ] = "percentile",
    epochs: Annotated[
        int | None, training_option("Epochs of the spiking network.")
    ] = None,
    ann_epochs: Annotated[
        int | None,
        training_option("Epochs of the ordinary network; as many if left out."),
    ] = None,
    limit: Limit = None,
    most_steps: Annotated[
        int, network_option("Time steps the converted network is run for.")
    ] = 256,
    images: Images = 1000,
    device: Device = "45nm-int32",
    data_dir: DataDir = None,
    output: Annotated[
        Path | None,
        output_option(
            "Folder of the results. "
            "[dim]\\[default: runs/study-MODEL-DATASET][/dim]"
        ),
    ] = None,
    quiet: Quiet = False,
):
    """Compare a spike-trained network with its converted ordinary twin.

    Accuracy against time steps, spikes by layer, speed-up and energy at equal
    and at best accuracy: study.md, study.json and pictures. Given again, the
    command goes on where it stopped.
    """
    with told_plainly(context.obj, quiet):
        check_early(
            data_dir=data_dir,
            files=[weights],
            model=model,
            dataset=dataset,
            time_steps=time_steps,
            width=width,
            epochs=epochs,
            ann_epochs=ann_epochs,
            limit=limit,
        )
        import_quietly()
        from keras_snn.study import reporting
        from keras_snn.study import study as run
        from keras_snn.training import recipe

        given = {"time_steps": time_steps, "epochs": epochs, "limit": limit}
        settings = recipe(model, dataset, width=width, **given)
        if output is None:
            output = Path("runs") / f"study-{settings.model.lower()}-{dataset}"
        result = run(
            settings,
            output,
            data_dir=data_dir,
            weights=weights,
            most_steps=most_steps,
            images=images,
            method=method,
            device=device,
            ann_epochs=ann_epochs,
            command=shlex.join(["keras-snn", *sys.argv[1:]]),
        )
        console.print(reporting.table(result))
        console.print(f"Written to {escape(str(output))}", highlight=False)


@app.command(epilog=MONITOR_EPILOG)
def monitor(
    folder: Annotated[
        Path, typer.Argument(help="Folder of one or many runs.")
    ] = Path("runs"),
    port: Annotated[int, typer.Option(help="Port of the web page.")] = 6006,
):
    """Open TensorBoard on the spike rates and metrics of runs.

    Runs write them with keras-snn train --tensorboard.
    """
    if not any(folder.glob("**/events.out.tfevents.*")):
        error_console.print(
            f"Error: no TensorBoard files in {folder}. Train with "
            "keras-snn train --tensorboard.",
            style="bold red",
        )
        raise typer.Exit(EXIT_ERROR)
    command = ["-m", "tensorboard.main", "--logdir", str(folder)]
    process = subprocess.run(
        [sys.executable, *command, "--port", str(port)], check=False
    )
    raise typer.Exit(process.returncode)


@app.command()
def warmup(context: typer.Context, quiet: Quiet = False):
    """Compile the event-driven engine ahead, and keep it on disk.

    Else the first network that runs event by event waits for it.
    """
    with told_plainly(context.obj, quiet):
        optional.require("numba", "numba")
        start = time.perf_counter()
        _compile_engine()
        seconds = time.perf_counter() - start
        console.print(f"The event-driven engine is ready, in {seconds:.1f} s.")


def _compile_engine():
    """Compile all functions of the engine, with a bar."""
    for name in ENGINE:
        importlib.import_module(name)
    from keras_snn_runtime import compiler

    display = progress.display()
    for function in display.track(compiler.KERNELS, "Compiling the engine"):
        function.compile()
