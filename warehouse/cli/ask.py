"""The commands that look at what is there: status, report, pull, shell."""

from __future__ import annotations

import os
import re
import sys
import webbrowser

import click

from warehouse.cli.data import parse_request, parse_symbols
from warehouse.cli.options import DataTypes, Failure, PathName, Place, example, say, say_json
from warehouse.errors import StorageError
from warehouse.text import count, printable, size


@click.command(epilog=example("warehouse status", "warehouse status --openmetrics"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--openmetrics", is_flag=True, help="Print figures for Prometheus and its like.")
@click.pass_obj
def status(place: Place, as_json: bool, openmetrics: bool) -> None:
    """Show what the warehouse holds.

    Sessions, symbols, partitions, rows and rejects of each data type; files that wait, were set
    aside or could not be had; the last runs. --openmetrics prints what every run writes to
    data/metrics/warehouse.prom: figures of each command's last run, and of what there is.
    """
    if openmetrics:
        if as_json:
            raise click.UsageError("--json or --openmetrics, not both")
        from warehouse.pipeline.watch import openmetrics as figures

        click.echo(figures.text(place.open()[0]), nl=False)
        return
    from warehouse.cli.render.status import status_as_json, status_lines
    from warehouse.cli.render.terminal import columns_of
    from warehouse.report.status import status as status_of

    found = status_of(*place.open())
    if as_json:
        say_json(status_as_json(found))
        return
    say(status_lines(found, place.command, columns_of(sys.stdout)), _coloured)


_COLOURS = {
    **{"yes": "green", "mostly": "yellow", "no": "red", "not known": "yellow"},
    **{"set aside": "red", "failed": "red", "refused": "red", "missing": "yellow"},
    **{"gone": "red", "rules": "red"},
    **dict.fromkeys(("all there", "right", "reconciled", "source", "not yet", "waiting")),
    **dict.fromkeys(("runs", "next")),
}
_ANSWER = re.compile("(yes|mostly|no|not known)\\b")


def _coloured(line: str) -> str:
    """A line of the status for a terminal: labels in bold, answers in green, yellow or red."""
    label, text = line[:11], line[11:]
    if label.strip() not in _COLOURS:
        return line
    if label.startswith(("all there", "right")):
        text = _ANSWER.sub(lambda each: click.style(each[0], _COLOURS[each[0]], bold=True), text, 1)
    return click.style(label, fg=_COLOURS[label.strip()], bold=True) + text


@click.command(epilog=example("warehouse report --symbols AAPL,BRK.B --start 2024-01-02 --open"))
@click.option(
    "-o", "--output", "path", metavar="FILE", type=PathName("file"), help="Default: report.html."
)
@click.option(
    "--symbols", metavar="A,B|@FILE", multiple=True, help="Draw these too; case-sensitive."
)
@click.option("--start", metavar="SESSION", help="First session, YYYY-MM-DD, inclusive.")
@click.option("--end", metavar="SESSION", help="Last session, inclusive.")
@click.option("--open", "is_opened", is_flag=True, help="Open it in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Print what it draws, as one JSON object.")
@click.pass_obj
def report(
    place: Place,
    path: str | None,
    symbols: tuple[str, ...],
    start: str | None,
    end: str | None,
    is_opened: bool,
    as_json: bool,
) -> None:
    """Show at a glance whether it is all there, and whether it is right.

    One HTML file that needs no network: coverage by session, rows and bytes, what validation and
    reconcile found, rejects, source files, runs; of each symbol candles, spread, depth, trades, and
    one bar explained. With --json the same facts are printed, and no file is written unless -o
    names one.
    """
    from warehouse.api import Warehouse
    from warehouse.core.calendar import parse_session
    from warehouse.report import output_file

    wanted = parse_symbols(symbols)
    first = None if start is None else parse_session("start", start)
    last = None if end is None else parse_session("end", end)
    file = output_file.named("report.html" if path is None else path)
    is_written = path is not None or is_opened or not as_json
    if is_written:
        if path is None and file.is_symlink():
            # Nobody has named it: it may be of the stranger whose warehouse this folder is.
            raise StorageError(file, "is a link; name the file to write with -o")
        output_file.check(file)
        if (as_json or is_opened) and output_file.is_standard_output(file):
            raise click.UsageError("--json and --open want a file: name one with -o FILE")
    layout, _ = place.open()
    output_file.check_apart(file, layout)
    if is_written:
        output_file.check_is_page("output", file)
    with Warehouse(layout.root) as warehouse:
        facts = warehouse.report(start=first, end=last, symbols=wanted)
    if as_json:
        say_json(facts.as_json())
    if as_json and path is None and not is_opened:
        return
    from warehouse.report.html import save
    from warehouse.text import size

    written = save(facts, file, place.command)
    beside = as_json or output_file.is_standard_output(file)
    click.echo(printable(f"{file}: {size(written)}"), err=beside)
    if is_opened and not webbrowser.open(file.absolute().as_uri()):
        raise Failure(f"no browser could be started; open {file} yourself")


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=example("warehouse shell", """warehouse shell -c "from trades_of('AAPL') limit 5\""""),
)
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def shell(place: Place, arguments: tuple[str, ...]) -> None:
    """Open the DuckDB shell on the catalog, read-only.

    It is your own `duckdb`; ARGS are passed on to it. Views: trades, quotes, minute_aggs, day_aggs,
    rejects. Of one symbol: trades_of('AAPL'), and so on.
    """
    from warehouse.cli.shell import HOW_TO_GET, find_shell, shell_arguments

    layout, _ = place.open()
    found = shell_arguments(layout, arguments)
    program = find_shell()
    if program is None:
        raise Failure(f"no duckdb on the PATH; {HOW_TO_GET}")
    sys.stdout.flush()
    os.execv(program, [program, *found])


@click.command(epilog=example("warehouse pull trades --symbols AAPL,MSFT --start 2024-01-02"))
@click.argument("types", metavar="[TYPE]...", nargs=-1, type=DataTypes())
@click.option("--symbols", metavar="A,B|@FILE", multiple=True, help="Only theirs; case-sensitive.")
@click.option("--start", metavar="SESSION", help="First session, YYYY-MM-DD, inclusive.")
@click.option("--end", metavar="SESSION", help="Last session, inclusive.")
@click.pass_obj
def pull(
    place: Place,
    types: tuple[str, ...],
    symbols: tuple[str, ...],
    start: str | None,
    end: str | None,
) -> None:
    """Bring partitions from the bucket to this disk.

    Where storage.cache_dir is a bucket: for `warehouse shell`, which reads what is here, and for
    when the bucket is out of reach. Other questions bring what they read. Whole months come.
    """
    from warehouse.api import Warehouse

    request = parse_request(types, start, end, parse_symbols(symbols))
    with Warehouse(place.open()[0].root) as wh:
        found = wh.pull(
            [kind.name for kind in request.kinds],
            request.start,
            request.end,
            sorted(request.symbols) or None,
        )
    told = f"{count(found.partitions, 'partition')}, {size(found.bytes)}, are here"
    say([f"{told}; {found.fetched:,} of them were brought"])


COMMANDS = (status, report, pull, shell)
