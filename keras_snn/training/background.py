"""What is done beside the training, in a thread."""

from concurrent import futures


class Background:
    """A thread that does one thing while training goes on."""

    def __init__(self):
        self._thread = futures.ThreadPoolExecutor(1)
        self._call = None

    def start(self, function, *arguments):
        """Have a function called, once the call before has ended well."""
        self.join()
        if not self.has_failed():
            self._call = self._thread.submit(function, *arguments)

    def join(self):
        """Wait for the call's end."""
        if self._call is not None:
            futures.wait([self._call])

    def has_failed(self):
        """Return whether the call has ended with an error."""
        call = self._call
        return bool(call and call.done() and call.exception())

    def wait(self):
        """Wait for the call's end, and raise the error that it ended with."""
        self.join()
        ended, self._call = self._call, None
        if ended is not None:
            ended.result()
