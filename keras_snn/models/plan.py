"""Which part of a functional model can run as one loop over time."""

import dataclasses

import keras

from keras_snn.layers import LIF, MembraneReadout, TimeFold
from keras_snn.layers.readouts import Readout
from keras_snn.layers.time_layer import TimeLayer

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


@dataclasses.dataclass
class Plan:
    """The nodes of a functional model, sorted by how they see time.

    Attributes:
        before: Nodes that run once before the loop.
        loop: Nodes that run at every step, in order, readouts among them.
        after: Nodes that run once on the readouts' results.
        sources: Ids of the tensors that the loop reads slice by slice.
    """

    before: list
    loop: list
    after: list
    sources: list

    @property
    def neurons(self):
        """The nodes of spiking layers in the loop."""
        return [n for n in self.loop if isinstance(n.operation, LIF)]

    def obstacle_to_collapse(self):
        """Return why the collapsed backward pass does not apply, or None."""
        for node in self.loop:
            layer = node.operation
            rule = getattr(layer, "learning_rule", "collapsed")
            if (
                isinstance(layer, (LIF, MembraneReadout))
                and rule != "collapsed"
            ):
                if isinstance(layer, LIF) or rule != "exact":
                    return (
                        f"'{layer.name}' learns by {rule!r}, not \"collapsed\""
                    )
            if isinstance(layer, TimeFold) and not is_linear(layer.layer):
                kind = type(layer.layer).__name__
                return f"'{layer.name}' ({kind}) is not linear"
        return None


def is_linear(layer):
    """Return whether `layer` commutes with the mean over time."""
    if isinstance(layer, keras.Sequential):
        return all(is_linear(inner) for inner in layer.layers)
    if type(layer) not in LINEAR:
        return False
    activation = getattr(layer, "activation", None)
    return activation in (None, keras.activations.linear)


def make_plan(model):
    """Return `(plan, None)`, or `(None, reason)` if no loop fits.

    Args:
        model: A functional Keras model.
    """
    plan = Plan([], [], [], [])
    in_loop, sources, results = set(), {}, set()
    nodes = [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
        if not node.is_input
    ]
    for node in nodes:
        layer = node.operation
        inputs = {id(x) for x in node.input_tensors}
        outputs = {id(x) for x in node.output_tensors}
        if isinstance(layer, TimeLayer) or inputs & in_loop:
            if not isinstance(layer, (TimeLayer, *MERGES)):
                kind = type(layer).__name__
                return None, (
                    f"'{layer.name}' ({kind}) works on the whole sequence"
                )
            if inputs & results:
                return None, f"'{layer.name}' starts a second sequence"
            if None in node.input_tensors[0].shape[2:]:
                return None, f"'{layer.name}' has features of unknown size"
            sources.update(dict.fromkeys(inputs - in_loop))
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
    plan.sources = list(sources)
    return plan, None
