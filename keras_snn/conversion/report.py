"""How close a converted network is to the ordinary one, layer by layer."""

import dataclasses

import numpy as np
from keras import ops

from keras_snn import layers
from keras_snn.conversion import calibration, plain, spiking
from keras_snn.conversion.folding import folded
from keras_snn.models import Model


@dataclasses.dataclass
class LayerReport:
    """One spiking layer beside the layer of the ordinary network.

    Attributes:
        name: Name of the activation or pooling that it stands for.
        threshold: Threshold of its neurons.
        scale: Activation that one spike a step stands for.
        spike_rate: Mean spikes a neuron and step.
        mean_activation: Mean activation of the ordinary network.
        mean_error: Mean of `|scale * rate - activation|`.
        relative_error: Root mean square of that, over that of activations.
        cut_off: Fraction of activations above `scale`.
    """

    name: str
    threshold: float
    scale: float
    spike_rate: float
    mean_activation: float
    mean_error: float
    relative_error: float
    cut_off: float


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
    """

    layers: list
    samples: int
    time_steps: int | None
    max_error: float
    mean_error: float
    agreement: float

    def to_dict(self):
        """Return the report as numbers, text, lists and dicts."""
        return dataclasses.asdict(self)

    def summary(self):
        """Print the report as a table."""
        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"Conversion, T = {self.time_steps or 'any'}")
        table.add_column("layer")
        for name in ("threshold", "scale", "rate", "error", "cut off"):
            table.add_column(name, justify="right")
        for row in self.layers:
            table.add_row(
                row.name,
                f"{row.threshold:.4g}",
                f"{row.scale:.4g}",
                f"{row.spike_rate:.4f}",
                f"{row.relative_error:.2%}",
                f"{row.cut_off:.3%}",
            )
        console = Console()
        console.print(table)
        console.print(
            f"output: mean error {self.mean_error:.3g}, largest "
            f"{self.max_error:.3g}; same class for {self.agreement:.2%} of "
            f"{self.samples} samples"
        )


def report(ann, model, x, batch_size=64):
    """Compare a converted network with the network it was made from.

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
    rows = [
        _Row(op, thresholds[op], spiking.scale_of(op, thresholds))
        for op in found
    ]
    rates = [
        layers.SpikeCountReadout(dtype="float32")(neuron.output)
        for neuron in neurons.values()
    ]
    probe = Model(model.input, [*rates, model.output], name="probe")
    reference = plain.reference(graph, found) if found else None
    errors = []
    for batch, (*rates, output) in plain.predict_batches(probe, x, batch_size):
        activations = reference.predict_on_batch(batch) if found else []
        if not isinstance(activations, list):
            activations = [activations]
        for row, rate, activation in zip(rows, rates, activations):
            row.add(rate, np.asarray(activation))
        errors.append(_compare(output, ann.predict_on_batch(batch)))
    largest, mean, same = (np.concatenate(part) for part in zip(*errors))
    return Report(
        layers=[row.result() for row in rows],
        samples=len(x),
        time_steps=next(
            (y.time_steps for y in model.layers if hasattr(y, "time_steps")),
            None,
        ),
        max_error=float(largest.max()),
        mean_error=float(mean.mean()),
        agreement=float(same.mean()),
    )


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

    def __init__(self, op, threshold, scale):
        self.op, self.threshold, self.scale = op, threshold, scale
        self.sums, self.count = np.zeros(6), 0

    def add(self, rate, activation):
        error = rate.astype("float64") * self.scale - activation
        self.count += error.size
        self.sums += [
            rate.sum(dtype="float64"),
            activation.sum(dtype="float64"),
            np.abs(error).sum(),
            np.square(error).sum(),
            np.square(activation, dtype="float64").sum(),
            (activation > self.scale * (1 + 1e-6)).sum(),
        ]

    def result(self):
        rate, activation, error, squares, size, above = self.sums / self.count
        return LayerReport(
            name=self.op.name,
            threshold=self.threshold,
            scale=self.scale,
            spike_rate=float(rate),
            mean_activation=float(activation),
            mean_error=float(error),
            relative_error=float((squares / size) ** 0.5) if size else 0.0,
            cut_off=float(above),
        )
