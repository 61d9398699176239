"""Operations, activity and energy of a network, layer by layer."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import keras

from keras_snn import atomic
from keras_snn.analysis import devices, energy, plots, tables
from keras_snn.analysis.batches import batches, network_of
from keras_snn.analysis.wiring import Wiring
from keras_snn.running.activity import Activity, Counts
from keras_snn.typing import Path


@dataclasses.dataclass(frozen=True)
class LayerProfile:
    """One layer of a `Profile`; counts are means per inference.

    Attributes:
        name, kind: The layer's name and type; the second call of a layer is
            named `"<layer>_call2"`.
        layer: The layer's own name.
        neuron: Whether it is a spiking layer, e.g. `LIF`. Inputs, encoders
            and max pooling pass spikes on, but no neurons fire there.
        output_shape: Shape of one frame of its output.
        parameters: Number of weights, of a shared layer only once.
        spikes: Nonzero values of its output; None where currents come out.
        activation_sparsity: Fraction of zeros in its output over all steps;
            None as above.
        effective_macs: Multiply-accumulates: analog values times weights.
        effective_acs: Accumulates: spikes that arrive at a synapse.
        weighted_acs: Those of `effective_acs` at synapses with a weight.
        dense: Operations if every input were active at every step.
        bias_adds: Biases added, one an output and step.
        membrane_updates: Potentials updated, one a neuron and step; counters
            of `MaxRatePooling2D` and sums of readouts among them.
        ann_macs, ann_adds, ann_biases: Operations of the layer in one pass
            with real-valued activations.
    """

    name: str
    kind: str
    layer: str
    neuron: bool
    output_shape: tuple
    parameters: int
    spikes: float | None
    activation_sparsity: float | None
    effective_macs: float
    effective_acs: float
    weighted_acs: float
    dense: float
    bias_adds: float
    membrane_updates: float
    ann_macs: int
    ann_adds: int
    ann_biases: int


def _sum_of(field):
    return property(
        lambda self: sum(getattr(layer, field) for layer in self.layers),
        doc=f"Sum of all layers' `{field}`.",
    )


@dataclasses.dataclass(frozen=True)
class Profile:
    """What `profile` found; all counts are means per inference.

    Attributes:
        model_name: The model's name.
        samples: Number of inferences.
        time_steps: Mean number of steps T.
        footprint: Bytes of all weights as stored.
        layers: List of `LayerProfile`, in forward order.
    """

    model_name: str
    samples: int
    time_steps: float
    footprint: int
    layers: list

    parameters = _sum_of("parameters")
    effective_macs = _sum_of("effective_macs")
    effective_acs = _sum_of("effective_acs")
    dense = _sum_of("dense")
    bias_adds = _sum_of("bias_adds")
    membrane_updates = _sum_of("membrane_updates")

    @property
    def activation_sparsity(self) -> float | None:
        """Fraction of zeros in the output of all neurons over all steps."""
        layers = [layer for layer in self.layers if layer.neuron]
        sizes = [
            math.prod(layer.output_shape) * self.time_steps for layer in layers
        ]
        if not sizes:
            return 0.0
        return 1.0 - sum(layer.spikes for layer in layers) / sum(sizes)

    def energy(
        self, device: Any = "45nm-float32", layer: str | None = None
    ) -> Any:
        """Return the `Energy` of one inference, in pJ.

        Args:
            device: A name in `keras_snn.analysis.DEVICES`, or a `Device`.
            layer: Name of one layer, all uses of it; None is the whole
                network.

        Raises:
            ValueError: If the device or the layer is unknown.
        """
        layers = self.layers
        if layer is not None:
            layers = [x for x in self.layers if layer in (x.name, x.layer)]
            if not layers:
                names = ", ".join(x.name for x in self.layers)
                raise ValueError(
                    f"`layer` must be one of {names}. Received: {layer!r}."
                )
        return energy.energy_of(layers, devices.get_device(device))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, in NeuroBench's metric names."""
        return {
            "model": self.model_name,
            "samples": self.samples,
            "time_steps": self.time_steps,
            "footprint": self.footprint,
            "parameter_count": self.parameters,
            "activation_sparsity": self.activation_sparsity,
            "membrane_updates": self.membrane_updates,
            "synaptic_operations": {
                "Effective_MACs": self.effective_macs,
                "Effective_ACs": self.effective_acs,
                "Dense": self.dense,
            },
            "bias_adds": self.bias_adds,
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
            "energy": {
                name: self.energy(name).to_dict() for name in devices.DEVICES
            },
        }

    def to_json(self, path: Path | None = None) -> str:
        """Return `to_dict()` as JSON text, and write it to `path` if given."""
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            atomic.write_text(path, text + "\n")
        return text

    def to_dataframe(self) -> Any:
        """Return a `pandas.DataFrame`, one row a layer."""
        return tables.dataframe(self)

    def summary(
        self,
        device: Any = "45nm-float32",
        print_fn: Callable[[str], Any] | None = None,
    ) -> None:
        """Print the layers, the totals, and the energy on all devices.

        Args:
            device: Whose energy the column of the layers is.
            print_fn: Function to print with. Defaults to the terminal.
        """
        tables.summary(self, devices.get_device(device), print_fn)

    def plot(self, device: Any = "45nm-float32", ax: Any = None) -> Any:
        """Draw each layer's energy; return the matplotlib `Axes`."""
        return plots.energy_bars(self, device, ax=ax)


def profile(
    model: keras.Model, data: Any, batch_size: int = 64, verbose: int = 0
) -> Profile:
    """Count what one inference of a network costs, layer by layer.

    The counts are exact: every neuron's measured spikes times the number of
    synapses that leave it, which is less at borders and depends on strides
    and pooling. Their names are NeuroBench's; two of them differ from its
    program, which leaves out weights that are zero and potentials that do not
    change. Here a weight of zero is a synapse, and every neuron in every step
    a membrane update.

        effective operations = sum over spikes of the spike's fan-out
        dense operations     = sum over inputs and steps of the fan-out

    Conventions:

    - An operation is an *AC* (accumulate) if its input is a spike, -1, 0 or 1;
      else a *MAC* (multiply-accumulate). Zeros cost neither. The output of
      `RepeatEncoder` is analog whatever its values, and its layer is counted
      at each step, as it is computed here.
    - Average pooling: one AC a spike and window.
    - A separable convolution is counted as the one convolution that it is
      equal to; its `ann_macs` are those of its two, one after the other.
    - A residual join adds nothing to what its paths cost; a spike that gets
      there, or to a neuron, without having crossed a synapse (an identity
      shortcut) is one AC a target.
    - Biases are not synaptic operations. They are counted apart, one addition
      an output and step.
    - Batch normalization folds into the layer before it; what is left is that
      layer's bias.
    - Max pooling, flattening, padding, cropping and nearest-neighbour
      upsampling have no operations.
    - `MaxRatePooling2D` updates one counter an input and step; these count as
      membrane updates.
    - `ALIF` and `SynapticLIF` update two variables a neuron and step.
    - The spikes of a `RecurrentLIF` cross its feedback's synapses, too, those
      of the last step included.
    - What is between a readout and the output runs once, on analog values.
    - What prepares images before the encoder without weights of its own, such
      as scaling and resizing, is not counted.

    One forward pass, without keeping spike trains; only networks that do not
    run one step at a time (such as those that return sequences) run layer by
    layer, with memory for all steps of a batch. Dropout is off.

    Args:
        model: A functional model with one input.
        data: NumPy array of inputs; a pair `(x, y)` of arrays, y unused; or
            batches of either: a list, a `tf.data.Dataset`, a `PyDataset`.
        batch_size: Samples run at once, where `data` is an array.
        verbose: 1 shows a progress bar, 0 does not.

    Returns:
        A `Profile`: `.summary()`, `.energy(device)`, `.to_dataframe()`,
        `.plot()`, `.to_dict()`.

    Raises:
        ValueError: If layers cannot be counted (all are named), sequences
            have masks, or `data` is empty or of another shape.

    Example:

    >>> model = keras_snn.models.LeNet(weights="lenet.keras")
    >>> keras_snn.analysis.profile(model, x_test[:1000]).summary()

    References:
        - [Yik et al., 2025](https://doi.org/10.1038/s41467-025-56739-4),
          NeuroBench
    """
    network = network_of(model, "profile")
    wiring = Wiring(network)
    counts = _count(network, wiring.watched, data, batch_size, verbose)
    analog = counts.analog | {r.output.key for r in wiring.rows if r.analog}
    return Profile(
        model_name=model.name,
        samples=counts.samples,
        time_steps=counts.steps / counts.samples,
        footprint=_footprint(model),
        layers=[_layer_profile(row, counts, analog) for row in wiring.rows],
    )


def _count(network, watched, data, batch_size, verbose):
    """Return the `Counts` of the values to watch, by key."""
    activity = Activity(network, watched)
    counts = Counts()
    found = batches(network.model, data, batch_size, "profile", verbose)
    for x, _ in found:
        counts.merge(activity.counts_of_batch(x))
    return counts


def _layer_profile(row, counts, analog):
    """Return the `LayerProfile` of a row of the network."""
    repeats = counts.steps / counts.samples if row.over_time else 1
    # A readout works at every step, although its output has no time axis.
    steps = counts.steps / counts.samples if row.neurons else repeats
    macs = acs = weighted_acs = 0.0
    for synapses in row.synapses:
        active = counts.active[synapses.source.key]
        operations = int((active * synapses.fan_out).sum()) / counts.samples
        if not synapses.weighted:
            acs += operations
        elif synapses.source.key in analog:
            macs += operations
        else:
            acs += operations
            weighted_acs += operations
    spikes = sparsity = None
    if row.active:
        spikes = int(counts.active[row.output.key].sum()) / counts.samples
        sparsity = 1.0 - spikes / (math.prod(row.frame) * repeats)
    macs_of_ann = sum(s.ann for s in row.synapses if s.weighted)
    adds_of_ann = sum(s.ann for s in row.synapses if not s.weighted)
    dense = sum(s.dense for s in row.synapses)
    return LayerProfile(
        name=row.name,
        kind=row.kind,
        layer=row.layer,
        neuron=row.neuron,
        output_shape=row.frame,
        parameters=row.parameters,
        spikes=spikes,
        activation_sparsity=sparsity,
        effective_macs=macs,
        effective_acs=acs,
        weighted_acs=weighted_acs,
        dense=dense * steps,
        bias_adds=row.bias * steps,
        membrane_updates=row.neurons * steps,
        ann_macs=macs_of_ann,
        ann_adds=adds_of_ann,
        ann_biases=row.bias,
    )


def _footprint(model):
    """Return the bytes of all weights, as they are stored."""
    return sum(w.numpy().nbytes for w in model.weights)
