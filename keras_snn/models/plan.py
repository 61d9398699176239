"""Which part of a functional model can run as one loop over time."""

import dataclasses

import keras

from keras_snn.layers import (
    LIF,
    MembraneReadout,
    TimeConstantDropout,
    TimeFold,
)
from keras_snn.layers.readouts import Readout
from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.time_layer import TimeLayer, counts_or_draws
from keras_snn.neurons.surrogates import Surrogate

# Layers that work on one step as on all steps.
MERGES = (
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Subtract,
    keras.layers.Identity,
)

# Layers whose mean over time is the layer of the mean over time.
LINEAR = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.UpSampling2D,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Identity,
    keras.layers.Rescaling,
)

_SEES_SEQUENCES = "'{}' has an activity regularizer, which sees whole sequences"


@dataclasses.dataclass
class Plan:
    """The nodes of a functional model, sorted by how they see time.

    Attributes:
        before: Nodes that run once before the loop.
        loop: Nodes that run at every step, in order, readouts among them.
        after: Nodes that run once on the readouts' results.
        sources: Dict from ids to the symbolic tensors that the loop reads
            slice by slice.
    """

    before: list
    loop: list
    after: list
    sources: dict

    @property
    def neurons(self):
        """The nodes of spiking layers in the loop."""
        return [n for n in self.loop if isinstance(n.operation, SpikingLayer)]

    @property
    def regularized(self):
        """The first layer with an activity regularizer, or None."""
        layers = (node.operation for node in self.loop)
        return next((x for x in layers if x.activity_regularizer), None)

    @property
    def rule(self):
        """How the spiking layers learn.

        `"collapsed"`, `"exact"`, `"surrogate"`, or `"mixed"`.
        """
        rules = {
            "surrogate" if isinstance(rule, Surrogate) else rule
            for rule in (node.operation.learning_rule for node in self.neurons)
        }
        if len(rules) > 1:
            return "mixed"
        return rules.pop() if rules else "collapsed"

    def obstacle_to_loop(self, remat_steps=None):
        """Return why the model cannot learn time first, or None.

        Args:
            remat_steps: Steps in a window of backpropagation through time;
                None to run it layer by layer.
        """
        if self.regularized is not None:
            return _SEES_SEQUENCES.format(self.regularized.name)
        if self.rule == "mixed":
            return "its spiking layers learn by different rules"
        if self.rule == "surrogate":
            if remat_steps is None:
                layer = self.neurons[0].operation
                return (
                    f"'{layer.name}' learns by {layer.learning_rule!r}, "
                    "through time, and `remat_steps` is not set"
                )
            return self._obstacle(_obstacle_to_window)
        for node in self.loop:
            layer = node.operation
            if isinstance(layer, MembraneReadout) and isinstance(
                layer.learning_rule, Surrogate
            ):
                return (
                    f"'{layer.name}' learns by {layer.learning_rule!r}, unlike "
                    "the spiking layers"
                )
        if self.rule == "exact":
            return self._obstacle(_obstacle_to_exact)
        return self._obstacle(_obstacle_to_collapse)

    def _obstacle(self, obstacle_of):
        """Return the first layer's obstacle, or None."""
        layers = (node.operation for node in self.loop)
        return next(filter(None, map(obstacle_of, layers)), None)


def _obstacle_to_collapse(layer):
    if isinstance(layer, TimeFold):
        if is_linear(layer.layer):
            return None
        kind = type(layer.layer).__name__
        return f"'{layer.name}' ({kind}) is not linear"
    known = (LIF, Readout, TimeConstantDropout)
    if isinstance(layer, TimeLayer) and not isinstance(layer, known):
        kind = type(layer).__name__
        return f"'{layer.name}' ({kind}) is not known to be linear"
    return None


def _obstacle_to_exact(layer):
    if isinstance(layer, (LIF, Readout)):
        return None
    if getattr(layer, "keeps_state", False):
        kind = type(layer).__name__
        return f"'{layer.name}' ({kind}) carries state from step to step"
    return _obstacle_to_window(layer)


def _obstacle_to_window(layer):
    if isinstance(layer, TimeFold) and counts_or_draws(layer.layer):
        kind = type(layer.layer).__name__
        return (
            f"'{layer.name}' ({kind}) works on all steps together, or draws "
            "random numbers at each"
        )
    own = type(layer).window if isinstance(layer, TimeLayer) else None
    if own is TimeLayer.window and layer.keeps_state:
        kind = type(layer).__name__
        return f"'{layer.name}' ({kind}) cannot run in windows of steps"
    return None


def is_linear(layer):
    """Return whether `layer` commutes with the mean over time."""
    if isinstance(layer, keras.Sequential):
        return all(is_linear(inner) for inner in layer.layers)
    if type(layer) not in LINEAR:
        return False
    activation = getattr(layer, "activation", None)
    return activation in (None, keras.activations.linear)


def _regularizes_frames(layer):
    """Return whether a layer would regularize what it does at each step.

    A `TimeLayer` does not: its `step` is no call of the layer.
    """
    return any(
        inner.activity_regularizer
        for inner in layer._flatten_layers()
        if inner is not layer or not isinstance(layer, TimeLayer)
    )


def _runs_on_frames(layer, node):
    """Return whether a layer works on one step as on all steps."""
    if isinstance(layer, keras.layers.Concatenate):
        # Counted from the end, a feature axis is the same without time.
        rank = len(node.input_tensors[0].shape)
        return 2 - rank <= layer.axis < 0
    return isinstance(layer, (TimeLayer, *MERGES))


def nodes_of(model):
    """Return the nodes of a functional model in forward order."""
    return [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
    ]


def make_plan(model):
    """Return `(plan, None)`, or `(None, reason)` if no loop fits.

    Args:
        model: A functional Keras model.
    """
    plan = Plan([], [], [], {})
    in_loop, sources, results = set(), {}, set()
    for node in nodes_of(model):
        if node.is_input:
            continue
        layer = node.operation
        inputs = {id(x) for x in node.input_tensors}
        outputs = {id(x) for x in node.output_tensors}
        if isinstance(layer, TimeLayer) or inputs & in_loop:
            if not _runs_on_frames(layer, node):
                kind = type(layer).__name__
                return None, (
                    f"'{layer.name}' ({kind}) works on the whole sequence"
                )
            if inputs & results:
                return None, f"'{layer.name}' starts a second sequence"
            if _regularizes_frames(layer):
                return None, _SEES_SEQUENCES.format(layer.name)
            if None in node.input_tensors[0].shape[2:]:
                return None, f"'{layer.name}' has features of unknown size"
            sources.update(
                (id(x), x) for x in node.input_tensors if id(x) not in in_loop
            )
            plan.loop.append(node)
            (results if isinstance(layer, Readout) else in_loop).update(outputs)
        elif inputs & results:
            plan.after.append(node)
            results |= outputs
        else:
            plan.before.append(node)
    if not plan.loop:
        return None, "no layer runs over time"
    for x in model.outputs:
        if id(x) in in_loop:
            name = x._keras_history.operation.name
            return None, f"the model returns the sequence of '{name}'"
    steps = {x.shape[1] for x in sources.values() if len(x.shape) > 1}
    if len(steps) > 1:
        found = ", ".join(sorted(map(str, steps)))
        return None, f"its sequences have different numbers of steps, {found}"
    plan.sources = sources
    return plan, None
