"""Energy: counts times what a device asks for each."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Energy:
    """The energy of one inference on one device, in pJ.

        synapses = MACs * mac + ACs * ac
        biases   = bias adds * ac
        neurons  = membrane updates * update
        memory   = (MACs + weighted ACs + bias adds) * weight_access
                   + (3 * MACs + 2 * (ACs + bias adds + membrane updates))
                       * state_access

    A sum or potential is read and written back, hence the 2; the analog input
    of a MAC is read as well, hence the 3. A spike is an event that is sent,
    not read. Pooling and shortcuts read no weight.

    Beside it stands the same network with real-valued activations in one
    pass, at the same bit width: dense operations, every synapse once.

        ann = MACs * mac + (adds + biases) * ac
              + (MACs + biases) * weight_access
              + (3 * (MACs + adds) + 2 * biases) * state_access

    Adds are those of pooling and shortcuts, here of analog inputs. Its
    activation functions cost nothing.

    Attributes:
        device: The `Device`.
        synapses, biases, neurons, memory: The parts, None where the device
            cannot run the network (analog input on a device without MACs).
        ann: The ordinary network's energy, None if the device has no MACs.
    """

    device: Any
    synapses: float | None
    biases: float | None
    neurons: float | None
    memory: float | None
    ann: float | None

    @property
    def snn(self) -> float | None:
        """The spiking network's energy, pJ per inference; None as above."""
        parts = self.synapses, self.biases, self.neurons, self.memory
        known = [x for x in parts if x is not None]
        return sum(known) if len(known) == len(parts) else None

    @property
    def ratio(self) -> float | None:
        """How many times less than the ordinary network, None if unknown."""
        if self.snn is None or self.ann is None or self.snn == 0.0:
            return None
        return self.ann / self.snn

    def to_dict(self) -> dict[str, Any]:
        """Return the device's name and all energies in pJ."""
        return {
            "device": self.device.name,
            "snn_pj": self.snn,
            "synapses_pj": self.synapses,
            "biases_pj": self.biases,
            "neurons_pj": self.neurons,
            "memory_pj": self.memory,
            "ann_pj": self.ann,
            "ann_over_snn": self.ratio,
        }


def energy_of(layers, device):
    """Return the `Energy` of some layers of a profile.

    Args:
        layers: List of `LayerProfile`.
        device: A `Device`.
    """

    def total(name):
        return sum(getattr(layer, name) for layer in layers)

    macs, acs = total("effective_macs"), total("effective_acs")
    biases, updates = total("bias_adds"), total("membrane_updates")
    ann = _ann(device, total) if device.mac is not None else None
    if device.mac is None and macs > 0:
        return Energy(device, None, None, None, None, ann)
    weights = macs + total("weighted_acs") + biases
    return Energy(
        device,
        synapses=macs * (device.mac or 0.0) + acs * device.ac,
        biases=biases * device.ac,
        neurons=updates * device.update,
        memory=weights * device.weight_access
        + (3 * macs + 2 * (acs + biases + updates)) * device.state_access,
        ann=ann,
    )


def _ann(device, total):
    macs, adds = total("ann_macs"), total("ann_adds")
    biases = total("ann_biases")
    return (
        macs * device.mac
        + (adds + biases) * device.ac
        + (macs + biases) * device.weight_access
        + (3 * (macs + adds) + 2 * biases) * device.state_access
    )


def unit_for(picojoules):
    """Return `(name, size in pJ)` of the unit that fits an energy."""
    for name, size in (("J", 1e12), ("mJ", 1e9), ("uJ", 1e6), ("nJ", 1e3)):
        if picojoules >= size:
            return name, size
    return "pJ", 1.0


def readable(picojoules):
    """Return an energy as text in the unit that fits it, e.g. `"3.21 uJ"`."""
    if picojoules is None:
        return "-"
    name, size = unit_for(picojoules)
    return f"{picojoules / size:.3g} {name}"
