"""One page about one network: how it learned, what it does, what it costs."""

from __future__ import annotations

import base64
import html
import io
import string
from typing import Any

import keras

from keras_snn import atomic, optional
from keras_snn.analysis import plots, tables
from keras_snn.analysis.devices import get_device
from keras_snn.analysis.execution import execution_report
from keras_snn.analysis.latency import latency_curve
from keras_snn.analysis.profiling import profile
from keras_snn.analysis.recording import record
from keras_snn.typing import Path

# Greys and colors that can be read on white and on black.
GREY = "#8a8a8a"
STYLE = {
    **dict.fromkeys(
        (
            "text.color",
            "axes.labelcolor",
            "axes.edgecolor",
            "axes.titlecolor",
            "xtick.color",
            "ytick.color",
            "legend.labelcolor",
        ),
        GREY,
    ),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.prop_cycle": "cycler(color=['4393c3', 'e08214', '5aa469'])",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.transparent": True,
    # In SVG files text stays text, and names of marks do not change from run
    # to run.
    "svg.fonttype": "none",
    "svg.hashsalt": "keras_snn",
}
RASTERS = 2

PAGE = string.Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto;
       padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
img { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid $grey; }
th { text-align: left; }
/* What is too wide scrolls; only the last column of words breaks. */
th, td:not(:last-child), td.number { white-space: nowrap; }
td.number { text-align: right;
       font-variant-numeric: tabular-nums; }
</style>
<h1>$title</h1>
$sections
</html>
""")


def write_page(
    path: Path,
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    history: Any = None,
    facts: Any = None,
    device: Any = None,
) -> Any:
    """Write what is known of a trained network as one page of HTML.

    Accuracy against time steps, spike rates and rasters, operations and
    energy by layer, how the layers run, and, where given, the curves of the
    training. The page needs no other file and no network.

    Args:
        path: The `.html` file; replaced once the new one is complete.
        model: Functional model with one input.
        x: NumPy array of inputs, `(samples, ...)`.
        y: Labels, integers or one-hot.
        history: Dict of lists by epoch, as `History.history`.
        facts: Dict of what the page begins with, such as settings.
        device: Whose energies are shown; `"45nm-float32"` by default. A name
            in `keras_snn.analysis.DEVICES`, or a `Device`.

    Raises:
        ValueError: For an unknown device, or a model that cannot be read.
        ImportError: If matplotlib is missing.

    Example:

    >>> history = model.fit(x_train, y_train, validation_data=(x_test, y_test))
    >>> keras_snn.analysis.write_page(
    ...     "report.html", model, x_test, y_test, history=history.history
    ... )
    """
    optional.require("matplotlib", "plot")
    device = get_device(device or "45nm-float32")
    sections = [_table(["", ""], (facts or {}).items())] if facts else []
    if history:
        sections.append(_section("Training", _figure(_draw_history, history)))
    curve = latency_curve(model, x, y)
    sections.append(
        _section("Accuracy against time", _figure(plots.latency, curve))
    )
    recording = record(model, x[:RASTERS])
    sections.append(_section("Spikes", *_spikes(recording)))
    counted = profile(model, x)
    sections.append(_section("Operations and energy", *_costs(counted, device)))
    sections.append(_section("Execution", *_execution(model, x[:1])))
    page = PAGE.substitute(
        title=html.escape(f"{model.name}, a spiking network"),
        grey=GREY,
        sections="\n".join(sections),
    )
    atomic.write_text(path, page)


def _section(title, *parts):
    return "\n".join([f"<h2>{html.escape(title)}</h2>", *parts])


def _table(header, rows):
    """Return a table; numbers as text stand to the right."""
    lines = ['<div class="scroll"><table>']
    if any(header):
        cells = "".join(f"<th>{html.escape(x)}</th>" for x in header)
        lines.append(f"<tr>{cells}</tr>")
    for row in rows:
        lines.append("<tr>" + "".join(map(_cell, row)) + "</tr>")
    return "\n".join([*lines, "</table></div>"])


def _cell(value):
    kind = ' class="number"' if isinstance(value, _Number) else ""
    return f"<td{kind}>{html.escape(str(value))}</td>"


class _Number(str):
    """A number as text."""


def _figure(draw, *arguments, size=(6.4, 3.4), **options):
    """Return a picture that `draw(*arguments, ax=...)` makes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        # Without pyplot: no global state, and no window system.
        figure = Figure(figsize=size, dpi=110)
        FigureCanvasAgg(figure)
        draw(*arguments, ax=figure.add_subplot(), **options)
        file = io.BytesIO()
        figure.savefig(file, format="png")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<p><img alt="" src="data:image/png;base64,{data}"></p>'


def _draw_history(history, ax):
    for name in ("accuracy", "val_accuracy"):
        if values := history.get(name):
            epochs = range(1, len(values) + 1)
            label = "watched" if name.startswith("val") else "training"
            ax.plot(epochs, [100 * v for v in values], ".-", label=label)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="epoch", ylabel="accuracy, %")
    ax.grid(alpha=0.3)
    if ax.get_legend_handles_labels()[0]:
        ax.legend()


def _spikes(recording):
    rates = recording.rates()
    height = 1.2 + 0.25 * len(rates)
    yield _figure(plots.rate_bars, rates, size=(6.4, height))
    for layer in rates:
        yield _figure(plots.raster, recording, layer, size=(6.4, 2.4))


def _costs(counted, device):
    if counted.energy(device).snn is not None:
        names = {layer.name for layer in counted.layers}
        height = 1.2 + 0.25 * len(names)
        yield _figure(plots.energy_bars, counted, device, size=(6.4, height))
    columns = ["MACs", "ACs", "updates", "sparsity"]
    rows = []
    for layer in [*counted.layers, counted]:
        found = tables.numbers(counted, layer)
        is_all = layer is counted
        name, kind = ("all", "") if is_all else (layer.name, layer.kind)
        rows.append([name, kind, *(_Number(found[x]) for x in columns)])
    yield _table(["layer", "type", *columns], rows)
    yield (
        f"<p>Means of one inference over {counted.samples} samples, from "
        "measured spikes; energies are these counts times published energies "
        f"of single operations ({html.escape(device.name)}).</p>"
    )


def _execution(model, x):
    found = execution_report(model, x)
    if found.reason is not None:
        yield f"<p>It runs densely: {html.escape(found.reason)}.</p>"
        return
    rows = [
        [row.name, row.kind, row.mode, _Number(f"{1e3 * row.seconds:.3f}")]
        for row in found.layers
    ]
    total = _Number(f"{1e3 * found.seconds:.3f}")
    rows.append(["all", "", "", total])
    yield _table(["layer", "type", "runs", "ms, one sample alone"], rows)
    for row in found.layers:
        if row.reason is not None:
            yield f"<p>Dense: {html.escape(row.reason)}.</p>"
