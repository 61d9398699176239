"""NIR files, of the installed version of `nir` and of others."""

import contextlib
import dataclasses
import os

from keras_snn import untrusted

# Fields that later versions added, and what they mean where they are missing.
ADDED = {"Conv1d": {"input_shape": None}, "Conv2d": {"input_shape": None}}
# What `from_dict` makes of other fields, or fills in.
OTHER_FIELDS = {
    "Input": {"shape"},
    "Output": {"shape"},
    "NIRGraph": {"type_check"},
}
OPTIONAL_FIELDS = {"metadata", "v_reset", "w_in", "input_type", "output_type"}


def read(nir, path):
    """Return what is in a NIR file.

    Args:
        nir: The package.
        path: Path of the file.

    Raises:
        ValueError: If there is no file, it is damaged or none of NIR, or of a
            version whose nodes the installed one does not know.
    """
    if not os.path.isfile(path):
        raise ValueError(f"There is no NIR file at {str(path)!r}.")
    try:
        version, node = _content(nir, path)
        problems = list(_problems(nir, "the graph", node))
    except Exception as error:
        # What is damaged can fail anywhere between HDF5 and a node's fields.
        raise _damaged(path, error) from error
    if problems:
        raise ValueError(
            f"{str(path)!r} is a file of NIR version {version or 'unknown'}, "
            f"which nir {nir.version} does not know:\n"
            + "\n".join(problems)
            + "\nRead it with the `nir` of that version, and write it again "
            "with that of this one."
        )
    try:
        return nir.dict2NIRNode(_completed(node))
    except Exception as error:
        raise _damaged(path, error) from error


@contextlib.contextmanager
def naming(path):
    """Have every error of a file's graph name the file.

    Raises:
        ValueError: For whatever values that make no sense raise.
    """
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"In {str(path)!r}: {error}") from error
    except (ArithmeticError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _damaged(path, error):
    return ValueError(
        f"{str(path)!r} is no NIR file, or a damaged one: {error!r}. NIR "
        "files are HDF5 files written by nir.write; write it again."
    )


def _content(nir, path):
    """Return `(version, node)`, the node as nested dicts."""
    # `nir` itself reads with it.
    import h5py

    with h5py.File(path, "r") as file:
        untrusted.check_hdf5(file, os.path.getsize(path))
        version = file["version"][()] if "version" in file else None
        if isinstance(version, bytes):
            version = version.decode("utf8")
        return version, nir.serialization.hdf2dict(file["node"])


def _problems(nir, name, node):
    """Yield what the installed version does not know of a node."""
    kind = node["type"]
    if kind not in nir.ir.__all__:
        yield f"- '{name}' ({kind}): there is no such node."
        return
    if kind == "NIRGraph":
        for inner, values in node["nodes"].items():
            yield from _problems(nir, inner, values)
    fields = {x.name for x in dataclasses.fields(getattr(nir, kind))}
    known = fields | OPTIONAL_FIELDS | OTHER_FIELDS.get(kind, set())
    needed = fields - OPTIONAL_FIELDS - ADDED.get(kind, {}).keys()
    for field in sorted(node.keys() - known - {"type"}):
        yield f"- '{name}' ({kind}): its `{field}` has no meaning."
    for field in sorted(needed - node.keys()):
        yield f"- '{name}' ({kind}): it has no `{field}`."


def _completed(node):
    """Return a node with the fields of this version.

    Types are not checked: some programs write such that do not fit each
    other, and shapes are checked where layers are built.
    """
    kind = node["type"]
    node = {**ADDED.get(kind, {}), **node}
    if kind != "Flatten":
        node.pop("input_type", None)
        node.pop("output_type", None)
    if kind == "NIRGraph":
        nodes = {name: _completed(x) for name, x in node["nodes"].items()}
        node |= {"nodes": nodes, "type_check": False}
    return node
