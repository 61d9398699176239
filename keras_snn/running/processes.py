"""Processes and devices that compute one model together, on JAX."""

import contextlib
import dataclasses
import io
import re
import zlib
from typing import Any

import keras
import numpy as np

# What JAX' errors say where another process has gone.
_GONE = re.compile(
    "gloo|nccl|connection|peer|coordination|heartbeat|unavailable", re.I
)
# What the user has set `auto_shard_dataset` to, where it is changed.
_asked_for = []
# Rows at both ends of an array that are compared between processes.
_COMPARED = 16


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a `keras.distribution.DataParallel`.

    Attributes:
        distribution: The distribution.
        count: Number of processes.
        id: This one's number, from 0.
        devices: Number of devices of all processes.
        have_own_data: Whether each process brings its own rows.
    """

    distribution: Any
    count: int
    id: int
    devices: int
    have_own_data: bool

    @property
    def local_devices(self):
        return self.devices // self.count

    @contextlib.contextmanager
    def hands_over(self):
        """Have Keras take each process' rows as they are."""
        before = self.distribution.auto_shard_dataset
        self.distribution.auto_shard_dataset = False
        _asked_for.append(before)
        try:
            yield
        finally:
            _asked_for.pop()
            self.distribution.auto_shard_dataset = before

    def gather(self, numbers):
        """Return the numbers of all processes, `(processes, numbers)`."""
        numbers = np.asarray(numbers, "int64")
        if self.count == 1:
            return numbers[None]
        from jax.experimental import multihost_utils

        # In halves, as JAX cuts integers of 64 bits.
        halves = numbers.view("int32")
        with peers_watched():
            found = multihost_utils.process_allgather(halves)
        return np.ascontiguousarray(found).view("int64")

    def replicated(self, tree):
        """Return tensors with all their rows on all devices."""
        mesh = self.distribution.device_mesh

        def copy(x):
            layout = keras.distribution.TensorLayout([None] * x.ndim, mesh)
            return keras.distribution.distribute_tensor(x, layout)

        return keras.tree.map_structure(copy, tree, none_is_leaf=False)


def current():
    """Return the `Processes` in use, or None where one device computes."""
    if keras.config.backend() != "jax":
        return None
    found = keras.distribution.distribution()
    if not isinstance(found, keras.distribution.DataParallel):
        return None
    if found.num_model_replicas == 1:
        return None
    # A callback may measure within a `fit` that hands over.
    shards = _asked_for[0] if _asked_for else found.auto_shard_dataset
    return Processes(
        found,
        found.num_processes,
        found.data_shard_id,
        found.num_model_replicas,
        found.num_processes > 1 and not shards,
    )


def is_first():
    """Return whether this is the process that writes files."""
    processes = current()
    return processes is None or processes.id == 0


def any_of_all(flag):
    """Return whether a flag is set in any of the processes.

    All of them have to ask.
    """
    processes = current()
    if processes is None or processes.count == 1:
        return flag
    return bool(processes.gather([int(flag)]).any())


def from_first(make):
    """Return what `make` returns in the first process, in all of them.

    Args:
        make: Function without arguments that returns bytes. It runs in the
            first process only, and there without a distribution, so that it
            may read a model. An error there is raised in all of them.
    """
    processes = current()
    if processes is None or processes.count == 1:
        return make()
    from jax.experimental import multihost_utils

    content, error = b"", None
    if processes.id == 0:
        try:
            with alone():
                content = make()
        except Exception as caught:
            error = caught
            content = str(caught).encode()
    size, failed = processes.gather([len(content), error is not None])[0]
    array = np.zeros(size, "uint8")
    if processes.id == 0:
        array = np.frombuffer(content, "uint8")
    with peers_watched():
        content = multihost_utils.broadcast_one_to_all(array).tobytes()
    if error is not None:
        raise error
    if failed:
        raise ValueError(f"In the first process: {content.decode()}")
    return content


def arrays_from_first(make):
    """Return the arrays that `make` returns in the first process, in all.

    Args:
        make: As of `from_first`, but it returns a list of arrays.
    """
    processes = current()
    if processes is None or processes.count == 1:
        return make()

    def packed():
        file = io.BytesIO()
        np.savez(file, **{f"{i:06d}": x for i, x in enumerate(make())})
        return file.getvalue()

    with np.load(io.BytesIO(from_first(packed)), allow_pickle=False) as file:
        return [file[name] for name in sorted(file.files)]


@contextlib.contextmanager
def alone():
    """Make what is made in this scope this process' own."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


@contextlib.contextmanager
def peers_watched():
    """Say it plainly where another process has gone.

    Raises:
        ConnectionError: In place of the error of a collective operation.
    """
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not _GONE.search(str(error)):
            raise
        raise ConnectionError(
            "Another process of this training has ended, or cannot be "
            "reached, and without it no update can be made. See its output "
            "for the reason. Start all processes again; a run of "
            "`keras-snn train` goes on with `--resume` from its last "
            f"checkpoint. JAX says: {str(error).splitlines()[0]}"
        ) from error


def check_same(processes, what, tree, more=()):
    """Raise a `ValueError` unless all processes were given the same.

    Args:
        processes: The `Processes`.
        what: What is compared, for the message.
        tree: Arrays, compared by their shapes, types, and first and last rows.
        more: Numbers compared besides.
    """
    if processes.count == 1:
        return
    found = processes.gather([_checksum(tree), _checksum(more)])
    if (found == found[0]).all():
        return
    raise ValueError(
        f"All processes have to be given the same {what}: each takes its own "
        "rows of every batch. Here they differ between processes. Read the "
        "same files everywhere, give shuffles a seed and call "
        "keras.utils.set_random_seed with the same number; or, if each "
        "process is meant to have its own part, "
        "distribute(auto_shard_dataset=False)."
    )


def _checksum(tree):
    value = 0
    for leaf in keras.tree.flatten(tree):
        if leaf is None:
            continue
        array = np.asarray(leaf)
        text = f"{array.shape} {array.dtype}"
        value = zlib.crc32(text.encode(), value)
        if array.dtype.hasobject:
            continue
        ends = [array]
        if array.ndim and len(array) > 2 * _COMPARED:
            ends = [array[:_COMPARED], array[-_COMPARED:]]
        for end in ends:
            value = zlib.crc32(np.ascontiguousarray(end).tobytes(), value)
    return value
