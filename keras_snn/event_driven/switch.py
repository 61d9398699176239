"""Whether networks run event by event: as the user says, or if they can."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings

import keras

from keras_snn import optional

# None until the user decides.
_choice = None


def enable() -> None:
    """Run networks event by event.

    That is the default where Numba is installed. What was traced before stays
    as it is: call this before the first `fit` or `predict`. A Numba that does
    not compile is an error then.

    Raises:
        ImportError: If Numba is not installed.
        ValueError: If the backend is not TensorFlow.
    """
    global _choice
    backend = keras.config.backend()
    if backend != "tensorflow":
        raise ValueError(
            "The event-driven engine runs on the backend 'tensorflow' only. "
            f"Received: backend '{backend}'. Set KERAS_BACKEND=tensorflow "
            "before the import, or leave the engine off."
        )
    optional.require("numba", "numba")
    _choice = True


def disable() -> None:
    """Run networks with dense products.

    What was traced before stays as it is: call this before the first `fit` or
    `predict`.
    """
    global _choice
    _choice = False


def is_enabled() -> bool:
    """Return whether networks may run event by event."""
    return _why_off() is None


def _why_off():
    """Return why the engine is not enabled, or None."""
    if _choice is False:
        return "keras_snn.event_driven.disable() was called"
    if keras.config.backend() != "tensorflow":
        return "the backend is not TensorFlow"
    if importlib.util.find_spec("numba") is None:
        return 'Numba is not installed (pip install "keras-snn[numba]")'
    return None


def why_not() -> str | None:
    """Return why no network runs event by event here, or None."""
    if reason := _why_off():
        return reason
    import tensorflow as tf

    # Hidden ones, too: for those Keras compiles graphs by XLA.
    kinds = {x.device_type for x in tf.config.list_physical_devices()}
    if kinds != {"CPU"}:
        return f"there are other devices than processors, {sorted(kinds)}"
    if not _choice and not _compiles():
        return "Numba does not compile the engine"
    return None


@functools.cache
def _compiles():
    """Return whether the engine can be compiled; warn if not.

    The user did not ask for it, so that a broken Numba is no error.
    """
    try:
        kernels = importlib.import_module("keras_snn_runtime.kernels")
        # The others are compiled when a network calls them.
        kernels.list_spikes.compile()
    except Exception as error:
        warnings.warn(
            "Numba is installed, but the event-driven engine does not compile "
            f"({type(error).__name__}: {error}). Networks run with dense "
            "products. keras_snn.event_driven.disable() hides this message.",
            stacklevel=2,
        )
        return False
    return True
