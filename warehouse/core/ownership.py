"""Whose a warehouse is: one that is found on the way up must be the user's own.

A folder above the working directory may be anybody's (`/tmp/config/data_config.yaml`), and what a
warehouse brings along is run. So one that nobody named is opened only where it belongs to the user,
as git's `safe.directory` has it; who names a folder has chosen it. Named or not, a stranger's
configuration leads nowhere but into the warehouse's own folder and what is its owner's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from warehouse.errors import ForeignWarehouseError


def is_own(path: Path) -> bool:
    """Whether a path, or what it is a link to, belongs to the user.

    To root belongs what is root's; run by sudo, what is the user's who called it, too.
    """
    if not hasattr(os, "geteuid"):
        return True
    return path.stat().st_uid in _users()


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
                f"belongs to {_owner(path)}, not to you, and the warehouse there was not named but"
                f" found on the way up; if you trust it, name it: {command}",
            )


def check_inside(root: Path, owned_by: Path, paths: dict[str, Path]) -> None:
    """Refuse the paths of somebody else's warehouse that lead to what is neither in it nor theirs.

    Args:
        owned_by: what says whose the warehouse is.
        paths: by what they are called.

    Raises:
        ForeignWarehouseError: names the first of them.
    """
    if is_own(owned_by):
        return
    home, owner = Path(os.path.realpath(root)), owned_by.stat().st_uid
    for name, path in paths.items():
        place = Path(os.path.realpath(path))
        if place.is_relative_to(home):
            continue
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        if there.stat().st_uid != owner:
            raise ForeignWarehouseError(
                owned_by,
                f"belongs to {_owner(owned_by)}, not to you, and its {name} leads to {place}, which"
                " is neither in the warehouse nor theirs; make a warehouse of your own with:"
                " warehouse init",
            )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, NotImplementedError, OSError):
        return f"user {path.stat().st_uid}"
