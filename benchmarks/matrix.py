"""The rate of large matrix products of the JAX backend's device."""

import statistics

import jax
import jax.numpy as jnp

from benchmarks import measure


def run(case):
    """Return the rate of an n x n x n product in operations per second."""
    n = case["size"]
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (n, n), case["dtype"]) for key in keys)
    product = jax.jit(jnp.matmul)

    def step():
        product(a, b).block_until_ready()

    step()
    step()
    seconds = statistics.median(
        measure.seconds(step) for _ in range(case["repeats"])
    )
    device = jax.devices()[0]
    return {
        "median_seconds": seconds,
        "flops": 2 * n**3 / seconds,
        "platform": device.platform,
        "device": device.device_kind,
        "versions": {"jax": jax.__version__},
    }
