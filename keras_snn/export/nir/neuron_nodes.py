"""NIR's neurons as layers of this package."""

import dataclasses

import keras
import numpy as np

from keras_snn.export.nir import conventions, linear_nodes
from keras_snn.layers import (
    IF,
    LIF,
    MembraneReadout,
    RecurrentLIF,
    SynapticLIF,
)

L = keras.layers
ONLY_READOUT = (
    "it follows a leaky integrator, which is read as the readout of a network "
    "or as the synapses of the one layer of neurons behind it"
)
# A neuron that has forgotten its potential at the next step: what is left
# is lost in float32 beside any current, and below every threshold.
FORGETS = 1e-30


@dataclasses.dataclass(frozen=True)
class Integrator:
    """A leaky integrator whose use is not known yet.

    Attributes:
        name: Name of its node.
        beta: Decay per step.
        gain: What it multiplies its input by.
    """

    name: str
    beta: float
    gain: object


@dataclasses.dataclass(frozen=True)
class Seen:
    """A layer of neurons that was read, for `inputs_to_fire`.

    Attributes:
        name: Name of its node.
        parameters: Dict from NIR's names to numbers.
        gain: What its input is multiplied by before.
        largest: The most that one input or spike adds to its input.
    """

    name: str
    parameters: dict
    gain: float
    largest: float


@dataclasses.dataclass
class Neuron:
    """Numbers of a layer of neurons: floats, or arrays of a frame's shape.

    Attributes:
        beta: Decay of the potential per step.
        threshold: In units of the input.
        alpha: Decay of the current per step; None without synapses.
    """

    beta: object
    threshold: object
    alpha: object = None


def by(convention, dt, parameters):
    """Return the `Neuron` that parameters of NIR mean to a program."""
    tau = parameters.get("tau", parameters.get("tau_mem"))
    beta, gain = convention.decay_and_gain(dt, parameters["r"], tau)
    alpha = None
    if "tau_syn" in parameters:
        alpha, synaptic = convention.synaptic(
            dt, parameters["tau_syn"], parameters["w_in"]
        )
        alpha, gain = _plain(alpha), gain * synaptic
    threshold = parameters["v_threshold"] - parameters["v_reset"]
    with np.errstate(divide="ignore", invalid="ignore"):
        threshold = convention.threshold(threshold, gain)
    return Neuron(_plain(beta), threshold, alpha)


def inputs_to_fire(seen, convention, dt):
    """Return how many of the largest inputs the first neuron needs to fire."""
    threshold = np.min(by(convention, dt, seen.parameters).threshold)
    return float(threshold) / (seen.gain * seen.largest)


def decay(seen, convention, dt):
    """Return the decay per step that a program would read."""
    return by(convention, dt, seen.parameters).beta


def neuron(builder, name, node):
    """Return the value of a `LIF`, `IF` or `CubaLIF`."""
    value = builder.input_of(name)
    parameters = _parameters(builder, name, node, value)
    _check_rest(builder, name, parameters)
    found = by(builder.convention, builder.dt, parameters)
    _check_decay(builder, name, parameters, "tau", found.beta)
    if found.alpha is not None:
        _check_decay(builder, name, parameters, "tau_syn", found.alpha)
    gain = value.scale
    if value.integrator:
        if found.alpha is not None:
            raise builder.error(name, ONLY_READOUT)
        found.alpha = value.integrator.beta
        gain = gain * value.integrator.gain
    found.threshold = found.threshold / gain
    if not _is_positive(found.threshold):
        raise builder.error(
            name,
            f"its gain, by `r`={parameters['r']}, and its threshold above "
            f"rest, of `v_threshold`={parameters['v_threshold']} and "
            f"`v_reset`={parameters['v_reset']}, are not both positive",
        )
    found.threshold = _plain(found.threshold)
    builder.seen.append(
        Seen(name, parameters, float(np.max(gain)), value.largest)
    )
    return _value(builder, name, node, value, found)


def threshold(builder, name, node):
    """Return the value of a `Threshold`: neurons without a memory."""
    value = builder.input_of(name)
    threshold = builder.values_of(name, node, "threshold", value)
    gain, alpha = value.scale, None
    if value.integrator:
        alpha, gain = value.integrator.beta, gain * value.integrator.gain
    if not _is_positive(threshold / gain):
        raise builder.error(
            name,
            f"its `threshold` is {np.min(threshold)}, at a gain of "
            f"{np.max(gain)} before it; known are positive ones",
        )
    found = Neuron(FORGETS, _plain(threshold / gain), alpha)
    return _value(builder, name, node, value, found)


def integrator(builder, name, node):
    """Return a value that waits for what it becomes."""
    value = builder.plain_input_of(name)
    parameters = _parameters(builder, name, node, value)
    if np.any(parameters.get("v_leak", 0.0)):
        raise builder.error(name, "it leaks to another potential than 0")
    beta, gain = builder.convention.integrator(
        builder.dt, parameters["r"], parameters.get("tau")
    )
    _check_decay(builder, name, parameters, "tau", beta)
    if np.ndim(beta):
        raise _not_the_same(builder, name, "tau", parameters["tau"])
    waiting = Integrator(name, _plain(beta), gain)
    return dataclasses.replace(value, integrator=waiting)


def readout(builder, value):
    """Return the value of the readout that a leaky integrator becomes."""
    found = value.integrator
    x = MembraneReadout(found.beta, name=builder.name(found.name))(value.x)
    gain = builder.convention.readout_gain(found.beta, found.gain)
    gain = _plain(gain * value.scale)
    if np.any(gain != 1.0):
        name = builder.name(f"{found.name}_gain")
        x = linear_nodes.rescaling(gain, name=name)(x)
    return dataclasses.replace(
        value, x=x, scale=1.0, integrator=None, read_out=True
    )


def _parameters(builder, name, node, value):
    known = ("r", "tau", "tau_mem", "tau_syn", "w_in")
    known += ("v_leak", "v_threshold", "v_reset")
    return {
        x: builder.values_of(name, node, x, value)
        for x in known
        if hasattr(node, x)
    }


def _check_rest(builder, name, parameters):
    leak, rest = parameters.get("v_leak"), parameters["v_reset"]
    if leak is not None and np.any(leak != rest):
        raise builder.error(
            name,
            f"it leaks to {leak} and is reset to {rest}; known are neurons "
            "that are reset to rest",
        )


def _check_decay(builder, name, parameters, parameter, decay):
    """Refuse decays outside (0, 1], or [0, 1] of a current."""
    is_current = parameter == "tau_syn"
    low = np.all(decay >= 0.0) if is_current else np.all(decay > 0.0)
    if low and np.all(decay <= 1.0):
        return
    tau = parameters.get(parameter, parameters.get("tau_mem"))
    raise builder.error(
        name,
        f"{parameter}={tau} at steps of dt={builder.dt} is a decay of {decay} "
        f"a step, outside {'[' if is_current else '('}0, 1]. Pass the `dt` of "
        "the program that wrote it, or its name as `source`",
    )


def _not_the_same(builder, name, parameter, values):
    return builder.error(
        name,
        f"`{parameter}` is not the same for all of its neurons, from "
        f"{np.min(values)} to {np.max(values)}; a layer here has one",
    )


def _value(builder, name, node, value, found):
    """Return the value of a layer of neurons."""
    layer = _layer(builder, name, node, value, found)
    return type(value)(layer(value.x), image=value.image)


def _layer(builder, name, node, value, found):
    """Return the layer of neurons, not called yet."""
    reset = builder.reset or _reset_of(builder, node)
    options = {
        "threshold": found.threshold,
        "reset": reset,
        "learning_rule": builder.learning_rule,
        # What to_nir writes recurrent neurons as.
        "name": builder.name(name.removesuffix(".lif")),
    }
    if builder.learning_rule is None:
        del options["learning_rule"]
    feedback = _feedback(builder, name, value, found, reset)
    if feedback is None and found.alpha is None:
        return _leaky(found, options)
    if feedback is None:
        return SynapticLIF(found.beta, alpha=found.alpha, **options)
    alpha = 0.0 if found.alpha is None else found.alpha
    return RecurrentLIF(feedback, found.beta, alpha=alpha, **options)


def _reset_of(builder, node):
    """Return how neurons are reset, where the caller does not say it."""
    written = (getattr(node, "metadata", None) or {}).get("reset")
    return written or builder.convention.only_reset or "zero"


def _leaky(found, options):
    """Return neurons without synapses and feedback."""
    if np.all(found.beta == FORGETS):
        # The other rules' factor is made of a decaying trace.
        options.setdefault("learning_rule", "arctan")
    if np.all(found.beta == 1.0):
        return IF(**options)
    return LIF(found.beta, **options)


def _feedback(builder, name, value, found, reset):
    """Return the layer through which spikes come back, or None."""
    back = builder.wiring.feedback.get(name)
    more = 0.0
    if (
        builder.convention.resets_after_leak
        and builder.reset is None
        and reset == "subtract"
        and found.alpha is None
        # A `Threshold` has no reset.
        and np.all(found.beta != FORGETS)
    ):
        # A reset here is of the potential before the leak; what it takes
        # less comes one step later, as the spikes do.
        more = -(1.0 - found.beta) * found.threshold
    if back is None and np.all(more == 0.0):
        return None
    return linear_nodes.feedback(builder, name, back, value, more)


def _is_positive(x):
    return bool(np.all(x > 0.0) and np.all(np.isfinite(x)))


def _plain(x):
    """Return numbers as float32 rounds them, no more than differ.

    One float where all are one, and one a channel where those of each are.
    """
    x = conventions.shortest(x)
    if x.ndim and np.all(x == x.flat[0]):
        x = x.flat[0]
    rows = x.reshape(-1, x.shape[-1]) if np.ndim(x) else x
    if np.ndim(x) and np.all(rows == rows[0]):
        x = rows[0]
    return x if np.ndim(x) else float(x)
