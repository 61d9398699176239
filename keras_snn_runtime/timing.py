"""How long each operation takes."""

import statistics
import time

from keras_snn_runtime.operations import LISTS
from keras_snn_runtime.samples import TOGETHER, new_workspace


def seconds(operations, inputs, outputs, time_steps, samples, held, repeats=5):
    """Return the seconds of each operation in one pass of some samples.

    What lists the spikes of a frame, or lays them out, counts for the first
    operation that wants it so.

    Args:
        operations: List of `operations`, in forward order.
        inputs, outputs: See `Workspace`.
        time_steps: T.
        samples: How many there are.
        held: Keys of sources that are the same at every step.
        repeats: Passes, of which the median counts.

    Returns:
        Tuple: dict from keys to seconds, and the set of the keys that are
        computed once for all steps.
    """
    together = min(samples, TOGETHER)
    space = new_workspace(
        operations, inputs, outputs, None, time_steps, together, held
    )
    spent = {operation.key: 0.0 for operation in operations}

    def timed(function, key):
        def run(*arguments):
            start = time.perf_counter()
            function(*arguments)
            spent[key] += time.perf_counter() - start

        return run

    for operation in operations:
        before = {name: len(getattr(space, name)) for name in LISTS}
        space.build(operation)
        for name, count in before.items():
            functions = getattr(space, name)
            functions[count:] = [
                timed(f, operation.key) for f in functions[count:]
            ]
    passes = []
    for _ in range(repeats + 1):
        spent.update(dict.fromkeys(spent, 0.0))
        for first in range(0, samples, together):
            space.run(first, min(together, samples - first))
        passes.append(dict(spent))
    # The first one fills the caches.
    return {
        key: statistics.median(x[key] for x in passes[1:]) for key in spent
    }, space.held & spent.keys()
