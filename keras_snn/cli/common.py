"""What all commands share: the app, its options, errors and tables."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Annotated

import rich.progress
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import keras_snn
from keras_snn import progress
from keras_snn.datasets.catalogue import image_info
from keras_snn.training.settings import Settings, check_fields, model_name

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Train, convert and measure spiking neural networks with Keras 3.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


console = Console()
error_console = Console(stderr=True)


def setting(name, note=""):
    """Return the option of a field of `Settings`, None where not given.

    Of a bool it is a flag that changes the default: False where not given.

    Args:
        name: The field's name.
        note: Text behind its help.
    """
    field = Settings.__dataclass_fields__[name]
    flag = []
    kind = str | None if field.type is tuple else field.type | None
    if field.type is bool:
        flag = [f"--no-{name}" if field.default else f"--{name}"]
        kind = bool
    options = {**field.metadata, "help": field.metadata["help"] + note}
    return Annotated[kind, typer.Option(*flag, **options)]


Dataset = setting("dataset")
TimeSteps = setting("time_steps")
Limit = setting("limit")
Width = setting("width")
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the datasets.", rich_help_panel="Data"),
]


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Show no progress, results alone.",
        rich_help_panel="Output",
    ),
]


def network_option(help, **options):
    return typer.Option(help=help, rich_help_panel="Network", **options)


def training_option(help, *names, **options):
    return typer.Option(
        *names, help=help, rich_help_panel="Training", **options
    )


def output_option(help, *names, **options):
    return typer.Option(*names, help=help, rich_help_panel="Output", **options)


def _print_version(wanted: bool):
    if wanted:
        print(f"keras-snn {keras_snn.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback", help="Show where in the code an error comes from."
        ),
    ] = False,
):
    context.obj = traceback


def import_quietly():
    """Import Keras and its backend without their notes on missing GPUs.

    TensorFlow writes some of them to the file descriptor before it reads its
    log level. They are shown after all if the import fails, or if the user
    has set TF_CPP_MIN_LOG_LEVEL.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import keras  # noqa: F401
        except BaseException:
            notes.seek(0)
            os.write(original, notes.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
    _silence_loggers()


def _silence_loggers():
    """Have TensorFlow Datasets and downloads log errors alone."""
    # Keras brings it, and it makes a logger of a kind of its own.
    import absl.logging

    absl.logging.set_verbosity(absl.logging.ERROR)
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def check_early(*, data_dir=None, files=(), **given):
    """Check what needs no Keras, whose import takes seconds.

    Args:
        data_dir: Folder of the datasets, or `None`.
        files: Paths that must be files; `None` is left out.
        **given: Fields of `Settings`; `None` means "not given".

    Raises:
        ValueError: For a value out of range or an unknown name.
        FileNotFoundError: If a file or the folder is missing.
    """
    given = {name: x for name, x in given.items() if x is not None}
    if "model" in given:
        model_name(given["model"])
    if "dataset" in given:
        image_info(given["dataset"])
    check_fields(given)
    for path in files:
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"No such file: {path}.")
    if data_dir is not None and not Path(data_dir).expanduser().is_dir():
        raise FileNotFoundError(
            f"--data-dir {data_dir}: there is no such folder. Make it to "
            "download into it, or have keras-snn import-data NAME FOLDER make "
            "it of the published files in FOLDER."
        )


class _Terminal(progress.Display):
    """Bars that are gone once they are full, on standard error.

    Not in a file: there they would be lines without end.
    """

    def __init__(self, quiet):
        self._quiet = quiet
        self.fit_verbose = 0 if quiet else None
        if quiet or not error_console.is_terminal:
            # Those of downloads are TensorFlow Datasets'.
            os.environ.setdefault("TQDM_DISABLE", "1")

    def say(self, doing):
        if not self._quiet:
            super().say(doing)

    def track(self, items, doing, total=None):
        if self._quiet or not error_console.is_terminal:
            return items
        return rich.progress.track(
            items, doing, total, console=error_console, transient=True
        )


@contextlib.contextmanager
def _plain_warnings():
    """Show what a warning says, not the line of code that it comes from."""

    def show(message, *_, **__):
        text = " ".join(f"Warning: {message}".split())
        error_console.print(Text(text, style="yellow"), soft_wrap=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def told_plainly(traceback, quiet=False):
    """Show errors and warnings as sentences, and what goes on as bars.

    Args:
        traceback: Whether errors and warnings are those of Python instead.
        quiet: Whether nothing is shown of what goes on.
    """
    shown = contextlib.ExitStack()
    if not traceback:
        shown.enter_context(_plain_warnings())
    shown.enter_context(progress.shown_by(_Terminal(quiet)))
    try:
        with shown:
            yield
    except (ValueError, OSError, ImportError) as error:
        if traceback:
            raise
        message = Text(" ".join(f"Error: {error}".split()), style="bold red")
        error_console.print(message, soft_wrap=True)
        raise typer.Exit(EXIT_ERROR) from None


def print_spike_rates(rates):
    table = Table()
    table.add_column("layer")
    table.add_column("spikes per neuron and step", justify="right")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:.4f}")
    console.print(table)
