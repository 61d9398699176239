"""Programs whose files are read, by numbers that show them, and not written."""

import numpy as np

from keras_snn.export.nir.conventions import Convention


class Rockpool(Convention):
    """`rockpool`: exponential decay, the step in `r`, fires at threshold.

        beta = exp(-dt / tau),   gain = 1,   r = tau * beta / dt
        alpha = exp(-dt / tau_syn),   synaptic gain = alpha

    Its neurons are reset by subtraction, and can fire several times a step.
    """

    name = "rockpool"
    dt = 1e-3
    fires_at_threshold = True
    only_reset = "subtract"
    is_target = False

    def may_have_written(self, neurons):
        return self.wrote(neurons)

    def wrote(self, neurons):
        steps = self._steps(neurons)
        return _agree(steps, 1e-4) and (
            _is_round(steps[0]) or _differ(_taus(neurons))
        )

    def step_of(self, neurons):
        steps = self._steps(neurons)
        if not len(steps):
            return self.dt
        if not _agree(steps, 1e-3):
            raise ValueError(
                "from_nir() reads neurons of one time step. By Rockpool's "
                f"`r`, these have steps from {steps.min()} to {steps.max()}."
            )
        return float(f"{np.median(steps):.5g}")

    def _steps(self, neurons):
        """Return the time step that each leaky neuron was written with."""
        neurons = _leaky(neurons)
        r = _all_of(neurons, "r")
        # r = x * exp(-1 / x) for x = tau / dt, by Newton's method.
        x = r + 1.0
        with np.errstate(all="ignore"):
            for _ in range(50):
                decay = np.exp(-1.0 / x)
                x = x - (x * decay - r) / (decay * (1.0 + 1.0 / x))
            return _taus(neurons) / x

    def decay_and_gain(self, dt, r, tau=None):
        return 1.0 if tau is None else np.exp(-dt / tau), 1.0

    def synaptic(self, dt, tau_syn, w_in):
        alpha = np.exp(-dt / tau_syn)
        return alpha, alpha

    def integrator(self, dt, r, tau=None):
        return self.synaptic(dt, tau, 1.0)

    def readout_gain(self, beta, gain):
        # The readout leaks after its input, as these integrators do.
        return gain / beta


class Spyx(Convention):
    """`spyx`: `tau` in steps, `r` the decay.

        beta = 1 - dt / tau = r,   gain = 1

    Its neurons are reset by subtraction, LIF after the leak, and their spikes
    come one step later. It flattens images with channels last, and leads the
    input of recurrent neurons to the feedback's node.
    """

    name = "spyx"
    dt = 1.0
    only_reset = "subtract"
    flattens_channels_last = True
    input_through_feedback = True
    pads_by_total = True
    resets_after_leak = True
    is_target = False

    def may_have_written(self, neurons):
        return not _leaky(neurons) or self.wrote(neurons)

    def wrote(self, neurons):
        steps = self._steps(neurons)
        return _agree(steps, 1e-3) and (
            abs(steps[0] - 1.0) < 1e-3 or _differ(_taus(neurons))
        )

    def step_of(self, neurons):
        steps = self._steps(neurons)
        return float(f"{np.median(steps):.4g}") if len(steps) else self.dt

    def _steps(self, neurons):
        neurons = _leaky(neurons)
        return _taus(neurons) * (1.0 - _all_of(neurons, "r"))

    def decay_and_gain(self, dt, r, tau=None):
        return 1.0 if tau is None else 1.0 - dt / tau, 1.0

    def synaptic(self, dt, tau_syn, w_in):
        return 1.0 - dt / tau_syn, 1.0


def _leaky(neurons):
    return [x for x in neurons if hasattr(x, "v_threshold") and _has_tau(x)]


def _has_tau(node):
    return hasattr(node, "tau") or hasattr(node, "tau_mem")


def _taus(neurons):
    """Return all time constants of potentials, in one array."""
    neurons = _leaky(neurons)
    name = {True: "tau", False: "tau_mem"}
    return np.concatenate(
        [_all_of([x], name[hasattr(x, "tau")]) for x in neurons]
        or [np.zeros(0)]
    )


def _all_of(neurons, name):
    """Return a parameter of all neurons, in one array."""
    values = [np.ravel(np.asarray(getattr(x, name), float)) for x in neurons]
    return np.concatenate(values or [np.zeros(0)])


def _agree(steps, tolerance):
    """Return whether steps are positive and the same."""
    return bool(
        len(steps)
        and np.all(steps > 0.0)
        and np.ptp(steps) <= tolerance * np.median(steps)
    )


def _differ(taus):
    """Return whether time constants differ by more than rounding."""
    return bool(np.ptp(taus) > 1e-2 * np.median(taus))


def _is_round(step):
    """Return whether a number has one digit, within float32's rounding."""
    return abs(float(f"{step:.1g}") / step - 1.0) < 1e-5
