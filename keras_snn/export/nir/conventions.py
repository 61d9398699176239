"""How each program runs NIR's neurons, one time step at a time.

NIR describes neurons by differential equations, `tau dv/dt = -v + r I` and, for
a current that lasts, `tau_syn di/dt = -i + w_in S`; every program makes its own
difference equations of them. All of them are

    i(t) = alpha * i(t-1) + synaptic gain * S(t)
    u(t) = beta * reset(u(t-1)) + gain * i(t),   s(t) = 1 where u(t) > theta

for some `alpha`, `beta` and gains. Those are the neurons of `keras_snn.layers`
whose potential is scaled by the gains: the same spikes at
`threshold = theta / (gain * synaptic gain)`.

Numbers are floats, or arrays of one a neuron.
"""

import numpy as np


class Convention:
    """NIR's equations by Euler's method, at a fixed step.

        beta = 1 - dt / tau,   gain = r * dt / tau    (LIF)
        beta = 1,              gain = r * dt          (IF)
        alpha = 1 - dt / tau_syn,   synaptic gain = w_in * dt / tau_syn

    The current is advanced before the potential that it drives. Written are
    gains of 1, and the threshold as it is.

    Attributes:
        dt: Length of a time step in the unit of `tau`.
        fires_at_threshold: Whether a neuron at exactly the threshold fires.
        averages: Whether the program knows average pooling; else it knows
            sum pooling.
        bias_only: Whether dense layers have to have a bias.
        leaky_integrators: Whether the program knows `LI`, the readout.
        in_depth_order: Whether nodes run in the order of a depth-first walk.
        by_channel: Whether a neuron's parameters are of shape (channels, 1,
            1), which NIR's type check does not know, instead of the layer's.
        dtype: Of the neurons' parameters.
        groups: Whether the program knows grouped convolutions; else they are
            written as whole ones, with zeros.
        refusals: Dict from what a graph may have (types of nodes, `"tau"` or
            `"v_threshold"` of one a neuron) to why the program's importer
            does not do with it what it means.
        is_target: Whether files are written for it.
        resets: How its importer resets neurons; those are written.
        only_reset: How neurons that it writes are reset, where it knows one
            way; None where the caller knows.
        flattens_channels_last: Whether it flattens images in another order
            than it writes their axes in.
        input_through_feedback: Whether an edge into the feedback of neurons
            means the neurons themselves.
        pads_by_total: Whether the padding of its poolings is the sum of both
            ends, and not counted as values.
        resets_after_leak: Whether a reset by subtraction takes the whole
            threshold of the potential after the leak.
    """

    name = "keras_snn"
    dt = 1e-4
    fires_at_threshold = False
    averages = True
    bias_only = False
    leaky_integrators = True
    in_depth_order = False
    by_channel = False
    dtype = "float64"
    groups = True
    refusals = {}
    is_target = True
    resets: tuple[str, ...] = ("zero",)
    only_reset: str | None = None
    flattens_channels_last = False
    input_through_feedback = False
    pads_by_total = False
    resets_after_leak = False

    def wrote(self, neurons):
        """Return whether the neurons of a graph show that it wrote them."""
        return False

    def may_have_written(self, neurons):
        """Return whether the neurons do not show that it did not."""
        return True

    def step_of(self, neurons):
        """Return the length of a time step of a graph of these neurons."""
        return self.dt

    def neuron(self, beta, threshold):
        """Return the parameters of a neuron, those of IF without `tau`.

        Args:
            beta: Decay per step, in (0, 1], a float32 number.
            threshold: Firing threshold, above which a neuron fires.
        """
        parameters = {"v_threshold": self.written_threshold(threshold)}
        if np.all(beta == 1.0):
            return {**parameters, "r": 1.0 / self.dt}
        return {**parameters, **self.leak(beta)}

    def leak(self, beta):
        """Return `tau` and `r` of a leak of `beta` and a gain of 1."""
        steps = 1.0 / (1.0 - beta)
        return {"tau": self.dt * steps, "r": steps}

    def synapse(self, alpha):
        """Return `tau_syn` and `w_in` of a leak of `alpha` and a gain of 1."""
        steps = 1.0 / (1.0 - alpha)
        return {"tau_syn": self.dt * steps, "w_in": steps}

    def decay_and_gain(self, dt, r, tau=None):
        """Return `(beta, gain)` of a neuron, that of IF without `tau`."""
        if tau is None:
            return 1.0, gain_near_one(r * dt)
        return 1.0 - dt / tau, gain_near_one(r * dt / tau)

    def synaptic(self, dt, tau_syn, w_in):
        """Return `(alpha, synaptic gain)` of a current that lasts."""
        return 1.0 - dt / tau_syn, gain_near_one(w_in * dt / tau_syn)

    def integrator(self, dt, r, tau=None):
        """Return `(beta, gain)` of a leaky integrator, that drives neurons."""
        return self.decay_and_gain(dt, r, tau)

    def readout_gain(self, beta, gain):
        """Return what a `MembraneReadout` is multiplied by."""
        return gain

    def threshold(self, v_threshold, gain):
        """Return the threshold, in units of the input, to fire above."""
        threshold = np.float32(v_threshold / gain)
        if self.fires_at_threshold:
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        return shortest(threshold)

    def written_threshold(self, threshold):
        """Return the written threshold of a neuron that fires above one."""
        threshold = np.float32(threshold)
        if self.fires_at_threshold:
            threshold = np.nextafter(threshold, np.float32(np.inf))
        return np.float64(threshold)


def gain_near_one(gain):
    """Return a gain of 1 as such, where `r` and `tau` are float32 numbers."""
    return np.where(np.abs(gain - 1.0) < 1e-6, 1.0, gain)


def single(x):
    """Return `x` as float32 rounds it, which is what layers compute with."""
    return np.float64(np.float32(x))


@np.vectorize
def shortest(x):
    """Return the shortest decimal number that is `x` in float32."""
    return float(str(np.float32(x)))
