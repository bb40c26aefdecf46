"""The commands that answer with rows: query, features, coverage."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from warehouse.cli.data import parse_symbols
from warehouse.cli.options import (
    Choice,
    DataTypes,
    PathName,
    Place,
    SqlNames,
    adjustment_options,
    example,
    say,
    storing,
)
from warehouse.errors import QueryError, RequestError
from warehouse.text import printable

if TYPE_CHECKING:
    import pyarrow as pa

    from warehouse.cli.render.answer import Form

_FORMATS = ("table", "csv", "tsv", "json", "ndjson", "parquet", "arrow")
_COMMENT = re.compile(r"--[^=\s]*\s")
_NUMBER = re.compile(r"[-+]?\d+")
_LONGEST_SQL = 4_000_000
"""What is read from standard input, which need not end."""
_Command = TypeVar("_Command", bound=Callable[..., Any])


def answer_options(command: _Command) -> _Command:
    """The options that say in what form an answer is printed or written."""
    for option in (
        click.option("--safe-csv", is_flag=True, help="Disarm texts that a spreadsheet would run."),
        click.option(
            "--limit", type=click.IntRange(min=0), help="Rows of a table that are shown; 0: all."
        ),
        click.option(
            "-o",
            "--output",
            "path",
            metavar="FILE",
            type=PathName("file"),
            help="Write all rows to FILE.",
        ),
        click.option(
            "--format",
            "form",
            type=Choice(_FORMATS),
            help="Default: as FILE ends; on the screen a table.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Output:
    """Where an answer goes, and in what form; checked before the work, which may take long."""

    form: Form
    file: Path | None
    limit: int | None

    @classmethod
    def of(cls, place: Place, options: dict[str, Any]) -> Output:
        from warehouse.cli.render import answer
        from warehouse.report import output_file

        path, limit, safe = options["path"], options["limit"], options["safe_csv"]
        file = None if path in (None, "-") else Path(path)
        form = answer.chosen(options["form"], file, safe=safe)
        if file is None and form.name in ("parquet", "arrow"):
            raise click.UsageError(f"{form.name} is not for the screen: name a file with -o FILE")
        if limit is not None and form.name != "table":
            raise click.UsageError(
                f"--limit is for tables; {form.name} is complete (write it into the SQL)"
            )
        if safe and form.name not in ("csv", "tsv"):
            raise click.UsageError(f"--safe-csv is for csv and tsv, not for {form.name}")
        if file is not None:
            output_file.check(file)
            output_file.check_apart(file, place.open()[0])
        return cls(form, file, limit)

    def take(self, rows: pa.Table) -> None:
        from warehouse.cli.render import answer
        from warehouse.text import count

        if self.file is None:
            with storing("standard output"):
                answer.write(rows, self.form, sys.stdout, self.limit)
            return
        written = answer.save(rows, self.form, self.file, self.limit)
        of_all = "" if written == rows.num_rows else f" of {rows.num_rows:,}"
        click.echo(printable(f"{count(written, 'row')}{of_all} in {self.file}"), err=True)


def _parameters(pairs: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """The parameters by name.

    Args:
        taken: what the library's own arguments are called.
    """
    parameters: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise RequestError("-p", pair, "it must be name=value, for a $name in the SQL")
        if name in taken:
            option = f"--{name.replace('_', '-')}"
            of_command = click.get_current_context().command.params
            instead = f": give {option}" if any(option in each.opts for each in of_command) else ""
            raise RequestError("-p", pair, f"no parameter can be called {name}{instead}")
        if name in parameters:
            raise RequestError("-p", pair, f"{name} = {parameters[name]} is given, too; leave one")
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
        "warehouse query 'from trades_of($symbol)' -p symbol=BRK.B -o brk.parquet",
    ),
)
@click.argument("sql")
@click.option("-p", "--param", "pairs", metavar="NAME=VALUE", multiple=True, help="Fills in $NAME.")
@answer_options
@click.pass_obj
def query(place: Place, /, sql: str, pairs: tuple[str, ...], **options: Any) -> None:
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
    from warehouse.cli.render import answer

    output = Output.of(place, options)
    parameters = _parameters(pairs, ())
    if sql == "-":
        sql = sys.stdin.read(_LONGEST_SQL + 1)
        if len(sql) > _LONGEST_SQL:
            raise QueryError(sql, f"a query is no longer than {_LONGEST_SQL:,} letters")
    output.take(answer.ask(place.open()[0].root, sql, parameters))


@click.command(
    epilog=example(
        "warehouse features spread --symbols AAPL --start 2024-01-02",
        "warehouse features volume_ma --symbols F --start 2024-01-02 -p periods=60",
    )
)
@click.argument("name", type=SqlNames("features"))
@click.option(
    "--symbols", metavar="A,B|@FILE", multiple=True, required=True, help="One or several."
)
@click.option("--start", metavar="WHEN", required=True, help="A session, or an instant.")
@click.option("--end", metavar="WHEN", help="Likewise; default: the session of --start.")
@click.option("--freq", type=Choice(("minute", "day")), help="Of the aggs that are read.")
@click.option("-p", "--param", "pairs", metavar="NAME=VALUE", multiple=True, help="Of the feature.")
@adjustment_options
@answer_options
@click.pass_obj
def features(
    place: Place,
    /,
    name: str,
    symbols: tuple[str, ...],
    start: str,
    end: str | None,
    freq: Any,
    pairs: tuple[str, ...],
    adjust: Any,
    as_of: str | None,
    follow_renames: bool,
    **options: Any,
) -> None:
    """Rows of a feature: of NAME.sql in sql/features.

    WHEN is YYYY-MM-DD, or with a time, New York's: "2024-01-02 09:30". A session is taken whole,
    an instant as --end is not included. Which features there are: `from features` in query. For
    --format, -o, --limit and --safe-csv see query.
    """
    from warehouse.api import Warehouse
    from warehouse.cli.render import answer
    from warehouse.sqlfolder.feature_file import ARGUMENTS

    output = Output.of(place, options)
    parameters = {name: _number(text) for name, text in _parameters(pairs, ARGUMENTS).items()}
    with Warehouse(place.open()[0].root) as wh:
        rows = wh.features(
            name,
            parse_symbols(symbols),
            start,
            end,
            freq=freq,
            to="arrow",
            adjust=adjust,
            as_of=as_of,
            follow_renames=follow_renames,
            **parameters,
        )
    output.take(answer.plain(rows))


@click.command(
    epilog=example(
        "warehouse coverage trades --symbols F --start 2024-01-02 --end 2024-01-31",
    )
)
@click.argument("types", metavar="TYPE...", nargs=-1, type=DataTypes(), required=True)
@click.option(
    "--symbols", metavar="A,B|@FILE", multiple=True, required=True, help="One or several."
)
@click.option("--start", metavar="SESSION", required=True, help="First session, YYYY-MM-DD.")
@click.option("--end", metavar="SESSION", help="Last session, inclusive; default: --start.")
@answer_options
@click.pass_obj
def coverage(
    place: Place,
    /,
    types: tuple[str, ...],
    symbols: tuple[str, ...],
    start: str,
    end: str | None,
    **options: Any,
) -> None:
    """Which sessions and symbols are there, and why the rest is not.

    In words; with --format or -o a row for each data type, session and symbol: its state, rows and
    what went wrong. For --limit and --safe-csv see query.
    """
    import pyarrow as pa

    from warehouse.api import Warehouse
    from warehouse.core.datatypes import DATA_TYPES
    from warehouse.read.coverage import coverage_report

    output = Output.of(place, options)
    kinds = tuple(DATA_TYPES) if "all" in types else types
    with Warehouse(place.open()[0].root) as wh:
        found = wh.coverage(kinds, parse_symbols(symbols), start, end)
    if options["form"] is None and options["path"] is None:
        if output.limit is not None:
            raise click.UsageError("--limit is for tables: add --format table")
        span = start if end in (None, start) else f"{start} to {end}"
        none = f"{span}: the exchange has no session then"
        say([none] if found.empty else coverage_report(found).split("\n"))
        return
    rows = pa.Table.from_pandas(found.astype({"data_type": "str"}), preserve_index=False)
    place_of = rows.column_names.index("session")
    output.take(rows.set_column(place_of, "session", rows["session"].cast(pa.date32())))


def _number(text: str) -> Any:
    """The value of a feature's parameter; what is none of these the feature itself refuses."""
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


COMMANDS = (query, features, coverage)
