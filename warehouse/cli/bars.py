"""The commands of bars from trades: bars, explain-bar, reconcile."""

from __future__ import annotations

from typing import Any

import click

from warehouse.bars.spec import BY, EXCESS, HOURS
from warehouse.cli.data import parse_symbols
from warehouse.cli.options import (
    Choice,
    DataTypes,
    PathName,
    Place,
    adjustment_options,
    example,
    say,
    say_json,
    wait_option,
)
from warehouse.cli.query import Output, answer_options
from warehouse.text import printable


@click.command(
    epilog=example(
        "warehouse bars AAPL --start 2024-01-02 --every 5m -o aapl.parquet",
        "warehouse bars AAPL,MSFT --start 2024-01-02 --end 2024-01-31 --every 1d",
        "warehouse bars AAPL --start 2024-01-02 --by volume --every 100000",
    )
)
@click.argument("symbols", metavar="SYMBOL...", nargs=-1, required=True)
@click.option("--start", metavar="WHEN", required=True, help="A session, or an instant.")
@click.option("--end", metavar="WHEN", help="Likewise; default: the session of --start.")
@click.option(
    "--every", default="1m", show_default=True, help="30s, 5m, 1h, 1d; else what fills a bar."
)
@click.option(
    "--by",
    metavar="WHAT",
    type=Choice(BY),
    default="time",
    show_default=True,
    help="What ends a bar.",
)
@click.option("--hours", type=Choice(HOURS), help="Default: regular; of 1d all.")
@click.option(
    "--excess",
    type=Choice(EXCESS),
    default="next",
    show_default=True,
    help="What becomes of the part of a trade that overfills a bar.",
)
@click.option("--fill", is_flag=True, help="Windows without a bar get the last close.")
@adjustment_options
@answer_options
@click.pass_obj
def bars(
    place: Place,
    /,
    symbols: tuple[str, ...],
    start: str,
    end: str | None,
    every: str,
    by: Any,
    hours: Any,
    excess: Any,
    fill: bool,
    adjust: Any,
    as_of: str | None,
    follow_renames: bool,
    **options: Any,
) -> None:
    """Bars built from the trades, by the rules of their sale conditions.

    SYMBOL is one, several, A,B or @FILE. WHEN is YYYY-MM-DD, or with a time, New York's:
    "2024-01-02 09:30". A bar is shown where it lies wholly between. WHAT is time; or tick, volume
    or dollar, each alone or with _imbalance or _run (dollar_run). The vendor's own bars are
    minute_aggs and day_aggs. For --format, -o, --limit and --safe-csv see query.
    """
    from warehouse.api import Warehouse
    from warehouse.cli.render import answer

    output = Output.of(place, options)
    with Warehouse(place.open()[0].root) as wh:
        rows = wh.bars(
            parse_symbols(symbols),
            start,
            end,
            every=every,
            by=by,
            hours=hours,
            excess=excess,
            fill=fill,
            adjust=adjust,
            as_of=as_of,
            follow_renames=follow_renames,
            to="arrow",
        )
    output.take(answer.plain(rows))


@click.command(
    name="explain-bar",
    epilog=example(
        'warehouse explain-bar AAPL "2024-01-02 10:31"',
        "warehouse explain-bar AAPL 2024-01-02 --every 1d --limit 0",
    ),
)
@click.argument("symbol")
@click.argument("at", metavar="TIME")
@click.option("--every", default="1m", show_default=True, help="The bar's length.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--picture",
    metavar="FILE",
    type=PathName("file"),
    help="Draw the trades too, into an HTML file.",
)
@answer_options
@click.pass_obj
def explain_bar(
    place: Place,
    /,
    symbol: str,
    at: str,
    every: str,
    as_json: bool,
    picture: str | None,
    **options: Any,
) -> None:
    """Why a bar is what it is: every trade of its window, and what each was allowed to do.

    TIME is an instant anywhere in the window, New York's: "2024-01-02 10:31:05"; of a day's bar the
    session. On the screen the bar, or why there is none, stands above the trades; `sets` says which
    trade made open, high, low and close. For --format, -o, --limit and --safe-csv see query.
    """
    import pyarrow as pa

    from warehouse.api import Warehouse
    from warehouse.cli.render import answer
    from warehouse.cli.render.bars import explained_lines
    from warehouse.report import output_file
    from warehouse.report.bar_facts import explained

    if as_json and any(each not in (None, False) for each in options.values()):
        raise click.UsageError("--json goes without --format, -o, --limit and --safe-csv")
    is_shown = options["form"] in (None, "table") and options["path"] is None
    output = Output.of(place, options)
    drawn = None if picture is None else output_file.named(picture)
    if drawn is not None:
        if output.file is None and output_file.is_standard_output(drawn):
            raise click.UsageError("the trades go to standard output: name a file for --picture")
        output_file.check(drawn)
        output_file.check_apart(drawn, place.open()[0])
        output_file.check_is_page("picture", drawn)
    with Warehouse(place.open()[0].root) as wh:
        found = wh.explain_bar(symbol, at, every=every)
    if drawn is not None:
        from warehouse.report.bar_picture import save

        save(explained(symbol, found), drawn)
        click.echo(printable(f"drawn in {drawn}"), err=True)
    if as_json:
        say_json(explained(symbol, found))
    elif is_shown:
        say(explained_lines(symbol, found, output.limit))
    else:
        # A table of trades has no place for the bar, and pyarrow would warn of it.
        found.attrs.clear()
        output.take(answer.plain(pa.Table.from_pandas(found, preserve_index=False)))


@click.command(
    epilog=example(
        "warehouse reconcile", "warehouse reconcile minute_aggs --symbols AAPL --start 2024-01-02"
    )
)
@click.argument("types", metavar="[TYPE]...", nargs=-1, type=DataTypes("minute_aggs", "day_aggs"))
@click.option("--symbols", metavar="A,B|@FILE", multiple=True, help="Only these; case-sensitive.")
@click.option("--start", metavar="SESSION", help="First session, YYYY-MM-DD, inclusive.")
@click.option("--end", metavar="SESSION", help="Last session, inclusive.")
@click.option(
    "--keep/--no-keep", default=True, show_default=True, help="Keep the result in the catalog."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@wait_option
@click.pass_obj
def reconcile(
    place: Place,
    /,
    types: tuple[str, ...],
    symbols: tuple[str, ...],
    start: str | None,
    end: str | None,
    keep: bool,
    as_json: bool,
    wait: float,
) -> None:
    """Hold our bars, built from trades, against the vendor's, and say why they differ.

    TYPE is minute_aggs or day_aggs; none means both. Told are the share of each field that is
    equal, every difference by its class, and which change of the rules (of one condition, or two)
    makes most of them vanish. The result is kept in the catalog's table reconciliations.
    """
    from warehouse.api import Warehouse
    from warehouse.bars.compare import COVERED
    from warehouse.cli.render.bars import reconcile_lines

    with Warehouse(place.open()[0].root) as wh:
        report = wh.reconcile(
            types or tuple(COVERED),
            start,
            end,
            parse_symbols(symbols) or None,
            keep=keep,
            wait=wait,
        )
    if as_json:
        say_json(report.to_dict())
    else:
        say(reconcile_lines(report))


COMMANDS = (bars, explain_bar, reconcile)
