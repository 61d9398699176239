"""Nodes of NIR for the operations of a network."""

import keras
import numpy as np

from keras_snn.export.nir import conventions, kernels

# What is written for a decay of 1, of neurons that NIR knows with a leak only.
ALMOST_ONE = 1.0 - 2.0**-30


def nir_shape(shape):
    """Return (height, width, channels) as (channels, height, width)."""
    return (shape[-1], *shape[:-1])


def neurons(nir, x, scale, convention):
    """Return neurons, those with feedback in a graph of their own."""
    node = _neuron(nir, x, scale, convention)
    if x.feedback is None:
        return node
    shape = np.array(nir_shape(x.shape))
    nodes = {
        "input": nir.Input({"input": shape}),
        "lif": node,
        "w_rec": linear(nir, x.feedback, 1, convention),
        "output": nir.Output({"output": shape}),
    }
    edges = [
        ("input", "lif"),
        ("lif", "w_rec"),
        ("w_rec", "lif"),
        ("lif", "output"),
    ]
    return nir.NIRGraph(
        nodes, edges, metadata={}, type_check=x.feedback.groups == 1
    )


def _neuron(nir, x, scale, convention):
    beta, alpha = _decay(x.layer), getattr(x.layer, "alpha", 0.0)
    threshold = np.float64(x.layer.threshold * scale)
    if getattr(x.layer, "scale_input", False):
        threshold = threshold / (1.0 - beta)
    has_synapses = (
        bool(np.any(alpha))
        or hasattr(x.layer, "alpha")
        and (x.feedback is None)
    )
    if has_synapses:
        values = _synaptic(convention, beta, alpha, threshold)
    else:
        values = convention.neuron(beta, threshold)
    values["v_reset"] = 0.0
    if values.keys() & {"tau", "tau_mem"}:
        values["v_leak"] = 0.0
    arrays = _all(values, x, convention)
    if x.passing:
        # Their potential is 0 or 1, and 0 after a spike.
        beta = np.ravel(beta)[0]
        passing = convention.neuron(beta, 0.5)["v_threshold"]
        arrays["v_threshold"][-x.passing :] = passing
    kind = nir.IF if "tau" not in values else nir.LIF
    node = (nir.CubaLIF if has_synapses else kind)(**arrays)
    if x.layer.reset != "zero":
        node.metadata = {"reset": x.layer.reset}
    return node


def _decay(layer):
    """Return the decay of neurons: a number, or one a channel."""
    decay = layer.decay if hasattr(layer, "decay") else layer.beta
    decay = conventions.single(keras.ops.convert_to_numpy(decay))
    # What leaks not, among others that do.
    mixed = np.ndim(decay) and np.any(decay != 1.0)
    return np.minimum(decay, ALMOST_ONE) if mixed else decay


def _synaptic(convention, beta, alpha, threshold):
    """Return the parameters of neurons whose current lasts."""
    values = convention.neuron(np.minimum(beta, ALMOST_ONE), threshold)
    values["tau_mem"] = values.pop("tau")
    alpha = np.minimum(conventions.single(alpha), ALMOST_ONE)
    return {**values, **convention.synapse(alpha)}


def readout(nir, x, convention):
    """Return a leaky integrator."""
    beta = _decay(x.layer)
    if beta == 1.0:
        return nir.I(_full(1.0 / convention.dt, x, convention))
    values = {**convention.leak(beta), "v_leak": 0.0}
    return nir.LI(**_all(values, x, convention))


def _all(values, x, convention):
    return {name: _full(value, x, convention) for name, value in values.items()}


def _full(value, x, convention):
    """Return a neuron parameter as an array of the layer's shape."""
    shape = nir_shape(x.shape)
    if np.ndim(value) and x.passing:
        value = _with_passing(value, x, convention)
    if convention.by_channel and np.ndim(value):
        value = np.reshape(value, (-1, *(1 for _ in shape[1:])))
    elif np.ndim(value):
        return _neuron_values(x, value).astype(convention.dtype)
    if convention.by_channel:
        shape = (shape[0], *(1 for _ in shape[1:]))
    return np.full(shape, value, convention.dtype)


def _with_passing(values, x, convention):
    """Return values of neurons and, behind them, of those spikes pass by in.

    These have the first one's.
    """
    own = x.shape[-1] - x.passing
    frame = () if convention.by_channel else x.shape[:-1]
    values = np.broadcast_to(values, (*frame, own))
    more = np.full((*frame, x.passing), values.flat[0])
    return np.concatenate([values, more], axis=-1)


def _neuron_values(x, values):
    """Return one value a neuron, in Keras' order, in NIR's."""
    values = np.broadcast_to(values, x.shape)
    if x.image and values.ndim == 1:
        values = values[kernels.order_of(x.image)]
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


def delay(nir, x, convention):
    """Return a delay, in the unit of time constants."""
    steps = _neuron_values(x, np.asarray(x.layer.steps, "float64"))
    return nir.Delay(steps * convention.dt)


def linear(nir, x, scale, convention):
    """Return a linear map of values that are `scale` times as large."""
    if x.kind == "convolution":
        return _convolution(nir, x, scale)
    if x.kind == "scale":
        values = _neuron_values(x, x.weight / np.float32(scale))
        return nir.Scale(values)
    return _dense(nir, x, scale, convention)


def _convolution(nir, x, scale):
    weight, padding = kernels.symmetric(x.weight, x.padding, x.dilation)
    if weight is None:
        raise ValueError(
            f"'{x.name}' ({type(x.layer).__name__}) cannot be written as NIR: "
            f"{padding}."
        )
    options = {
        "weight": weight / np.float32(scale),
        "groups": x.groups,
        "bias": _bias(x),
    }
    size = x.inputs[0].shape[:-1]
    moves = {"stride": x.strides, "padding": padding, "dilation": x.dilation}
    if len(size) == 1:
        moves = {name: int(n) for name, (n,) in moves.items()}
        return nir.Conv1d(input_shape=size[0], **moves, **options)
    return nir.Conv2d(input_shape=size, **moves, **options)


def _bias(x):
    """Return the bias, zeros if there is none: NIR wants one."""
    if x.bias is None:
        return np.zeros(x.weight.shape[0], "float32")
    return x.bias


def _dense(nir, x, scale, convention):
    weight = x.weight / np.float32(scale)
    if x.bias is None and not convention.bias_only:
        return nir.Linear(weight)
    return nir.Affine(weight, _bias(x))
