"""What is done beside the training, in a thread."""

from concurrent import futures


class Background:
    """A thread that does one thing while training goes on."""

    def __init__(self):
        self._thread = futures.ThreadPoolExecutor(1)
        self._pending = None

    def start(self, function, *arguments):
        """Have a function called, after the one before has ended."""
        self.wait()
        self._pending = self._thread.submit(function, *arguments)

    def is_busy(self):
        """Return whether a call has not ended."""
        return self._pending is not None and not self._pending.done()

    def wait(self):
        """Wait for the call's end, and raise the error that it ended with."""
        if self._pending is None:
            return
        futures.wait([self._pending])  # cut off by Ctrl-C, it is still pending
        ended, self._pending = self._pending, None
        ended.result()
