"""Networks for other programs: SavedModel, LiteRT, ONNX, NIR, the runtime."""

import importlib
from typing import TYPE_CHECKING

# ruff: noqa: F401
if TYPE_CHECKING:
    # What reads and does not run, such as a type checker, finds names here.
    from keras_snn.export.lite import litert
    from keras_snn.export.nir import from_nir, to_nir
    from keras_snn.export.onnx_files import onnx
    from keras_snn.export.runtime_files import runtime
    from keras_snn.export.saved_models import saved_model

# Each format's module is imported at its first use: it needs packages that
# the others do without.
_HOME = {
    "from_nir": "nir",
    "litert": "lite",
    "onnx": "onnx_files",
    "runtime": "runtime_files",
    "saved_model": "saved_models",
    "to_nir": "nir",
}

__all__ = sorted(_HOME)


def __getattr__(name):
    if name in _HOME:
        module = importlib.import_module(f"keras_snn.export.{_HOME[name]}")
        return getattr(module, name)
    raise AttributeError(f"module 'keras_snn.export' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
