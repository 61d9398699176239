"""Weights that come with the package, as in `keras.applications`.

`weights/index.json` has, by network and data set, the file, its checksum, the
builder's arguments that its shapes depend on, those of its input where they
are not the builder's defaults, and what the network reaches.
"""

import functools
import hashlib
import itertools
import json
import pathlib

import numpy as np

from keras_snn import atomic, untrusted

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


def inputs(builder, weights):
    """Return what the builder's defaults for its input are to be instead."""
    return find(builder, weights).get("inputs", {})


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
    what = f'{builder}(weights="{weights}")'
    _set(model, _read(find(builder, weights), what), include_top, what)


def load_file(model, path, include_top=True):
    """Give a model the weights of a file that `write` wrote.

    Args:
        model: The model.
        path: The file.
        include_top: As in `load`.

    Raises:
        ValueError: If the file is damaged, or the model another.
    """
    content = pathlib.Path(path).read_bytes()
    try:
        arrays = _arrays(content)
    # By the place of the damage, nearly anything.
    except Exception as error:
        raise ValueError(
            f"'{path}' holds no weights: {untrusted.summary(error)}. Expected "
            "an .npz archive of numbers, as in saved_models. Was it copied in "
            "full?"
        ) from error
    _set(model, arrays, include_top, f"'{path}'")


def _set(model, arrays, include_top, what):
    shapes = [tuple(w.shape) for w in model.weights]
    if not include_top:
        arrays = arrays[: len(shapes)]
    found = [x.shape for x in arrays]
    if found != shapes:
        pairs = itertools.zip_longest(found, shapes)
        at = next(i for i, (a, b) in enumerate(pairs) if a != b)
        theirs = found[at] if at < len(found) else "no more weights"
        ours = "no more weights"
        if at < len(shapes):
            ours = f"{shapes[at]}, for '{model.weights[at].path}'"
        raise ValueError(
            f"{what} expects the shapes that it was trained with: {theirs}. "
            f"Received: {ours}. Use its `input_shape` and `classes`; "
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
    return _arrays(data)


def _arrays(content):
    found = untrusted.arrays(content)
    for name, values in found.items():
        if values.dtype.kind not in "biuf":
            raise ValueError(f"'{name}' is of {values.dtype}")
    return [found[name] for name in sorted(found)]


def write(path, model):
    """Write a model's weights in float16 to an .npz file.

    Vectors, such as a normalization's averages, stay float32, and so do
    kernels with a number that float16 does not hold.
    """
    arrays, most = {}, np.finfo("float16").max
    for i, value in enumerate(model.get_weights()):
        fits = np.abs(value).max(initial=0) <= most
        dtype = "float16" if value.ndim > 1 and fits else "float32"
        arrays[f"{i:03d}"] = value.astype(dtype)
    with atomic.written(path) as draft:
        np.savez(draft, **arrays)


def save(
    builder, weights, model, arguments, result, folder=FOLDER, inputs=None
):
    """Write a model's weights, and enter them in the index.

    Args:
        builder: Name of the builder.
        weights: Name that they are to have, that of the data set.
        model: The trained model.
        arguments: Dict of the builder's arguments that shapes depend on.
        result: Dict of what is known of it.
        folder: Where to.
        inputs: Dict of `input_shape`, `time_steps` and `encoder` where they
            are not the builder's defaults.
    """
    path = pathlib.Path(folder) / f"{builder.lower()}_{weights}.npz"
    write(path, model)
    listed = pathlib.Path(folder) / INDEX.name
    entries = json.loads(listed.read_text("utf-8")) if listed.exists() else {}
    entry = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "arguments": arguments,
        "result": result,
    }
    if inputs:
        entry["inputs"] = inputs
    entries.setdefault(builder, {})[weights] = entry
    atomic.write_text(listed, json.dumps(entries, indent=2) + "\n")
    index.cache_clear()
