"""Who may read what the warehouse keeps: the modes of its files and folders, whatever the umask."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Modes:
    """The mode of every file; whoever may read the files may enter their folders.

    What is there already keeps the mode it has.
    """

    file: int = 0o600

    @property
    def folder(self) -> int:
        """What is shared with a group hands that group on to whatever is made within."""
        shared = stat.S_ISGID if self.file & stat.S_IRWXG else 0
        return self.file | (self.file & 0o444) >> 2 | shared

    def opener(self, path: str | Path, flags: int) -> int:
        """A descriptor of a file, for `open(…, opener=…)`; a link in its place is not followed.

        Nor is a reader of a pipe waited for.
        """
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, self.file)
        if flags & os.O_CREAT:
            # Another's file, in a shared warehouse, is his to change.
            with suppress(PermissionError):
                os.fchmod(descriptor, self.file)
        return descriptor

    def settle(self, path: str | Path) -> None:
        """Give a file its mode that a library has made."""
        os.chmod(path, self.file)

    def make_folder(self, path: str | Path) -> None:
        """Make one folder, if it is not there."""
        with suppress(FileExistsError):
            os.mkdir(path, self.folder)
            os.chmod(path, self.folder)

    def make_folders(self, path: Path) -> None:
        """Make a folder and those above it, as far as they are not there."""
        if not path.is_dir():
            self.make_folders(path.parent)
            self.make_folder(path)
            if not path.is_dir():
                raise NotADirectoryError(None, "it is a file, not a folder", str(path))
