"""The weights that a layer works with, whatever it stores."""

import contextlib

import keras
import numpy as np

NAMES = ("kernel", "depthwise_kernel", "pointwise_kernel", "bias")


def effective(layer):
    """Return what a linear layer multiplies and adds, as plain layers do.

    What a low-rank adapter (LoRA) adds is in the kernel; of a layer quantized
    to integers it is the kernel that the integers and their scales stand for;
    a layer with a method `effective_weights` says it itself.

    Args:
        layer: A built layer of the role `"synapses"`.

    Returns:
        Dict from the names `"kernel"`, `"depthwise_kernel"`,
        `"pointwise_kernel"`, `"bias"`, as far as the layer has them, to
        float64 arrays.

    Raises:
        ValueError: If the layer is quantized in a way that is not known.
    """
    if hasattr(layer, "effective_weights"):
        found = dict(zip(("kernel", "bias"), layer.effective_weights()))
    else:
        found = {name: getattr(layer, name, None) for name in NAMES}
    if getattr(layer, "quantization_mode", None) is not None:
        found["kernel"] = _dequantized(layer)
    return {
        name: keras.ops.convert_to_numpy(w).astype("float64")
        for name, w in found.items()
        if w is not None
    }


def problem(layer):
    """Return why a layer's effective weights are not known, or None."""
    mode = getattr(layer, "quantization_mode", None)
    if mode is None or type(layer) is keras.layers.Dense:
        return None
    return (
        f"its weights are quantized ({mode}), which is known of Dense layers "
        "only. Build the network without quantization"
    )


def plain_type(layer):
    """Return the type of layer that works with the effective weights."""
    if not hasattr(layer, "effective_weights"):
        return type(layer)
    return next(
        x for x in type(layer).__mro__ if x.__module__.startswith("keras.")
    )


def _dequantized(layer):
    """Return the kernel of a quantized Dense layer.

    The layer itself says what it does to each input: a one is a whole number
    of the integers that it makes of its inputs.
    """
    if reason := problem(layer):
        raise ValueError(f"'{layer.name}' ({type(layer).__name__}): {reason}.")
    inputs = layer.input_spec.axes[-1]
    with _without_activation(layer):
        rows = keras.ops.convert_to_numpy(
            layer(np.eye(inputs, dtype="float32"))
        )
    bias = 0.0 if layer.bias is None else layer.bias
    return rows - keras.ops.convert_to_numpy(bias)


@contextlib.contextmanager
def _without_activation(layer):
    before, layer.activation = layer.activation, None
    try:
        yield
    finally:
        layer.activation = before


def scalable(layer):
    """Return the variables that scale a linear layer, its bias apart.

    Multiplied by one number they multiply all that the layer makes of its
    inputs.

    Args:
        layer: A built layer of the role `"synapses"`.

    Returns:
        `(variables, None)`, or `(None, reason)` where there are none.
    """
    if getattr(layer, "quantization_mode", None) is not None:
        return None, f"its kernel is quantized ({layer.quantization_mode})"
    if not layer.trainable:
        return None, "it is frozen (trainable=False)"
    if hasattr(layer, "effective_weights"):
        return [layer.gain], None
    if getattr(layer, "lora_enabled", False):
        names = {"kernel", "lora_kernel_b"}
        return [v for v in layer.weights if v.name in names], None
    last = "kernel" if hasattr(layer, "kernel") else "depthwise_kernel"
    # A bias alone has none.
    found = getattr(layer, last)
    return [] if found is None else [found], None
