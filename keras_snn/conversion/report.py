"""How close a converted network is to the ordinary one, layer by layer."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import rich.console
from keras import ops

from keras_snn import layers, tables
from keras_snn.conversion import calibration, explaining, plain, spiking
from keras_snn.conversion.folding import folded
from keras_snn.models import Model
from keras_snn.running import tracing

PARTS = ("inherited", "clipping", "rounding", "unevenness")
# Broken so that all of them stand in 80 columns.
COLUMNS = (
    *("thresh-\nold", "rate", "error"),
    *("inher-\nited", "clip-\nping", "round-\ning", "uneven-\nness"),
    "silent",
)


@dataclasses.dataclass
class LayerReport:
    """One spiking layer beside the layer of the ordinary network.

    Its error is the sum of four parts. With the activation `a` of the
    ordinary network, its function `f`, the mean current `I` that the spiking
    neuron receives, its threshold `h` in units of activations, its spike rate
    `r`, and the rate `n(I) / T` that the constant current `I` would make,

        h r - a = [f(I) - a]                    inherited from layers before
                + [min(f(I), h) - f(I)]         clipping
                + [h n(I) / T - min(f(I), h)]   rounding
                + [h r - h n(I) / T]            unevenness

    Unevenness is what it costs that currents come in bursts, and, with
    `reset="zero"`, what that loses. The parts are given as root mean squares,
    over that of `a`.

    Attributes:
        name: Name of the activation or pooling that it stands for.
        threshold: Threshold of its neurons.
        scale: Activation that one spike a step stands for.
        spike_rate: Mean spikes a neuron and step.
        mean_activation: Mean activation of the ordinary network.
        mean_error: Mean of `|scale * rate - activation|`.
        relative_error: Root mean square of that, over that of activations.
        cut_off: Fraction of activations above `scale`.
        inherited, clipping, rounding, unevenness: See above.
        silent: Fraction of the positive activations whose neurons never fire.
    """

    name: str
    threshold: float
    scale: float
    spike_rate: float
    mean_activation: float
    mean_error: float
    relative_error: float
    cut_off: float
    inherited: float
    clipping: float
    rounding: float
    unevenness: float
    silent: float


@dataclasses.dataclass
class Report:
    """The result of `report`.

    Attributes:
        layers: List of `LayerReport`, in forward order.
        samples: Number of inputs compared.
        time_steps: Steps that each was shown for.
        max_error: Largest difference of an output.
        mean_error: Mean absolute difference of the outputs.
        agreement: Fraction of samples with the same largest output.
        reasons: List of sentences: which layers lose accuracy, to what, and
            which option to try.
    """

    layers: list
    samples: int
    time_steps: int | None
    max_error: float
    mean_error: float
    agreement: float
    reasons: list

    def to_dict(self) -> dict[str, Any]:
        """Return the report as numbers, text, lists and dicts."""
        return dataclasses.asdict(self)

    def summary(self) -> Any:
        """Print the report as a table, and the reasons."""
        title = f"Conversion, T = {self.time_steps or 'any'}"
        table = tables.table(
            title, ["layer"], COLUMNS, no_wrap=False, overflow="fold"
        )
        for row in self.layers:
            table.add_row(
                row.name,
                f"{row.threshold:.4g}",
                f"{row.spike_rate:.4f}",
                f"{row.relative_error:.1%}",
                *(f"{getattr(row, part):.1%}" for part in PARTS),
                f"{row.silent:.1%}",
            )
        console = rich.console.Console()
        console.print(table)
        console.print(
            f"output: mean error {self.mean_error:.3g}, largest "
            f"{self.max_error:.3g}; same class for {self.agreement:.2%} of "
            f"{self.samples} samples"
        )
        for reason in self.reasons:
            console.print(f"- {reason}", markup=False, highlight=False)


def report(
    ann: keras.Model, model: keras.Model, x: Any, batch_size: int = 64
) -> Report:
    """Compare a converted network with the network it was made from.

    Says of each spiking layer how far its rates are from the activations, and
    why (see `LayerReport`), and in words which layers and which options to
    look at.

    Args:
        ann: The ordinary network.
        model: What `convert` made of it, also after loading from a file. Its
            encoder, if any, makes the spikes.
        x: Array of inputs of both.
        batch_size: Samples run at once.

    Returns:
        A `Report`: print it with `summary()`, or take `to_dict()`.

    Raises:
        ValueError: If `model` was not made from `ann`.

    Example:

    >>> report = keras_snn.conversion.report(ann, model, x_test[:256])
    >>> report.summary()
    >>> report.to_dict()["agreement"]
    """
    graph = folded(ann, "report")
    x = calibration.check_data(graph, x)
    names = {layer.name for layer in model.layers}
    missing = [
        op.name
        for op in graph.neurons()
        if spiking.neuron_name(op) not in names
    ]
    if missing or tuple(model.input_shape[1:]) != graph.input.shape:
        raise ValueError(
            "report() expects a model made by convert() from this network, "
            f"with an encoder. '{model.name}' takes {model.input_shape} and "
            f"lacks the spiking layers of {missing or 'none'}."
        )
    found = [op for op in graph.ops if spiking.neuron_name(op) in names]
    neurons = {op: model.get_layer(spiking.neuron_name(op)) for op in found}
    thresholds = {op: neuron.threshold for op, neuron in neurons.items()}
    time_steps = next(
        (y.time_steps for y in model.layers if hasattr(y, "time_steps")), None
    )
    rows = [
        _Row(op, neuron, spiking.scale_of(op, thresholds), time_steps)
        for op, neuron in neurons.items()
    ]
    rates = [
        layers.SpikeCountReadout(dtype="float32")(neuron.output)
        for neuron in neurons.values()
    ]
    currents = [
        layers.MembraneReadout(beta=1.0, dtype="float32")(neuron.input)
        for neuron in neurons.values()
    ]
    outputs = [*rates, *currents, model.output]
    probe = Model(model.input, outputs, name="probe")
    reference = plain.reference(graph, found) if found else None
    errors = []
    compared = plain.predict_batches(probe, x, batch_size, "Comparing layers")
    for batch, (*seen, output) in compared:
        activations = []
        if reference:
            activations = tracing.predict_on_batch(reference, batch)
        if not isinstance(activations, list):
            activations = [activations]
        seen = zip(seen[: len(rows)], seen[len(rows) :])
        for row, (rate, current), activation in zip(rows, seen, activations):
            row.add(rate, current, np.asarray(activation))
        errors.append(_compare(output, tracing.predict_on_batch(ann, batch)))
    largest, mean, same = (np.concatenate(part) for part in zip(*errors))
    result = Report(
        layers=[row.result() for row in rows],
        samples=len(x),
        time_steps=time_steps,
        max_error=float(largest.max()),
        mean_error=float(mean.mean()),
        agreement=float(same.mean()),
        reasons=[],
    )
    result.reasons = explaining.reasons(result, model)
    return result


def _compare(output, expected):
    """Return largest and mean error and agreement, one a sample."""
    output, expected = (
        np.reshape(ops.convert_to_numpy(y), (len(y), -1))
        for y in (output, expected)
    )
    error = np.abs(output - expected)
    same = output.argmax(axis=1) == expected.argmax(axis=1)
    return error.max(axis=1), error.mean(axis=1), same


class _Row:
    """Sums over batches for one layer."""

    def __init__(self, op, neuron, scale, time_steps):
        self.op, self.neuron, self.scale = op, neuron, scale
        self.time_steps = time_steps
        self.sums, self.count = np.zeros(12), 0

    def add(self, rate, current, activation):
        rate, activation = rate.astype("float64"), activation.astype("float64")
        parts = self._parts(rate, current, activation)
        error = sum(parts)
        positive = activation > 0
        self.count += error.size
        self.sums += [
            rate.sum(),
            activation.sum(),
            np.abs(error).sum(),
            np.square(error).sum(),
            np.square(activation).sum(),
            (activation > self.scale * (1 + 1e-6)).sum(),
            positive.sum(),
            (positive & (rate == 0)).sum(),
            *(np.square(part).sum() for part in parts),
        ]

    def _parts(self, rate, current, activation):
        """Return the error in the order of `PARTS`."""
        # From units of the potential to those of activations.
        unit = self.scale / self.neuron.threshold
        current = np.float32(current * unit)
        meant = current
        if self.op.role == "activation":
            meant = ops.convert_to_numpy(self.op.layer(current))
        meant = meant.astype("float64")
        held = np.minimum(meant, self.scale)
        steady = self._steady_rate(current.astype("float64"), unit)
        return (
            meant - activation,
            held - meant,
            self.scale * steady - held,
            self.scale * (rate - steady),
        )

    def _steady_rate(self, current, unit):
        """Return the rate that a constant current makes."""
        total = self.time_steps * current
        total = total + self.neuron.initial_potential * unit
        # The potential has to be above the threshold, not at it.
        spikes = np.ceil(total / self.scale) - 1
        return np.clip(spikes, 0, self.time_steps) / self.time_steps

    def result(self):
        rate, activation, error, *squares, above = self.sums[:6] / self.count
        positive, silent = self.sums[6:8]
        square, size = squares
        squares = np.array([square, *self.sums[8:] / self.count])
        relative, *parts = np.sqrt(squares / size) if size else 0 * squares
        return LayerReport(
            name=self.op.name,
            threshold=self.neuron.threshold,
            scale=self.scale,
            spike_rate=float(rate),
            mean_activation=float(activation),
            mean_error=float(error),
            relative_error=float(relative),
            cut_off=float(above),
            **dict(zip(PARTS, map(float, parts))),
            silent=float(silent / positive) if positive else 0.0,
        )
