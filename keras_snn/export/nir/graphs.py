"""A NIR graph in one level, with feedback beside the neurons it drives."""

import dataclasses
import graphlib


@dataclasses.dataclass
class Wiring:
    """What leads where.

    Attributes:
        nodes: Dict from names to nodes, graphs in graphs taken apart.
        sources: Dict from names to the names of what leads there, in order,
            without feedback.
        feedback: Dict from names of neurons to the linear node through which
            their spikes come back one step later.
    """

    nodes: dict
    sources: dict
    feedback: dict

    @property
    def neurons(self):
        """The nodes of neurons and integrators."""
        return [x for x in self.nodes.values() if hasattr(x, "r")]

    def takers(self, name):
        """Return the nodes that take a node's output."""
        return [
            self.nodes[x] for x, found in self.sources.items() if name in found
        ]

    def order(self):
        """Return the names so that each follows what leads there.

        Raises:
            ValueError: If there is a cycle.
        """
        try:
            return list(graphlib.TopologicalSorter(self.sources).static_order())
        except graphlib.CycleError as error:
            raise ValueError(
                "from_nir() reads recurrence of one kind: the spikes of LIF, "
                "IF or CubaLIF neurons that come back to them through one "
                "node that is linear and leads nowhere else. Received a cycle "
                f"of nodes: {' -> '.join(error.args[1])}."
            ) from error


def wiring(nir, graph, input_through_feedback=False):
    """Return the `Wiring` of a graph.

    Args:
        nir: The package.
        graph: A `nir.NIRGraph`.
        input_through_feedback: Whether an edge into a feedback's node means
            the neurons, as some programs write it.
    """
    nodes, edges = _flat(nir, graph)
    nodes, edges = _without_passages(nir, nodes, edges)
    feedback, edges = _feedback(nir, nodes, edges, input_through_feedback)
    sources = {x: [] for x in nodes if x not in feedback.values()}
    for x, y in edges:
        sources[y].append(x)
    return Wiring(nodes, sources, feedback)


def _flat(nir, graph):
    """Return nodes and edges of a graph, with those of the graphs in it."""
    nodes, edges = {}, list(map(tuple, graph.edges))
    for name, node in graph.nodes.items():
        if not isinstance(node, nir.NIRGraph):
            nodes[name] = node
            continue
        inner, inner_edges = _flat(nir, node)
        names = {x: _inner_name(name, x) for x in inner}
        what = f"'{name}' (NIRGraph) cannot be read from NIR: a graph in a "
        what += "graph is read"
        start, end = (
            only(node.nodes, x, what) for x in (nir.Input, nir.Output)
        )
        ends = {name: (names[start], names[end])}
        edges = [
            (ends.get(x, (x, x))[1], ends.get(y, (y, y))[0]) for x, y in edges
        ]
        nodes |= {names[x]: n for x, n in inner.items()}
        edges += [(names[x], names[y]) for x, y in inner_edges]
    return nodes, edges


def _inner_name(name, inner):
    """Return the name of a node of a graph in a graph, as nirtorch does."""
    return inner if inner.startswith(f"{name}.") else f"{name}.{inner}"


def only(nodes, kind, what):
    """Return the name of the one node of a kind, or raise a `ValueError`.

    Args:
        nodes: Dict from names to nodes.
        kind: Type of nodes.
        what: What has to have one, for the message.
    """
    found = [x for x, node in nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        raise ValueError(
            f"{what} with one {kind.__name__} node. Received: {len(found)}."
        )
    return found[0]


def _without_passages(nir, nodes, edges):
    """Lead past inputs that something leads to, and outputs that go on."""
    for name, node in list(nodes.items()):
        before = [x for x, y in edges if y == name]
        after = [y for x, y in edges if x == name]
        is_passage = isinstance(node, (nir.Input, nir.Output))
        if is_passage and before and after:
            edges = [x for x in edges if name not in x]
            edges += [(x, y) for x in before for y in after]
            del nodes[name]
    return nodes, edges


def _feedback(nir, nodes, edges, input_through_feedback):
    """Return `(feedback, other edges)`."""
    neurons = (nir.LIF, nir.IF, nir.CubaLIF)
    linear = (nir.Linear, nir.Affine, nir.Conv1d, nir.Conv2d, nir.Scale)
    found = {}
    for name, back in edges:
        is_pair = isinstance(nodes[name], neurons) and isinstance(
            nodes[back], linear
        )
        if not is_pair or (back, name) not in edges:
            continue
        others = [x for x, y in edges if y == back and x != name]
        goes_on = [y for x, y in edges if x == back and y != name]
        if name in found or goes_on or others and not input_through_feedback:
            continue
        found[name] = back
        edges = [x for x in edges if back not in x]
        edges += [(x, name) for x in others]
    return found, edges
