"""Weights that come with the package, as in `keras.applications`.

`weights/index.json` has, by network and data set, the file, its checksum, the
builder's arguments that its shapes depend on, and what the network reaches.
"""

import functools
import hashlib
import io
import json
import pathlib

import numpy as np

from keras_snn import atomic

FOLDER = pathlib.Path(__file__).parent / "weights"
INDEX = FOLDER / "index.json"


@functools.cache
def index():
    """Return what there is: dicts of entries by network and data set."""
    return json.loads(INDEX.read_text("utf-8"))


def find(builder, weights):
    """Return the entry of a name of weights of a builder, or None."""
    if not isinstance(weights, str):
        return None
    return index().get(builder, {}).get(weights)


def names(builder):
    """Return the names of the weights that a builder has."""
    return tuple(index().get(builder, {}))


def builder_of(dataset):
    """Return the network that comes trained on a data set, or None."""
    found = [name for name, sets in index().items() if dataset in sets]
    return found[0] if found else None


def check_arguments(builder, weights, given):
    """Return the arguments that weights need.

    Args:
        builder: Name of the builder.
        weights: Name of the weights.
        given: Dict of those that were given, None where not.

    Raises:
        ValueError: If others were given.
    """
    needed = find(builder, weights)["arguments"]
    for name, value in needed.items():
        if given.get(name) not in (None, value):
            raise ValueError(
                f'{builder}(weights="{weights}") has {name}={value!r}. '
                f"Received: {name}={given[name]!r}. Leave it out, or train "
                "weights of your own."
            )
    return needed


def load(model, builder, weights, include_top):
    """Give a model its trained weights.

    Args:
        model: A new model of the builder.
        builder: Its name.
        weights: Name of the weights.
        include_top: Whether the model has them all; else those of its last
            dense layers are left out.

    Raises:
        ValueError: If the file is damaged, or the model another.
    """
    arrays = _read(find(builder, weights), f'{builder}(weights="{weights}")')
    shapes = [tuple(w.shape) for w in model.weights]
    if not include_top:
        arrays = arrays[: len(shapes)]
    found = [x.shape for x in arrays]
    if found != shapes:
        at = next(
            (i for i, (a, b) in enumerate(zip(found, shapes)) if a != b), 0
        )
        raise ValueError(
            f'{builder}(weights="{weights}") expects the shapes that it was '
            f"trained with: {found[at]}. Received: {shapes[at]}, for "
            f"'{model.weights[at].path}'. Use its `input_shape` and `classes`; "
            "for other classes include_top=False and dense layers of your own."
        )
    model.set_weights([x.astype("float32") for x in arrays])


def _read(entry, what):
    """Return the arrays of an entry, in the order of `Model.weights`."""
    path = FOLDER / entry["file"]
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ValueError(
            f"The weights of {what} at '{path}' are not those that were "
            f"published: {len(data)} bytes of another checksum. Install the "
            "package again."
        )
    with np.load(io.BytesIO(data)) as archive:
        return [archive[name] for name in sorted(archive.files)]


def save(builder, weights, model, arguments, result, folder=FOLDER):
    """Write a model's weights in float16, and enter them in the index.

    Vectors, such as a normalization's averages, stay float32.

    Args:
        builder: Name of the builder.
        weights: Name that they are to have, that of the data set.
        model: The trained model.
        arguments: Dict of the builder's arguments that shapes depend on.
        result: Dict of what is known of it.
        folder: Where to.
    """
    arrays = {}
    for i, value in enumerate(model.get_weights()):
        dtype = "float16" if value.ndim > 1 else "float32"
        arrays[f"{i:03d}"] = value.astype(dtype)
    path = pathlib.Path(folder) / f"{builder.lower()}_{weights}.npz"
    with atomic.written(path) as draft:
        np.savez(draft, **arrays)
    listed = pathlib.Path(folder) / INDEX.name
    entries = json.loads(listed.read_text("utf-8")) if listed.exists() else {}
    entries.setdefault(builder, {})[weights] = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "arguments": arguments,
        "result": result,
    }
    atomic.write_text(listed, json.dumps(entries, indent=2) + "\n")
    index.cache_clear()
