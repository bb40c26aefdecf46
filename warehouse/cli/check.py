"""The commands that ask whether all is right, and as it was written: validate, verify."""

from __future__ import annotations

import click

from warehouse.cli.data import parse_request, parse_symbols
from warehouse.cli.options import DataTypes, Place, SqlNames, example, say, say_json, wait_option


@click.command(
    epilog=example(
        "warehouse validate", "warehouse validate trades --symbols AAPL --rule time_gaps --json"
    )
)
@click.argument("types", metavar="[TYPE]...", nargs=-1, type=DataTypes())
@click.option("--symbols", metavar="A,B|@FILE", multiple=True, help="Only these; case-sensitive.")
@click.option("--start", metavar="SESSION", help="First session, YYYY-MM-DD, inclusive.")
@click.option("--end", metavar="SESSION", help="Last session, inclusive.")
@click.option(
    "--rule",
    "rules",
    metavar="RULE",
    type=SqlNames("validate"),
    multiple=True,
    help="Only this one; may repeat.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@wait_option
@click.pass_obj
def validate(
    place: Place,
    types: tuple[str, ...],
    symbols: tuple[str, ...],
    start: str | None,
    end: str | None,
    rules: tuple[str, ...],
    as_json: bool,
    wait: float,
) -> None:
    """Ask the rules of sql/validate about what is published.

    TYPE is trades, quotes, minute_aggs or day_aggs; none means all of them. Each rule is a SELECT
    that gives offending rows out; its file says why they offend. What is found is kept in the
    catalog's table findings. Exit status 1 where there are errors that config/validation_allow.csv
    does not allow.
    """
    from warehouse.cli.render import validation
    from warehouse.cli.render.terminal import progress
    from warehouse.pipeline.pipeline import Pipeline
    from warehouse.report.status import check_symbols

    request = parse_request(types, start, end, parse_symbols(symbols))
    check_symbols(place.open()[0], request)
    with progress() as shown:
        report = Pipeline(*place.open(), shown, wait).validate(request, rules)
    report.check_looked()
    if as_json:
        say_json(validation.validation_as_json(report))
    else:
        say(validation.validation_lines(report))
    raise click.exceptions.Exit(1 if report.errors or report.broken or report.unread else 0)


@click.command(epilog=example("warehouse verify", "warehouse verify trades --repair"))
@click.argument("types", metavar="[TYPE]...", nargs=-1, type=DataTypes())
@click.option("--symbols", metavar="A,B|@FILE", multiple=True, help="Only theirs; case-sensitive.")
@click.option("--start", metavar="SESSION", help="First session, YYYY-MM-DD, inclusive.")
@click.option("--end", metavar="SESSION", help="Last session, inclusive.")
@click.option("--repair", "is_repair", is_flag=True, help="Mend what is wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@wait_option
@click.pass_obj
def verify(
    place: Place,
    types: tuple[str, ...],
    symbols: tuple[str, ...],
    start: str | None,
    end: str | None,
    is_repair: bool,
    as_json: bool,
    wait: float,
) -> None:
    """Compare every file with what is recorded of it.

    Raw files and partitions by their SHA-256, partitions read back to the last page, rows counted
    and in order, rejects counted, lines of each file = rows published + rejected, the catalog
    against the disk both ways. Takes no lock. With --repair what is damaged is made anew from the
    raw files, and those are fetched again where they must be; nothing is deleted.
    """
    from warehouse.cli.render import integrity
    from warehouse.cli.render.terminal import progress
    from warehouse.core.metrics import Progress
    from warehouse.report.status import check_symbols

    request = parse_request(types, start, end, parse_symbols(symbols))
    layout, config = place.open()
    shown: Progress
    if is_repair:
        from warehouse.maintenance.repair import repair
        from warehouse.pipeline.pipeline import Pipeline

        with progress() as shown:
            mended = repair(Pipeline(layout, config, shown, wait), request)
        if not mended.found.faults:
            check_symbols(layout, request)
        if as_json:
            say_json(integrity.repair_as_json(mended))
        else:
            say(integrity.repair_lines(mended, layout, place.command))
        raise click.exceptions.Exit(1 if mended.left else 0)
    from warehouse.maintenance.verify import verify as look

    with progress() as shown:
        report = look(layout, config, request, shown)
    if not report.faults:
        # All is well with a symbol that is not there: that would be no answer.
        check_symbols(layout, request)
    if as_json:
        say_json(integrity.verify_as_json(report))
    else:
        say(integrity.verify_lines(report, layout, place.command))
    raise click.exceptions.Exit(1 if report.faults else 0)


COMMANDS = (validate, verify)
