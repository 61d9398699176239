"""The programs that files of NIR are exchanged with.

Each is what its importer and its exporter of the versions of
`tests/requirements-nir-peers.txt` do, Rockpool 3.1.0 and Spyx 1.0.0.
"""

import numpy as np

from keras_snn.export.nir import conventions
from keras_snn.export.nir.conventions import Convention
from keras_snn.export.nir.sources import Rockpool, Spyx

# An integrator, where only a leaky one is known: `1 - 1 / tau` is 1 in
# float32, with finite `tau`.
ALMOST_NO_LEAK = 2.0**30


class SnnTorch(Convention):
    """`snntorch`: Euler at dt = 1e-4; an IF of `r = 1` integrates its input.

    Its importer makes of an IF a leaky neuron of beta = 0.9 with a soft
    reset, so that an IF is written as a LIF with next to no leak. It fails on
    recurrent layers.
    """

    name = "snntorch"
    leaky_integrators = False
    groups = False
    refusals = {
        "NIRGraph": "snnTorch's importer fails on feedback",
        "Conv1d": "snnTorch's importer knows no Conv1d",
        "Scale": "snnTorch's importer knows no Scale",
        "v_threshold": "snnTorch's importer takes one threshold a layer",
    }

    def neuron(self, beta, threshold):
        parameters = {"v_threshold": self.written_threshold(threshold)}
        if np.all(beta == 1.0):
            steps = ALMOST_NO_LEAK
            return {**parameters, "tau": self.dt * steps, "r": steps}
        return {**parameters, **self.leak(beta)}

    def decay_and_gain(self, dt, r, tau=None):
        if tau is None:
            return 1.0, np.where(
                np.equal(r, 1.0), 1.0, conventions.gain_near_one(r * dt)
            )
        return super().decay_and_gain(dt, r, tau)


class SpikingJelly(Convention):
    """`spikingjelly...nir_exchange`: Euler at dt = 1e-4, fires at threshold.

    The written threshold is the next larger float.
    """

    name = "spikingjelly"
    fires_at_threshold = True
    leaky_integrators = False
    groups = False
    refusals = {
        "NIRGraph": "SpikingJelly's importer knows no feedback",
        "Scale": "SpikingJelly's importer knows no Scale",
        "tau": "SpikingJelly's importer takes one time constant a layer",
    }


class Norse(Convention):
    """`norse`: Euler at dt = 1e-3 that takes `r` for 1.

        v' = v + dt / tau * (I - v)                   (LIF)
        v' = v + I                                    (IF)
        i' = (1 - dt / tau_syn) * i + S               (CubaLIF, as exported)

    A LIF's potential is `gain = dt / tau` times ours, and so is the written
    threshold, in the float32 arithmetic that Norse does. Its exporter writes
    `dt / (1 / tau)` for `tau`, which its importer takes for seconds: a file of
    time constants below a step is one of those.
    """

    name = "norse"
    dt = 1e-3
    averages = False
    leaky_integrators = False
    groups = False
    in_depth_order = True
    refusals = {
        "NIRGraph": "Norse's importer knows no feedback",
        "Conv1d": "Norse's importer knows no Conv1d",
        "Scale": "Norse's importer knows no Scale",
    }

    def step_of(self, neurons):
        taus = [
            np.max(getattr(node, "tau", getattr(node, "tau_mem", 0.0)))
            for node in neurons
        ]
        squared = any(taus) and max(taus) <= self.dt
        return self.dt**2 if squared else self.dt

    def neuron(self, beta, threshold):
        if np.all(beta == 1.0):
            return {"v_threshold": self.written_threshold(threshold), "r": 1.0}
        tau, gain = _tau_and_gain(self, beta)
        return {
            "v_threshold": np.float64(np.float32(gain) * np.float32(threshold)),
            "tau": tau,
            "r": 1.0,
        }

    def decay_and_gain(self, dt, r, tau=None):
        if tau is None:
            return 1.0, 1.0
        inverse = np.float32(1.0) / np.float32(tau)
        return 1.0 - dt / tau, np.float64(np.float32(dt) * inverse)

    def synaptic(self, dt, tau_syn, w_in):
        # Its exporter has no word for the gain, which is 1.
        alpha, gain = super().synaptic(dt, tau_syn, w_in)
        return alpha, np.where(np.equal(w_in, 1.0), 1.0, gain)

    def threshold(self, v_threshold, gain):
        return _largest_below(
            np.float32(v_threshold),
            np.float32(gain),
            super().threshold(v_threshold, gain),
        )


def _tau_and_gain(convention, beta):
    """Return the float32 `tau` whose `gain` is nearest to `1 - beta`."""
    wanted = 1.0 - np.asarray(beta)
    tau = np.float32(convention.dt / wanted)
    steps = np.arange(-4, 5).reshape(-1, *(1 for _ in tau.shape))
    nearby = np.float64(tau + (steps * np.spacing(tau)).astype("float32"))
    gains = convention.decay_and_gain(convention.dt, 1.0, nearby)[1]
    best = np.argmin(np.abs(gains - wanted), axis=0, keepdims=True)
    return [np.take_along_axis(x, best, 0)[0] for x in (nearby, gains)]


@np.vectorize
def _largest_below(limit, gain, plain):
    """Return the largest input that does not yet reach above the threshold.

    Args:
        limit: The threshold, float32.
        gain: What the program multiplies the input by, float32.
        plain: The threshold without a gain.
    """
    if gain == 1.0:
        return plain
    threshold = np.nextafter(np.float32(limit / gain), np.float32(np.inf))
    while gain * threshold > limit:
        threshold = np.nextafter(threshold, np.float32(-np.inf))
    return conventions.shortest(threshold)


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
    groups = False
    in_depth_order = True
    by_channel = True
    dtype = "float32"
    resets = ("zero", "subtract")
    refusals = {
        "NIRGraph": "sinabs' importer knows no feedback",
        "CubaLIF": "sinabs' importer knows no CubaLIF",
        "Scale": "sinabs' importer knows no Scale",
    }

    def neuron(self, beta, threshold):
        with np.errstate(divide="ignore"):
            tau = np.where(beta == 1.0, ALMOST_NO_LEAK, -1.0 / np.log(beta))
        threshold = self.written_threshold(threshold)
        return {"v_threshold": threshold, "tau": tau, "r": 1.0}

    def decay_and_gain(self, dt, r, tau=None):
        return 1.0 if tau is None else np.exp(-dt / tau), 1.0


CONVENTIONS = {
    None: Convention(),
    **{
        x.name: x()
        for x in (SnnTorch, SpikingJelly, Norse, Sinabs, Rockpool, Spyx)
    },
}


def source(name):
    """Return the `Convention` of a program that writes files.

    Args:
        name: None, for NIR's equations, or the program's name.

    Raises:
        ValueError: If it is not known.
    """
    return _get("source", name, CONVENTIONS)


def target(name):
    """Return the `Convention` of a program that reads what is written.

    Raises:
        ValueError: If it is not known.
    """
    targets = {x: c for x, c in CONVENTIONS.items() if c.is_target}
    return _get("target", name, targets)


def recognised(neurons):
    """Return the `Convention` whose file it is, None if it does not show."""
    found = [x for x in CONVENTIONS.values() if x.wrote(neurons)]
    return found[0] if len(found) == 1 else None


def _get(argument, name, known):
    if (name is None or isinstance(name, str)) and name in known:
        return known[name]
    names = ", ".join(f'"{x}"' for x in known if x)
    raise ValueError(
        f"`{argument}` must be None, for NIR's equations as they are, or "
        f"one of {names}. Received: {argument}={name!r}."
    )
