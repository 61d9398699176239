"""Files that anybody may have written: within bounds, and no code is run.

A few bytes can ask for gigabytes, by a header that claims them or by what
they unpack to, and archives can name files elsewhere. What is read through
these functions takes no more memory than `limit` of the file's size.
"""

import contextlib
import gzip
import io
import json
import math
import pathlib
import zipfile

import numpy as np

# What a file may unpack to: weights and images shrink to a third at most,
# and a small file of zeros is no attack.
FACTOR = 20
SMALL = 2**26
_OF_THE_SYSTEM = FileNotFoundError, PermissionError, IsADirectoryError


def limit(size):
    """Return the bytes that a file of `size` bytes may unpack to."""
    return max(FACTOR * size, SMALL)


@contextlib.contextmanager
def reading(source, expected):
    """Turn whatever a damaged file raises into an error that names it.

    Args:
        source: The file, or what messages call it.
        expected: What was expected of it, e.g. `"a complete gzip file"`.

    Raises:
        ValueError: If anything fails, except that there is no such file or
            it may not be opened.
    """
    try:
        yield
    except _OF_THE_SYSTEM:
        raise
    # Parsers raise nearly anything, by the place of the damage.
    except Exception as error:
        raise ValueError(
            f"{_called(source)}: expected {expected}. Received: "
            f"{summary(error)}. The file is truncated, damaged or of another "
            "kind; fetch it again."
        ) from error


def _called(source):
    return f"`{source}`" if isinstance(source, pathlib.Path) else source


def summary(error):
    """Return an error's message in one line of bounded length."""
    text = " ".join(str(error).split()).rstrip(".")
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


def ungzipped(content):
    """Return what a gzip file holds, all of it or an error."""
    most = limit(len(content))
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise ValueError(f"its {len(content)} bytes unpack to more than {most}")
    return found


def check_archive(archive, size):
    """Raise a `ValueError` unless a zip archive can be read without harm.

    Args:
        archive: A `zipfile.ZipFile`.
        size: Bytes of its file.
    """
    check_list(archive)
    for name in archive.namelist():
        parts = pathlib.PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in name:
            raise ValueError(f"it names a file elsewhere, {name!r}")
    total = sum(entry.file_size for entry in archive.infolist())
    if total > limit(size):
        raise ValueError(f"its {size} bytes would unpack to {total}")


def check_list(archive):
    """Raise a `ValueError` if a zip archive's list of files is damaged.

    It has no checksum. Where the length of a comment is damaged, that may
    have taken in the next entry.
    """
    entries = archive.infolist()
    if len(set(archive.namelist())) < len(entries):
        raise ValueError("it has two files of one name")
    for entry in entries:
        if b"PK\x01\x02" in entry.comment + entry.extra:
            raise ValueError(f"the entry behind {entry.filename!r} is hidden")


def arrays(content):
    """Return the arrays of an `.npz` archive, by name.

    Args:
        content: The bytes of the file.

    Raises:
        Exception: Of many kinds, if it is damaged. Pickled objects are.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        check_archive(archive, len(content))
        return {
            name.removesuffix(".npy"): array(archive.read(name))
            for name in archive.namelist()
        }


def array(content):
    """Return the array of an `.npy` file, which is not written to.

    Args:
        content: The bytes of the file.

    Raises:
        Exception: Of many kinds, if it is damaged, or holds objects.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of .npy")
    shape, by_column, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    begin = file.tell()
    needed, found = math.prod(shape) * dtype.itemsize, len(content) - begin
    if needed != found:
        raise ValueError(f"{found} bytes for {dtype} of shape {shape}")
    order = "F" if by_column else "C"
    return np.ndarray(shape, dtype, content, begin, order=order)


def check_hdf5(file, size):
    """Raise a `ValueError` unless an HDF5 file can be read without harm.

    Args:
        file: A `h5py.File`.
        size: Bytes of the file.
    """
    import h5py

    seen, left, total = set(), [file], 0
    while left:
        group = left.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"its {name!r} is a link to elsewhere")
            found = group[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:  # else paths might be without end
                raise ValueError(f"its {name!r} is there twice")
            seen.add(address)
            if isinstance(found, h5py.Group):
                left.append(found)
            elif isinstance(found, h5py.Dataset):
                if found.external or found.is_virtual:
                    raise ValueError(f"its {name!r} lies in another file")
                total += found.nbytes
    if total > limit(size):
        raise ValueError(f"its {size} bytes claim to hold {total}")


def read_json(path, expected):
    """Return what a JSON file holds.

    Args:
        path: The file.
        expected: What was expected of it.

    Raises:
        ValueError: If it is damaged.
    """
    path = pathlib.Path(path)
    with reading(path, expected):
        return json.loads(path.read_text("utf-8"))


def read_lines(path):
    """Return the lines of a text file.

    Raises:
        ValueError: If it is no text.
    """
    path = pathlib.Path(path)
    with reading(path, "lines of text in UTF-8"):
        return path.read_text("utf-8").splitlines()
