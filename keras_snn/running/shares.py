"""Each process' rows of every batch, where several compute one model.

Keras puts the rows of all processes together into one batch, as many rows of
each device as of the others. A batch that does not divide so, as the last one
of an epoch, goes to every device as a whole, and every device computes all of
it: the only way to the same sums, statistics and metrics as one device.
Compiled steps tell such a batch by its number of rows: those of a device are
`rows` more than the batch has, and so more than `rows`, the most that a device
takes of a batch that divides.
"""

import itertools
import types

import keras
import numpy as np

from keras_snn.running import processes as processes_


class Shares:
    """Which rows of a batch are this process'.

    Args:
        processes: The `Processes`.
        largest: Rows of the largest batch, of all processes together.
    """

    def __init__(self, processes, largest):
        self.processes, self.largest = processes, largest
        self.rows = -(-largest // processes.devices)

    def of(self, batch):
        """Return this process' share of a batch of NumPy arrays."""
        processes = self.processes
        batch = _mapped(np.asarray, batch)
        size = _size(batch)
        self._check(size)
        if size % processes.devices:
            return _mapped(self._whole, batch)
        part = size // processes.count
        first = processes.id * part
        return _mapped(lambda x: x[first : first + part], batch)

    def of_tensors(self, *batch):
        """Return this process' share of a batch of a `tf.data.Dataset`."""
        import tensorflow as tf

        processes = self.processes
        size = tf.shape(tf.nest.flatten(batch)[0])[0]
        fits = tf.debugging.Assert(size <= self.largest, [self._refusal(size)])
        part = size // processes.count
        first = processes.id * part

        def share(x):
            padding = tf.zeros([self.rows, *x.shape[1:]], x.dtype)
            times = [processes.local_devices, *[1] * (len(x.shape) - 1)]
            with tf.control_dependencies([fits]):
                return tf.cond(
                    size % processes.devices == 0,
                    lambda: x[first : first + part],
                    lambda: tf.tile(tf.concat([x, padding], 0), times),
                )

        shares = tf.nest.map_structure(share, batch)
        return shares if len(shares) > 1 else shares[0]

    def _whole(self, x):
        padding = np.zeros((self.rows, *x.shape[1:]), x.dtype)
        both = np.concatenate([x, padding])
        return np.concatenate([both] * self.processes.local_devices)

    def _check(self, size):
        if not 0 < size <= self.largest:
            raise ValueError(self._refusal(size))

    def _refusal(self, size):
        return (
            f"A batch must have 1 to {self.largest} samples here, as many as "
            f"the first one. Received: a batch of {size}."
        )


def put_together(processes, rows, batch):
    """Return a batch within a step as it was before it was shared.

    Args:
        processes: The `Processes`.
        rows: `Shares.rows` that the step was made for.
        batch: Tensors.
    """
    of_device = _size(batch) // processes.devices
    if of_device <= rows:
        return batch
    size = of_device - rows
    return processes.replicated(_mapped(lambda x: x[:size], batch))


def _size(batch):
    leaves = keras.tree.flatten(batch)
    return next(x for x in leaves if x is not None).shape[0]


def _mapped(function, batch):
    return keras.tree.map_structure(function, batch, none_is_leaf=False)


def shared(processes, x, y, weights, batch_size, shuffle, steps=None):
    """Return what to hand to Keras instead of some data, and its `Shares`.

    Args:
        processes: The `Processes`.
        x, y, weights: As the first arguments of `fit`.
        batch_size: Of arrays, or None.
        shuffle: Whether arrays are shuffled, once an epoch.
        steps: Batches of an epoch that the user asked for, or None.

    Raises:
        ValueError: If it is not the same in all processes, or of a kind that
            cannot be shared.
    """
    make = _own if processes.have_own_data else _of_all
    if isinstance(x, keras.utils.PyDataset):
        return make["batches"](processes, x)
    if isinstance(x, types.GeneratorType):
        return make["generator"](processes, x)
    if _is_tf_dataset(x):
        return make["dataset"](processes, x, steps)
    arrays = _arrays(x, y, weights)
    return make["arrays"](processes, arrays, batch_size or 32, shuffle)


def _is_tf_dataset(x):
    import sys

    tensorflow = sys.modules.get("tensorflow")
    return tensorflow and isinstance(x, tensorflow.data.Dataset)


def _arrays(x, y, weights):
    given = tuple(part for part in (x, y, weights) if part is not None)
    if y is None and weights is not None:
        raise ValueError("`sample_weight` needs `y`. Received: y=None.")
    leaves = keras.tree.flatten(given)
    if not leaves or not all(len(getattr(a, "shape", ())) for a in leaves):
        raise ValueError(
            "In several processes, or on several devices, data are arrays, a "
            "keras.utils.PyDataset, a tf.data.Dataset or a Python generator "
            f"of batches. Received: {type(x).__name__}."
        )
    sizes = sorted({len(a) for a in leaves})
    if len(sizes) > 1 or not sizes[0]:
        raise ValueError(
            "All arrays must have the same number of samples, at least 1. "
            f"Received: {', '.join(map(str, sizes))}."
        )
    return _mapped(np.asarray, given)


def _all_arrays(processes, arrays, batch_size, shuffle):
    order = np.random.get_state()[1:3] if shuffle else ()
    processes_.check_same(
        processes, "arrays, batch size and order", arrays, (batch_size, order)
    )
    shares = Shares(processes, min(batch_size, _size(arrays)))
    return ArrayShares(arrays, batch_size, shuffle, shares.of), shares


def _all_batches(processes, batches):
    first = batches[0]
    processes_.check_same(processes, "batches", first, batches.num_batches or 0)
    shares = Shares(processes, _size(first))
    names = ("workers", "use_multiprocessing", "max_queue_size")
    options = {name: getattr(batches, name) for name in names}
    return BatchShares(batches, shares.of, **options), shares


def _all_of_generator(processes, generator):
    first = _first_of(generator)
    processes_.check_same(processes, "batches", first)
    shares = Shares(processes, _size(first))
    return map_generator(shares.of, itertools.chain([first], generator)), shares


def _all_of_dataset(processes, dataset, steps):
    first = _first_of(dataset.take(1).as_numpy_iterator())
    processes_.check_same(processes, "batches", first)
    shares = Shares(processes, _size(first))
    return dataset.map(shares.of_tensors), shares


def _first_of(iterator):
    for first in iterator:
        return first
    raise ValueError("The data must have at least one batch. Received: none.")


def map_generator(function, iterable):
    """Yield what a function makes of each element."""
    for element in iterable:
        yield function(element)


class OwnShares:
    """Checks that each process brings as many rows as the others.

    Args:
        processes: The `Processes`.
        largest: Rows of this process' largest batch.
    """

    def __init__(self, processes, largest):
        self.processes, self.largest = processes, largest
        self.rows = -(-largest // processes.local_devices)

    def of(self, batch):
        """Return a batch as it is, if it fits those of the others."""
        batch = _mapped(np.asarray, batch)
        sizes = self.processes.gather([_size(batch)])[:, 0]
        check_even(sizes, "samples in a batch")
        if sizes[0] % self.processes.local_devices or sizes[0] > self.largest:
            raise ValueError(
                f"A process' batch must have up to {self.largest} samples, "
                f"as the first one, the same number for each of its "
                f"{self.processes.local_devices} devices. Received: a batch "
                f"of {sizes[0]}."
            )
        return batch


def check_even(numbers, what):
    """Raise a `ValueError` unless all processes have the same number."""
    if len(set(map(int, numbers))) == 1:
        return
    listed = ", ".join(f"{n} in process {i}" for i, n in enumerate(numbers))
    raise ValueError(
        "With `auto_shard_dataset=False` each process brings its own part, "
        f"and all parts must be equally large. Received {what}: {listed}. "
        "Leave samples out, or give every process all data and have them "
        "shared, auto_shard_dataset=True."
    )


def _own_shares(processes, batches, size):
    check_even(processes.gather([batches])[:, 0], "batches")
    return OwnShares(processes, size)


def _own_arrays(processes, arrays, batch_size, shuffle):
    samples = _size(arrays)
    check_even(processes.gather([samples])[:, 0], "samples")
    shares = OwnShares(processes, min(batch_size, samples))
    return ArrayShares(arrays, batch_size, shuffle, shares.of), shares


def _own_batches(processes, batches):
    size = _size(batches[0])
    shares = _own_shares(processes, batches.num_batches or 0, size)
    return BatchShares(batches, shares.of), shares


def _own_generator(processes, generator):
    first = _first_of(generator)
    shares = OwnShares(processes, _size(first))
    batches = _until_all_end(processes, itertools.chain([first], generator))
    return map_generator(shares.of, batches), shares


def _until_all_end(processes, iterable):
    """Yield batches, and refuse where one process has more than others."""
    iterator = iter(iterable)
    for number in itertools.count():
        batch = next(iterator, None)
        left = processes.gather([number + (batch is not None)])[:, 0]
        check_even(left, "batches")
        if batch is None:
            return
        yield batch


def _own_dataset(processes, dataset, steps):
    batches = int(dataset.cardinality())
    if batches < 0 and not steps:
        raise ValueError(
            "With `auto_shard_dataset=False` a dataset must know its number "
            "of batches, or `steps_per_epoch` must be given. Received: "
            f"{'infinitely' if batches == -1 else 'unknown how'} many. Tell "
            "it by dataset.apply(tf.data.experimental.assert_cardinality(n))."
        )
    size = _size(_first_of(dataset.take(1).as_numpy_iterator()))
    if batches < 0:
        shares = OwnShares(processes, size)
        return _own_generator(processes, _endless(dataset))[0], shares
    shares = _own_shares(processes, batches, size)
    return DatasetShares(dataset, batches, shares.of), shares


def _endless(dataset):
    while True:
        yield from dataset.as_numpy_iterator()


_of_all = {
    "arrays": _all_arrays,
    "batches": _all_batches,
    "generator": _all_of_generator,
    "dataset": _all_of_dataset,
}
_own = {
    "arrays": _own_arrays,
    "batches": _own_batches,
    "generator": _own_generator,
    "dataset": _own_dataset,
}


class ArrayShares(keras.utils.PyDataset):
    """This process' rows of arrays.

    The order of an epoch is drawn as Keras does it for arrays, so that it is
    that of one process.
    """

    def __init__(self, arrays, batch_size, shuffle, share):
        super().__init__()
        self.arrays, self.batch_size = arrays, batch_size
        self.shuffle, self.share = shuffle, share
        self._order = np.arange(_size(arrays))

    def __len__(self):
        return -(-len(self._order) // self.batch_size)

    def __getitem__(self, index):
        first = index * self.batch_size
        chosen = self._order[first : first + self.batch_size]
        return self.share(_mapped(lambda x: x[chosen], self.arrays))

    def on_epoch_begin(self):
        if self.shuffle:
            self._order = np.random.permutation(len(self._order))


class BatchShares(keras.utils.PyDataset):
    """This process' rows of the batches of a `PyDataset`.

    Args:
        batches: The `PyDataset`.
        share: Function from a batch to this process' share.
        options: `workers` and so on; those of `batches` may not be taken over
            where `share` asks other processes, which has one order.
    """

    def __init__(self, batches, share, **options):
        super().__init__(**options)
        self.batches, self.share = batches, share

    @property
    def num_batches(self):
        return self.batches.num_batches

    def __getitem__(self, index):
        batch = self.batches[index]
        return self.share(tuple(batch) if isinstance(batch, list) else batch)

    def on_epoch_begin(self):
        self.batches.on_epoch_begin()

    def on_epoch_end(self):
        self.batches.on_epoch_end()


class DatasetShares(keras.utils.PyDataset):
    """Batches of a `tf.data.Dataset`, taken one after the other."""

    def __init__(self, dataset, batches, share):
        super().__init__()
        self.dataset, self.share = dataset, share
        self._batches = batches
        self._iterator = None

    def __len__(self):
        return self._batches

    def __getitem__(self, index):
        if index == 0:
            self._iterator = self.dataset.as_numpy_iterator()
        return self.share(next(self._iterator))
