"""Several processes of one command on this machine.

The command line starts them before it waits for Keras.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from keras_snn.training.stopping import EXIT_STOPPED

# As in `keras.distribution.initialize`.
ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
PROCESS = "KERAS_DISTRIBUTION_PROCESS_ID"
# Seconds that the others have to end by themselves once one has failed.
GRACE = 5.0


def launch(command, count):
    """Run a command in several processes; return the exit code of all.

    Each finds the others by Keras' environment variables, and has the GPU of
    its own number. The first one's output is shown, and the errors of the
    one that fails first. When one fails, the others are ended: they cannot go
    on without it. SIGTERM goes to all of them.

    Args:
        command: List of words.
        count: Number of processes.

    Returns:
        0 if all end well, else the code of the one that failed first; of one
        that a signal ended, 128 and the signal.
    """
    address = f"127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as stack:
        processes, errors = [], []
        for number in range(count):
            file = stack.enter_context(tempfile.TemporaryFile())
            errors.append(file)
            hidden = {"stdout": subprocess.DEVNULL, "stderr": file}
            processes.append(
                subprocess.Popen(
                    command,
                    env=environment(address, count, number),
                    stdin=subprocess.DEVNULL,
                    **(hidden if number else {}),
                )
            )
        stack.callback(_end, processes)
        with _forwarded(processes):
            failed = _wait(processes)
        if failed is None:
            return 0
        return _report(failed, processes[failed].returncode, errors[failed])


def free_port():
    """Return a port that is free on this machine at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(address, count, number):
    """Return the variables of one of several processes of this machine."""
    ours = {
        ADDRESSES: address,
        PROCESSES: str(count),
        PROCESS: str(number),
        "JAX_LOCAL_DEVICE_IDS": str(number),
    }
    return {**os.environ, **ours}


@contextlib.contextmanager
def _forwarded(processes):
    """Hand SIGTERM on to the processes, which stop after an update."""

    def hand_on(number, frame):
        for process in processes:
            process.send_signal(number)

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait(processes):
    """Wait for all to end well; return the number of the first that fails.

    Those that stop for SIGTERM do so together, and are waited for.
    """
    while True:
        codes = [process.poll() for process in processes]
        ended = {i: code for i, code in enumerate(codes) if code}
        failed = [i for i, code in ended.items() if code != EXIT_STOPPED]
        if failed:
            # Those that a signal ended are the cause, not those that miss it.
            return min(failed, key=lambda i: codes[i] > 0)
        if None not in codes:
            return next(iter(ended), None)
        time.sleep(0.05)


def _end(processes):
    deadline = time.monotonic() + GRACE
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def _report(number, code, errors):
    if number:
        errors.seek(0)
        shutil.copyfileobj(errors, sys.stderr.buffer)
        sys.stderr.flush()
    if code > 0:
        return code
    name = signal.Signals(-code).name
    print(
        f"Worker {number} was ended by {name}, and the others with it. "
        "Go on from the last checkpoint with --resume.",
        file=sys.stderr,
        flush=True,
    )
    return 128 - code
