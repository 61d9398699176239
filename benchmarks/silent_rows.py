"""A convolution's weight gradient from means, with and without their zeros.

    python -m benchmarks.silent_rows

Neurons that are silent at all steps have a mean of zero, of which the one
backward pass could be relieved: the kernels of the exact rule's event-driven
backward pass, beside TensorFlow's dense product, over the share of means that
are not zero. One thread, medians.
"""

import statistics

import numpy as np
import tensorflow as tf

from benchmarks import measure
from keras_snn.event_driven import backward_kernels

LAYERS = ((32, 64), (16, 128), (8, 256))  # side, channels in and out
SHARES = (0.05, 0.1, 0.2, 0.4, 1.0)
SAMPLES, TOGETHER, REPEATS = 16, 2, 7


def by_events(x, credit):
    """Return the gradient of a 3x3 kernel, of the means that are not zero."""
    samples, side, _, channels = x.shape
    filters, padded = credit.shape[-1], side + 2
    places = TOGETHER * side * side
    lists = [np.zeros((channels, places), "int32") for _ in range(2)]
    lists.append(np.zeros((channels, places), "float32"))
    lists.append(np.zeros(channels, "int64"))
    weights = np.zeros((3, 3, channels, filters), "float32")
    gradient = np.zeros_like(weights)
    grid = np.zeros((TOGETHER, padded, padded, filters), "float32")
    partial, unwanted = np.zeros((places, 16), "float32"), np.zeros((1, 1))
    for first in range(0, samples, TOGETHER):
        frames = first, first + TOGETHER
        backward_kernels.list_values(
            x.reshape(samples, -1),
            *(*frames, side, padded, padded * padded, False, *lists),
        )
        backward_kernels.pad_credit(
            credit.reshape(samples, -1), *frames, side, side, 1, 1, 1, 1, grid
        )
        backward_kernels.credit_events(
            *(*lists, weights, gradient, grid, partial),
            *(unwanted.astype("float32"), False, False),
        )
    return gradient


def dense(x, credit):
    """Return the same gradient by TensorFlow."""
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x,
        filter_sizes=[3, 3, x.shape[-1], credit.shape[-1]],
        out_backprop=credit,
        strides=[1, 1, 1, 1],
        padding="SAME",
    ).numpy()


def main():
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rng = np.random.default_rng(0)
    print("| layer | " + " | ".join(f"{s:.0%}" for s in SHARES) + " |")
    print("|---|" + "---:|" * len(SHARES))
    for side, channels in LAYERS:
        shape = SAMPLES, side, side, channels
        credit = rng.standard_normal(shape, "float32")
        cells = []
        for share in SHARES:
            x = rng.random(shape, "float32")
            x *= rng.random(shape, "float32") < share
            np.testing.assert_allclose(
                by_events(x, credit), dense(x, credit), rtol=1e-3, atol=1e-3
            )
            seconds = [
                statistics.median(
                    measure.seconds(lambda f=f, x=x: f(x, credit))
                    for _ in range(REPEATS)
                )
                for f in (dense, by_events)
            ]
            cells.append(f"{seconds[0] / seconds[1]:.1f} x")
        print(f"| {side}x{side}, {channels} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
