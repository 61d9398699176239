"""Training runs: `train` and `evaluate` as the command line uses them.

>>> from keras_snn.training import evaluate, recipe, train
>>> train(recipe("lenet", "digits", epochs=5), "runs/lenet-digits")
>>> evaluate("runs/lenet-digits/best.keras", time_steps=10)
"""

from keras_snn.training.evaluation import (
    evaluate,
    open_model,
    with_time_steps,
)
from keras_snn.training.fitting import train
from keras_snn.training.recipes import recipe
from keras_snn.training.settings import Settings

__all__ = [
    "Settings",
    "evaluate",
    "open_model",
    "recipe",
    "train",
    "with_time_steps",
]
