"""What a node carries from step to step, and one step of any node."""

from typing import Any, NamedTuple

from keras import ops

from keras_snn.layers.spiking_layer import SpikingLayer
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.neurons.means import Outcome, Sums
from keras_snn.running import spike_history


class NodeState(NamedTuple):
    """What one node of a network carries from step to step.

    Attributes:
        own: List of the layer's own state tensors.
    """

    own: list


class CountingState(NamedTuple):
    """What a node of spiking neurons carries whose spikes are counted.

    Attributes:
        own: List of the layer's own state tensors.
        byte: The spikes of up to eight steps.
        sums: `Sums` of the steps before.
    """

    own: list
    byte: Any
    sums: Sums


class RateState(NamedTuple):
    """What a node of neurons carries that learn by the rate rule.

    Attributes:
        own: List of the layer's own state tensors.
        total: Number of spikes.
        eligibility, derivative: See `neurons.rate_step`.
    """

    own: list
    total: Any
    eligibility: Any
    derivative: Any


def initial(node, batch, training, counts=None):
    """Return a node's state before the first step.

    Args:
        node: A node that runs at every step.
        batch: Number of samples.
        training: Whether dropout applies.
        counts: What is counted of spikes: `"sums"`, or `"credits"` for what
            the layer's own rule asks for; None counts nothing.
    """
    layer = node.layer
    # What keeps no state may draw something for a whole training step.
    if not isinstance(layer, TimeLayer) or not (layer.keeps_state or training):
        return NodeState([])
    shape = (batch, *node.inputs[0].frame)
    own = list(layer.initial_state(shape, layer.compute_dtype))
    if counts is None or not isinstance(layer, SpikingLayer):
        return NodeState(own)
    if counts == "credits" and layer.rule == "rate":
        return RateState(own, *(ops.zeros(shape, "float32") for _ in range(3)))
    # Only the rule of LIF layers asks for the leaky trace, and where the
    # numbers are weights there is another.
    leaky = getattr(layer, "factor", None) == "leak_corrected"
    leaky = leaky and not layer.trained_numbers
    sums = [ops.zeros(shape, "float32") for _ in range(3 if leaky else 2)]
    return CountingState(own, ops.zeros(shape, "uint8"), Sums(*sums))


def advance(layer, frame, state, training):
    """Return `(output, state)` of a `TimeLayer` after one step."""
    if layer.lif is not None:
        return _fire(layer, frame, state)
    output, own = layer.step(frame, state.own, training=training)
    if isinstance(state, CountingState):
        byte = spike_history.append(state.byte, output)
        return output, CountingState(list(own), byte, state.sums)
    return output, NodeState(list(own))


def _fire(layer, current, state):
    """Advance LIF neurons, and what is counted of them, in one pass."""
    *neuron, shape = *layer.lif, layer.compute_dtype, tuple(current.shape)
    (v,) = state.own
    if isinstance(state, RateState):
        step = spike_history.rate_step(
            *neuron, layer.learning_rule.surrogate, shape
        )
        spikes, v, *credit = step(v, current, *state[1:])
        return spikes, RateState([v], *credit)
    if isinstance(state, CountingState):
        step = spike_history.counting_step(*neuron, shape)
        spikes, v, byte = step(v, current, state.byte)
        return spikes, CountingState([v], byte, state.sums)
    spikes, v = spike_history.plain_step(*neuron, shape)(v, current)
    return spikes, NodeState([v])


def advance_lif(layer, currents, affine, state, steps, first, time_steps):
    """Return `(byte, state)` of LIF neurons after some steps.

    Args:
        layer: The layer, which has a `lif`.
        currents, affine, steps, time_steps: See `spike_history.rate_window`.
        state: A `RateState` or a `CountingState`.
        first: Whether they are the first steps.

    Returns:
        Tuple: a uint8 tensor, the spikes of these steps lowest in it; the
        state, or an `Outcome` of neurons that learn by the rate rule after the
        last steps.
    """
    start = layer.initial_potential if first else None
    shape = tuple(currents[0].shape)
    if isinstance(state, RateState):
        window = spike_history.rate_window(
            *(*layer.lif, layer.learning_rule.surrogate),
            *(start, steps, time_steps, shape),
        )
        carried = () if first else (*state.own, *state[2:])
        byte, *after = window(currents, affine, *carried)
        total = () if first else (state.total,)
        total = spike_history.count(steps, time_steps, shape)(byte, *total)
        if time_steps is None:
            v, *credit = after
            state = RateState([v], total, *credit)
        else:
            state = Outcome(total, *after)
    else:
        window = spike_history.counting_window(*layer.lif, start, steps, shape)
        carried = () if first else (*state.own, state.byte)
        v, byte = window(currents, affine, *carried)
        state = CountingState([v], byte, state.sums)
    return byte, state


def absorbed(layer, state, steps, end):
    """Return the state with the byte's spikes in the sums.

    Args:
        layer: The layer.
        state: Its state.
        steps: Number of steps in the byte, a float32 scalar.
        end: The last of them, counted from 1, a float32 scalar.
    """
    if not isinstance(state, CountingState):
        return state
    sums = [x for x in state.sums if not isinstance(x, tuple)]
    leaky = len(sums) == 3
    beta = layer.beta if leaky else None
    absorb = spike_history.absorb(beta, leaky, tuple(state.byte.shape))
    sums = Sums(*absorb(state.byte, sums, steps, end))
    return CountingState(state.own, ops.zeros_like(state.byte), sums)


def outcome(layer, state, time_steps):
    """Return the `Outcome` of a layer of neurons after all steps."""
    if isinstance(state, Outcome):
        return state
    time_steps = ops.cast(time_steps, "float32")
    if isinstance(state, RateState):
        return Outcome(state.total / time_steps, state.derivative / time_steps)
    sums = state.sums
    derivative = layer.factor_of(sums) * sums.t_last / time_steps
    return Outcome(sums.total / time_steps, derivative)
