"""The study's tables and pictures."""

from keras_snn import atomic, optional
from keras_snn.analysis.energy import readable


def markdown(result):
    """Return the study's result as a Markdown document."""
    settings = result["settings"]
    parts = [
        f"# {settings['model']} on {settings['dataset']}: spike-trained "
        "against converted",
        _command(result),
        f"{result['images']} test images. The ordinary network reaches "
        f"{result['ann_accuracy']:.2%}; the converted one is made from it by "
        f"`{result['method']}`. {_choice(result)}",
        "Iso-accuracy: the first step at which each network reaches "
        f"{result['points']['iso-accuracy']['converted']['goal']:.2%}, the "
        "lower of the two best accuracies less 0.2 points. Spikes are those of "
        "neurons, without the encoder's.",
        _table_of_steps(result),
        _table_of_costs(result),
    ]
    parts += [_table_of_layers(result, point) for point in result["points"]]
    parts.append(
        f"Energies are those of `{result['device']}`: counts of operations "
        "times published numbers. `study.json` has all devices."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _choice(result):
    """Say how the epochs were chosen."""
    ordinary = "the best epoch on held-out training images"
    origin = result["origin"]
    if origin["weights"] is None:
        return f"Both are {ordinary}."
    return (
        f"It is {ordinary}; the spike-trained one is `{origin['weights']}`, as "
        "it came."
    )


def _command(result):
    return f"`{result['command']}`" if result["command"] else ""


def _table_of_steps(result):
    curves = result["curves"]
    most = max(len(c["accuracy"]) for c in curves.values())
    ends = {len(c["accuracy"]) for c in curves.values()}
    steps = sorted({*(2**k for k in range(20)), *ends})
    steps = [t for t in steps if t <= most]
    rows = [f"| accuracy after t steps | {' | '.join(map(str, steps))} |"]
    rows.append("|---|" + "---:|" * len(steps))
    for name, curve in curves.items():
        cells = [
            f"{curve['accuracy'][t - 1]:.2%}"
            if t <= len(curve["accuracy"])
            else ""
            for t in steps
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _table_of_costs(result):
    rows = [
        "| | | accuracy | time steps | spikes an inference | energy |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for point, entries in result["points"].items():
        compared = result["comparison"][point]
        for name, entry in entries.items():
            rows.append(
                f"| {point} | {name} | {entry['accuracy']:.2%} | "
                f"{entry['time_steps']} | {compared['spikes'][name]:,.0f} | "
                f"{readable(compared['energy_pj'][name])} |"
            )
        rows.append(
            f"| | converted / spike-trained | | {compared['speed_up']:.2f} x | "
            f"{times(compared['spikes_ratio'])} | "
            f"{times(compared['energy_ratio'])} |"
        )
        rows.append(
            "| | ordinary network, one pass | "
            f"{result['ann_accuracy']:.2%} | | | "
            f"{readable(compared['ann_pj'])} |"
        )
    return "\n".join(rows)


def _table_of_layers(result, point):
    profiles = result["profiles"][point]
    rows = [
        f"Spikes of one inference by layer, {point}:",
        "",
        "| network | layer | spikes | a neuron and step |",
        "|---|---|---:|---:|",
    ]
    for name, profile in profiles.items():
        for layer in spiking_layers(profile):
            rate = 1.0 - layer["activation_sparsity"]
            rows.append(
                f"| {name} | {layer['name']} | {layer['spikes']:,.0f} | "
                f"{rate:.4f} |"
            )
    return "\n".join(rows)


def spiking_layers(profile):
    """Return the layers of a profile whose neurons spike."""
    return [layer for layer in profile["layers"] if layer["neuron"]]


def times(ratio):
    """Return a ratio as text, "-" where it is unknown."""
    return "-" if ratio is None else f"{ratio:.2f} x"


def pictures(folder, result):
    """Draw `error.png`, `spikes.png` and `energy.png`.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    figures = optional.require("matplotlib.figure", "plot")
    for name, draw in (
        ("error", _draw_error),
        ("spikes", _draw_spikes),
        ("energy", _draw_energy),
    ):
        figure = figures.Figure(figsize=(7, 4.5), layout="constrained")
        draw(figure.add_subplot(), result)
        with atomic.written(folder / f"{name}.png") as draft:
            figure.savefig(draft, dpi=120)


def _draw_error(axes, result):
    # On a logarithmic axis no error has no place: half an image instead.
    least = 50 / result["images"]

    def percent(accuracy):
        return max(100 * (1 - accuracy), least)

    for index, (name, curve) in enumerate(result["curves"].items()):
        steps = range(1, len(curve["accuracy"]) + 1)
        errors = [percent(a) for a in curve["accuracy"]]
        axes.plot(steps, errors, color=f"C{index}", label=name)
        iso = result["points"]["iso-accuracy"][name]
        axes.plot(
            iso["time_steps"],
            errors[iso["time_steps"] - 1],
            "o",
            color=f"C{index}",
        )
    axes.axhline(
        percent(result["ann_accuracy"]), ls="--", c="gray", label="ordinary"
    )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(
        xlabel="time steps",
        ylabel="error (%)",
        title="Error against time; dots: iso-accuracy",
    )
    axes.legend()
    axes.grid(alpha=0.3)


def _draw_spikes(axes, result):
    profiles = result["profiles"]["iso-accuracy"]
    start = 0
    ticks, names = [], []
    for index, (name, profile) in enumerate(profiles.items()):
        layers = spiking_layers(profile)
        places = range(start, start + len(layers))
        spikes = [layer["spikes"] for layer in layers]
        axes.bar(places, spikes, color=f"C{index}", label=name)
        ticks += places
        names += [layer["name"] for layer in layers]
        start += len(layers) + 1
    axes.set_xticks(ticks, names, rotation=90, fontsize="small")
    axes.set(
        ylabel="spikes an inference", title="Spikes by layer, at iso-accuracy"
    )
    axes.legend()


def _draw_energy(axes, result):
    labels, values, colors = [], [], []
    for point, compared in result["comparison"].items():
        for index, (name, energy) in enumerate(compared["energy_pj"].items()):
            if energy is not None:
                labels.append(f"{name}\n{point}")
                values.append(energy / 1e6)
                colors.append(f"C{index}")
        ann = compared["ann_pj"]
    if ann is not None:
        labels.append("ordinary\none pass")
        values.append(ann / 1e6)
        colors.append("gray")
    bars = axes.bar(labels, values, color=colors)
    axes.bar_label(bars, fmt="%.3g")
    axes.set(
        ylabel="energy an inference (uJ)",
        title=f"Energy of operations, {result['device']}",
    )


def table(result):
    """Return the costs as a table for the terminal."""
    from rich.table import Table

    shown = Table(title=f"{result['images']} test images")
    for name in ("", "network"):
        shown.add_column(name)
    for name in ("accuracy", "time steps", "spikes", "energy"):
        shown.add_column(name, justify="right")
    for line in _table_of_costs(result).splitlines()[2:]:
        shown.add_row(*(cell.strip() for cell in line.split("|")[1:-1]))
    return shown
