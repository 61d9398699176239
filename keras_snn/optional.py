"""Packages that only some parts need, each in an extra of its own."""

import importlib
import importlib.util


def require(module, extra):
    """Import `module`, or say which extra of this package brings it.

    Args:
        module: Dotted module name, for example `"matplotlib.pyplot"`.
        extra: Name of the extra, for example `"plot"`.

    Returns:
        The imported module.

    Raises:
        ImportError: If it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs the module `{module}`, which could not be imported "
            f'({error}). Install it with `pip install "keras-snn[{extra}]"`.'
        ) from error


def is_installed(module):
    """Return whether a module could be imported, without importing it."""
    return importlib.util.find_spec(module) is not None
