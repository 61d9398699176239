"""Default settings for each family of models and each dataset.

The rates, batch sizes and schedules of LeNet, and of VGG and ResNet by one of
the paper's rules or without normalization, are those of
Lee et al., "Enabling Spike-Based Backpropagation for Training Deep Neural
Network Architectures", Frontiers in Neuroscience 14:119, 2020, with T = 25
instead of 100 time steps and, for LeNet, 5 epochs instead of 125.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_snn.datasets.catalogue import image_info
from keras_snn.training import records
from keras_snn.training.settings import Settings, model_name

DEFAULT_MODEL, DEFAULT_DATASET = "lenet", "digits"

_DEEP = {"batch_size": 16, "epochs": 150, "lr_drop": (70, 100, 125)}

PUBLISHED = {
    "LeNet": {"batch_size": 64, "epochs": 5, "learning_rate": 0.0085},
    "VGG": {**_DEEP, "learning_rate": 0.0033},
    "ResNet": {**_DEEP, "learning_rate": 0.0025},
}

FEW_STEPS = {
    "loss": "cross_entropy",
    "label_smoothing": 0.1,
    "optimizer": "nesterov",
    "learning_rate": 0.1,
    "batch_size": 125,
    "epochs": 10,
    "shift": 2,
}
# The weights of a network with ReLUs are near their goal already; a larger
# rate takes what they have learned (see benchmarks/accuracy.md).
FROM_ANN_LEARNING_RATE = 0.02

# Few and small images: with plain SGD 16 epochs would not be enough.
DIGITS = {
    "optimizer": "adam",
    "learning_rate": 1e-2,
    "batch_size": 32,
    "epochs": 16,
    "cosine": True,
    "lr_drop": (),
}
# Two of eight pixels would be much.
FEW_STEPS_DIGITS = {"batch_size": 32, "epochs": 16, "shift": None}

ADAM_LEARNING_RATE = 1e-3


def recipe(
    model: str = DEFAULT_MODEL, dataset: str = DEFAULT_DATASET, **given: Any
) -> Settings:
    """Return `Settings` with defaults that suit the model and the dataset.

    Args:
        model: name of a model, in any case.
        dataset: name of a dataset.
        **given: fields of `Settings` that replace the default. `None` means
            "not given". A given `cosine` or `lr_drop` replaces the default
            schedule.

    Example:

    >>> recipe("lenet", "mnist", epochs=2).learning_rate
    0.0085
    >>> recipe("lenet", "mnist", optimizer="adam").learning_rate
    0.001
    """
    model, dataset = model_name(model), image_info(dataset).name
    given = {key: value for key, value in given.items() if value is not None}
    values = _family(model, dataset, given)
    if "cosine" in given or "lr_drop" in given:
        values.update(cosine=False, lr_drop=())
    if given.get("optimizer") == "nesterov":  # which has a schedule
        values["lr_drop"] = ()
    if given.get("loss", "cross_entropy") != "cross_entropy":
        values.pop("label_smoothing", None)
    rate = _rate(model, values, given)
    values.update({"learning_rate": rate, **given})
    values.update(model=model, dataset=dataset)
    return Settings.from_dict(values)


def _family(model, dataset, given):
    """Return the defaults of a model, as its paper or few steps have them."""
    # Not above: the command line reads this module before it waits for Keras.
    from keras_snn import models

    defaults = getattr(models, model).defaults
    setup = defaults.of(given.get("learning_rule"), given.get("norm"))
    names = "time_steps", "encoder", "learning_rule", "beta"
    values = {name: getattr(setup, name) for name in names}
    if setup.norm == "none":
        digits = DIGITS if dataset == "digits" else {}
        return {**values, **PUBLISHED[model.rstrip("0123456789")], **digits}
    values.update(FEW_STEPS)
    if dataset == "digits":
        values.update(FEW_STEPS_DIGITS)
    if given.get("ann_epochs") or given.get("from_ann"):
        values["learning_rate"] = FROM_ANN_LEARNING_RATE
    return values


def _rate(model, values, given):
    """Return the learning rate for what replaces a family's defaults.

    Args:
        model: Name of the model.
        values: The defaults of its family.
        given: What replaces them.
    """
    rate, usual = values["learning_rate"], values.get("optimizer", "sgd")
    is_of_mean = values.get("loss") == "cross_entropy"
    optimizer = given.get("optimizer", usual)
    if optimizer == "adam":
        return ADAM_LEARNING_RATE if optimizer != usual else rate
    if optimizer != usual and not is_of_mean:
        is_of_mean = optimizer == "nesterov"
        family = PUBLISHED[model.rstrip("0123456789")]
        rate = (FEW_STEPS if is_of_mean else family)["learning_rate"]
    merged = {"loss": "squared_error", **values, **given}
    if is_of_mean and merged["loss"] == "squared_error":  # summed
        rate /= merged["batch_size"]
    return rate


def settings_for_run(model, dataset, output, resume, given):
    """Return the settings and the output folder of one call of the command.

    A resumed run starts from its recorded settings, so that its options need
    not be repeated; a new run starts from its recipe.

    Args:
        model: name of a model, or `None` for the default.
        dataset: name of a dataset, or `None` for the default.
        output: the output folder, or `None` for `runs/MODEL-DATASET`.
        resume: whether a run in the folder is to be continued.
        given: further fields of `Settings`; `None` means "not given".
    """
    if output is None:
        name = model_name(model or DEFAULT_MODEL).lower()
        output = Path("runs") / f"{name}-{dataset or DEFAULT_DATASET}"
    record = records.read_record(output) if resume else None
    if record is None:
        model, dataset = model or DEFAULT_MODEL, dataset or DEFAULT_DATASET
        return recipe(model, dataset, **given), output
    values = {**given, "model": model, "dataset": dataset}
    values = {key: value for key, value in values.items() if value is not None}
    return Settings.from_dict({**record["settings"], **values}), output
