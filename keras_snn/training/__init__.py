"""Training runs: `train` and `evaluate` as the command line uses them.

>>> from keras_snn.training import evaluate, recipe, train
>>> train(recipe("lenet", "digits", epochs=5), "runs/lenet-digits")
>>> evaluate("runs/lenet-digits/best.keras", time_steps=10)
"""

import importlib

_HOMES = {
    "Settings": "settings",
    "evaluate": "evaluation",
    "open_model": "evaluation",
    "recipe": "recipes",
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
