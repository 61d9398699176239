"""What an operation costs on which device: published numbers, with source."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from keras_snn import checks

_HOROWITZ = (
    "M. Horowitz, Computing's energy problem (and what we can do about it), "
    "ISSCC 2014, pp. 10-14, figure 1.1.9"
)
_HOROWITZ_URL = "https://doi.org/10.1109/ISSCC.2014.6757323"
_HOEPPNER = (
    "S. Hoeppner et al., Dynamic power management for neuromorphic many-core "
    "systems, IEEE TCAS-I 66(8), 2019, as quoted by keras-spiking 0.3"
)
_HOEPPNER_URL = "https://arxiv.org/abs/1903.08941"


@dataclasses.dataclass(frozen=True)
class Device:
    """The energy of each kind of operation, in pJ.

    Attributes:
        name: Name to ask for it by.
        ac: An accumulate: one synaptic operation of a spike.
        mac: A multiply-accumulate. None for a device that has none; it runs
            spikes only.
        update: The update of one membrane potential in one step: leak,
            threshold test and reset.
        weight_access: Reading one weight.
        state_access: Reading or writing one potential, sum or activation.
        bits: Width of weights and sums, None if the source does not say.
        source: Where the numbers come from.
        url: Where to find that.
        note: What to know before quoting them.
    """

    name: str
    ac: float
    mac: float | None = None
    update: float = 0.0
    weight_access: float = 0.0
    state_access: float = 0.0
    bits: int | None = None
    source: str = ""
    url: str = ""
    note: str = ""

    def __post_init__(self):
        for field in ("ac", "mac", "update", "weight_access", "state_access"):
            value = getattr(self, field)
            if value is None and field == "mac":
                continue
            value = checks.real_number(field, value)
            if not 0.0 <= value < math.inf:
                raise ValueError(
                    f"`{field}` must be an energy in pJ, at least 0 and "
                    f"finite. Received: {field}={value}."
                )
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(
                "`name` must be a string to ask for the device by. "
                f"Received: name={self.name!r}."
            )


def _cmos(name, multiply, add, bits, note="", **access):
    """A 45 nm circuit; an update is a multiplication and an addition."""
    return Device(
        name,
        ac=add,
        mac=round(multiply + add, 6),
        update=round(multiply + add, 6),
        bits=bits,
        source=_HOROWITZ,
        url=_HOROWITZ_URL,
        note=note,
        **access,
    )


_ARITHMETIC_ONLY = "45 nm, 0.9 V; arithmetic alone, no memory access"
_MEMORY = (
    "45 nm, 0.9 V; every operation reads its weight, its analog input and its "
    "sum, and writes the sum; nothing is reused, an upper bound for spiking "
    "and ordinary networks alike; "
)

DEVICES = {
    device.name: device
    for device in (
        _cmos("45nm-float32", 3.7, 0.9, 32, _ARITHMETIC_ONLY),
        _cmos("45nm-float16", 1.1, 0.4, 16, _ARITHMETIC_ONLY),
        _cmos("45nm-int32", 3.1, 0.1, 32, _ARITHMETIC_ONLY),
        _cmos("45nm-int8", 0.2, 0.03, 8, _ARITHMETIC_ONLY),
        _cmos(
            "45nm-float32-sram",
            3.7,
            0.9,
            32,
            _MEMORY + "1 MB SRAM at half of 100 pJ for 64 bits",
            weight_access=50.0,
            state_access=50.0,
        ),
        _cmos(
            "45nm-float32-dram",
            3.7,
            0.9,
            32,
            _MEMORY + "weights in DRAM at half of 1.3 nJ for 64 bits, the "
            "lower end; potentials in 1 MB SRAM",
            weight_access=650.0,
            state_access=50.0,
        ),
        Device(
            "loihi",
            ac=23.6,
            update=81.0,
            bits=9,
            source="M. Davies et al., Loihi: a neuromorphic manycore "
            "processor with on-chip learning, IEEE Micro 38(1), 2018, table 2",
            url="https://doi.org/10.1109/MM.2018.112130359",
            note="14 nm, 0.75 V, from pre-silicon simulation; 81 pJ, an "
            "active neuron's update, is charged for every neuron and step, "
            "although an inactive one costs 52 pJ; weights of up to 9 "
            "bits; spikes between cores come on top",
        ),
        Device(
            "spinnaker",
            ac=13300.0,
            update=26000.0,
            source=_HOEPPNER,
            url=_HOEPPNER_URL,
            note="130 nm chip of ARM968 cores",
        ),
        Device(
            "spinnaker2-prototype",
            ac=450.0,
            update=2190.0,
            source=_HOEPPNER,
            url=_HOEPPNER_URL,
            note="28 nm test chip of the second generation",
        ),
    )
}


def get_device(device):
    """Return a `Device` by its name, or as it is.

    Args:
        device: A name in `DEVICES`, or a `Device`.

    Raises:
        ValueError: If there is no device of this name.
    """
    if isinstance(device, Device):
        return device
    if not isinstance(device, str) or device not in DEVICES:
        known = ", ".join(f'"{name}"' for name in DEVICES)
        raise ValueError(
            f"`device` must be one of {known}, or a keras_snn.analysis.Device. "
            f"Received: device={device!r}. Add your own with "
            "keras_snn.analysis.register_device."
        )
    return DEVICES[device]


def register_device(device: Any) -> Any:
    """Add a `Device` to `DEVICES`, so that reports show it.

    Args:
        device: A `Device`. One of the same name must not exist.

    Returns:
        `device`.

    Raises:
        ValueError: If `device` is none, or its name is taken.

    Example:

    >>> keras_snn.analysis.register_device(
    ...     keras_snn.analysis.Device("mine", ac=0.5, mac=2.0, source="me")
    ... )
    """
    if not isinstance(device, Device):
        raise ValueError(
            "register_device() expects a keras_snn.analysis.Device. "
            f"Received: {type(device).__name__}."
        )
    if device.name in DEVICES:
        raise ValueError(
            f"A device named '{device.name}' exists. Choose another name, or "
            "delete the old one from keras_snn.analysis.DEVICES first."
        )
    DEVICES[device.name] = device
    return device
