"""Deep spiking networks for Keras, trained by spike-based backpropagation."""

import importlib
import pathlib
import sys
from typing import TYPE_CHECKING

from keras_snn import onednn

# ruff: noqa: F401
if TYPE_CHECKING:
    # What reads and does not run, such as a type checker, finds names here.
    from keras_snn import (
        analysis,
        callbacks,
        conversion,
        datasets,
        encoding,
        event_driven,
        export,
        layers,
        losses,
        metrics,
        models,
        neurons,
        regularizers,
        rules,
        surrogates,
        training,
    )
    from keras_snn.models import Model, stateful, streaming

__version__ = "0.1.0"

_MODULES = (
    "analysis",
    "callbacks",
    "conversion",
    "datasets",
    "encoding",
    "event_driven",
    "export",
    "layers",
    "losses",
    "metrics",
    "models",
    "neurons",
    "regularizers",
    "rules",
    "surrogates",
    "training",
)
_FROM_MODELS = ("Model", "stateful", "streaming")

__all__ = [*_MODULES, *_FROM_MODELS]


if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _MODULES:
            return importlib.import_module(f"keras_snn.{name}")
        if name in _FROM_MODELS:
            return getattr(importlib.import_module("keras_snn.models"), name)
        raise AttributeError(f"module 'keras_snn' has no attribute {name!r}")


onednn.turn_on()


def __dir__():
    return sorted([*__all__, "__version__"])


def _is_command():
    """Return whether `keras-snn` or `python -m keras_snn` is starting."""
    program = pathlib.Path(sys.argv[0] if sys.argv else "").stem
    return program in ("-m", "keras-snn")


# `keras.models.load_model` finds our classes once their modules are imported,
# so they are, except at the start of the command line: `keras-snn --help`
# answers without waiting for the backend.
if not _is_command():
    # `training` itself waits until it is used; its optimizer may be in a file.
    for _module in (*_MODULES, "training.optimizers"):
        importlib.import_module(f"keras_snn.{_module}")
