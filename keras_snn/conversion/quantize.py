"""A network whose activations spikes of few steps can reproduce."""

from __future__ import annotations

from typing import Any

import keras

from keras_snn import checks
from keras_snn.conversion import calibration, plain
from keras_snn.conversion.plan import read
from keras_snn.conversion.qcfs import QCFS


def quantize(
    ann: keras.Model,
    levels: int = 8,
    calibration_data: Any = None,
    batch_size: int = 64,
) -> keras.Model:
    """Return a copy of a network with `QCFS` activations instead of ReLUs.

    Train the copy for some epochs, then convert it with `method="qcfs"`; the
    spiking network then reaches its accuracy within `levels` time steps or
    little more. ReLUs after the last convolution or dense layer stay.

    Args:
        ann: A functional or Sequential model with ReLU activations.
        levels: Steps of the staircase, about the number of time steps that
            the spiking network is to run.
        calibration_data: Array of some hundred inputs, from which each
            threshold starts at the 99.9 percentile of the layer's
            activations. None starts all of them at 8, as the paper does.
        batch_size: Samples of `calibration_data` run at once.

    Returns:
        A functional `keras.Model` with the weights of `ann`, not compiled.

    Raises:
        ValueError: If `ann` has layers that `convert` does not know, or no
            ReLU.

    Example:

    >>> quantized = keras_snn.conversion.quantize(ann, 8, x_train[:512])
    >>> quantized.compile(...)
    >>> quantized.fit(x_train, y_train, epochs=2)
    >>> model = keras_snn.conversion.convert(
    ...     quantized, x_train[:512], method="qcfs", time_steps=8
    ... )

    References:
        - [Bu et al., 2022](https://arxiv.org/abs/2303.04347)
    """
    levels = checks.levels(levels)
    graph = read(ann, "quantize")
    graph.raise_problems()
    relus = [op for op in graph.neurons() if op.function == "relu"]
    if not relus:
        raise ValueError(
            f"quantize() expects a network with ReLU activations. '{ann.name}' "
            "has none before its output."
        )
    thresholds = dict.fromkeys(relus, 8.0)
    if calibration_data is not None:
        data = calibration.check_data(graph, calibration_data)
        thresholds = calibration.percentile_thresholds(
            plain.reference(graph, relus), relus, data, 99.9, batch_size
        )
    thresholds = calibration.limited(thresholds)
    quantised = {
        op: QCFS(levels, thresholds[op], name=f"{op.name}_qcfs") for op in relus
    }
    inputs, values = plain.build(graph, quantised)
    return keras.Model(inputs, values[graph.output], name=f"{ann.name}_qcfs")
