"""What the machine can do: its dense convolutions and its memory.

TensorFlow's convolution and dense product of every layer of a network, alone,
on random numbers; and the rate at which all cores add two large arrays.
"""

import functools
import os
import statistics
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from benchmarks import measure, networks


def run(case):
    """Return the limits of a network on this machine."""
    synapses, neurons = networks.layout(case["network"], case["width"])
    layers = [
        synapse_rate(synapse, case["batch"], case["dtype"], case["repeats"])
        for synapse in synapses
    ]
    seconds = sum(layer["seconds"] for layer in layers)
    flops = case["batch"] * sum(synapse.flops for synapse in synapses)
    return {
        "layers": layers,
        "step_seconds": seconds,
        "first_layer_seconds": layers[0]["seconds"],
        "gflop_per_step": flops / 1e9,
        "gflops": flops / seconds / 1e9,
        "neurons": sum(neurons),
        "bandwidth_gb_s": bandwidth(case.get("megabytes", 256)) / 1e9,
        "versions": {"tensorflow": tf.__version__},
        "threads": os.cpu_count(),
    }


def synapse_rate(synapse, batch, dtype, repeats):
    """Return the time and rate of one layer's product for one batch."""
    kernel = tf.random.normal(synapse.kernel)
    side = synapse.input_side
    if len(synapse.kernel) == 4:
        shape = (batch, side, side, synapse.kernel[2])
        strides = side // synapse.output_side
        product = functools.partial(
            tf.nn.conv2d, strides=strides, padding="SAME"
        )
    else:
        shape = (batch, synapse.kernel[0])
        product = tf.matmul
    x = tf.cast(tf.random.normal(shape), dtype)
    kernel = tf.cast(kernel, dtype)

    def calls(count=1):
        for _ in range(count):
            product(x, kernel)

    calls()
    # Many calls at once where one is too short to time.
    count = 1 + int(0.02 / measure.seconds(calls))
    seconds = statistics.median(
        measure.seconds(lambda: calls(count)) / count for _ in range(repeats)
    )
    flops = batch * synapse.flops
    return {
        "kernel": list(synapse.kernel),
        "seconds": seconds,
        "gflops": flops / seconds / 1e9,
    }


def bandwidth(megabytes):
    """Return bytes per second, read and written, of `c = a + b`."""
    size = int(megabytes * 1e6 / 4)
    a, b, c = (np.ones(size, "float32") for _ in range(3))
    cores = os.cpu_count()
    parts = [
        slice(i * size // cores, (i + 1) * size // cores) for i in range(cores)
    ]
    with ThreadPoolExecutor(cores) as pool:

        def add():
            # NumPy lets go of the interpreter lock while it adds.
            list(pool.map(lambda p: np.add(a[p], b[p], out=c[p]), parts))

        add()
        best = min(measure.seconds(add) for _ in range(5))
    return 3 * 4 * size / best
