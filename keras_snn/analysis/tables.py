"""Profiles as tables: on the terminal, and for pandas."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import rich.console

from keras_snn import optional
from keras_snn.analysis import devices
from keras_snn.analysis.energy import energy_of, readable
from keras_snn.tables import table

# Fits the longest layer names, where there is no terminal.
_WIDTH = 120
# Columns that a narrow terminal has no room for, the first to go first.
_LEFT_OUT = ("type", "dense", "weights", "biases", "bias adds", "memory")


def summary(profile, device, print_fn=None):
    """Print a profile.

    Args:
        profile: A `Profile`.
        device: The `Device` whose energy is shown by layer.
        print_fn: Function to print with, None for the terminal.
    """
    console = _console(print_fn)
    with console.capture() as text:
        console.print(_fitting(_layers(profile, device), console))
        console.print(_fitting(_energies(profile), console))
        console.print(
            "MACs and ACs are the effective ones, dense is both at full "
            f"activity. Footprint {profile.footprint:,} bytes of weights. "
            "Energies are counts times published energies of single "
            "operations, not measurements. Beside: the same network as an "
            "ordinary one, real values in one pass at the same bit width; '-' "
            "where the device has no MACs."
        )
    (print_fn or print)(text.get())


def _console(print_fn):
    """Return a console as wide as the terminal, if it prints to one."""
    console = rich.console.Console(highlight=False)
    if print_fn is not None or not console.is_terminal:
        console.width = _WIDTH
    return console


def _fitting(table, console):
    """Return a table without columns that a console has no room for."""
    wide = console.options.update(width=2 * _WIDTH)
    for name in _LEFT_OUT:
        if console.measure(table, options=wide).maximum <= console.width:
            break
        table.columns = [x for x in table.columns if x.header != name]
    return table


def _layers(profile, device):
    title = (
        f"{profile.model_name}: mean of {profile.samples} inferences of "
        f"{profile.time_steps:g} steps"
    )
    columns = [*numbers(profile, profile.layers[0]), device.name]
    found = table(title, ["layer", "type"], columns)
    for layer in profile.layers:
        found.add_row(
            layer.name,
            layer.kind,
            *numbers(profile, layer).values(),
            readable(energy_of([layer], device).snn),
        )
    found.add_section()
    found.add_row(
        "all",
        "",
        *numbers(profile, profile).values(),
        readable(profile.energy(device).snn),
    )
    return found


def numbers(profile, row):
    """Return a row's numbers as text, by column."""
    sparsity = row.activation_sparsity
    columns = {
        "weights": f"{row.parameters:,}",
        "sparsity": "" if sparsity is None else f"{sparsity:.2%}",
        "MACs": f"{row.effective_macs:,.0f}",
        "ACs": f"{row.effective_acs:,.0f}",
        "dense": f"{row.dense:,.0f}",
        "bias adds": f"{row.bias_adds:,.0f}",
        "updates": f"{row.membrane_updates:,.0f}",
    }
    if not profile.bias_adds:
        del columns["bias adds"]
    return columns


def _energies(profile):
    parts = ["synapses", "biases", "neurons", "memory"]
    if not profile.bias_adds:
        parts.remove("biases")
    columns = [*parts, "spiking", "ordinary", "ordinary\n/ spiking"]
    found = table("Energy of one inference", ["device"], columns)
    for device in devices.DEVICES.values():
        energy = profile.energy(device)
        found.add_row(
            device.name,
            *(readable(getattr(energy, part)) for part in parts),
            readable(energy.snn),
            readable(energy.ann),
            "-" if energy.ratio is None else f"{energy.ratio:.2g}",
        )
    return found


def print_devices(print_fn: Callable[[str], Any] = print) -> None:
    """Print the table of devices: pJ an operation, sources and notes."""
    console = _console(None if print_fn is print else print_fn)
    with console.capture() as text:
        console.print(_device_table())
        for device in devices.DEVICES.values():
            console.print(
                f"{device.name}: {device.source} {device.url}\n"
                f"    {device.note}",
                markup=False,
                soft_wrap=True,
            )
    print_fn(text.get())


def _device_table():
    columns = ("bits", "mac", "ac", "update", "weight_access", "state_access")
    found = table(
        "Energy of one operation, pJ",
        ["device"],
        [column.replace("_", " ") for column in columns],
    )
    for device in devices.DEVICES.values():
        values = (getattr(device, column) for column in columns)
        found.add_row(
            device.name, *("-" if v is None else f"{v:g}" for v in values)
        )
    return found


def dataframe(profile):
    """Return a `pandas.DataFrame` of a profile, one row a layer.

    Columns are the fields of `LayerProfile`; the index is the layer's name.

    Raises:
        ImportError: If pandas is not installed.
    """
    pandas = optional.require("pandas", "analysis")
    rows = [dataclasses.asdict(layer) for layer in profile.layers]
    return pandas.DataFrame(rows).set_index("name")


def execution(report, print_fn=None):
    """Print an `ExecutionReport`; for the arguments see `summary`."""
    found = table(
        f"{report.model_name}: one of {report.samples} sample(s)",
        ["layer", "type", "runs"],
        ["spike rate", "ms"],
    )
    for row in report.layers:
        rate = "" if row.rate is None else f"{row.rate:.4f}"
        ms = "" if row.seconds is None else f"{1e3 * row.seconds:.3f}"
        found.add_row(row.name, row.kind, row.mode, rate, ms)
    console = _console(print_fn)
    with console.capture() as text:
        if report.reason is None:
            found.add_section()
            total = f"{1e3 * report.seconds:.3f}"
            found.add_row("all", "", "", "", total)
        console.print(found)
        if report.reason is not None:
            console.print(f"It runs densely: {report.reason}.")
        else:
            _print_reasons(report, console)
    (print_fn or print)(text.get())


def _print_reasons(report, console):
    """Say of each layer that runs densely, among others, why."""
    for row in report.layers:
        if row.reason is not None:
            console.print(f"Dense: {row.reason}.", markup=False)
