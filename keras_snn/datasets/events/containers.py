"""Files in a folder or in a zip archive, as it lies."""

import os
import pathlib
import zipfile

from keras_snn import untrusted

_EXPECTED = "a complete zip archive"


class Folder:
    """The files below a folder."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def names(self):
        """Paths of all `.bin` files below the folder, with forward slashes."""
        found = self.path.rglob("*.bin")
        return [path.relative_to(self.path).as_posix() for path in found]

    def read(self, name):
        return (self.path / name).read_bytes()

    def check(self, name):
        """Nothing is told of a file here but its name."""

    def where(self, name):
        """How messages call a file."""
        return f"`{self.path / name}`"


class Archive:
    """The members of a zip archive; it is read, never unpacked.

    The archive is opened once in each process: its directory lists 60,000
    recordings, and processes that share an open file disturb each other.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._process, self._opened = None, None

    def __getstate__(self):
        return {"path": self.path, "_process": None, "_opened": None}

    def _zip(self):
        if self._process != os.getpid():
            with untrusted.reading(self.path, _EXPECTED):
                self._opened = zipfile.ZipFile(self.path)
                untrusted.check_list(self._opened)
            self._process = os.getpid()
        return self._opened

    def names(self):
        """Names of all members."""
        return self._zip().namelist()

    def read(self, name):
        archive = self._zip()
        with untrusted.reading(self.where(name), _EXPECTED):
            entry = archive.getinfo(name)
            if entry.file_size > untrusted.limit(entry.compress_size):
                raise ValueError(
                    f"its {entry.compress_size} bytes would unpack to "
                    f"{entry.file_size}"
                )
            return archive.read(name)

    def check(self, name):
        """Raise a `ValueError` if a member has another name where it lies.

        The list of members has no checksum: of a name that is damaged there,
        the member would be passed over.
        """
        archive = self._zip()
        with untrusted.reading(self.where(name), _EXPECTED):
            archive.open(name).close()

    def where(self, name):
        """How messages call a member."""
        return f"`{self.path}`, member `{name}`"
