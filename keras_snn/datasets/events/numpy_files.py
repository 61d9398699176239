"""Events in NumPy's own files."""

import numpy as np

from keras_snn.datasets.events.array import EVENT_DTYPE, as_columns, field_of


def read(path, sensor_size):
    """Reads a structured array, or an archive of x, y, t and p."""
    try:
        with open(path, "rb") as file:
            found = np.load(file)
            if isinstance(found, np.lib.npyio.NpzFile):
                found = {name: found[name] for name in found.files}
    # What comes of a damaged byte differs from place to place: zipfile and the
    # parser of NumPy's header raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"`{path}`: expected a complete file of NumPy's numbers. "
            f"Received: {error}"
        ) from error
    if isinstance(found, np.ndarray):
        return found, None
    if len(found) == 1:
        return next(iter(found.values())), None
    names = {name: field_of(name, found) for name in EVENT_DTYPE.names}
    if None in names.values():
        raise ValueError(
            f"`{path}`: expected arrays called x, y, t and p. Received: "
            f"{sorted(found)}."
        )
    columns = {name: found[n] for name, n in names.items()}
    return as_columns(columns, f"`{path}`"), None
