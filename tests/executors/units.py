"""What tests hand to workers: it stands in a module that they can import."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import pandas as pd
from building import Made

from warehouse.core.paths import Layout
from warehouse.executors.work import Share, T, Unit
from warehouse.pipeline.side_by_side import on_worker


def share_and_process(share: Share) -> tuple[Share, int]:
    return share, os.getpid()


def raises(error: Exception, share: Share) -> None:
    raise error


def killed_once(mark: Path, share: Share) -> str:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return "done"
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def killed_in(
    name: str,
    mark: Path,
    seconds: float,
    layout: Layout,
    folder_id: str | None,
    unit: Unit[T],
    share: Share,
) -> T:
    """`on_worker`, whose process is killed in the first unit of that name that begins.

    Args:
        mark: is there once it has begun.
        seconds: after so many; when the unit has written all, at the latest.
    """
    assert isinstance(unit, partial)
    is_first = False
    if unit.func.__name__ == name:
        with suppress(FileExistsError):
            mark.touch(exist_ok=False)
            is_first = True
    if is_first:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    found = on_worker(layout, folder_id, unit, share)
    if is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    return found


def restated_meanwhile(made: Made, day: date, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows; asked about a day it publishes that anew, the first time."""
    asked = rows["session"].iloc[0].date()
    with open(made.root / "asked.txt", "a+") as file:
        file.seek(0)
        is_first = str(day) not in file.read()
        file.write(f"{asked}\n")
    if asked == day and is_first:
        local = replace(made)
        local.configure(processing__engine="local")
        local.update()
    return rows[["price"]]
