"""Networks for other programs: SavedModel, LiteRT, ONNX, NIR, the runtime."""

import importlib

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
