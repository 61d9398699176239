"""Surrogate derivatives of the spike, for backpropagation through time.

Every surrogate is the same step function forward, `1 where x > 0`, with
`x = u - threshold`, and its own bell-shaped derivative backward.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_snn import checks
from keras_snn.neurons.dynamics import above
from keras_snn.typing import Tensor


class Surrogate:
    """A step function with a stand-in derivative.

    Subclasses have one positive shape parameter and a `derivative`.
    """

    parameter: str

    def __init__(self, value: float) -> None:
        value = checks.number(
            self.parameter, value, "(0, inf)", of=type(self).__name__
        )
        setattr(self, self.parameter, value)

    def derivative(self, x: Any) -> Tensor:
        """Return the stand-in derivative at `x = u - threshold`."""
        raise NotImplementedError

    def __call__(self, x):
        """Return 1 where `x > 0`, else 0, differentiable by `derivative`."""
        return _step(x, self.derivative)

    def get_config(self) -> dict[str, Any]:
        return {self.parameter: getattr(self, self.parameter)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    def __repr__(self):
        value = getattr(self, self.parameter)
        return f"{type(self).__name__}({self.parameter}={value})"


def _step(x, derivative):
    @ops.custom_gradient
    def step(x):
        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            return upstream * derivative(x)

        return above(x, 0.0), grad

    return step(x)


@keras.saving.register_keras_serializable(package="keras_snn")
class Arctan(Surrogate):
    """`alpha / 2 / (1 + (pi / 2 * alpha * x)^2)`.

    Args:
        alpha: Steepness. The peak is `alpha / 2`.

    References:
        - [Fang et al., 2021](https://arxiv.org/abs/2007.05785)
    """

    parameter = "alpha"
    alpha: float

    def __init__(self, alpha: float = 2.0) -> None:
        super().__init__(alpha)

    def derivative(self, x: Any) -> Tensor:
        return (self.alpha / 2) / (
            1.0 + ops.square((math.pi / 2 * self.alpha) * x)
        )


@keras.saving.register_keras_serializable(package="keras_snn")
class FastSigmoid(Surrogate):
    """`1 / (1 + slope * |x|)^2`.

    Args:
        slope: Steepness. The peak is 1.

    References:
        - [Zenke and Ganguli, 2018](https://arxiv.org/abs/1705.11146)
    """

    parameter = "slope"
    slope: float

    def __init__(self, slope: float = 25.0) -> None:
        super().__init__(slope)

    def derivative(self, x: Any) -> Tensor:
        return 1.0 / ops.square(1.0 + self.slope * ops.abs(x))


@keras.saving.register_keras_serializable(package="keras_snn")
class Sigmoid(Surrogate):
    """`slope * y * (1 - y)` with `y = sigmoid(slope * x)`.

    Args:
        slope: Steepness. The peak is `slope / 4`.

    References:
        - [Neftci et al., 2019](https://arxiv.org/abs/1901.09948)
    """

    parameter = "slope"
    slope: float

    def __init__(self, slope: float = 4.0) -> None:
        super().__init__(slope)

    def derivative(self, x: Any) -> Tensor:
        y = ops.sigmoid(self.slope * x)
        return self.slope * y * (1.0 - y)


@keras.saving.register_keras_serializable(package="keras_snn")
class Triangle(Surrogate):
    """`max(0, 1 - |x| / width) / width`.

    Args:
        width: Half of the support. The area is 1, the peak `1 / width`.

    References:
        - [Bellec et al., 2018](https://arxiv.org/abs/1803.09574)
    """

    parameter = "width"
    width: float

    def __init__(self, width: float = 1.0) -> None:
        super().__init__(width)

    def derivative(self, x: Any) -> Tensor:
        return ops.relu(1.0 - ops.abs(x) / self.width) / self.width


@keras.saving.register_keras_serializable(package="keras_snn")
class Boxcar(Surrogate):
    """`1 / (2 * width)` where `|x| <= width`, else 0.

    Args:
        width: Half of the support. The area is 1.

    References:
        - [Wu et al., 2018](https://arxiv.org/abs/1706.02609)
    """

    parameter = "width"
    width: float

    def __init__(self, width: float = 0.5) -> None:
        super().__init__(width)

    def derivative(self, x: Any) -> Tensor:
        inside = ops.cast(ops.less_equal(ops.abs(x), self.width), x.dtype)
        return inside / (2.0 * self.width)


NAMES = {
    "arctan": Arctan,
    "fast_sigmoid": FastSigmoid,
    "sigmoid": Sigmoid,
    "triangle": Triangle,
    "boxcar": Boxcar,
}


def get(surrogate):
    """Return a surrogate from its name, serialized form or itself.

    Raises:
        ValueError: If there is no such surrogate.
    """
    if isinstance(surrogate, dict):
        surrogate = keras.saving.deserialize_keras_object(surrogate)
    if isinstance(surrogate, str) and surrogate in NAMES:
        return NAMES[surrogate]()
    if isinstance(surrogate, Surrogate):
        return surrogate
    known = ", ".join(f'"{name}"' for name in NAMES)
    raise ValueError(
        f"`surrogate` must be one of {known}, or an object of "
        "`keras_snn.surrogates`, e.g. `keras_snn.surrogates.Sigmoid(slope=4)`. "
        f"Received: surrogate={surrogate!r}."
    )
