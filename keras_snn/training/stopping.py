"""Why a run ends before its end: SIGTERM, and a loss that is no number."""

import os
import signal
import threading
import time

# EX_TEMPFAIL of sysexits.h: try again, and it will go on.
EXIT_STOPPED = 75
ON_NAN = ("stop", "warn")
# `timeout`, systemd and SLURM signal a process and its parent, which hands on:
# what comes within so many seconds is one SIGTERM.
ONE_SIGNAL = 1.0
_NOTE = b"\nSIGTERM: stops after this update; once more ends at once.\n"


def check_on_nan(value):
    """Raise a `ValueError` unless it says what a loss of NaN does."""
    if value not in ON_NAN:
        raise ValueError(
            '`on_nan` must be "stop", which ends the run and says where it '
            f'began, or "warn", which goes on. Received: on_nan={value!r}.'
        )


class Stopped(SystemExit):
    """Ends a run that has been told to stop and has kept its state."""

    def __init__(self):
        super().__init__(EXIT_STOPPED)


class Sigterm:
    """Takes note of the first SIGTERM; a later one ends the process.

    A context manager. A handler of the program's own is left alone, and so is
    everything outside of the main thread, where Python allows no handlers.

    Attributes:
        received: Whether SIGTERM came.
    """

    def __init__(self):
        self.received = False
        self._is_ours = False
        self._came = None

    def __enter__(self):
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._note)
            self._is_ours = True
        return self

    def __exit__(self, *_):
        if self._is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._is_ours = False

    def check(self):
        """Raise `Stopped` if SIGTERM came."""
        if self.received:
            raise Stopped

    def _note(self, *_):
        if not self.received:
            self.received, self._came = True, time.monotonic()
            # Not `print`, which must not be entered twice.
            os.write(2, _NOTE)
        elif time.monotonic() - self._came >= ONE_SIGNAL:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
