"""Where a file or folder goes, and that it goes there whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile

# Ends the name of what a draft has taken the place of.
_REPLACED = "-replaced"


def target(path, overwrite, suffix=""):
    """Return `path` if it may be written to.

    Args:
        path: Path of a file or folder.
        overwrite: Whether what is there may be replaced.
        suffix: What a file's name has to end with.

    Raises:
        ValueError: If it is no path, has another ending, or is a folder that
            the process works in.
        FileExistsError: If something is there already.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(
            f"`path` must be a path. Received: path={path!r} (of type "
            f"{type(path).__name__})."
        )
    path = pathlib.Path(path)
    if path.suffix != suffix and suffix:
        raise ValueError(
            f"`path` must end in '{suffix}'. Received: path='{path}'."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"There is something at '{path}' already. Choose another path, "
            "or pass overwrite=True to replace it."
        )
    if path.is_dir() and pathlib.Path.cwd().is_relative_to(path.resolve()):
        raise ValueError(
            f"'{path}' is the current folder or holds it, and all in it would "
            "be replaced. Choose a folder of its own, within it."
        )
    return path


@contextlib.contextmanager
def written(path):
    """Yield a path to write to; what is there in the end moves to `path`.

    After an error, or where the machine stops, `path` is what it was before.
    """
    path = pathlib.Path(os.path.abspath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside `path`, so that the move is a renaming.
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True
    ) as folder:
        # Within the folder, since its own permissions are for one user only.
        draft = pathlib.Path(folder) / path.name
        yield draft
        _to_disk(draft)
        _put(draft, path)
        _names_to_disk(path.parent)


def _put(draft, path):
    """Move a draft to its place; leave what was there beside where it was."""
    replaced = draft.with_name(path.name + _REPLACED)
    # A file takes the place of another in one step, a folder does not.
    if os.path.lexists(path) and (path.is_dir() or draft.is_dir()):
        os.replace(path, replaced)
    try:
        os.replace(draft, path)
    except BaseException:
        if os.path.lexists(replaced):
            os.replace(replaced, path)
        raise


def remove_drafts(path):
    """Remove what a process killed in `written(path)` has left.

    A folder that was about to be replaced goes back to its place.

    Args:
        path: The path, whose last part may hold wildcards. No process may be
            writing to it.
    """
    path = pathlib.Path(path)
    for left in path.parent.glob(f".{path.name}-????????"):
        for replaced in left.glob(f"*{_REPLACED}"):
            place = path.parent / replaced.name.removesuffix(_REPLACED)
            if not os.path.lexists(place):
                os.replace(replaced, place)
        shutil.rmtree(left, ignore_errors=True)


def write_text(path, text):
    """Write a text file whole or not at all."""
    with written(path) as draft:
        draft.write_text(text, "utf-8")


def _to_disk(draft):
    """Wait until a file, or all in a folder, is more than in memory.

    A renaming may reach the disk before the content does.
    """
    for path in [draft, *draft.rglob("*")]:
        if path.is_file():
            with open(path, "r+b") as file:
                os.fsync(file.fileno())


def _names_to_disk(folder):
    """Wait until a renaming in a folder outlasts a loss of power, too."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems know no such thing
        pass
    finally:
        os.close(handle)
