"""Training in several processes, on several devices."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np

from keras_snn import checks
from keras_snn.training.launching import ADDRESSES, PROCESS, PROCESSES

# Seconds without a sign of life, after which a process counts as gone.
HEARTBEAT_TIMEOUT = 30
_SEEDS = 2**31 - 1


def distribute(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    devices: Any = None,
    auto_shard_dataset: bool = True,
    heartbeat_timeout: int = HEARTBEAT_TIMEOUT,
    initialization_timeout: int = 300,
) -> Any:
    """Have models train on all devices of all processes together.

    Every device has all weights and takes its part of each batch; gradients
    are summed over devices at each update. Call it once in each process,
    before anything else is computed, and make the model after it, in `scope()`
    of what it returns.

    **On JAX** it calls `jax.distributed.initialize`, sets a
    `keras.distribution.DataParallel` and returns that. Processes are found
    from the arguments, then from `KERAS_DISTRIBUTION_JOB_ADDRESSES`,
    `KERAS_DISTRIBUTION_NUM_PROCESSES` and `KERAS_DISTRIBUTION_PROCESS_ID`,
    then as JAX finds them: `JAX_COORDINATOR_ADDRESS`, SLURM, Open MPI,
    Kubernetes, Cloud TPU. Without any of these there is one process with its
    devices. Processors sum by gloo, GPUs and TPUs as JAX has them do it.

    Then a `keras_snn.Model` takes in `fit`, `evaluate`, `predict`,
    `train_on_batch` and `test_on_batch` what one process would be given, the
    same in all of them: all arrays, all batches of a `PyDataset`, a
    `tf.data.Dataset` or a generator, and the batch size of all devices
    together. The outcome is that of one process, in each of them: weights,
    metrics and outputs, up to the order of sums in floating point. So are
    random numbers, drawn for the batch as a whole, and the statistics of batch
    normalization. A batch whose samples do not divide by the number of devices
    is computed by all devices, each as a whole. In the first process alone
    `TensorBoard`, `ModelCheckpoint`, `CSVLogger` and the progress bar write.

    **On TensorFlow** it returns a `tf.distribute.MirroredStrategy` of the
    devices of this process. Several processes are refused:
    `MultiWorkerMirroredStrategy` does not run `fit` of Keras 3. Batch
    normalization is that of each device, unless its layers have
    `synchronized=True`; random numbers differ between devices, and from one
    device's.

    Random seeds of Python, NumPy and Keras are set, to the same in all
    processes: to what the first one's `numpy.random` draws, so that a
    `keras.utils.set_random_seed` before is heeded.

    Args:
        coordinator_address: Address of the first process, `"host:port"`; the
            port has to be free there.
        num_processes: Number of processes.
        process_id: This one's number, from 0.
        devices: On TensorFlow, names of devices, as `["GPU:0", "GPU:1"]`; None
            for all GPUs, or the CPU.
        auto_shard_dataset: On JAX, whether each process is given all data and
            takes its rows. False if each brings its own part, of equal size;
            a batch is then that of one process. As in
            `keras.distribution.DataParallel`, which it is handed on to.
        heartbeat_timeout: Seconds without a sign of life after which a process
            counts as gone, and the others end. One that is killed is noticed
            at once by those that wait for its sums.
        initialization_timeout: Seconds to wait for all processes to begin.

    Returns:
        A `keras.distribution.DataParallel` on JAX, a
        `tf.distribute.MirroredStrategy` on TensorFlow.

    Raises:
        ValueError: If the arguments do not fit one another or the backend, or
            the backend is neither of these.
        RuntimeError: If something was computed before.
        ConnectionError: If not all processes begin in time. `fit` and the
            other methods raise it where one of them has gone.

    Example:

    >>> with keras_snn.training.distribute().scope():
    ...     model = keras_snn.models.LeNet()
    ...     model.compile("adam", keras_snn.losses.CrossEntropy())
    >>> model.fit(x_train, y_train, batch_size=256)
    """
    auto_shard_dataset = checks.flag("auto_shard_dataset", auto_shard_dataset)
    timeouts = {
        "heartbeat_timeout_seconds": checks.integer(
            "heartbeat_timeout", heartbeat_timeout, 1, "seconds"
        ),
        "initialization_timeout": checks.integer(
            "initialization_timeout", initialization_timeout, 1, "seconds"
        ),
    }
    given = _processes(coordinator_address, num_processes, process_id)
    backend = keras.config.backend()
    if backend == "jax":
        if devices is not None:
            raise ValueError(
                "`devices` is for TensorFlow; on JAX all devices that a "
                f"process sees take part. Received: devices={devices!r}. "
                "JAX_LOCAL_DEVICE_IDS chooses GPUs."
            )
        return _on_jax(given, timeouts, auto_shard_dataset)
    if backend == "tensorflow":
        return _on_tensorflow(given, devices, auto_shard_dataset)
    raise ValueError(
        "distribute() expects the backend JAX or TensorFlow. Received: "
        f"backend {backend!r}."
    )


def _processes(address, count, number):
    """Return where the processes are, from the arguments or variables."""
    address = address or os.environ.get(ADDRESSES)
    count = _number("num_processes", count, PROCESSES, 1)
    number = _number("process_id", number, PROCESS, 0)
    if number is not None and count is not None and number >= count:
        raise ValueError(
            f"`process_id` counts from 0 to {count - 1}. Received: "
            f"process_id={number}, num_processes={count}."
        )
    # As Keras, that takes a list: the first is the one that is needed.
    address = address and str(address).split(",")[0]
    if address and not address.rpartition(":")[2].isdecimal():
        raise ValueError(
            "`coordinator_address` must be host:port, as 10.0.0.1:1234. "
            f"Received: {address!r}."
        )
    if count == 1:
        return {}
    given = {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": number,
    }
    return {name: value for name, value in given.items() if value is not None}


def _number(name, value, variable, least):
    if value is not None:
        return checks.integer(name, value, least)
    text = os.environ.get(variable)
    if text is None:
        return None
    if not text.isdecimal() or int(text) < least:
        raise ValueError(
            f"{variable} must be an integer, at least {least}. Received: "
            f"{text!r}."
        )
    return int(text)


def _on_jax(given, timeouts, auto_shard_dataset):
    import jax

    if not jax.distributed.is_initialized():
        _initialize(jax, given, timeouts)
    _set_seeds(jax)
    found = keras.distribution.DataParallel(
        auto_shard_dataset=auto_shard_dataset
    )
    keras.distribution.set_distribution(found)
    return found


def _initialize(jax, given, timeouts):
    # On processors JAX would begin a sum before the step before it has ended,
    # in one order here and in another one there, and gloo takes no such sums.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if "JAX_ENABLE_PREEMPTION_SERVICE" not in os.environ:
        # It takes SIGTERM, and a process that does not ask it goes on.
        jax.config.update("jax_enable_preemption_service", False)
    # What is said last of the processes in a run of one.
    none_found = not given
    try:
        jax.distributed.initialize(
            **given,
            **timeouts,
            shutdown_timeout_seconds=timeouts["heartbeat_timeout_seconds"],
        )
    except ValueError as error:
        if none_found and "coordinator_address" in str(error):
            return
        raise ValueError(
            "The processes are not known: distribute() needs "
            "`coordinator_address`, `num_processes` and `process_id`, or the "
            f"variables {ADDRESSES}, {PROCESSES} and {PROCESS}, or a cluster "
            "that JAX knows (SLURM, Open MPI, Kubernetes, Cloud TPU). "
            f"Received: {given}. JAX says: {error}"
        ) from error
    except RuntimeError as error:
        if "before" in str(error):
            raise RuntimeError(
                "distribute() must come before anything is computed or asked "
                f"of JAX. JAX says: {error}"
            ) from error
        raise ConnectionError(
            f"Not all processes of the training began. Received: {given}. See "
            "that all of them are started and reach the address of the first "
            f"one. JAX says: {error}"
        ) from error


def _set_seeds(jax):
    seed = np.random.randint(_SEEDS)
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        seed = multihost_utils.broadcast_one_to_all(np.int32(seed))
    keras.utils.set_random_seed(int(seed))


def _on_tensorflow(given, devices, auto_shard_dataset):
    if given:
        raise ValueError(
            "On TensorFlow distribute() takes the devices of one process. "
            f"Received: {given}. Several processes need "
            "KERAS_BACKEND=jax: tf.distribute.MultiWorkerMirroredStrategy does "
            'not run `fit` of Keras 3, whose losses end with "Invalid '
            'reduction dimension 0" and whose variables it cannot convert to '
            "tensors."
        )
    if not auto_shard_dataset:
        raise ValueError(
            "`auto_shard_dataset=False` is for the processes of JAX. "
            "MirroredStrategy shares what its one process is given."
        )
    import tensorflow as tf

    if devices is None and not tf.config.list_logical_devices("GPU"):
        devices = ["CPU:0"]
    strategy = tf.distribute.MirroredStrategy(devices)
    keras.utils.set_random_seed(np.random.randint(_SEEDS))
    return strategy
