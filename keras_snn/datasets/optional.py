"""Packages that only the data sets need."""

import importlib


def require(module):
    """Imports `module`, or says which extra of this package brings it.

    Args:
        module: Dotted module name, for example `"sklearn.datasets"`.

    Returns:
        The imported module.

    Raises:
        ImportError: If it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This data set needs the module `{module}`, which could not be "
            f"imported ({error}). Install it with "
            '`pip install "keras-snn[datasets]"`.'
        ) from error
