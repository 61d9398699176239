"""Switches for what is computed within a `with` statement, in one thread."""

import contextlib
import threading

import keras


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


_turn = threading.RLock()


def in_turn():
    """Return a scope in which, on JAX, one thread is at a time.

    There Keras takes the weights out of a model while it runs, and hands them
    on as buffers that are gone afterwards, so that two threads would take them
    from each other. TensorFlow needs no such thing.
    """
    on_jax = keras.config.backend() == "jax"
    return _turn if on_jax else contextlib.nullcontext()


# Within this scope graphs get plain operations only: any program that reads an
# exported graph knows those, and not every one can compile.
portable = Scope()

# Within this scope the graph runs in this process and may call Python.
own_process = Scope()

# Within this scope models compute outputs, without gradients.
inference_only = Scope()

# Within this scope, too, they add the penalties of activity to the loss.
penalized = Scope()
