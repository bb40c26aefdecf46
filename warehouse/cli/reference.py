"""The commands about what the vendor tells of symbols and trades: reference load, check, show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from warehouse.cli.data import parse_symbols
from warehouse.cli.options import PathName, Place, example, say, say_json, wait_option

if TYPE_CHECKING:
    from warehouse.pipeline.reference_load import ReferenceReport


@click.group(epilog=example("warehouse reference load splits.json dividends.json"))
def reference() -> None:
    """Splits, dividends and names: load the vendor's exports, check them, show them.

    Prices are kept as they traded. What is loaded here is what an adjustment rests on when they
    are read. From another export the table of trade conditions is made.
    """


_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@reference.command(
    epilog=example("warehouse reference load splits.json", "warehouse reference load *.csv --json")
)
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@_json_option
@wait_option
@click.pass_obj
def load(place: Place, paths: tuple[str, ...], as_json: bool, wait: float) -> None:
    """Load exports of splits, dividends or ticker events.

    FILE is JSON, a page as the vendor's API answers or a list of pages, or CSV with the same field
    names. A row takes the place of the one with its id; the same export again changes nothing.
    Each action is held against the tape: one that it contradicts is kept, told, and does not
    count.
    """
    from pathlib import Path

    from warehouse.cli.render.terminal import progress
    from warehouse.pipeline.pipeline import Pipeline
    from warehouse.pipeline.reference_load import load as load_exports

    with progress() as shown:
        report = load_exports(Pipeline(*place.open(), shown, wait), [Path(one) for one in paths])
    _tell(report, as_json=as_json)


@reference.command(epilog=example("warehouse reference check"))
@_json_option
@wait_option
@click.pass_obj
def check(place: Place, as_json: bool, wait: float) -> None:
    """Judge what is loaded again, by the trades and bars that are held now.

    Whether an action counts is decided when it is loaded, and here; never while prices are read.
    """
    from warehouse.cli.render.terminal import progress
    from warehouse.pipeline.pipeline import Pipeline
    from warehouse.pipeline.reference_load import check as check_actions

    with progress() as shown:
        report = check_actions(Pipeline(*place.open(), shown, wait))
    _tell(report, as_json=as_json)


@reference.command(epilog=example("warehouse reference show AAPL MSFT"))
@click.argument("symbols", metavar="[SYMBOL]...", nargs=-1)
@_json_option
@click.pass_obj
def show(place: Place, symbols: tuple[str, ...], as_json: bool) -> None:
    """Show the splits and dividends that are held, those too that do not count.

    SYMBOL is one, several, A,B or @FILE; none means all.
    """
    from warehouse.api import Warehouse
    from warehouse.cli.render import reference as render

    wanted = parse_symbols(symbols)
    layout, _ = place.open()
    with Warehouse(layout.root) as wh:
        frame = wh.actions(wanted or None)
    if as_json:
        say_json(render.actions_as_json(frame))
    else:
        say(render.actions_lines(frame, place.command, wanted))


@reference.command(
    epilog=example("warehouse reference conditions list.json -o config/trade_conditions.csv")
)
@click.argument("path", metavar="FILE", type=click.Path())
@click.option(
    "-o",
    "--output",
    "table",
    metavar="TABLE",
    type=PathName("file"),
    required=True,
    help="The table to write.",
)
@click.pass_obj
def conditions(place: Place, path: str, table: str) -> None:
    """Make the table of trade conditions of the vendor's export.

    FILE is JSON, a page as the vendor's API answers or a list of pages. TABLE is replaced whole;
    bars.trade_conditions names the one that counts. The next command that writes takes it in.
    """
    from pathlib import Path

    from warehouse.report import output_file
    from warehouse.sqlfolder.bars import condition_export, condition_table
    from warehouse.text import count, printable

    file = output_file.named(table)
    output_file.check(file)
    output_file.check_apart(file, place.open()[0])
    rules = condition_export.read(Path(path))
    text = condition_table.as_csv(file, rules)
    with output_file.replacing(file) as written:
        written.write(text)
    click.echo(printable(f"{count(rules.num_rows, 'condition')} in {table}"), err=True)


def _tell(report: ReferenceReport, *, as_json: bool) -> None:
    from warehouse.cli.render import reference as render

    if as_json:
        say_json(render.report_as_json(report))
    else:
        say(render.report_lines(report))


COMMANDS = (reference,)
