"""What NIR has for each kind of neurons, as `layer_handlers` of others."""

import dataclasses

import keras
import numpy as np

from keras_snn.export.nir import kernels
from keras_snn.export.nir.layer_handlers import NODES
from keras_snn.layers import ALIF, IF, LIF, PLIF, RecurrentLIF, SynapticLIF

L = keras.layers


@NODES.register(LIF, IF)
def _neurons(primitives, layer, signal):
    return _any_neurons(primitives, layer, signal)


@NODES.register(PLIF)
def _parametric(primitives, layer, signal):
    reason = None
    if layer.per_channel:
        reason = primitives.convention.refusals.get("tau")
        if layer.scale_input and not reason:
            reason = primitives.convention.refusals.get("v_threshold")
    if reason:
        primitives.refuse(layer, f"per_channel=True, and {reason}")
    return _any_neurons(primitives, layer, signal)


@NODES.register(SynapticLIF)
def _synaptic(primitives, layer, signal):
    reason = primitives.convention.refusals.get("CubaLIF")
    if reason:
        primitives.refuse(layer, f"alpha={layer.alpha}, and {reason}")
    return _any_neurons(primitives, layer, signal, "neuron of more states")


@NODES.register(ALIF)
def _adaptive(primitives, layer, signal):
    if layer.amplitude:
        primitives.refuse(
            layer,
            f"amplitude={layer.amplitude}: a NIR neuron's threshold does not "
            "move. Train with amplitude=0 or LIF",
        )
    return _any_neurons(primitives, layer, signal)


@NODES.register(RecurrentLIF)
def _recurrent(primitives, layer, signal):
    if reason := primitives.convention.refusals.get("NIRGraph"):
        primitives.refuse(layer, reason)
    if np.any(layer.alpha):
        if reason := primitives.convention.refusals.get("CubaLIF"):
            primitives.refuse(layer, f"alpha={layer.alpha}, and {reason}")
    signal = _any_neurons(primitives, layer, signal, "neuron of more states")
    (neurons,) = signal.sources
    # What leads back is read as a network of its own.
    inner = primitives.beside()
    spikes = dataclasses.replace(signal, shared=True)
    back = layer.recurrent
    if type(back) not in (L.Dense, L.Conv1D, L.Conv2D, L.Rescaling):
        primitives.refuse(
            layer,
            f"recurrent={back.name!r} ({type(back).__name__}): known are "
            "Dense, Conv1D, Conv2D and Rescaling",
        )
        return signal
    spikes = NODES.of(back)(inner, back, spikes)
    for reason in inner.problems.values():
        primitives.refuse(layer, f"recurrent={back.name!r}: {reason}")
    (neurons.feedback,) = spikes.sources
    if neurons.image and neurons.feedback.weight is not None:
        _reorder_outputs(neurons.feedback, kernels.order_of(neurons.image))
    return signal


def _reorder_outputs(operation, order):
    """Give the outputs of a linear map NIR's order of a flat image."""
    if operation.kind == "dense":
        operation.weight = operation.weight[order]
        if operation.bias is not None:
            operation.bias = operation.bias[order]


def _of_each_neuron(convention, layer):
    """Return why arrays of numbers cannot be written, a list."""
    reasons = []
    parameters = {"beta": "tau", "alpha": "tau", "threshold": "v_threshold"}
    for name, parameter in parameters.items():
        axes = np.ndim(getattr(layer, name, 1.0))
        reason = convention.refusals.get(parameter)
        if reason is None and convention.by_channel and axes > 1:
            reason = "the program knows one number a channel"
        if axes and reason:
            reasons.append(f"`{name}` of each neuron: {reason}")
    return reasons


def _any_neurons(primitives, layer, signal, kind="neuron"):
    signal = primitives.unpadded(layer, signal)
    reasons = []
    if layer.reset not in primitives.convention.resets:
        reasons.append(
            f'reset="{layer.reset}": a NIR neuron is reset to a potential. '
            'Train with reset="zero"'
        )
    start = getattr(layer, "initial_potential", 0.0)
    others = primitives.node.outputs[1:]
    if start != 0.0:
        reasons.append(
            f"initial_potential={start}: a NIR neuron starts at rest"
        )
    reasons += _of_each_neuron(primitives.convention, layer)
    if any(x.takers or x in primitives.network.outputs for x in others):
        reasons.append(
            "return_potentials=True: a NIR neuron gives its spikes alone"
        )
    if reasons:
        primitives.refuse(layer, "; and ".join(reasons))
    image = signal.sources[0].image
    return primitives.add(kind, layer, signal, signal.shape, image=image)
