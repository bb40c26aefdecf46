"""The command line: options in, one call of the library, its answer out.

Exit status: 0 done; 1 a file could not be fetched, or failed verification and was set aside; 2 it
could not run. What takes long to import is imported by the commands that need it.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from warehouse.command import (
    INTERRUPTED,
    Commands,
    Failure,
    Place,
    example,
    say,
    storing,
    writer_options,
)
from warehouse.errors import RequestError

if TYPE_CHECKING:
    from warehouse.pipeline import Pipeline
    from warehouse.run import Request, RunReport

_FORMATS = ("table", "csv", "json", "parquet")


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

    Exit status: 0 done, 1 a file could not be fetched, or failed verification and was set aside, 2
    it could not run.
    """
    ctx.obj = Place(folder)


def _request(
    types: Sequence[str], start: str | None, end: str | None, symbols: Iterable[str] = ()
) -> Request:
    from warehouse.run import Request
    from warehouse.sessions import parse_session

    return Request.of(
        () if "all" in types else tuple(dict.fromkeys(types)),
        None if start is None else parse_session("start", start),
        None if end is None else parse_session("end", end),
        symbols,
    )


def _symbols(given: Sequence[str]) -> list[str]:
    wanted = [name for each in given for name in each.split(",")]
    if "" in wanted:
        raise RequestError("symbols", ",".join(given), "an empty name is no symbol")
    return wanted


def _run(
    place: Place,
    request: Request,
    work: Callable[[Pipeline], RunReport],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from warehouse import summary
    from warehouse.console import progress
    from warehouse.pipeline import Pipeline

    with progress() as shown:
        report = work(Pipeline(*place.open(), shown))
    if as_json:
        say([json.dumps(summary.run_as_json(report, request, dry_run=dry_run), indent=2)])
    elif dry_run:
        say(summary.dry_run_lines(report))
    else:
        say(summary.run_lines(report, request, place.command))
    raise click.exceptions.Exit(summary.exit_code(report))


@cli.command(epilog=example("warehouse init my-warehouse --source ~/flatfiles"))
@click.argument("folder", metavar="[DIR]", required=False)
@click.option(
    "--source",
    metavar="URL",
    default="",
    help="The folder that holds us_stocks_sip/, or s3://BUCKET.",
)
@click.option("--layout", default="", metavar="day|symbol", help="One file a day, or a symbol.")
@click.pass_obj
def init(place: Place, folder: str | None, source: str, layout: str) -> None:
    """Lay out a warehouse in DIR (default: here).

    Puts config/, sql/ and data/ there. Of a warehouse that is there already it adds what is
    missing, changes no file, and names the SQL files that are not as they are shipped.
    """
    from warehouse import scaffold, summary

    folder = folder or place.folder or "."
    url = scaffold.source_url(source) if source else ""
    laid = scaffold.lay_out(Path(folder), url, layout)
    say(summary.laid_lines(laid, folder, url, layout))


@cli.command(epilog=example("warehouse demo", "warehouse demo /tmp/demo"))
@click.argument("folder", metavar="[DIR]", required=False)
@click.pass_obj
def demo(place: Place, folder: str | None) -> None:
    """Make a small market and show it through all three doors.

    Writes a synthetic market in the vendor's own format to DIR/flatfiles (default DIR:
    demo-warehouse), takes it through the warehouse, and asks the DuckDB shell, Python and the
    command line about it. Takes some seconds; needs no account and no network.
    """
    from warehouse.console import progress
    from warehouse.demo import make, show

    folder = folder or place.folder or "demo-warehouse"
    with progress() as shown:
        report = make(Path(folder), shown)
    say(show(report, folder))


@cli.command(epilog=example("warehouse download trades --start 2024-01-02 --end 2024-01-31"))
@click.argument("types", metavar="[TYPE]...", nargs=-1)
@click.option("--symbols", metavar="A,B", multiple=True, help="Only theirs, of one file a symbol.")
@writer_options
def download(
    place: Place,
    types: tuple[str, ...],
    symbols: tuple[str, ...],
    start: str | None,
    end: str | None,
    **options: bool,
) -> None:
    """Bring new and changed files into the raw tier.

    TYPE is trades, quotes, minute_aggs or day_aggs; none means all of them. Nothing is read or
    published yet: that is the work of `ingest`. Killed, it goes on where it was. A file that holds
    all symbols is fetched whole, whatever --symbols says.
    """
    request = _request(types, start, end, _symbols(symbols))
    dry_run = options["dry_run"]
    _run(place, request, lambda each: each.download(request, dry_run=dry_run), **options)


@cli.command(epilog=example("warehouse ingest", "warehouse ingest quotes --dry-run"))
@click.argument("types", metavar="[TYPE]...", nargs=-1)
@writer_options
def ingest(
    place: Place, types: tuple[str, ...], start: str | None, end: str | None, **options: bool
) -> None:
    """Verify, clean and publish what the raw tier holds.

    Takes files that are not published yet. One that fails verification is set aside with the
    reason, and the rest goes on.
    """
    request = _request(types, start, end)
    dry_run = options["dry_run"]
    _run(place, request, lambda each: each.ingest(request, dry_run=dry_run), **options)


@cli.command(epilog=example("warehouse update", "warehouse update trades --start 2024-01-02"))
@click.argument("types", metavar="[TYPE]...", nargs=-1)
@writer_options
def update(
    place: Place, types: tuple[str, ...], start: str | None, end: str | None, **options: bool
) -> None:
    """Download, then ingest, what is new.

    The command of every day: run it as often as you like, it does what is left to do. TYPE is
    trades, quotes, minute_aggs or day_aggs; none means all of them.
    """
    request = _request(types, start, end)
    dry_run = options["dry_run"]
    _run(place, request, lambda each: each.update(request, dry_run=dry_run), **options)


@cli.command(epilog=example("warehouse rebuild trades --symbols AAPL,BRK.B --start 2024-01-02"))
@click.argument("types", metavar="TYPE...", nargs=-1, required=True)
@click.option("--symbols", metavar="A,B", multiple=True, help="Only these; case-sensitive.")
@writer_options
def rebuild(
    place: Place,
    types: tuple[str, ...],
    symbols: tuple[str, ...],
    start: str | None,
    end: str | None,
    **options: bool,
) -> None:
    """Make partitions anew from the raw tier.

    After a change of sql/ or of the settings, or when in doubt: the same files and the same SQL
    give the same bytes. TYPE is trades, quotes, minute_aggs, day_aggs or all.
    """
    from warehouse.status import check_symbols

    request = _request(types, start, end, _symbols(symbols))
    check_symbols(place.open()[0], request)
    dry_run = options["dry_run"]
    _run(place, request, lambda each: each.rebuild(request, dry_run=dry_run), **options)


@cli.command(epilog=example("warehouse prune --dry-run", "warehouse prune"))
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def prune(place: Place, dry_run: bool, as_json: bool) -> None:
    """Remove raw files that have done their work.

    Those published more than storage.retention_days days ago, and unchanged since: the bytes of
    each are compared with what was published. Their rows stay; `rebuild` needs them fetched again.
    """
    from warehouse import summary
    from warehouse.prune import prune as remove

    layout, config = place.open()
    report = remove(layout, config, dry_run=dry_run)
    if as_json:
        say([json.dumps(summary.pruned_as_json(report, dry_run=dry_run), indent=2)])
        return
    say(summary.pruned_lines(report, config.storage.retention_days, dry_run=dry_run))


@cli.command(epilog=example("warehouse status", "warehouse status --json"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def status(place: Place, as_json: bool) -> None:
    """Show what the warehouse holds.

    Sessions, symbols, partitions, rows and rejects of each data type; files that wait, were set
    aside or could not be had; the last runs.
    """
    from warehouse import overview
    from warehouse.status import status as status_of

    found = status_of(*place.open())
    if as_json:
        say([json.dumps(overview.status_as_json(found), indent=2)])
        return
    say(overview.status_lines(found, place.command))


def _parameters(pairs: Iterable[str]) -> dict[str, str]:
    parameters = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise RequestError("-p", pair, "it must be name=value, for a $name in the SQL")
        parameters[name] = value
    return parameters


@cli.command(
    epilog=example(
        'warehouse query "select symbol, count(*) from trades group by symbol"',
        "warehouse query 'from trades where symbol = $symbol' -p symbol=BRK.B -o brk.parquet",
    )
)
@click.argument("sql")
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), help="Default: table, or as FILE ends."
)
@click.option("-o", "--output", "path", metavar="FILE", help="Write to FILE.")
@click.option("-p", "--param", "pairs", metavar="NAME=VALUE", multiple=True, help="Fills in $NAME.")
@click.option("--limit", type=click.IntRange(min=0), help="Rows of a table that are shown; 0: all.")
@click.pass_obj
def query(
    place: Place,
    sql: str,
    form: str | None,
    path: str | None,
    pairs: tuple[str, ...],
    limit: int | None,
) -> None:
    """Answer a SELECT; `-` reads it from standard input.

    A table shows the first rows and says how many there are; csv, json (an array of objects) and
    parquet are complete. Timestamps are UTC, with all nanoseconds. Values of -p are taken as text,
    which DuckDB compares with numbers and dates as it does a literal.
    """
    suffix = Path(path).suffix.removeprefix(".").lower() if path else ""
    form = form or (suffix if suffix in _FORMATS else "table")
    if form == "parquet" and path is None:
        raise click.UsageError("parquet is not for the screen: name a file with -o FILE")
    if limit is not None and form != "table":
        raise click.UsageError(f"--limit is for tables; {form} is complete (write it into the SQL)")
    parameters = _parameters(pairs)
    if sql == "-":
        sql = sys.stdin.read()
    from warehouse import output
    from warehouse.console import count

    layout, _ = place.open()
    answer = output.ask(layout.root, sql, parameters)
    if path is None:
        with storing("standard output"):
            output.write(answer, form, sys.stdout, limit)
        return
    output.save(answer, form, Path(path), limit)
    click.echo(f"{count(answer.num_rows, 'row')} in {path}", err=True)


@cli.command(
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
    from warehouse.shell import HOW_TO_GET, find_shell, shell_arguments

    layout, _ = place.open()
    found = shell_arguments(layout, arguments, place.command)
    program = find_shell()
    if program is None:
        raise Failure(f"no duckdb on the PATH; {HOW_TO_GET}")
    sys.stdout.flush()
    os.execv(program, [program, *found])


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
