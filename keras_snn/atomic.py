"""Where a file or folder goes, and that it goes there whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile


def target(path, overwrite, suffix=""):
    """Return `path` if it may be written to.

    Args:
        path: Path of a file or folder.
        overwrite: Whether what is there may be replaced.
        suffix: What a file's name has to end with.

    Raises:
        ValueError: If it is no path or has another ending.
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
    return path


@contextlib.contextmanager
def written(path):
    """Yield a path to write to; what is there in the end moves to `path`.

    After an error, or where the machine stops, `path` is what it was before.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside `path`, so that the move is a renaming.
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}-", dir=path.parent
    ) as folder:
        # Within the folder, since its own permissions are for one user only.
        draft = pathlib.Path(folder) / path.name
        yield draft
        _to_disk(draft)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(draft, path)
        _names_to_disk(path.parent)


def remove_drafts(path):
    """Remove what a process killed in `written(path)` has left.

    Args:
        path: The path, whose last part may hold wildcards. No process may be
            writing to it.
    """
    path = pathlib.Path(path)
    for left in path.parent.glob(f".{path.name}-????????"):
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
