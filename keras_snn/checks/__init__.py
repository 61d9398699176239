"""What the whole package asks of arguments, in one place.

`scalars` holds the general checks of one number or word, `named` those of
arguments that several functions have in common, `data` those of tensors and
arrays. Each returns the value in its plain type or raises a `ValueError` that
says what was expected and what came.
"""

from keras_snn.checks.data import dense, floating, samples, tensor
from keras_snn.checks.named import (
    RESETS,
    batch_size,
    broadcasts,
    decay,
    decays,
    fraction,
    fractions,
    levels,
    max_rate,
    neuron,
    percentile,
    positive_threshold,
    potential,
    reset_mode,
    seed,
    thresholds,
    time_steps,
)
from keras_snn.checks.scalars import (
    array,
    choice,
    constant,
    flag,
    in_config,
    integer,
    is_integer,
    number,
    real_number,
)

__all__ = [
    "RESETS",
    "array",
    "batch_size",
    "broadcasts",
    "choice",
    "constant",
    "decay",
    "decays",
    "dense",
    "flag",
    "floating",
    "fraction",
    "fractions",
    "in_config",
    "integer",
    "levels",
    "max_rate",
    "is_integer",
    "neuron",
    "number",
    "percentile",
    "positive_threshold",
    "potential",
    "real_number",
    "reset_mode",
    "samples",
    "seed",
    "tensor",
    "thresholds",
    "time_steps",
]
