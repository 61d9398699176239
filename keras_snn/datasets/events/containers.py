"""Files in a folder or in a zip archive, as it lies."""

import os
import pathlib
import zipfile


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
            try:
                self._opened = zipfile.ZipFile(self.path)
            except zipfile.BadZipFile as error:
                raise _damaged(f"`{self.path}`", error) from error
            self._process = os.getpid()
        return self._opened

    def names(self):
        """Names of all members."""
        return self._zip().namelist()

    def read(self, name):
        try:
            return self._zip().read(name)
        # A damaged stream fails in the checksum or in the decompressor.
        except (zipfile.BadZipFile, zipfile.zlib.error, EOFError) as error:
            raise _damaged(self.where(name), error) from error

    def where(self, name):
        """How messages call a member."""
        return f"`{self.path}`, member `{name}`"


def _damaged(source, error):
    return ValueError(
        f"{source}: expected a complete zip archive. Received: {error}. The "
        "file is truncated or of another kind; fetch it again."
    )
