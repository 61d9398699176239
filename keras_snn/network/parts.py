"""Which part of a network can run as one loop over time."""

import keras

from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.standardized import Standardized
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network import kinds

SEES_SEQUENCES = "'{}' has an activity regularizer, which sees whole sequences"


def parts(network, sequences=False):
    """Return `((before, loop, after, sources), None)`, or why no loop fits.

    Args:
        network: A `reading.Network` whose values know whether they run over
            time.
        sequences: Whether what has a time axis may be returned.
    """
    nothing = [], [], [], []
    looped, sources, reason = _loop(network, sequences)
    if reason is None and not looped:
        reason = "no layer runs over time"
    if reason is None and not sequences:
        reason = _sequence_returned(network, looped)
    if reason is None:
        reason = _uneven(sources)
    if reason is not None:
        return nothing, reason
    before = ancestors(sources)
    inner = set(looped)
    others = [x for x in network.nodes if x not in inner and not x.is_input]
    return (
        [x for x in others if x in before],
        looped,
        [x for x in others if x not in before],
        sources,
    ), None


def _loop(network, sequences):
    """Return the nodes of the loop, the values it starts from, and a reason."""
    looped, sources = [], {}
    inside, results = set(), set()
    for node in network.nodes:
        inputs = {x.key for x in node.inputs}
        outputs = {x.key for x in node.outputs}
        if isinstance(node.layer, TimeLayer) or inputs & inside:
            reason = _obstacle(node, inputs & results, sequences)
            if reason is not None:
                return [], [], reason
            sources.update(
                (x.key, x) for x in node.inputs if x.key not in inside
            )
            looped.append(node)
            if isinstance(node.layer, Readout):
                results.add(node.key)
                outputs.remove(node.key)
            inside.update(outputs)
        elif inputs & results:
            results |= outputs
    return looped, list(sources.values()), None


def _obstacle(node, follows_readout, sequences):
    """Return why a node cannot run step by step, or None."""
    layer = node.layer
    kind = type(layer).__name__
    if isinstance(layer, TimeLayer) and layer.sees_only_sequences():
        return f"'{layer.name}' ({kind}) has a `call` of its own, and no `step`"
    if not _runs_on_frames(node):
        return f"'{layer.name}' ({kind}) works on the whole sequence"
    if getattr(layer, "return_potentials", False) and not sequences:
        return f"'{layer.name}' ({kind}) returns its potentials at every step"
    if follows_readout:
        return f"'{layer.name}' starts a second sequence"
    if kinds.regularizes_frames(layer):
        return SEES_SEQUENCES.format(layer.name)
    if node.adds_losses:
        return f"'{layer.name}' ({kind}) adds to the loss when it is called"
    if len({len(x.shape) for x in node.inputs}) > 1:
        return f"'{layer.name}' ({kind}) takes inputs of different ranks"
    if None in node.inputs[0].shape[2:]:
        return f"'{layer.name}' has features of unknown size"
    masked = next((x for x in node.inputs if x.masked), None)
    if masked is not None:
        return f"'{layer.name}' takes a sequence with a mask"
    return None


def _runs_on_frames(node):
    """Return whether a layer works on one step as on all steps."""
    if isinstance(node.layer, keras.layers.Concatenate):
        # Counted from the end, a feature axis is the same without time.
        rank = len(node.inputs[0].shape)
        return 2 - rank <= node.layer.axis < 0
    if isinstance(node.layer, TimeLayer):
        return True
    return kinds.of(node.layer).role in ("merge", "identity")


def _sequence_returned(network, looped):
    """Return that the model returns a sequence of the loop, or None."""
    inside = set(looped)
    for x in network.outputs:
        if x.node in inside and x.over_time:
            return f"the model returns the sequence of '{x.node.layer.name}'"
    return None


def _uneven(sources):
    """Return that sources have different numbers of steps, or None."""
    steps = {x.shape[1] for x in sources if len(x.shape) > 1}
    if len(steps) < 2:
        return None
    found = ", ".join(sorted(map(str, steps)))
    return f"its sequences have different numbers of steps, {found}"


def ancestors(values):
    """Return the nodes that values are computed from."""
    found, waiting = set(), [x.node for x in values]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [x.node for x in node.inputs]
    return found


def between(neurons, end=None):
    """Yield the nodes between neurons and those before them, going backward.

    Args:
        neurons: The node of a spiking layer.
        end: Function of a node; nothing before one it holds for is yielded by
            way of that one. None goes on to the neurons and inputs.
    """
    seen, waiting = set(), [x.node for x in neurons.inputs]
    while waiting:
        node = waiting.pop()
        if (
            node.is_input
            or node in seen
            or isinstance(node.layer, SpikingLayer)
        ):
            continue
        seen.add(node)
        if end is None or not end(node):
            waiting += [x.node for x in node.inputs]
        yield node


def normalizes(node):
    """Return whether a layer of a node normalizes."""
    return any(map(kinds.is_normalization, node.stages))


def is_normalized(neurons):
    """Return whether a normalization gives the currents of neurons.

    Of a batch, or of the weights; what multiplies the kernels before it is
    taken away.

    Args:
        neurons: The node of a spiking layer.
    """
    return any(
        normalizes(node)
        or any(isinstance(x, Standardized) for x in node.stages)
        for node in between(neurons)
    )
