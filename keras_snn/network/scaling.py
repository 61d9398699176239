"""Which weights scale the currents of each spiking layer."""

import dataclasses

import keras

from keras_snn.network import kinds, parts, weights


@dataclasses.dataclass
class Scaling:
    """What scales the currents of one spiking layer.

    Attributes:
        variables: List of variables; all of them times a number give currents
            times it. Empty if there are none, or if they are those of a layer
            before.
        reasons: Why other weights before the layer cannot be scaled, a list.
    """

    variables: list
    reasons: list


def of_neurons(network):
    """Return a dict from the names of spiking nodes to their `Scaling`s.

    In forward order. Variables that lead to several of them belong to the
    first.

    Args:
        network: A `Network`.
    """
    found, owners = {}, {}
    for node in network.neurons:
        variables, reasons = _variables_before(node)
        fresh = [v for v in variables if id(v) not in owners]
        if not fresh:
            others = sorted({owners[id(v)] for v in variables})
            reasons += [
                f"its kernels were scaled for '{name}' already"
                for name in others
            ]
        owners.update((id(v), node.name) for v in fresh)
        found[node.name] = Scaling(fresh, reasons)
    return found


def _variables_before(neuron):
    """Return variables between neurons and those before, and `reasons`."""
    found, reasons = {}, []
    for node in parts.between(neuron, end=parts.normalizes):
        if parts.normalizes(node):
            reasons.append(
                f"'{node.name}' normalizes, and takes away what kernels before "
                "it are scaled by"
            )
            continue
        for layer in node.stages:
            variables, reason = _variables_of(layer)
            found.update((id(v), v) for v in variables)
            if reason:
                reasons.append(f"'{layer.name}': {reason}")
    return list(found.values()), reasons


def _variables_of(layer):
    """Return `(variables, reason)` of one layer that sees frames."""
    if not isinstance(layer, keras.Layer) or not layer.weights:
        return [], None
    role = kinds.of(layer).role
    if role == "synapses" or hasattr(layer, "effective_weights"):
        variables, reason = weights.scalable(layer)
        return variables or [], reason
    if role in ("scaling", "activation"):
        return [], None
    return [], f"a {type(layer).__name__} is not known to be linear"
