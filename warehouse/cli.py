"""The command line: options in, one call of the library, its answer out.

Exit status: 0 done; 1 a file could not be fetched, failed verification, or is not as it was
written, or a rule found errors; 2 it could not run. What takes long to import is imported by the
commands that need it.
"""

from __future__ import annotations

import io
import signal
import sys

import click

from warehouse import cli_ask, cli_data, cli_setup, cli_validate, cli_verify
from warehouse.command import INTERRUPTED, Commands, Place, example


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example("warehouse demo", "warehouse -C demo-warehouse status"),
)
@click.option("-C", "folder", metavar="DIR", help="The warehouse; else the one around this folder.")
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


for _module in (cli_setup, cli_data, cli_validate, cli_verify, cli_ask):
    for _command in _module.COMMANDS:
        cli.add_command(_command)


def main() -> None:
    """What the `warehouse` command runs."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A symbol may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGINT, cli.on_interrupt)
    try:
        cli.main(prog_name="warehouse")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
