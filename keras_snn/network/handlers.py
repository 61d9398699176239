"""A registry of what one consumer of networks does with each kind of layer."""

import keras

from keras_snn.network import kinds


class Handlers:
    """Handlers by kind of layer, for one consumer.

    A kind is a type of layers, or a role of `kinds` (a string). A layer's
    exact type comes first, also where it is refused, then its role.

    Args:
        purpose: What the consumer does with a layer, for messages, e.g.
            `"written as NIR"`.
        bases: Whether a type's handler serves its subclasses, too, where
            neither their own type nor their role has one. For consumers that
            only look at a layer, and need not know what it computes.
        unknown: Why there is no handler of a kind that nobody knows.

    Example:

    >>> handlers = Handlers("counted")
    >>> @handlers.register(keras.layers.Dense, "average")
    ... def count(consumer, layer): ...
    """

    def __init__(self, purpose, bases=False, unknown=kinds.UNKNOWN.refusal):
        self.purpose = purpose
        self.bases = bases
        self.unknown = unknown
        self._handlers = {}
        self._reasons = {}

    def register(self, *found):
        """Return a decorator that registers a function for some kinds.

        Raises:
            ValueError: If a kind has a handler already.
        """

        def decorate(function):
            for kind in found:
                if kind in self._handlers:
                    raise ValueError(f"{kind} has a handler already.")
                self._handlers[kind] = function
            return function

        return decorate

    def refuse(self, *found, reason):
        """Say why there is no handler for some kinds."""
        for kind in found:
            self._reasons[kind] = reason

    def of(self, layer):
        """Return the handler of a layer, or None."""
        found = self._handlers.get(type(layer))
        kind = kinds.of(layer)
        if found or type(layer) in self._reasons:
            return found
        if not kind.refusal:
            found = self._handlers.get(kind.role)
        if found is None and self.bases:
            known = (self._handlers.get(x) for x in type(layer).__mro__)
            found = next(filter(None, known), None)
        return found

    def reason(self, layer):
        """Return why a layer has no handler, or None if it has one."""
        if self.of(layer) is not None:
            return None
        kind = kinds.of(layer)
        own = self._reasons.get(type(layer)) or self._reasons.get(kind.role)
        if own or kind is kinds.UNKNOWN:
            return own or self.unknown
        return kind.refusal or self.unknown

    def refusals(self, layers):
        """Return `(layer, reason)` of all layers without a handler.

        Args:
            layers: The layers, or a `Network`, of which all stages are asked.
        """
        if hasattr(layers, "nodes"):
            layers = [
                stage
                for node in layers.nodes
                if not node.is_input
                for stage in node.stages
            ]
        reasons = {layer: self.reason(layer) for layer in layers}
        return [(x, reason) for x, reason in reasons.items() if reason]

    def error(self, name, refusals, known=""):
        """Return the `ValueError` that names all refused layers at once.

        Args:
            name: Name of the network.
            refusals: Pairs `(layer, reason)`; instead of a layer, what has a
                `name` and a `layer`, as a `Node`.
            known: What is known instead, a sentence.
        """
        refusals = list(refusals)
        lines = _lines(refusals)
        return ValueError(
            f"'{name}' has {len(refusals)} layer(s) that cannot be "
            f"{self.purpose}:\n" + "\n".join(lines) + (known and f"\n{known}")
        )


# So many layers of a type are named for one reason, all if they are no more.
NAMED = 4


def _lines(refusals):
    """Return a line for each refusal, one for many of a type and reason."""
    groups = {}
    for refused, reason in refusals:
        is_layer = isinstance(refused, keras.Operation)
        kind = type(refused if is_layer else refused.layer).__name__
        groups.setdefault((kind, reason), []).append(refused.name)
    lines = []
    for (kind, reason), names in groups.items():
        if len(names) <= NAMED:
            lines += [f"- '{name}' ({kind}): {reason}." for name in names]
            continue
        first = ", ".join(f"'{name}'" for name in names[: NAMED - 1])
        more = f"{first} and {len(names) - NAMED + 1} more"
        lines.append(f"- {more} ({kind}): {reason}.")
    return lines
