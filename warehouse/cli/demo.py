"""The demo: a small market taken through a warehouse, and asked through each of the three doors."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from warehouse.cli.render import answer, run
from warehouse.cli.render.status import status_lines
from warehouse.cli.shell import HOW_TO_GET, find_shell, shell_arguments
from warehouse.core.config import CONFIG_FILE, check_paths, load
from warehouse.core.metrics import Progress
from warehouse.core.permissions import is_own
from warehouse.core.request import Request
from warehouse.errors import ConfigError, RequestError, StorageError
from warehouse.maintenance.init import lay_out
from warehouse.pipeline.pipeline import Pipeline
from warehouse.pipeline.report import RunReport
from warehouse.report.status import status
from warehouse.store.catalog import Catalog
from warehouse.synthetic.files import write
from warehouse.synthetic.market import DEMO
from warehouse.text import shell_word, some

FOLDER = "demo-warehouse"
_FILES = "flatfiles"
_SOURCE = f"./{_FILES}"

SHELL = """\
select session, count(*) as trades, min(timestamp) as first, max(timestamp) as last
from trades_of('BRK.B')
group by session
order by session"""
PYTHON = """\
from warehouse import Warehouse
wh = Warehouse({folder})
trades = wh.trades("BCpC", "2025-11-28", "2025-11-28")
trades[["timestamp", "price", "size", "conditions"]].tail(4)
len(trades), len(wh.trades("BCPC", "2025-11-28", "2025-11-28"))"""
QUERY = """\
select data_type, reason, count(*) as rows
from rejects
group by data_type, reason
order by data_type, rows desc, reason"""


def program() -> str:
    """How a person can call this program: `warehouse` where that is found, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("warehouse")
    if called.name != "warehouse" or (found and Path(found).samefile(called)):
        return "warehouse"
    path = os.path.relpath(called)
    return shell_word(str(called) if path.startswith(os.pardir) else path)


def make(folder: Path, progress: Progress) -> RunReport:
    """Make the demo in `folder`, or bring one that is there up to date.

    Raises:
        RequestError: the folder holds something else.
        StorageError: the disk refuses.
    """
    _check(folder)
    try:
        _write_market(folder, progress)
    except OSError as error:
        raise StorageError(
            error.filename or folder, f"cannot be written: {error.strerror or error}"
        ) from error
    laid = lay_out(folder, _SOURCE)
    if laid.differing:
        names = some(laid.differing, run.NAMED)
        progress.note(f"not as shipped: {names}; for a fresh demo remove {folder}")
    config = laid.config
    return Pipeline(config.layout(folder), config, progress).update(Request.of())


def _check(folder: Path) -> None:
    """Refuse a folder that holds anything but a demo, or what is left of one."""
    if (folder / CONFIG_FILE).exists():
        with contextlib.suppress(ConfigError):
            config = load(folder / CONFIG_FILE, {})
            if config.source.url == _SOURCE:
                # Nobody need have named it: in a shared folder it may be anybody's.
                check_paths(folder, folder / CONFIG_FILE, config)
                return
        raise RequestError("DIR", str(folder), "it is a warehouse of its own; name another folder")
    if folder.is_dir():
        ours = {_FILES, f"{_FILES}.part", "config", "sql", "data"}
        entries = list(folder.iterdir())
        if any(entry.name not in ours for entry in entries):
            raise RequestError("DIR", str(folder), "it is not empty; name another folder")
        for entry in entries:
            # What the demo made before it was killed is the user's own, and no link.
            if entry.is_symlink() or not is_own(entry):
                problem = f"what it holds, {entry.name}, was not made here; name another folder"
                raise RequestError("DIR", str(folder), problem)
    elif folder.exists():
        raise RequestError("DIR", str(folder), "it is a file; name a folder")


def _write_market(folder: Path, progress: Progress) -> None:
    files = folder / _FILES
    if files.exists():
        return
    part = folder / f"{_FILES}.part"
    if part.exists():
        shutil.rmtree(part)
    progress.begin("making the market", 0)
    part.mkdir(parents=True)
    write(DEMO, part)
    os.replace(part, files)


def show(report: RunReport, folder: str) -> Iterator[str]:
    """What the demo has to show, line by line.

    Args:
        folder: as the user named it.
    """
    root = Path(folder)
    config = load(root / CONFIG_FILE, {})
    layout = config.layout(root)
    command = f"warehouse -C {shell_word(folder)}"
    yield f"A market of {len(DEMO.symbols)} symbols and {len(DEMO.sessions)} sessions, made up and"
    yield f"written to {folder}/{_FILES} as the vendor's bucket has its files."
    yield from ("", f"$ {command} update")
    yield from run.run_lines(report, Request.of(), command)

    yield from ("", "1. The DuckDB shell: one symbol, session by session.", "")
    yield from f'$ {command} shell -c "{SHELL}"'.splitlines()
    yield from _shell(root, shell_arguments(layout, ["-c", SHELL]))

    yield from ("", "2. Python: a half-day's last trades. BCpC and BCPC are two symbols.", "")
    yield from _python(PYTHON.format(folder=json.dumps(folder)))

    yield from ("", "3. The command line: why rows were rejected, and what there is now.", "")
    yield from f'$ {command} query "{QUERY}"'.splitlines()
    yield from answer.table_lines(answer.ask(root, QUERY, {}), 0)
    yield from ("", f"$ {command} status")
    yield from status_lines(status(layout, config), command)
    called = program()
    yield from (
        "",
        f"Try it: {called} -C {shell_word(folder)} query \"from trades_of('F') limit 5\"",
    )
    yield f"With files of your own: {called} init my-warehouse --source FOLDER"
    if called != "warehouse":
        activate = shell_word(str(Path(called).with_name("activate")))
        yield f"To call it plainly `warehouse`: . {activate}"


def missing(folder: Path) -> dict[str, str]:
    """Shipped features that could not be taken in, and why: none, unless something is wrong."""
    with Catalog(load(folder / CONFIG_FILE, {}).layout(folder)) as catalog:
        return catalog.left_out()


def _shell(root: Path, arguments: list[str]) -> Iterator[str]:
    """The statement's answer from the real shell; without one, from Python."""
    program = find_shell()
    problem = "there is no duckdb on the PATH"
    if program is not None:
        done = subprocess.run([program, *arguments], capture_output=True, check=False)
        if done.returncode == 0:
            yield from done.stdout.decode("utf-8", "replace").splitlines()
            return
        problem = f"{program} failed: {done.stderr.decode('utf-8', 'replace').strip()}"
    yield f"({problem}; {HOW_TO_GET}. Python's answer:)"
    yield from answer.table_lines(answer.ask(root, SHELL, {}), 0)


def _python(text: str) -> Iterator[str]:
    """A session of the interpreter: each line and what it prints."""
    names: dict[str, object] = {}
    for line in text.splitlines():
        yield f">>> {line}"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(line, "<demo>", "single"), names)
        yield from printed.getvalue().splitlines()
    warehouse = names["wh"]
    warehouse.close()  # type: ignore[attr-defined]
