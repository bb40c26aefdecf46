"""The command that asks whether the data is right: validate."""

from __future__ import annotations

import click

from warehouse.cli.data import parse_request, parse_symbols
from warehouse.cli.options import DataTypes, Place, RuleNames, example, say, say_json, wait_option


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
    type=RuleNames(),
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
    raise click.exceptions.Exit(1 if report.errors or report.broken else 0)


COMMANDS = (validate,)
