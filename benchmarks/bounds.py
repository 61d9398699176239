"""The least time that a step can take on a machine of known limits."""

# Bytes that a neuron reads and writes at every step besides its current and
# its spike: its potential, and while training one byte of spike history.
STATE_BYTES = {"inference": 8, "train": 10}


def lower_bound(limits, what, time_steps, per_step_backward):
    """Return `(convolutions, convolutions and neurons)` in seconds.

    A backward convolution counts as much as a forward one, two for each
    layer and one for the first.

    Args:
        limits: Result of `benchmarks.limits`.
        what: `"train"` or `"inference"`.
        time_steps: T.
        per_step_backward: Whether there are T backward passes, not one.
    """
    step = limits["step_seconds"]
    products = time_steps * step
    if what == "train":
        backward = 2 * step - limits["first_layer_seconds"]
        products += backward * (time_steps if per_step_backward else 1)
    itemsize = 2 if limits["dtype"] == "bfloat16" else 4
    bytes_per_neuron = 2 * itemsize + STATE_BYTES[what]
    moved = limits["batch"] * limits["neurons"] * bytes_per_neuron * time_steps
    return products, products + moved / (limits["bandwidth_gb_s"] * 1e9)
