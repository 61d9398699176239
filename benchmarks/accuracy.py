"""The accuracy table and its pictures, from `results/accuracy/`.

    python -m benchmarks.accuracy

Writes the tables between the marks in `accuracy.md`, and the pictures beside
the results. Nothing is measured here.
"""

import json
import pathlib

FOLDER = pathlib.Path(__file__).parent
RESULTS = FOLDER / "results" / "accuracy"
PAGE = FOLDER / "accuracy.md"

# Data, network, file, the paper's accuracy (T = 100), the goal.
ROWS = (
    ("CIFAR-10", "SpikingCNN", "spikingcnn_cifar10", None, 0.93),
    ("CIFAR-10", "VGG8", "vgg8_cifar10", None, 0.93),
    ("CIFAR-10", "VGG9, normalized", "vgg9_cifar10", 0.9045, 0.915),
    ("CIFAR-10", "ResNet11, normalized", "resnet11_cifar10", 0.9095, 0.92),
    ("MNIST", "LeNet, normalized", "lenet_mnist", 0.9959, 0.996),
    ("N-MNIST", "LeNet, normalized", "lenet_nmnist", 0.9909, 0.985),
)
RULES = {
    "rate": "rate, one backward pass",
    "bptt": "through time, the same surrogate",
    "collapsed": "collapsed, one backward pass",
    "exact": "exact",
}


def read(name):
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def percent(share, digits=2):
    return "" if share is None else f"{share:.{digits}%}"


def accuracies():
    """Return the table of trained networks."""
    lines = [
        "| data | network | test accuracy | 95 % interval | T | paper, T = 100 "
        "| goal | mean rate | time of training |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for data, network, name, paper, goal in ROWS:
        if not (RESULTS / f"{name}.json").exists():
            continue
        found = read(name)["published"]
        low, high = found["interval"]
        accuracy = found["test_accuracy"]
        if "seeds" in found:
            seeds = list(found["seeds"].values())
            accuracy = sum(seeds) / len(seeds)
            network += f", mean of {len(seeds)} seeds"
        lines.append(
            f"| {data} | {network} | **{accuracy:.2%}** "
            f"| {low:.1%} to {high:.1%} | {found['time_steps']} "
            f"| {percent(paper)} | {percent(goal, 1)} "
            f"| {found['mean_rate']:.3f} | {seconds(name)} |"
        )
    return lines


def phases_of(record):
    """Return the phases up to the network of the table."""
    if "phases" in record:
        return [x for x in record["phases"] if x["title"] != "sparse"]
    # Of a run of `keras-snn train`.
    history = record["history"]
    rows = [dict(zip(history, x)) for x in zip(*history.values())]
    for number, row in enumerate(rows, 1):
        row["epoch"] = number
    spikes = {
        "title": "spikes",
        "seed": record["settings"]["seed"],
        "seconds": sum(history["seconds"]),
        "history": rows,
    }
    return [spikes]


def seconds(name):
    """Say how long one seed took, up to the network of the table."""
    record = read(name)
    phases = phases_of(record)
    same = [x for x in phases if x["seed"] == phases[0]["seed"]]
    took = f"{sum(x['seconds'] for x in same):,.0f} s"
    if "begun" in record:
        took += f" on two cores, after {seconds(record['begun'])}"
    return took


def epochs_before(record):
    """Return the epochs of the row that a run began with."""
    if "begun" not in record:
        return 0.0
    phases = phases_of(read(record["begun"]))
    return sum(x["history"][-1]["epoch"] for x in phases)


def rates():
    """Return the table of the networks trained to few spikes."""
    lines = [
        "| network | test accuracy | mean rate | T = 1 | 2 | 4 | 8 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for title, name in (
        ("SpikingCNN, trained", "spikingcnn_cifar10"),
        ("and to fewer spikes", "spikingcnn_cifar10_sparse"),
        ("VGG8, trained", "vgg8_cifar10"),
        ("and to fewer spikes", "vgg8_cifar10_sparse"),
    ):
        found = read(name)["published"]
        curve = " | ".join(f"{a:.1%}" for a in found["accuracy_at"].values())
        lines.append(
            f"| {title} | {found['test_accuracy']:.2%} "
            f"| {found['mean_rate']:.3f} | {curve} |"
        )
    return lines


def rules():
    """Return the table of the rules side by side."""
    rows = read("rules_vgg9")["rows"]
    lines = [
        "| rule | T | held out, last epoch | training, last epoch |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        last = row["history"][-1]
        lines.append(
            f"| {RULES[row['rule']]} | {row['time_steps']} "
            f"| {last['val_accuracy']:.1%} | {last['accuracy']:.1%} |"
        )
    return lines


def conversion():
    """Return the table of trained and converted networks."""
    found = read("conversion_spikingcnn")
    steps = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    lines = [
        "| network | operations | energy | "
        + " | ".join(f"T = {t}" for t in steps)
        + " |",
        "|---|---:|---:|" + "---:|" * len(steps),
    ]
    for name, network in found["networks"].items():
        curve = network["accuracy"]
        shown = [
            f"{curve[t - 1]:.1%}" if t <= len(curve) else "" for t in steps
        ]
        operations = network["Effective_ACs"] + network["Effective_MACs"]
        lines.append(
            f"| {name} | {operations / 1e6:,.0f} M "
            f"| {network['energy_uJ']:,.0f} uJ | {' | '.join(shown)} |"
        )
    network = next(iter(found["networks"].values()))
    lines.append(
        f"| with ReLUs, {found['ann_accuracy']:.1%} | "
        f"| {network['ann_energy_uJ']:,.0f} uJ |" + " |" * len(steps)
    )
    return lines


def draw():
    """Draw accuracy against epochs, and against T."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {"axes.spines.top": False, "axes.spines.right": False}
    with pyplot.rc_context({**style, "figure.dpi": 120}):
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for i, (_, network, name, *_) in enumerate(ROWS[:4]):
            record = read(name)
            start = epochs_before(record)
            for phase in phases_of(record):
                history = phase["history"]
                axes.plot(
                    [start + x["epoch"] for x in history],
                    [x["val_accuracy"] for x in history],
                    color=f"C{i}",
                    linestyle=":" if phase["title"] == "ann" else "-",
                    label=network if phase["title"] != "ann" else None,
                )
                start += history[-1]["epoch"]
        axes.set(
            xlabel="epoch (dotted: with ReLUs; then with spikes, T = 4)",
            ylabel="accuracy, 1,000 images held out",
            ylim=(0.5, 0.96),
        )
        axes.legend(frameon=False, loc="lower right")
        figure.savefig(RESULTS / "epochs.png")

        found = read("conversion_spikingcnn")
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for name, network in found["networks"].items():
            curve = network["accuracy"]
            steps = range(1, len(curve) + 1)
            axes.semilogx(steps, curve, label=name, marker=".", base=2)
        axes.axhline(
            found["ann_accuracy"], color="0.5", lw=1, ls=":", label="with ReLUs"
        )
        axes.set(xlabel="time steps T", ylabel="accuracy", ylim=(0, 1))
        axes.legend(frameon=False, loc="lower right")
        figure.savefig(RESULTS / "steps.png")


TABLES = {
    "accuracies": accuracies,
    "rates": rates,
    "rules": rules,
    "conversion": conversion,
}


def filled(page):
    """Return the page with its tables made anew."""
    for name, table in TABLES.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        before, rest = page.split(start)
        page = before + start + "\n".join(table()) + "\n" + end
        page += rest.split(end)[1]
    return page


def main():
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
    draw()


if __name__ == "__main__":
    main()
