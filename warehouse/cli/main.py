"""The command line: options in, one call of the library, its answer out.

Exit status: 0 done; 1 a file could not be fetched, failed verification, or is not as it was
written, or a rule found errors; 2 it could not run. What takes long to import is imported by the
commands that need it.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import select
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

import click

from warehouse.cli import ask, bars, check, data, query, reference, setup
from warehouse.cli.options import OF_A_SIGNAL, Commands, PathName, Place, example


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example("warehouse demo", "warehouse -C demo-warehouse status"),
)
@click.option(
    "-C",
    "folder",
    metavar="DIR",
    type=PathName("dir"),
    help="The warehouse; else the one around this folder.",
)
@click.version_option(package_name="flatfile-warehouse", message="flatfile-warehouse %(version)s")
@click.pass_context
def cli(ctx: click.Context, folder: str | None) -> None:
    """An analytical warehouse for US-equity flat files.

    Files come from a source, whole and verified, go through SQL that anyone can read into Parquet
    that anyone can open, and are asked from the DuckDB shell, from Python and from here.

    Exit status: 0 done, 1 a file could not be fetched, failed verification, or is not as it was
    written, or a rule found errors, 2 it could not run.
    """
    ctx.obj = Place(folder)


for _module in (setup, data, check, ask, query, bars, reference):
    for _command in _module.COMMANDS:
        cli.add_command(_command)


def _open_what_is_closed() -> None:
    """Make good what the caller has closed (`>&-`): else the next file to be opened becomes it.

    Standard input is empty then, standard error leads nowhere, and standard output refuses each
    word, so that no command claims to have told what nobody could read.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY), number)
            # Or the shell that this process becomes would take its first file for it: a catalog
            # as standard input is run, line by line.
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or io.StringIO()
    sys.stdout = sys.stdout or _Closed()
    sys.stderr = sys.stderr or io.StringIO()


class StandardError(io.FileIO):
    """Standard error that is no reason to end: a log on a full disk stops no run."""

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while left:
            try:
                written = super().write(left)
            except BrokenPipeError:
                raise  # whoever read it has gone
            except OSError:
                break
            if written is None:
                # Another program that has the same terminal made it refuse to be waited for.
                select.select([], [self], [])
            left = left[written or 0 :]
        return size


class _Closed(io.StringIO):
    """A standard output that was closed before the command began."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "it is closed")

    @property
    def buffer(self) -> Any:
        return self.write("")


def main() -> None:
    """What the `warehouse` command runs."""
    _open_what_is_closed()
    if isinstance(sys.stderr, io.TextIOWrapper):
        # Without a buffer: what it could not get rid of would be an error anew as Python ends.
        heard: Any = StandardError(sys.stderr.fileno(), "w", closefd=False)
        sys.stderr = io.TextIOWrapper(heard, sys.stderr.encoding, write_through=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A symbol may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGINT, cli.on_interrupt)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Of a scheduler, a container, or a terminal that is closed; `nohup` ignores the latter.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, cli.on_interrupt)
    try:
        cli.main(prog_name="warehouse")
    except KeyboardInterrupt:
        _end_at_once(OF_A_SIGNAL + (cli.interrupted or signal.SIGINT))
    except SystemExit as ended:
        if cli.interrupted and isinstance(ended.code, int):
            _end_at_once(ended.code)
        raise
    except OSError as error:
        if error.filename is not None:
            raise
        # Click's own words, such as those of --help, did not get out.
        click.echo(f"Error: standard output: cannot be written: {error.strerror}", err=True)
        sys.exit(2)


def _end_at_once(status: int) -> NoReturn:
    """End without Python's own end, which waits for threads and takes them from Arrow.

    Who presses Ctrl-C a second time does not wait for those that still read or write. Arrow's end
    the process by `abort` where they come back to a Python that ends.
    """
    cli.is_over = True
    atexit._run_exitfuncs()  # what is temporary goes
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
