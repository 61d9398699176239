"""By which learning rule a network's one loop can train it, or why not."""

from keras_snn.layers import MembraneReadout, TimeFold
from keras_snn.layers.time_layer import TimeLayer, counts_or_draws
from keras_snn.network import kinds
from keras_snn.network.parts import SEES_SEQUENCES
from keras_snn.running import normalization
from keras_snn.running.by_products import regularizes_rates

# With the rate rule, the most steps of which a layer keeps all, being faster
# so. The paper's rules go by time, as their golden cases do.
MOST_STEPS_KEPT = 8


def rule_of(network):
    """Return how the spiking layers of the loop learn.

    `"collapsed"`, `"exact"`, `"rate"`, `"surrogate"`, or `"mixed"`.
    """
    rules = {x.layer.rule for x in network.looped_neurons}
    if len(rules) > 1:
        return "mixed"
    return rules.pop() if rules else "collapsed"


def obstacle_to_training(network, remat_steps=None):
    """Return why a network cannot learn in one loop, or None.

    Args:
        network: A `Network` that runs as one loop.
        remat_steps: Steps in a window of backpropagation through time; None
            to run it layer by layer.
    """
    rule = rule_of(network)
    for node in network.loop:
        layer = node.layer
        by_rate = rule in ("collapsed", "rate") and regularizes_rates(layer)
        if kinds.regularizes_activity(layer) and not by_rate:
            return SEES_SEQUENCES.format(layer.name)
    if rule == "mixed":
        return "its spiking layers learn by different rules"
    if rule == "surrogate" and remat_steps is None:
        layer = network.looped_neurons[0].layer
        return (
            f"'{layer.name}' learns by "
            f"{getattr(layer, 'learning_rule', layer.rule)!r}, "
            "through time, and `remat_steps` is not set"
        )
    layers = [node.layer for node in network.loop]
    if rule != "surrogate":
        for layer in layers:
            is_readout = isinstance(layer, MembraneReadout)
            if is_readout and layer.rule == "surrogate":
                return (
                    f"'{layer.name}' learns by {layer.learning_rule!r}, unlike "
                    "the spiking layers"
                )
    return next(filter(None, (_obstacle(x, rule) for x in layers)), None)


def order_to_train(network):
    """Return the order in which a network learns in one loop.

    Returns:
        Tuple: `"time first"` or `"layer first"`, and the reason.
    """
    rule = rule_of(network)
    if rule in ("collapsed", "rate"):
        for node in network.loop:
            for layer in node.stages:
                if kinds.is_normalization(layer) and layer.trainable:
                    return "layer first", f"'{layer.name}' sees all steps"
    steps = {x.shape[1] for x in network.sources}
    if rule == "rate" and None not in steps and max(steps) <= MOST_STEPS_KEPT:
        reason = f"up to {MOST_STEPS_KEPT} steps dense products are faster so"
        return "layer first", reason
    return "time first", "no layer needs to see all steps"


def _obstacle(layer, rule):
    """Return why a layer cannot take part in learning by a rule, or None."""
    if not isinstance(layer, TimeLayer):
        if counts_or_draws(layer):
            kind = type(layer).__name__
            return f"'{layer.name}' ({kind}) draws random numbers at every step"
        return None
    if type(layer).collapsed is TimeFold.collapsed:
        return _obstacle_of_frames(layer, rule)
    return layer.obstacle(rule)


def _obstacle_of_frames(layer, rule):
    kind = type(layer.layer).__name__
    if rule in ("collapsed", "rate"):
        if type(layer) is not TimeFold:
            kind = type(layer).__name__
            return f"'{layer.name}' ({kind}) is not known to be linear"
        for stage in kinds.stages(layer):
            if kinds.is_normalization(stage):
                reason = normalization.obstacle(stage)
                if reason:
                    return f"'{layer.name}' ({kind}) {reason}"
            elif not kinds.is_linear(stage):
                return f"'{layer.name}' ({kind}) is not linear"
        return None
    if counts_or_draws(layer.layer):
        return (
            f"'{layer.name}' ({kind}) works on all steps together, or draws "
            "random numbers at each"
        )
    return None
