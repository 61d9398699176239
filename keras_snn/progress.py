"""What a long function tells of itself while it works.

The library by itself shows no bars; a program that wants them, as the command
line does, hands it a display.
"""

import contextlib
import threading


class Display:
    """The display of the library by itself: words, and no bars.

    Attributes:
        fit_verbose: Keras' `verbose` for trainings; None lets them choose.
    """

    fit_verbose = None

    def say(self, doing):
        """Show what begins."""
        print(doing, flush=True)

    def track(self, items, doing, total=None):
        """Return items with a bar behind them.

        Args:
            items: Iterable.
            doing: What is done with them.
            total: How many there are, where they have no length.
        """
        return items


class _Local(threading.local):
    display = Display()


_local = _Local()


@contextlib.contextmanager
def shown_by(display):
    """Have a display within a `with` statement, in this thread."""
    before, _local.display = _local.display, display
    try:
        yield
    finally:
        _local.display = before


def display():
    """Return the display of this thread."""
    return _local.display
