"""From a trained ordinary network to a spiking one."""

from __future__ import annotations

from typing import Any

import keras

from keras_snn import checks, layers
from keras_snn.conversion import balancing, calibration, plain, spiking
from keras_snn.conversion.folding import folded
from keras_snn.layers.encoders import Encoder
from keras_snn.neurons import learning_rules
from keras_snn.running import tracing
from keras_snn.typing import LearningRule, Model, Reset

METHODS = ("max", "percentile", "threshold_balancing", "qcfs")
MAX_POOLINGS = ("rate", "spike", "average")


def convert(
    ann: keras.Model,
    calibration_data: Any,
    method: str = "percentile",
    *,
    time_steps: int = 128,
    encoder: Any = "repeat",
    reset: Reset = "subtract",
    percentile: float = 99.9,
    max_pooling: str = "rate",
    pooling_neurons: Any = None,
    initial_potential: float = 0.5,
    learning_rule: LearningRule = "collapsed",
    batch_size: int = 64,
    name: str | None = None,
) -> Model:
    """Return a spiking network that computes what `ann` computes.

    Every ReLU becomes a layer of integrate-and-fire neurons whose spike rate,
    times their threshold, approaches its activation as T grows:

        a ~ threshold * (s(1) + ... + s(T)) / T      for a <= threshold

    Kernels are multiplied by the threshold of the layer whose spikes they
    see, biases are currents of every step, and the network's output is read
    from the mean current of the last layer, so it means what the output of
    `ann` means; a softmax stays behind it. Batch normalisation is folded into
    the weights of a layer next to it, else it becomes a
    `keras_snn.layers.Affine`, a scale and a bias a channel. Dropout and
    augmentation are left out; what prepares images before the first layer
    with weights (scaling, resizing, any function) runs once, before the
    encoder. Functions of `keras.ops` and operators (`a + b`, `x / 255`) are
    converted as the layers that compute the same. Branches that meet in a
    merge are brought to one scale.

    The `method` chooses the thresholds, in units of activations of `ann`:

    - `"max"`: the layer's largest activation on the calibration data (Diehl
      et al.). No activation is cut off, but most rates are low.
    - `"percentile"`: the 99.9 percentile of its positive activations
      (Rueckauer et al.). Fewer steps are needed; rare outliers are cut off.
    - `"threshold_balancing"`: the largest current that any neuron of the
      layer receives in one step while the layers before it are spiking
      (Sengupta et al.). The most careful and the slowest to converge.
    - `"qcfs"`: the threshold that the `QCFS` activation has learned (Bu et
      al.), for networks trained after `quantize`. For few steps.

    With the other methods, a QCFS activation keeps its threshold too.

    The model goes on training with `fit`, by any learning rule ("hybrid"
    training). A surrogate's width is in units of the potential, as the
    thresholds are.

    Args:
        ann: Functional or Sequential Keras model with one input and output.
        calibration_data: Array of some hundred inputs of `ann`, scaled as in
            its training. May be None for `"qcfs"`.
        method: See above.
        time_steps: Steps T of the encoder, and of balancing.
        encoder: `"repeat"`, the analog input as the current of every step;
            `"poisson"`, signed spikes, for inputs in [-1, 1]; an encoder
            layer whose mean over time is its input; or None for a network
            that takes sequences (time_steps may then be None, any T).
        reset: `"subtract"`, or `"zero"`, which loses at every spike what
            exceeds the threshold: rates come out too low however large T
            is, the more so the closer they are to 1. With `"zero"` choose a
            method of high thresholds, and expect little of deep networks.
        percentile: For `"percentile"`, in (0, 100].
        max_pooling: `"rate"`: `keras_snn.layers.MaxRatePooling2D` (1D, 3D),
            the maximum of the rates; `"spike"`: the maximum of the spikes,
            cheap, too high; `"average"`: average pooling instead, which `ann`
            should have been trained with.
        pooling_neurons: Whether neurons follow each average pooling of
            spikes, so that all synapses see spikes. None is True, except
            False for `"qcfs"`.
        initial_potential: Potential before the first step, as a fraction of
            the threshold. 1/2 rounds the spike counts instead of rounding
            them down; 0 is rest, as in the older papers, and needs about
            four times the steps.
        learning_rule: As in `keras_snn.layers.LIF`; for training afterwards.
        batch_size: Samples of the calibration data run at once.
        name: Name of the model.

    Returns:
        A `keras_snn.Model`, not compiled. Spiking layers are called after the
        activations or poolings that they stand for, with "_if" appended.
        `keras_snn.conversion.report` compares it with `ann` layer by layer.

    Raises:
        ValueError: If `ann` has layers that cannot be converted (all are
            named, with the reason), or for other arguments than these.

    Example:

    >>> model = keras_snn.conversion.convert(ann, x_train[:512])
    >>> model.compile(metrics=["accuracy"], loss="categorical_crossentropy")
    >>> model.evaluate(x_test, y_test)
    >>> keras_snn.conversion.report(ann, model, x_test[:256]).summary()

    References:
        - [Diehl et al., 2015](https://doi.org/10.1109/IJCNN.2015.7280696)
        - [Rueckauer et al., 2017](https://doi.org/10.3389/fnins.2017.00682)
        - [Sengupta et al., 2019](https://doi.org/10.3389/fnins.2019.00095)
        - [Bu et al., 2022](https://arxiv.org/abs/2303.04347)
    """
    checks.choice("method", method, METHODS)
    checks.choice("max_pooling", max_pooling, MAX_POOLINGS)
    reset = checks.reset_mode(reset)
    if pooling_neurons is None:
        pooling_neurons = method != "qcfs"
    settings = spiking.SpikingOptions(
        encoder=_encoder(encoder, time_steps),
        time_steps=time_steps,
        reset=reset,
        initial_potential=checks.potential(initial_potential),
        max_pooling=max_pooling,
        pooling_neurons=checks.flag("pooling_neurons", pooling_neurons),
        learning_rule=learning_rules.get(learning_rule),
    )
    graph = folded(ann)
    data = None
    if calibration_data is not None or method != "qcfs":
        data = calibration.check_data(graph, calibration_data)
        _check_range(settings.encoder, graph, data)
    thresholds = _thresholds(
        graph, method, settings, checks.percentile(percentile), data, batch_size
    )
    return spiking.build(
        graph, thresholds, settings, name or f"{ann.name}_spiking"
    )


def _thresholds(graph, method, settings, percentile, data, batch_size):
    neurons = graph.neurons()
    known = {op: _learned(op) for op in neurons if op.function == "qcfs"}
    ops = [op for op in neurons if op not in known]
    if method == "qcfs" and ops:
        names = ", ".join(f"'{op.name}'" for op in ops)
        raise ValueError(
            'method="qcfs" expects a network trained with QCFS activations. '
            f"'{graph.name}' has ReLU at {names}. Replace them by "
            "quantized = keras_snn.conversion.quantize(ann, levels=8), train "
            "that for some epochs, and convert it; or use "
            'method="percentile".'
        )
    if not ops:
        return known
    if method == "threshold_balancing":
        if settings.encoder is None:
            raise ValueError(
                'method="threshold_balancing" runs spikes through the network '
                "and needs an encoder. Received: encoder=None. Convert with "
                'encoder="repeat" or "poisson", or choose another method.'
            )
        return balancing.balanced_thresholds(
            graph, known, settings, data, batch_size
        )
    model = plain.reference(graph, ops)
    if method == "max":
        found = calibration.max_thresholds(model, ops, data, batch_size)
    else:
        found = calibration.percentile_thresholds(
            model, ops, data, percentile, batch_size
        )
    return {**known, **calibration.limited(found)}


def _learned(op):
    # One that has not run yet has no variable.
    threshold = float(getattr(op.layer, "scale", op.layer.threshold))
    if not threshold > 0.0:
        raise ValueError(
            f"The QCFS activation '{op.name}' has learned the threshold "
            f"{threshold}, and is silent. Train with a lower learning rate, "
            "or start its threshold from data: quantize(ann, levels, "
            "calibration_data)."
        )
    return threshold


def _encoder(encoder, time_steps):
    if encoder is None:
        if time_steps is not None:
            checks.time_steps(time_steps)
        return None
    if isinstance(encoder, Encoder):
        _check_mean(encoder)
        return encoder
    known = {"repeat": layers.RepeatEncoder, "poisson": layers.PoissonEncoder}
    if not isinstance(encoder, str) or encoder not in known:
        raise ValueError(
            '`encoder` must be "repeat", "poisson", an encoder layer of '
            "keras_snn.layers, or None for input that is a sequence already. "
            f"Received: encoder={encoder!r}."
        )
    return known[encoder](checks.time_steps(time_steps), name="encoder")


def _check_mean(encoder):
    """Refuse an encoder whose mean over time is not its input."""
    rate = getattr(encoder, "max_rate", 1.0)
    if not isinstance(encoder, layers.LatencyEncoder) and rate == 1.0:
        return
    kind = type(encoder).__name__
    kind += f"(max_rate={rate})" if rate != 1.0 else ""
    raise ValueError(
        "`encoder` must have its input as its mean over time. Received: "
        f"{kind}. Use RepeatEncoder, or PoissonEncoder or RateEncoder with "
        "max_rate=1."
    )


# Pixels standardized by published numbers pass 1 by a little.
MOST = 1.001


def _check_range(encoder, graph, data):
    """Refuse data that spikes cannot hold."""
    if encoder is None or type(encoder) is layers.RepeatEncoder:
        return
    before = graph.before()
    if before:
        scaled = plain.reference(graph, [before[-1]])
        with tracing.in_tool():
            data = scaled.predict(data, verbose=0)
    if abs(data).max() <= MOST:
        return
    raise ValueError(
        f"{type(encoder).__name__} holds values in [-1, 1] only. "
        f"`calibration_data` reach {abs(data).max():.3g}. Train on data scaled "
        'to [-1, 1], or use encoder="repeat".'
    )
