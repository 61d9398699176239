"""The command line, `keras-snn`.

Keras and its backend are imported inside the commands, so that `--help`
answers at once.
"""

from keras_snn.cli import inspection, training  # noqa: F401
from keras_snn.cli.common import app

__all__ = ["app"]
