"""The neurons that learn through time, as plain loops, forth and back.

Each loop takes float64 currents `x` and derivatives `g = dL/ds`, axes (batch,
time, ...), and returns `(u - threshold, spikes, dL/dx, dL/d weights)`. The
derivatives are written out by hand; none flows through the reset.
"""

import numpy as np


def arctan(x):
    """Return the derivative that stands in for the step's, alpha = 2."""
    return 1.0 / (1.0 + (np.pi * x) ** 2)


def reset_of(u, s, threshold, reset):
    return u * (1 - s) if reset == "zero" else u - threshold * s


def kept_by(s, reset):
    """Return the derivative of what is left after the reset."""
    return 1 - s if reset == "zero" else np.ones_like(s)


def plif_loop(x, g, decay, threshold, reset, scale_input=False):
    scale = 1 - decay if scale_input else 1.0
    v, margins, spikes, kept = np.zeros_like(x[:, 0]), [], [], []
    for t in range(x.shape[1]):
        u = v + scale * x[:, t]
        s = (u > threshold).astype(float)
        kept.append(reset_of(u, s, threshold, reset))
        v = decay * kept[-1]
        margins.append(u - threshold)
        spikes.append(s)
    to_x, to_decay, d = np.zeros_like(x), 0.0, np.zeros_like(v)
    for t in reversed(range(x.shape[1])):
        to_decay = to_decay + d * kept[t]
        d = g[:, t] * arctan(margins[t]) + kept_by(spikes[t], reset) * decay * d
        to_x[:, t] = scale * d
        if scale_input:
            to_decay = to_decay - d * x[:, t]
    # decay = 1 / (1 + exp(w))
    to_w = to_decay * -decay * (1 - decay)
    axes = tuple(range(to_w.ndim - np.ndim(decay)))
    return _stacked(margins, spikes, to_x, [np.sum(to_w, axis=axes)])


def alif_loop(x, g, beta, threshold, reset, amplitude, rho):
    v, a, margins, spikes = np.zeros_like(x[:, 0]), 0 * x[:, 0], [], []
    for t in range(x.shape[1]):
        u, now = v + x[:, t], threshold + amplitude * a
        s = (u > now).astype(float)
        v = beta * reset_of(u, s, now, reset)
        a = rho * a + s
        margins.append(u - now)
        spikes.append(s)
    to_x, to_v, to_a = np.zeros_like(x), 0 * v, 0 * a
    for t in reversed(range(x.shape[1])):
        to_margin = (g[:, t] + to_a) * arctan(margins[t])
        to_v = to_margin + kept_by(spikes[t], reset) * beta * to_v
        to_a = rho * to_a - amplitude * to_margin
        to_x[:, t] = to_v
    return _stacked(margins, spikes, to_x, [])


def synaptic_loop(x, g, beta, threshold, reset, alpha):
    v, i, margins, spikes = np.zeros_like(x[:, 0]), 0 * x[:, 0], [], []
    for t in range(x.shape[1]):
        i = alpha * i + x[:, t]
        u = v + i
        s = (u > threshold).astype(float)
        v = beta * reset_of(u, s, threshold, reset)
        margins.append(u - threshold)
        spikes.append(s)
    to_x, to_v, to_i = np.zeros_like(x), 0 * v, 0 * i
    for t in reversed(range(x.shape[1])):
        to_u = g[:, t] * arctan(margins[t]) + (
            kept_by(spikes[t], reset) * beta * to_v
        )
        to_v, to_i = to_u, to_u + alpha * to_i
        to_x[:, t] = to_i
    return _stacked(margins, spikes, to_x, [])


def recurrent_loop(x, g, kernel, beta, threshold, reset, alpha=0.0):
    v, i, margins, spikes = np.zeros_like(x[:, 0]), 0 * x[:, 0], [], []
    before = [np.zeros_like(v)]
    for t in range(x.shape[1]):
        i = alpha * i + x[:, t] + before[t] @ kernel
        u = v + i
        s = (u > threshold).astype(float)
        v = beta * reset_of(u, s, threshold, reset)
        margins.append(u - threshold)
        spikes.append(s)
        before.append(s)
    to_x, to_v, to_i = np.zeros_like(x), 0 * v, 0 * i
    to_kernel = np.zeros_like(kernel)
    for t in reversed(range(x.shape[1])):
        to_s = g[:, t] + to_i @ kernel.T
        to_v = to_s * arctan(margins[t]) + (
            kept_by(spikes[t], reset) * beta * to_v
        )
        to_i = to_v + alpha * to_i
        to_x[:, t] = to_i
        to_kernel += np.einsum(
            "ni,nj->ij",
            before[t].reshape(-1, len(kernel)),
            to_i.reshape(-1, len(kernel)),
        )
    return _stacked(margins, spikes, to_x, [to_kernel])


def _stacked(margins, spikes, to_x, to_weights):
    return np.stack(margins, 1), np.stack(spikes, 1), to_x, to_weights
