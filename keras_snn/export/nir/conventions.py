"""How each program runs NIR's neurons, one time step at a time.

NIR describes neurons by a differential equation, `tau dv/dt = -v + r I`, and
every program makes its own difference equation of it. All of them are

    u(t) = beta * reset(u(t-1)) + gain * I(t),   s(t) = 1 where u(t) > theta

for some `beta` and `gain`. That is `keras_snn.layers.LIF` whose potential is
scaled by `gain`: the same spikes at `threshold = theta / gain`.
"""

import numpy as np

# An integrator, where only a leaky one is known: `1 - 1 / tau` is 1 in
# float32, with finite `tau`.
ALMOST_NO_LEAK = 2.0**30


class Convention:
    """NIR's equations by Euler's method, at a fixed step.

        beta = 1 - dt / tau,   gain = r * dt / tau    (LIF)
        beta = 1,              gain = r * dt          (IF)

    Written are `gain = 1`, and the threshold as it is.

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

    def neuron(self, beta, threshold):
        """Return the parameters of a neuron, those of IF without `tau`.

        Args:
            beta: Decay per step, in (0, 1], a float32 number.
            threshold: Firing threshold, above which a neuron fires.
        """
        parameters = {"v_threshold": self._written(threshold)}
        if beta == 1.0:
            return {**parameters, "r": 1.0 / self.dt}
        return {**parameters, **self.leak(beta)}

    def leak(self, beta):
        """Return `tau` and `r` of a leak of `beta` and a gain of 1."""
        steps = 1.0 / (1.0 - beta)
        return {"tau": self.dt * steps, "r": steps}

    def decay_and_gain(self, dt, r, tau=None):
        """Return `(beta, gain)` of a neuron, that of IF without `tau`."""
        if tau is None:
            return 1.0, _gain(r * dt)
        return 1.0 - dt / tau, _gain(r * dt / tau)

    def threshold(self, v_threshold, gain):
        """Return the threshold, in units of the input, to fire above."""
        threshold = np.float32(v_threshold / gain)
        if self.fires_at_threshold:
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        return shortest(threshold)

    def _written(self, threshold):
        threshold = np.float32(threshold)
        if self.fires_at_threshold:
            threshold = np.nextafter(threshold, np.float32(np.inf))
        return float(threshold)


class SnnTorch(Convention):
    """`snntorch.import_nir`: Euler at dt = 1e-4.

    Its IF becomes a leaky neuron of beta = 0.9 with a soft reset, so that an
    IF is written as a LIF with next to no leak.
    """

    name = "snntorch"
    leaky_integrators = False

    def neuron(self, beta, threshold):
        parameters = {"v_threshold": self._written(threshold)}
        if beta == 1.0:
            steps = ALMOST_NO_LEAK
            return {**parameters, "tau": self.dt * steps, "r": steps}
        return {**parameters, **self.leak(beta)}


class SpikingJelly(Convention):
    """`spikingjelly...nir_exchange`: Euler at dt = 1e-4, fires at threshold.

    The written threshold is the next larger float.
    """

    name = "spikingjelly"
    fires_at_threshold = True
    leaky_integrators = False


class Norse(Convention):
    """`norse.torch.from_nir`: Euler at dt = 1e-3 that takes `r` for 1.

        v' = v + dt / tau * (I - v)                   (LIF)
        v' = v + I                                    (IF)

    A LIF's potential is `gain = dt / tau` times ours, and so is the written
    threshold, in the float32 arithmetic that Norse does.
    """

    name = "norse"
    dt = 1e-3
    averages = False
    leaky_integrators = False
    in_depth_order = True

    def neuron(self, beta, threshold):
        if beta == 1.0:
            return {"v_threshold": self._written(threshold), "r": 1.0}
        tau, gain = self._tau_and_gain(beta)
        return {
            "v_threshold": float(np.float32(gain) * np.float32(threshold)),
            "tau": tau,
            "r": 1.0,
        }

    def _tau_and_gain(self, beta):
        """Return the float32 `tau` whose `gain` is nearest to `1 - beta`."""
        wanted = 1.0 - beta
        tau = np.float32(self.dt / wanted)
        steps = np.arange(-4, 5) * np.spacing(tau)
        nearby = [float(x) for x in tau + steps.astype("float32")]
        gains = [self.decay_and_gain(self.dt, 1.0, x)[1] for x in nearby]
        best = int(np.argmin(np.abs(np.array(gains) - wanted)))
        return nearby[best], gains[best]

    def decay_and_gain(self, dt, r, tau=None):
        if tau is None:
            return 1.0, 1.0
        inverse = np.float32(1.0) / np.float32(tau)
        return 1.0 - dt / tau, float(np.float32(dt) * inverse)

    def threshold(self, v_threshold, gain):
        if gain == 1.0:
            return super().threshold(v_threshold, gain)
        # The largest input that does not yet reach above the threshold.
        gain, limit = np.float32(gain), np.float32(v_threshold)
        threshold = np.nextafter(np.float32(limit / gain), np.float32(np.inf))
        while gain * threshold > limit:
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        return shortest(threshold)


class Sinabs(Convention):
    """`sinabs.from_nir`: exponential decay, `tau` in steps, fires at threshold.

        beta = exp(-1 / tau),   gain = 1

    Its IF has a lower bound that rounds the potential, so that an IF is
    written as a LIF without leak. Its check of `v_leak` wants parameters
    without height and width.
    """

    name = "sinabs"
    dt = 1.0
    fires_at_threshold = True
    averages = False
    bias_only = True
    leaky_integrators = False
    in_depth_order = True
    by_channel = True
    dtype = "float32"

    def neuron(self, beta, threshold):
        tau = ALMOST_NO_LEAK
        if beta != 1.0:
            tau = -1.0 / np.log(beta)
        return {"v_threshold": self._written(threshold), "tau": tau, "r": 1.0}

    def decay_and_gain(self, dt, r, tau=None):
        return 1.0 if tau is None else float(np.exp(-dt / tau)), 1.0


CONVENTIONS = {
    None: Convention(),
    **{x.name: x() for x in (SnnTorch, SpikingJelly, Norse, Sinabs)},
}


def get(argument, name):
    """Return the `Convention` of that name.

    Args:
        argument: What the caller calls it, for the message.
        name: None or the name of a program.

    Raises:
        ValueError: If it is not known.
    """
    if (
        name is not None
        and not isinstance(name, str)
        or (name not in CONVENTIONS)
    ):
        known = ", ".join(f'"{x}"' for x in CONVENTIONS if x)
        raise ValueError(
            f"`{argument}` must be None, for NIR's equations as they are, or "
            f"one of {known}. Received: {argument}={name!r}."
        )
    return CONVENTIONS[name]


def _gain(gain):
    """Return a gain of 1 as such, where `r` and `tau` are float32 numbers."""
    return 1.0 if abs(gain - 1.0) < 1e-6 else gain


def single(x):
    """Return `x` as float32 rounds it, which is what layers compute with."""
    return float(np.float32(x))


def shortest(x):
    """Return the shortest decimal number that is `x` in float32."""
    return float(str(np.float32(x)))
