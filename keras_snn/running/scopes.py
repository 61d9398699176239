"""Switches for what is computed within a `with` statement, in one thread."""

import contextlib
import threading


class Scope(threading.local):
    """A switch that is on, or off, within `with scope(on):`, in this thread.

    Attributes:
        on: Whether it is on.
    """

    on = False

    @contextlib.contextmanager
    def __call__(self, on=True):
        before, self.on = self.on, on
        try:
            yield
        finally:
            self.on = before


# Within this scope graphs get plain operations only: any program that reads an
# exported graph knows those, and not every one can compile.
portable = Scope()

# Within this scope the graph runs in this process and may call Python.
own_process = Scope()

# Within this scope models compute outputs, without gradients.
inference_only = Scope()
