"""Training runs, and what they and `fit` alike are made of.

`train` and `evaluate` are those of the command line:

>>> from keras_snn.training import evaluate, recipe, train
>>> train(recipe("lenet", "digits", epochs=5), "runs/lenet-digits")
>>> evaluate("runs/lenet-digits/best.keras", time_steps=10)

`distribute` has several processes, hosts or devices train together.
`AugmentedBatches`, `Windows`, `Triangular` and `sgd` are for a `fit` of your
own.
"""

import importlib
from typing import TYPE_CHECKING

# ruff: noqa: F401
if TYPE_CHECKING:
    # What reads and does not run, such as the reference, finds names here.
    from keras_snn.training.augmentation import AugmentedBatches
    from keras_snn.training.distribution import distribute
    from keras_snn.training.evaluation import (
        evaluate,
        open_model,
        with_time_steps,
    )
    from keras_snn.training.fitting import train
    from keras_snn.training.optimizers import sgd
    from keras_snn.training.recipes import recipe
    from keras_snn.training.schedules import Triangular
    from keras_snn.training.settings import Settings
    from keras_snn.training.windows import Windows

_HOMES = {
    "AugmentedBatches": "augmentation",
    "Settings": "settings",
    "Triangular": "schedules",
    "Windows": "windows",
    "distribute": "distribution",
    "evaluate": "evaluation",
    "open_model": "evaluation",
    "recipe": "recipes",
    "sgd": "optimizers",
    "train": "fitting",
    "with_time_steps": "evaluation",
}

__all__ = list(_HOMES)


def __getattr__(name):
    # The command line reads the settings before it waits for Keras.
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return getattr(home, name)
