"""A network's loop over time in segments, where the engine knows but some.

Layers that the engine knows run event by event, all steps of a window; what
it does not know runs through Keras between them. A layer is in the first
segment of its kind that comes after the segments it reads from, so that
branches meet where they are joined.
"""

import dataclasses

from keras_snn.event_driven.lowering import Program, Unknown, held_sources
from keras_snn.layers.time_layer import counts_or_draws
from keras_snn.network import kinds
from keras_snn_runtime import operations

# An engine's segment is worth its borders with one of these.
_WORK = (
    operations.Convolution,
    operations.Product,
    operations.Depthwise,
    operations.MaxRatePooling,
    operations.Neurons,
    operations.Integration,
)
_PRODUCTS = (operations.Convolution, operations.Depthwise, operations.Product)


@dataclasses.dataclass(eq=False)
class Segment:
    """Nodes that run together, all steps of a window.

    Attributes:
        loop: The nodes, in forward order.
        sources: `Value`s that they take from outside.
        results: `Value`s that others take from them.
        program: What the engine runs; None runs them through Keras.
    """

    loop: list
    sources: list
    results: list
    program: Program | None = None


@dataclasses.dataclass(eq=False)
class Split:
    """How a network's loop is split.

    Attributes:
        segments: List of `Segment`s in the order they run.
        reasons: Dict from the nodes that run through Keras to why.
        held: Keys of the values that are the same at every step.
    """

    segments: list
    reasons: dict
    held: set

    @property
    def reason(self):
        """What does not run event by event, and why, as one text."""
        found = "; ".join(dict.fromkeys(self.reasons.values()))
        return f"{found}. The other layers run event by event"


def split(network):
    """Return the `Split` of a network's loop for inference, or None.

    None where the engine knows all layers, and where nothing would be gained:
    it knows no layer with weights of its own.

    Args:
        network: A `Network` that runs as one loop.
    """
    reasons = {}
    # Each turn finds a node more that is not known, till there is none.
    while True:
        held = _held(network, reasons)
        segments = _segments(network, reasons)
        try:
            for segment in segments:
                if segment.loop[0] not in reasons:
                    segment.program = Program(
                        segment, False, held, segment.results
                    )
        except Unknown as unknown:
            reasons[unknown.node] = str(unknown)
            continue
        idle = _idle(segments)
        if not idle:
            break
        for node in idle:
            reasons[node] = (
                f"'{node.layer.name}' ({type(node.stages[0]).__name__}) lies "
                "between layers that run through Keras"
            )
    programs = [x.program for x in segments if x.program is not None]
    found = [x for program in programs for x in program.operations]
    if not reasons or not any(isinstance(x, _PRODUCTS) for x in found):
        return None
    in_order = {x: reasons[x] for x in network.loop if x in reasons}
    return Split(segments, in_order, held)


def _idle(segments):
    """Return the nodes of the engine's segments that have nothing to do."""
    return [
        node
        for segment in segments
        if segment.program is not None
        and not any(isinstance(x, _WORK) for x in segment.program.operations)
        for node in segment.loop
    ]


def _segments(network, reasons):
    """Return the segments, given which nodes run through Keras."""
    level = {}
    for node in network.loop:
        least = max((level.get(x.node, 0) for x in node.inputs), default=0)
        # The engine's are even.
        level[node] = least + ((least % 2 == 1) != (node in reasons))
    found = {}
    for node in network.loop:
        found.setdefault(level[node], []).append(node)
    return [_segment(network, found[key]) for key in sorted(found)]


def _segment(network, nodes):
    inside = {x.key for node in nodes for x in node.outputs}
    sources = {x.key: x for n in nodes for x in n.inputs if x.key not in inside}
    members, looped = set(nodes), set(network.loop)
    results = [
        x
        for node in nodes
        for x in node.outputs
        if any(n in looped and n not in members for n in x.takers)
    ]
    return Segment(nodes, list(sources.values()), results)


def _held(network, reasons):
    """Return the keys of all values that are the same at every step."""
    held = held_sources(network)
    for node in network.loop:
        still = not getattr(node.layer, "keeps_state", False)
        if node in reasons:
            still = still and works_on_frames(node)
        if still and held.issuperset(x.key for x in node.inputs):
            held.update(x.key for x in node.outputs)
    return held


def works_on_frames(node):
    """Return whether a node does to each step alone what it does to all.

    It keeps no state, counts nothing and draws nothing.
    """
    if getattr(node.layer, "keeps_state", False):
        return False
    known = all(kinds.of(x).role != "unknown" for x in node.stages)
    return known or not counts_or_draws(node.layer)
