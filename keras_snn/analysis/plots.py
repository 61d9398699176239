"""Pictures of spikes, potentials, accuracy and energy, with matplotlib.

Each function draws into `ax`, or a new figure, and returns the `Axes`.
"""

import numpy as np

from keras_snn import optional
from keras_snn.analysis.energy import energy_of, readable, unit_for

# Neurons of which a raster still shows each.
MOST_NEURONS = 200


def raster(recording, layer, sample=0, neurons=None, ax=None):
    """Draw the spikes of one layer: time from left to right, neurons upwards.

    Negative spikes, which an encoder may emit, are red.

    Args:
        recording: A `Recording`.
        layer: Name of a layer in `recording.spikes`.
        sample: Which sample of the batch.
        neurons: Indices into the flattened layer; None draws all, or 200
            evenly spaced ones if there are more.
        ax: matplotlib `Axes`; None makes a figure.

    Raises:
        ValueError: If there is no such layer, sample or neuron.
    """
    train = _train(recording.spikes, layer, sample, "spikes")
    count, label = train.shape[1], "neuron"
    if neurons is None and count > MOST_NEURONS:
        chosen = np.linspace(0, count - 1, MOST_NEURONS).astype(int)
        train, label = train[:, chosen], f"{MOST_NEURONS} of {count} neurons"
    rows, train = _select(train, neurons)
    ax = _axes(ax)
    # Few steps leave room to be seen.
    width = float(np.clip(60 / len(train), 1.5, 12))
    # Of many neurons a mark would be thinner than a pixel.
    half = max(0.4, (rows.max() - rows.min() + 1) / 200)
    for sign, color in ((1, _text_color()), (-1, "tab:red")):
        steps, row = np.nonzero(np.sign(train) == sign)
        at = rows[row]
        ax.vlines(steps + 1, at - half, at + half, colors=color, lw=width)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(
        xlabel="time step",
        ylabel=label,
        title=f"{layer}, sample {sample}",
        xlim=(0.5, len(train) + 0.5),
        ylim=(rows.min() - 0.5, rows.max() + 0.5),
    )
    return ax


def membrane(recording, layer, sample=0, neurons="firing", ax=None):
    """Draw membrane potentials before the reset, and the threshold.

    Dots mark the steps at which the neuron spikes: there, and only there, the
    potential is above the dashed line.

    Args:
        recording: A `Recording`.
        layer: Name of a spiking layer.
        sample: Which sample of the batch.
        neurons: Indices into the flattened layer; `"firing"` (default) takes
            the three that spike most, None draws all.
        ax: matplotlib `Axes`; None makes a figure.

    Raises:
        ValueError: If there is no such layer, sample or neuron.
    """
    u = _train(recording.potentials, layer, sample, "potentials")
    spikes = _train(recording.spikes, layer, sample, "spikes")
    if isinstance(neurons, str) and neurons == "firing":
        busiest = np.argsort(-np.abs(spikes).sum(0), kind="stable")
        neurons = np.sort(busiest[:3])
    rows, u = _select(u, neurons)
    _, spikes = _select(spikes, neurons)
    ax = _axes(ax)
    steps = np.arange(1, len(u) + 1)
    for k, row in enumerate(rows):
        (line,) = ax.plot(steps, u[:, k], lw=1, label=f"neuron {row}")
        fired = spikes[:, k] > 0
        ax.plot(steps[fired], u[fired, k], "o", ms=4, c=line.get_color())
    _draw_thresholds(ax, recording, layer, rows)
    ax.set(
        xlabel="time step",
        ylabel="membrane potential before the reset",
        title=f"{layer}, sample {sample}",
        xlim=(0.5, len(u) + 0.5),
    )
    if len(rows) <= 10:
        ax.legend(loc="best", fontsize="small")
    return ax


def _draw_thresholds(ax, recording, layer, rows):
    """Draw a dashed line for all neurons, or one of its color for each."""
    threshold = recording.thresholds.get(layer)
    if threshold is None:
        return
    if not np.ndim(threshold):
        ax.axhline(threshold, ls="--", c="gray", label="threshold")
        return
    shape = recording.potentials[layer].shape[2:]
    of_rows = np.broadcast_to(threshold, shape).ravel()[rows]
    colors = [line.get_color() for line in ax.get_lines()[::2]]
    for value, color in zip(of_rows, colors):
        ax.axhline(value, ls="--", c=color)


def rate_bars(rates, ax=None):
    """Draw each layer's mean rate as a bar.

    Args:
        rates: Dict from layer names to spikes a neuron and step, as of
            `keras_snn.models.spike_rates`; or a `Recording`.
        ax: matplotlib `Axes`; None makes a figure.
    """
    if hasattr(rates, "rates"):
        rates = rates.rates()
    ax = _axes(ax)
    _bars(ax, list(rates), list(rates.values()), "{:.3f}")
    ax.set(xlabel="spikes a neuron and step", title="spike rates")
    return ax


def latency(curve, ax=None):
    """Draw accuracy against the number of steps.

    Args:
        curve: A `LatencyCurve`.
        ax: matplotlib `Axes`; None makes a figure.
    """
    ax = _axes(ax)
    steps = np.arange(1, curve.time_steps + 1)
    ax.plot(steps, 100 * curve.accuracy, marker=".")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(
        xlabel="time steps",
        ylabel="accuracy, %",
        title=f"accuracy of {curve.samples} samples against time",
        xlim=(1, max(2, curve.time_steps)),
    )
    ax.grid(alpha=0.3)
    return ax


def energy_bars(profile, device="45nm-float32", ax=None):
    """Draw the energy of each layer that has one.

    Args:
        profile: A `Profile`.
        device: A name in `keras_snn.analysis.DEVICES`, or a `Device`.
        ax: matplotlib `Axes`; None makes a figure.

    Raises:
        ValueError: If the device is unknown, or cannot run the network.
    """
    total = profile.energy(device)
    if total.snn is None:
        raise ValueError(
            f"'{total.device.name}' has no MACs, which "
            f"'{profile.model_name}' needs for its analog input. Choose "
            'another device, e.g. "45nm-float32".'
        )
    values = {x.name: energy_of([x], total.device).snn for x in profile.layers}
    values = {name: value for name, value in values.items() if value > 0}
    unit, size = unit_for(max(values.values(), default=0.0))
    ax = _axes(ax)
    _bars(ax, list(values), [x / size for x in values.values()], "{:.3g}")
    ax.set(
        xlabel=f"energy of one inference, {unit}",
        title=f"{profile.model_name} on {total.device.name}: "
        f"{readable(total.snn)}",
    )
    return ax


def _bars(ax, names, values, form):
    bars = ax.barh(range(len(names)), values, color="C0")
    ax.bar_label(bars, [form.format(v) for v in values], padding=3, size=8)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.invert_yaxis()
    ax.margins(x=0.15)


def _text_color():
    matplotlib = optional.require("matplotlib", "plot")
    return matplotlib.rcParams["text.color"]


def _axes(ax):
    if ax is not None:
        return ax
    pyplot = optional.require("matplotlib.pyplot", "plot")
    return pyplot.subplots(layout="constrained")[1]


def _train(trains, layer, sample, what):
    """Return one sample's train of a layer, axes (time, neuron)."""
    if layer not in trains:
        raise ValueError(
            f"`layer` must be one whose {what} were recorded: "
            f"{', '.join(trains)}. Received: {layer!r}."
        )
    train = trains[layer]
    if not -len(train) <= sample < len(train):
        raise ValueError(
            f"`sample` must be below {len(train)}, the number recorded. "
            f"Received: sample={sample}."
        )
    return train[sample].reshape(train.shape[1], -1)


def _select(train, neurons):
    """Return the indices of some neurons, and their trains."""
    rows = np.arange(train.shape[1])
    if neurons is not None:
        rows = np.atleast_1d(np.asarray(neurons, "int64"))
        size = train.shape[1]
        if not len(rows) or rows.min() < 0 or rows.max() >= size:
            raise ValueError(
                f"`neurons` must lie in 0..{size - 1}, at least one index into "
                f"the flattened layer. Received: {neurons}."
            )
    return rows, train[:, rows]
