"""Batch normalisation, folded into the weights next to it."""

import keras
import numpy as np

from keras_snn.conversion.plan import read

L = keras.layers
DEPTHWISE = (L.DepthwiseConv1D, L.DepthwiseConv2D)
SEPARABLE = (L.SeparableConv1D, L.SeparableConv2D)
TRANSPOSED = (L.Conv1DTranspose, L.Conv2DTranspose, L.Conv3DTranspose)


def folded(ann, what="convert"):
    """Return the graph of a network, ready for conversion.

    Args:
        ann: The network.
        what: Name of the public function that asks, for messages.

    Raises:
        ValueError: Naming all layers that cannot be converted.
    """
    graph = read(ann, what)
    fold(graph)
    graph.raise_problems()
    return graph


def fold(graph):
    """Take dropout and batch normalisation out of a graph, exactly.

    A normalisation in use is `y = a * x + c` in each channel, with
    `a = gamma / sqrt(variance + epsilon)` and `c = beta - a * mean`. It goes
    into the convolution or dense layer before it,

        W <- W * a (output channels),   b <- a * b + c,

    also past an average pooling between them, whose means scale and shift
    as what they are of; or else into the one after it,

        W <- W * a (input channels),   b <- b + sum(W * c),

    which is exact unless that one pads its input with zeros. What fits
    neither is noted in `graph.problems`.
    """
    for op in list(graph.ops):
        if op.role == "identity":
            graph.remove(op)
    for op in list(graph.ops):
        if op.role == "normalization":
            problem = _fold_one(graph, op)
            if problem:
                graph.refuse(op, problem)
            else:
                graph.remove(op)


def affine(norm):
    """Return `(a, c)` of a normalisation in inference, one a channel."""
    mean, variance, gamma, beta = (
        None if w is None else keras.ops.convert_to_numpy(w).astype("float64")
        for w in (
            norm.moving_mean,
            norm.moving_variance,
            norm.gamma,
            norm.beta,
        )
    )
    a = 1.0 / np.sqrt(variance + norm.epsilon)
    if gamma is not None:
        a = a * gamma
    return a, (0.0 if beta is None else beta) - a * mean


def _fold_one(graph, op):
    """Fold one normalisation; return why it cannot be, or None."""
    if op.layer.axis not in (-1, len(op.shape)):
        return f"axis={op.layer.axis}; only the last axis is known"
    a, c = affine(op.layer)
    before = _synapses_before(graph, op)
    if before is not None:
        into_outputs(before, a, c)
        return None
    after = graph.consumers(op)
    if graph.output is not op and list(map(_is_synapses, after)) == [True]:
        return _into_inputs(after[0], a, c)
    return (
        "no convolution or dense layer stands directly before it, or before "
        "an average pooling (or after it), whose output goes nowhere else, so "
        "it cannot be folded"
    )


def _synapses_before(graph, op):
    """Return the weights whose output only a normalization takes, or None."""
    while graph.consumers(op.inputs[0]) == [op]:
        (op,) = op.inputs
        if _is_synapses(op):
            return op
        if op.role != "average":
            return None
    return None


def _is_synapses(op):
    # The axes of the kernel of an EinsumDense may mean anything.
    return op.role == "synapses" and not isinstance(op.layer, L.EinsumDense)


def into_outputs(op, a, c):
    """Have an operation's weights give `a * y + c` instead of `y`."""
    weights = op.weights
    if isinstance(op.layer, DEPTHWISE):
        factor = a.reshape(weights["kernel"].shape[-2:])
    elif isinstance(op.layer, TRANSPOSED):
        factor = a[:, None]
    else:
        factor = a
    last = "pointwise_kernel" if "pointwise_kernel" in weights else "kernel"
    weights[last] = weights[last] * factor
    weights["bias"] = weights.get("bias", 0.0) * a + c


def _into_inputs(op, a, c):
    layer, weights = op.layer, op.weights
    kind = type(layer).__name__
    if isinstance(layer, (*SEPARABLE, *TRANSPOSED)):
        return f"it cannot be folded into the {kind} after it"
    if getattr(layer, "groups", 1) != 1:
        return f"it cannot be folded into the grouped {kind} after it"
    padded = getattr(layer, "padding", "valid") != "valid"
    if padded and not np.allclose(c, 0.0, atol=1e-12):
        return (
            f"the {kind} after it pads with zeros, which stood for 0 after "
            'the normalisation. Use padding="valid", or put the normalisation '
            "before the activation"
        )
    kernel = weights["kernel"]
    shift = kernel * c[:, None]
    if isinstance(layer, DEPTHWISE):
        shift = shift.sum(axis=tuple(range(kernel.ndim - 2))).reshape(-1)
    else:
        shift = shift.sum(axis=tuple(range(kernel.ndim - 1)))
    weights["kernel"] = kernel * a[:, None]
    weights["bias"] = weights.get("bias", 0.0) + shift
    return None
