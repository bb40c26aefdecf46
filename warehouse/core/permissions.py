"""Who may read what the warehouse keeps, and whose a warehouse is.

Files and folders that are made get modes of the configuration's, whatever the umask.

A folder above the working directory may be anybody's (`/tmp/config/data_config.yaml`), and what a
warehouse brings along is run. So one that nobody named is opened only where it belongs to the user,
as git's `safe.directory` has it; who names a folder has chosen it. Named or not, a stranger's
configuration leads nowhere but into the warehouse's own folder and what is its owner's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import ForeignWarehouseError

_KEEPS_NO_MODES = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


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
        _set_mode(path, self.file)

    def make_folder(self, path: str | Path) -> None:
        """Make one folder, if it is not there."""
        with suppress(FileExistsError):
            os.mkdir(path, self.folder)
            try:
                _set_mode(path, self.folder)
            except OSError:
                # Else the next run finds it there, and goes on with a mode that nobody asked for.
                os.rmdir(path)
                raise

    def make_folders(self, path: Path) -> None:
        """Make a folder and those above it, as far as they are not there."""
        if not path.is_dir():
            self.make_folders(path.parent)
            self.make_folder(path)
            if not path.is_dir():
                problem = "it is a file, not a folder; move it away"
                if path.is_symlink() and not path.exists():
                    problem = (
                        f"it is a link to {os.readlink(path)}, which is not there; mount its disk,"
                        " or mend the link"
                    )
                raise NotADirectoryError(None, problem, str(path))


def _set_mode(path: str | Path, mode: int) -> None:
    """Give what was just made its mode, or keep the one that its disk gives to all.

    Raises:
        OSError: that one lets in others than `mode` does.
    """
    try:
        os.chmod(path, mode)
    except OSError as error:
        if error.errno not in _KEEPS_NO_MODES:
            raise
        if os.stat(path).st_mode & ~mode & (stat.S_IRWXG | stat.S_IRWXO):
            problem = (
                "its disk keeps no modes, and lets in others than storage.file_mode says; mount it"
                " for yourself alone (umask=077; a drive of Windows in WSL: metadata), or take"
                " another disk"
            )
            raise PermissionError(error.errno, problem, str(path)) from None


def is_own(path: Path) -> bool:
    """Whether a path belongs to the user, and what it is a link to.

    To root belongs what is root's; run by sudo, what is the user's who called it, too.
    """
    if not hasattr(os, "geteuid"):
        return True
    return _owner(path) in _users()


def _owner(path: Path) -> int:
    """Whose a path is: of what it leads to, unless a stranger's link leads there.

    Anybody may make a link to what is another's, and it is his word then. So the path itself and
    the folder that it is in are looked at as they are. Of a file with several names the one in a
    stranger's folder may be a hard link of theirs.
    """
    for place in (path.parent, path):
        if is_strangers_link(place):
            return place.lstat().st_uid
    facts = path.stat()
    if stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1:
        folder = os.stat(os.path.dirname(os.path.realpath(path))).st_uid
        return facts.st_uid if folder in {*_users(), 0} else folder
    return facts.st_uid


def is_strangers_link(path: Path) -> bool:
    """Whether a path is a link that neither the user has made nor root: root's are the system's."""
    if not hasattr(os, "geteuid"):
        return False
    try:
        facts = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(facts.st_mode) and facts.st_uid not in {*_users(), 0}


def _users() -> set[int]:
    user = os.geteuid()
    users = {user}
    caller = os.environ.get("SUDO_UID", "")
    if user == 0 and caller.isascii() and caller.isdigit():
        users.add(int(caller))
    return users


def check_found(root: Path, paths: Iterable[Path], command: str) -> None:
    """Refuse a warehouse that was found on the way up and is somebody else's.

    Args:
        paths: what must belong to the user; one that is not there is passed over.
        command: how it is opened by its name.

    Raises:
        ForeignWarehouseError: names what belongs to whom.
    """
    for path in (root, *paths):
        if path.exists() and not is_own(path):
            raise ForeignWarehouseError(
                path,
                f"belongs to {owner_of(path)}, not to you, and the warehouse there was not named"
                f" but found on the way up; if you trust it, name it: {command}",
            )


def check_inside(
    root: Path, owned_by: Path, paths: Mapping[str, Path], variables: Mapping[str, str]
) -> None:
    """Refuse the paths of somebody else's warehouse that lead to what is neither in it nor theirs.

    Args:
        owned_by: what says whose the warehouse is.
        paths: by what they are called.
        variables: of the environment, by which the user may ask for those of settings.

    Raises:
        ForeignWarehouseError: names the first of them.
    """
    confines = confines_of(root, owned_by)
    if confines is None:
        return
    for name, path in paths.items():
        place = Path(os.path.realpath(path))
        if confines.leads_out(place):
            remedy = "make a warehouse of your own with: warehouse init"
            if name in variables:
                remedy = f"if you trust it, ask for it yourself with {variables[name]}={place}"
            raise ForeignWarehouseError(
                owned_by,
                f"belongs to {owner_of(owned_by)}, not to you, and its {name} leads to {place},"
                f" which is neither in the warehouse nor theirs; {remedy}",
            )


@dataclass(frozen=True)
class Confines:
    """What somebody else's warehouse may lead to: its own folder, and what is its owner's.

    Attributes:
        home: the warehouse, without links.
        owner: whose it is.
    """

    home: Path
    owner: int

    def leads_out(self, place: Path) -> bool:
        """Whether a place, told without links, is neither; what is not there is its folder's."""
        if place.is_relative_to(self.home):
            return False
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        return there.stat().st_uid != self.owner

    def problem(self, path: Path) -> str | None:
        """Why what a path leads to is not to be read, in words that follow it; None: it may be."""
        place = Path(os.path.realpath(path))
        if not self.leads_out(place):
            return None
        return f"leads to {place}, which is neither in the warehouse nor its owner's"


def confines_of(root: Path, owned_by: Path) -> Confines | None:
    """What a warehouse may lead to; None: it is the user's own, and may lead anywhere.

    Args:
        owned_by: what says whose the warehouse is.
    """
    if is_own(owned_by):
        return None
    return Confines(Path(os.path.realpath(root)), _owner(owned_by))


def check_links(folder: Path, confines: Confines | None, but: Path) -> None:
    """Refuse to write into a folder of somebody else's in which a link leads out.

    What it leads to would be written over, or taken in: rows of the user's own warehouse would come
    to stand in theirs.

    Args:
        confines: what links may lead to; None: anything, and nothing is looked at.
        but: a folder whose links are looked at file by file.

    Raises:
        ForeignWarehouseError: names the link.
        OSError: a folder cannot be looked into.
    """
    if confines is None:
        return
    folders, seen = [str(folder)], set()
    while folders:
        here = folders.pop()
        place = os.path.realpath(here)
        if place in seen:
            continue
        seen.add(place)
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.path == str(but):
                        continue
                    if entry.is_symlink() and (problem := confines.problem(Path(entry.path))):
                        raise ForeignWarehouseError(
                            Path(entry.path),
                            f"{problem}; nothing is written into somebody else's warehouse with"
                            " such a link: move it away",
                        )
                    if entry.is_dir():
                        folders.append(entry.path)
        except FileNotFoundError:
            continue  # readers make folders of their own meanwhile, and remove them
        except PermissionError:
            # What may not be entered leads nowhere: whoever has to write there is told.
            if os.access(here, os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                raise


def check_own(owned_by: Path, what: str, variable: str) -> None:
    """Refuse what a warehouse asks for that is not the user's own.

    Args:
        owned_by: what says whose the warehouse is.
        what: it asks for, as `key = value`.
        variable: of the environment, by which the user may ask for it.

    Raises:
        ForeignWarehouseError: it is somebody else's.
    """
    if not is_own(owned_by):
        raise ForeignWarehouseError(
            owned_by,
            f"belongs to {owner_of(owned_by)}, not to you, and says {what}; ask for it yourself"
            f" with {variable}",
        )


def owner_of(path: Path) -> str:
    """The name of whoever a path belongs to, as `is_own` has it; without one, the number."""
    user = _owner(path)
    try:
        import pwd  # Windows has none

        return pwd.getpwuid(user).pw_name
    except (ImportError, KeyError):
        return f"user {user}"
