"""All samples of a batch, some at a time, in as many threads as there are."""

import concurrent.futures
import functools
import itertools
import math
import os

from keras_snn_runtime import crew, layer_first
from keras_snn_runtime.operations import Workspace

# Samples that a thread runs side by side: they share what is read of large
# weights, and their state has to stay in the cache.
TOGETHER = 8

# Dense products of all steps of one sample from which on threads share it.
LEAST_TO_SHARE = 20_000_000


def run(operations, inputs, outputs, statistics, time_steps, held, threads):
    """Take all samples through all operations.

    Args:
        operations: List of `operations`, in forward order.
        inputs: See `Workspace`.
        outputs: See `Workspace`; what is written.
        statistics: See `Workspace`.
        time_steps: T.
        held: Keys of sources that are the same at every step.
        threads: Most threads, this one included.
    """
    batch = len(inputs[operations[0].key])
    if batch == 1:
        alone = Alone(
            operations, inputs, outputs, statistics, time_steps, held, threads
        )
        alone.run()
        alone.close()
        return
    together = min(-(-batch // threads), TOGETHER)
    by_layer = _by_layer(operations, outputs)
    if by_layer:
        together = min(together, layer_first.together(operations))
    together = max(together, 1)
    samples = itertools.count(0, together)
    workers = min(threads, -(-batch // together))

    def work():
        space = _built(
            *(operations, inputs, outputs, statistics, time_steps, together),
            # Which goes on with the neurons of what is in the cache.
            *(held, crew.Crew(1) if by_layer else None),
        )
        # Threads take the next samples when they are done with some.
        while (first := next(samples)) < batch:
            space.run(first, min(together, batch - first))
        space.close()

    in_threads(work, [()] * max(workers, 1), threads)


def in_threads(work, arguments, threads):
    """Return `work(*x)` for each x of `arguments`, the first in this thread.

    Args:
        work: Function that works without Python's lock most of the time.
        arguments: List of tuples, no more than there are threads.
        threads: Most threads, this one included.
    """
    first, *others = arguments
    others = [_executor(threads).submit(work, *x) for x in others]
    return [work(*first), *(x.result() for x in others)]


class Alone:
    """One sample at a time, in arrays that stay.

    Args:
        operations: List of `operations`, in forward order.
        inputs, outputs: See `Workspace`; of one sample.
        statistics, time_steps, held: As in `run`.
        threads: Most threads.

    Attributes:
        states: Of the `Workspace`.
        close: Function that sets the arrays free, which ends its use.
    """

    def __init__(
        self, operations, inputs, outputs, statistics, time_steps, held, threads
    ):
        products = time_steps * _products(operations, inputs)
        shared = threads > 1 and products >= LEAST_TO_SHARE
        self._crew = crew.Crew(threads) if shared else None
        space = _built(
            *(operations, inputs, outputs, statistics, time_steps, 1, held),
            self._crew,
        )
        self._take = functools.partial(space.run, 0, 1)
        self.states, self.close = space.states, space.close

    def run(self, sure=None):
        """Take what the inputs hold through all steps.

        Args:
            sure: As in `Workspace.run`.
        """
        if self._crew is None:
            self._take(sure=sure)
            return
        with self._crew.helped():
            self._take(sure=sure)


def new_workspace(
    operations, inputs, outputs, statistics, time_steps, samples, *others
):
    """Return the `Workspace` that suits some operations.

    Args:
        operations: List of `operations`, in forward order, for it to build.
        inputs, outputs, statistics, time_steps, samples, others: See
            `Workspace`.
    """
    by_layer = _by_layer(operations, outputs, samples)
    kind = layer_first.LayerFirst if by_layer else Workspace
    return kind(inputs, outputs, statistics, time_steps, samples, *others)


def _by_layer(operations, outputs, samples=None):
    """Return whether operations take some steps before the next one does.

    Frames that are small stay in the cache as well step by step.
    """
    large = layer_first.together(operations) < TOGETHER
    return (large or samples == 1) and layer_first.suits(operations, outputs)


def _built(operations, *given):
    space = new_workspace(operations, *given)
    for operation in operations:
        space.build(operation)
    return space


def _products(operations, inputs):
    """Return how many products dense layers would take at a step."""
    return sum(
        math.prod(x.shape[:-1]) * inputs[x.kernel].size
        for x in operations
        if hasattr(x, "kernel")
    )


def cores():
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _executor(threads):
    return concurrent.futures.ThreadPoolExecutor(
        max(threads - 1, 1), thread_name_prefix="keras_snn_events"
    )


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork.
    os.register_at_fork(after_in_child=_executor.cache_clear)
