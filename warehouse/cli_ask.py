"""The commands that look at what is there: status, report, query, shell."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from collections.abc import Iterable
from pathlib import Path

import click

from warehouse.cli_data import parse_symbols
from warehouse.command import Failure, Place, example, say, storing
from warehouse.errors import RequestError

_FORMATS = ("table", "csv", "json", "parquet")


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
        from warehouse import openmetrics as figures

        click.echo(figures.text(place.open()[0]), nl=False)
        return
    from warehouse import overview
    from warehouse.status import status as status_of

    found = status_of(*place.open())
    if as_json:
        say([json.dumps(overview.status_as_json(found), indent=2)])
        return
    say(overview.status_lines(found, place.command))


@click.command(epilog=example("warehouse report --symbols AAPL,BRK.B --start 2024-01-02 --open"))
@click.option("-o", "--output", "path", metavar="FILE", help="Default: report.html.")
@click.option("--symbols", metavar="A,B", multiple=True, help="Draw these too; case-sensitive.")
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

    One HTML file that needs no network: coverage by session, rows and bytes, what validation found,
    rejects, source files, runs; of each symbol candles, spread, depth and trades. With --json the
    same facts are printed, and no file is written unless -o names one.
    """
    from warehouse.facts import gather
    from warehouse.sessions import parse_session

    wanted = parse_symbols(symbols)
    first = None if start is None else parse_session("start", start)
    last = None if end is None else parse_session("end", end)
    layout, config = place.open()
    facts = gather(layout, config, first, last)
    if wanted:
        from warehouse import symbolfacts
        from warehouse.facade import Warehouse

        with Warehouse(layout.root) as warehouse:
            facts = symbolfacts.added(facts, warehouse, layout, config, wanted)
    if as_json:
        say([json.dumps(facts.as_json(), indent=2)])
    if as_json and path is None and not is_opened:
        return
    from warehouse.console import printable, size
    from warehouse.report import save

    file = Path(path or "report.html")
    written = save(facts, file, place.command)
    click.echo(printable(f"{file}: {size(written)}"), err=as_json)
    if is_opened and not webbrowser.open(file.absolute().as_uri()):
        raise Failure(f"no browser could be started; open {file} yourself")


def _parameters(pairs: Iterable[str]) -> dict[str, str]:
    parameters = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise RequestError("-p", pair, "it must be name=value, for a $name in the SQL")
        parameters[name] = value
    return parameters


@click.command(
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
    from warehouse.shell import HOW_TO_GET, find_shell, shell_arguments

    layout, _ = place.open()
    found = shell_arguments(layout, arguments, place.command)
    program = find_shell()
    if program is None:
        raise Failure(f"no duckdb on the PATH; {HOW_TO_GET}")
    sys.stdout.flush()
    os.execv(program, [program, *found])


COMMANDS = (status, report, query, shell)
