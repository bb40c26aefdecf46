"""The commands that look at what is there: status, report, query, shell."""

from __future__ import annotations

import os
import re
import sys
import webbrowser
from collections.abc import Iterable
from pathlib import Path

import click

from warehouse.cli.data import parse_symbols
from warehouse.cli.options import Failure, Place, example, say, say_json, storing
from warehouse.errors import RequestError
from warehouse.text import printable

_FORMATS = ("table", "csv", "tsv", "json", "ndjson", "parquet", "arrow")
_COMMENT = re.compile(r"--[^=\s]*\s")


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
        from warehouse.pipeline import openmetrics as figures

        click.echo(figures.text(place.open()[0]), nl=False)
        return
    from warehouse.cli.render import status as overview
    from warehouse.cli.render.terminal import columns_of
    from warehouse.report.status import status as status_of

    found = status_of(*place.open())
    if as_json:
        say_json(overview.status_as_json(found))
        return
    say(overview.status_lines(found, place.command, columns_of(sys.stdout)), _coloured)


_COLOURS = {
    **{"yes": "green", "mostly": "yellow", "no": "red", "not known": "yellow"},
    **{"set aside": "red", "failed": "red", "refused": "red", "missing": "yellow"},
    **dict.fromkeys(("all there", "right", "source", "not yet", "waiting", "runs", "next")),
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
    from warehouse.api import Warehouse
    from warehouse.core.calendar import parse_session
    from warehouse.report import output_file

    wanted = parse_symbols(symbols)
    first = None if start is None else parse_session("start", start)
    last = None if end is None else parse_session("end", end)
    file = Path("report.html" if path is None else path)
    if path is not None or is_opened or not as_json:
        output_file.check(file)
    layout, _ = place.open()
    output_file.check_apart(file, layout)
    with Warehouse(layout.root) as warehouse:
        facts = warehouse.report(start=first, end=last, symbols=wanted)
    if as_json:
        say_json(facts.as_json())
    if as_json and path is None and not is_opened:
        return
    from warehouse.report.html import save
    from warehouse.text import size

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


class _TakesSql(click.Command):
    """A command whose argument is SQL, which may begin with a comment: `-- …` is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(
            ctx, [f" {each}" if _COMMENT.match(each) else each for each in args]
        )


@click.command(
    cls=_TakesSql,
    epilog=example(
        'warehouse query "select symbol, count(*) from trades group by symbol"',
        "warehouse query 'from trades where symbol = $symbol' -p symbol=BRK.B -o brk.parquet",
    ),
)
@click.argument("sql")
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="Default: as FILE ends; on the screen a table.",
)
@click.option("-o", "--output", "path", metavar="FILE", help="Write all rows to FILE.")
@click.option("-p", "--param", "pairs", metavar="NAME=VALUE", multiple=True, help="Fills in $NAME.")
@click.option("--limit", type=click.IntRange(min=0), help="Rows of a table that are shown; 0: all.")
@click.option("--safe-csv", is_flag=True, help="Disarm texts that a spreadsheet would run.")
@click.pass_obj
def query(
    place: Place,
    sql: str,
    form: str | None,
    path: str | None,
    pairs: tuple[str, ...],
    limit: int | None,
    *,
    safe_csv: bool,
) -> None:
    """Answer a SELECT; `-` reads it from standard input.

    On the screen a table shows the first rows and says how many there are; all else is complete.
    FILE ends in .csv, .tsv, .json (an array of objects), .jsonl or .ndjson (an object a line), .txt
    (the table), each with .gz too, or in .parquet, .pq, .arrow or .feather; it is written whole or
    not at all. Timestamps are UTC, with all nanoseconds. What is no finite number is null in JSON.
    Values of -p are taken as text, which DuckDB compares with numbers and dates as it does a
    literal. EXPLAIN before the SELECT shows how DuckDB would go about it.

    A cell that begins with = + - @ may be run by a spreadsheet that opens the CSV, and names in
    files are a stranger's; --safe-csv puts an apostrophe before such texts.
    """
    from warehouse.cli.render import answer as output
    from warehouse.report import output_file
    from warehouse.text import count

    file = None if path in (None, "-") else Path(path or "")
    meant = output.chosen(form, file, safe=safe_csv)
    if file is None and meant.name in ("parquet", "arrow"):
        raise click.UsageError(f"{meant.name} is not for the screen: name a file with -o FILE")
    if limit is not None and meant.name != "table":
        raise click.UsageError(
            f"--limit is for tables; {meant.name} is complete (write it into the SQL)"
        )
    if safe_csv and meant.name not in ("csv", "tsv"):
        raise click.UsageError(f"--safe-csv is for csv and tsv, not for {meant.name}")
    if file is not None:
        output_file.check(file)
    parameters = _parameters(pairs)
    if sql == "-":
        sql = sys.stdin.read()
    layout, _ = place.open()
    if file is not None:
        output_file.check_apart(file, layout)
    answer = output.ask(layout.root, sql, parameters)
    if file is None:
        with storing("standard output"):
            output.write(answer, meant, sys.stdout, limit)
        return
    rows = output.save(answer, meant, file, limit)
    of_all = "" if rows == answer.num_rows else f" of {answer.num_rows:,}"
    click.echo(printable(f"{count(rows, 'row')}{of_all} in {file}"), err=True)


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
    found = shell_arguments(layout, arguments, place.command)
    program = find_shell()
    if program is None:
        raise Failure(f"no duckdb on the PATH; {HOW_TO_GET}")
    sys.stdout.flush()
    os.execv(program, [program, *found])


COMMANDS = (status, report, query, shell)
