"""The tables and plots of `benchmarks.compare`.

    python -m benchmarks.report benchmarks/results

writes them again from `compare.json`.
"""

import json
import pathlib
import statistics
import sys

from benchmarks.bounds import lower_bound

RESULTS = pathlib.Path(__file__).parent / "results"
DTYPES = ("float32", "bfloat16")
NETWORKS = {"lenet": "LeNet", "vgg9": "VGG9"}
LABELS = {
    "keras_snn": "keras_snn",
    "keras_snn-one": "keras_snn, one processor",
    "keras_snn-compiled": "keras_snn, compiled by event_driven.compile",
    "keras_snn-dense": "keras_snn, dense products",
    "keras_snn-layers": "keras_snn, layer by layer",
    "keras_snn-exact": "keras_snn, exact rule",
    "keras_snn-arctan": "keras_snn, arctan BPTT",
    "keras_snn-arctan-remat": "keras_snn, arctan BPTT, remat_steps",
    "keras_snn-jax": "keras_snn on JAX",
    "snntorch": "snnTorch",
    "spikingjelly": "SpikingJelly",
    "torch": "PyTorch loop",
    "torch-layers": "PyTorch, layer by layer",
}

# Variants of keras_snn with one backward pass for all time steps.
ONE_BACKWARD_PASS = ("keras_snn", "keras_snn-dense", "keras_snn-jax")
MEASURES = (
    ("train", "median_seconds", "Training step (ms)", 1e3, "{:.0f}"),
    ("train", "memory_peak", "Training, peak memory (GB)", 1e-9, "{:.2f}"),
    (
        "train",
        "memory_increase",
        "Training, peak memory above the imported library's (GB)",
        1e-9,
        "{:.2f}",
    ),
    ("inference", "median_seconds", "Inference (ms)", 1e3, "{:.0f}"),
    (
        "inference",
        "memory_peak",
        "Inference, peak memory (GB)",
        1e-9,
        "{:.2f}",
    ),
    (
        "train",
        "first_call_seconds",
        "First training step, with tracing and compilation (s)",
        1,
        "{:.1f}",
    ),
    ("train", "import_seconds", "Import (s)", 1, "{:.1f}"),
)


def write_json(path, results):
    path.write_text(json.dumps(results, indent=1) + "\n")


def write(folder, results):
    """Write `compare.md` and, with matplotlib, one plot for each network."""
    groups = sorted({(c["dtype"], c["network"]) for c in results["cases"]})
    groups.sort(key=lambda group: DTYPES.index(group[0]))
    parts = [introduction(results)]
    for dtype, network in groups:
        cases = select(results["cases"], dtype=dtype, network=network)
        name = f"compare_{network}_{dtype}.png"
        title = f"{NETWORKS[network]}, batch {cases[0]['batch']}, {dtype}"
        parts.append(f"## {title}\n")
        if plot(folder / name, title, cases):
            parts.append(f"![Time and memory over time steps]({name})\n")
        parts += [table(cases, *measure) for measure in MEASURES]
        parts.append(fractions(results["limits"], cases))
    text = "\n".join(part for part in parts if part)
    (folder / "compare.md").write_text(text)


def select(cases, **wanted):
    return [c for c in cases if all(c[k] == v for k, v in wanted.items())]


def value(cases, key):
    """Return the median over rounds of a measure, or a case's status."""
    values = [c[key] for c in cases if c["status"] == "ok"]
    if values:
        return statistics.median(values)
    return cases[0]["status"] if cases else None


def introduction(results):
    machine = results["machine"]
    versions = {}
    for case in results["cases"]:
        versions.update(case.get("versions", {}))
    lines = [
        "# keras_snn beside other libraries\n",
        f"`{results['command'].strip()}`\n",
        f"- Machine: {machine.get('processor', 'unknown processor')}, "
        f"{machine['cores']} cores, {machine.get('memory_gb', '?')} GB.",
        "- Versions: "
        + ", ".join(f"{k} {v}" for k, v in sorted(versions.items()))
        + ".",
        f"- Environment of keras_snn: `{results['environment_of_keras_snn']}`.",
    ]
    for result in results["checks"]:
        outcome = "not compared"
        if result["same"] is not None:
            outcome = (
                ("the same network" if result["same"] else "NOT the same")
                + ": outputs differ by at most "
                f"{result['largest_difference']:.0e} "
                f"(outputs up to {result['largest_output']:.1f}), "
                f"spikes {sum(result['spikes'])} and "
                f"{sum(result['expected_spikes'])}"
            )
        label = LABELS[result["library"]]
        lines.append(f"- {label}, {NETWORKS[result['network']]}: {outcome}.")
    return "\n".join(lines) + "\n"


def table(cases, what, key, title, scale, pattern):
    """Return a table, libraries down and numbers of time steps across."""
    cases = select(cases, what=what)
    steps = sorted({c["time_steps"] for c in cases})
    libraries = dict.fromkeys(c["library"] for c in cases)
    lines = [
        f"**{title}**\n",
        f"| | {' | '.join(f'T = {t}' for t in steps)} |",
        "|---|" + "---:|" * len(steps),
    ]
    for library in libraries:
        cells = []
        for t in steps:
            found = value(select(cases, library=library, time_steps=t), key)
            if isinstance(found, (int, float)):
                found = pattern.format(found * scale)
            cells.append(found or "")
        lines.append(f"| {LABELS[library]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def fractions(all_limits, cases):
    """Return the table of measured times against the machine's limits."""
    first = cases[0]
    found = [
        limit
        for limit in select(
            all_limits, network=first["network"], dtype=first["dtype"]
        )
        if limit["status"] == "ok"
    ]
    if not found:
        return ""
    limits = found[0]
    lines = [
        f"**Against this machine's limits.** TensorFlow's convolutions and "
        f"dense products of one step alone: "
        f"{1e3 * limits['step_seconds']:.1f} ms, "
        f"{limits['gflops']:.0f} GFLOP/s; memory: "
        f"{limits['bandwidth_gb_s']:.1f} GB/s. A limit of 100 % is that time "
        "for all products of the step; in brackets, with one pass over the "
        "neurons' state added. Event by event a step can be faster: it skips "
        "the products with zeros.\n",
        "| | T | training | inference |",
        "|---|---:|---:|---:|",
    ]
    ours = [c for c in cases if c["library"].startswith("keras_snn")]
    keys = dict.fromkeys((c["library"], c["time_steps"]) for c in ours)
    for library, t in keys:
        cells = []
        for what in ("train", "inference"):
            chosen = select(ours, library=library, time_steps=t, what=what)
            seconds = value(chosen, "median_seconds")
            if not isinstance(seconds, (int, float)):
                cells.append(seconds or "")
                continue
            per_step = library not in ONE_BACKWARD_PASS
            shares = [
                f"{100 * bound / seconds:.0f} %"
                for bound in lower_bound(limits, what, t, per_step)
            ]
            cells.append(f"{shares[0]} ({shares[1]})")
        lines.append(f"| {LABELS[library]} | {t} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(path, title, cases):
    """Draw time and memory over T; return whether matplotlib is there."""
    try:
        import matplotlib
    except ImportError:
        print("No plot: it needs matplotlib, pip install keras-snn[plot].")
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [m for m in MEASURES if m[1] in ("median_seconds", "memory_peak")]
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 8), sharex=True)
    axes = dict(zip([p[2] for p in panels], axes.T.flat))
    for what, key, label, scale, _ in panels:
        _panel(axes[label], select(cases, what=what), key, label, scale)
    first = axes[panels[0][2]]
    handles, labels = first.get_legend_handles_labels()
    figure.suptitle(title)
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def _panel(axes, cases, key, label, scale):
    steps = sorted({c["time_steps"] for c in cases})
    markers = "osD^vPX*<>hd"
    for index, library in enumerate(LABELS):
        points = [
            (t, value(select(cases, library=library, time_steps=t), key))
            for t in steps
        ]
        points = [(t, v * scale) for t, v in points if not _missing(v)]
        if not points:
            continue
        axes.plot(
            *zip(*points),
            marker=markers[index % len(markers)],
            color=f"C{index}",
            linewidth=2.5 if library == "keras_snn" else 1.2,
            label=LABELS[library],
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(steps, [str(t) for t in steps])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(_ticks())
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.set_xlabel("time steps T")
    axes.set_title(label, fontsize=10)
    axes.grid(alpha=0.3)


def _ticks():
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1, 2, 5))


def _missing(found):
    return not isinstance(found, (int, float))


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1]) if sys.argv[1:] else RESULTS
    write(folder, json.loads((folder / "compare.json").read_text()))
