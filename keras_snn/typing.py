"""The types that public signatures are written in."""

import os
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from keras_snn.neurons.rate import Rate
    from keras_snn.neurons.surrogates import Surrogate
    from keras_snn.running.model import Model

    LearningRule: TypeAlias = str | Surrogate | Rate
else:
    LearningRule = Model = Surrogate = Any

# A tensor of the backend, symbolic or not.
Tensor: TypeAlias = Any
# What a layer carries from step to step.
State: TypeAlias = list[Any]
# Axes of a tensor; None is unknown.
Shape: TypeAlias = tuple[int | None, ...]
# One number, or an array that broadcasts to the neurons.
PerNeuron: TypeAlias = float | ArrayLike
Path: TypeAlias = str | os.PathLike[str]
Reset: TypeAlias = Literal["zero", "subtract"]
Norm: TypeAlias = Literal["none", "batch", "weight"]
