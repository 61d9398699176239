"""What helps a spiking layer that is silent or saturated."""

from keras_snn.network import kinds, parts, scaling

_SCALE = "keras_snn.models.scale_to_rate(model, x) before training"


def by_layer(network, names, kind):
    """Return what helps spiking layers, and which of them, a dict.

    It depends on the layer: on whether weights scale its currents, what
    normalizes them, and by which rule it learns.

    Args:
        network: A `Network`.
        names: Names of spiking nodes.
        kind: `"silent"` or `"saturated"`.

    Returns:
        Dict from sentences of advice to lists of the names they are for.
    """
    scales = scaling.of_neurons(network)
    helps = {"silent": _silent, "saturated": _saturated}[kind]
    found = {}
    for node in network.neurons:
        if node.name in names:
            text = helps(node, bool(scales[node.name].variables))
            found.setdefault(text, []).append(node.name)
    return found


def _silent(node, is_scalable):
    layer, remedies = node.layer, []
    if is_scalable:
        remedies.append(f"call {_SCALE}")
    if _normalizes_by(node, "center"):
        remedies.append(
            "start the normalization's offset higher (beta_initializer)"
        )
    if not parts.is_normalized(node):
        remedies.append('normalize its currents (norm="batch" in a builder)')
    if hasattr(layer, "threshold"):
        remedies.append("lower its threshold")
    remedies.append("use more time steps")
    if layer.rule == "rate":
        return (
            f'{_listed(remedies)}. Its rule, learning_rule="rate", credits '
            "silent neurons, so training may wake them."
        )
    if layer.obstacle("rate") is None:
        remedies.append(
            'learn by learning_rule="rate", which credits silent neurons, too'
        )
    return f"{_listed(remedies)}."


def _saturated(node, is_scalable):
    remedies = []
    if is_scalable:
        remedies.append(f"make the weights smaller ({_SCALE})")
    if _normalizes_by(node, "scale"):
        remedies.append(
            "start the normalization's scale lower (gamma_initializer)"
        )
    if hasattr(node.layer, "threshold"):
        remedies.append("raise its threshold")
    remedies.append("lower the learning rate")
    return f"{_listed(remedies)}."


def _normalizes_by(neurons, option):
    """Return whether a normalization before neurons has `center` or `scale`."""
    return any(
        kinds.is_normalization(layer) and getattr(layer, option, False)
        for node in parts.between(neurons)
        for layer in node.stages
    )


def _listed(remedies):
    *others, last = remedies
    if not others:
        return f"What helps: {last}"
    comma = "," if len(others) > 1 else ""
    return f"What helps: {', '.join(others)}{comma} or {last}"
