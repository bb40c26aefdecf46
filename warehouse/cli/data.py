"""The commands that bring data in and take it out: download, ingest, update, rebuild, prune."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from warehouse.cli.options import (
    Choice,
    DataTypes,
    Place,
    allow_option,
    example,
    say,
    say_json,
    wait_option,
    writer_options,
)
from warehouse.core.small_files import read_small
from warehouse.errors import RequestError, one_line
from warehouse.text import expanded

if TYPE_CHECKING:
    from warehouse.core.config import PartitionLayout
    from warehouse.core.request import Request
    from warehouse.pipeline.pipeline import Pipeline
    from warehouse.pipeline.report import RunReport


_MOST_BYTES = 8 << 20


def parse_request(
    types: Sequence[str],
    start: str | None,
    end: str | None,
    symbols: Iterable[str] = (),
    allow: Sequence[str] = (),
) -> Request:
    """What the options of a command ask for."""
    from warehouse.core.calendar import parse_session
    from warehouse.core.request import Request

    return Request.of(
        () if "all" in types else tuple(dict.fromkeys(types)),
        None if start is None else parse_session("start", start),
        None if end is None else parse_session("end", end),
        symbols,
        allow,
    )


def parse_symbols(given: Sequence[str]) -> list[str]:
    """The symbols of --symbols A,B, or of a file of them, one a line: --symbols @list.txt."""
    wanted = [name for each in given for part in each.split(",") for name in _named(part)]
    if "" in wanted:
        raise RequestError("symbols", ",".join(given), "an empty name is no symbol")
    return wanted


def _named(part: str) -> list[str]:
    """A symbol, or those of the file that is named after an @, without empty lines."""
    if not part.startswith("@"):
        return [part]
    path = expanded(part[1:])
    try:
        lines = read_small(path, _MOST_BYTES).splitlines()
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or one_line(error)
        raise RequestError("symbols", part, f"the file cannot be read: {problem}") from error
    names = [name for line in lines if (name := line.strip())]
    if not names:
        raise RequestError("symbols", part, "the file names no symbol")
    return names


def _run(
    place: Place,
    request: Request,
    work: Callable[[Pipeline], RunReport],
    *,
    dry_run: bool,
    as_json: bool,
    wait: float,
) -> None:
    from warehouse.cli.render import run, validation
    from warehouse.cli.render.download_table import download_table
    from warehouse.cli.render.terminal import progress
    from warehouse.pipeline.pipeline import Pipeline

    with progress() as shown:
        report = work(Pipeline(*place.open(), shown, wait))
    if as_json:
        told = run.run_as_json(report, request, dry_run=dry_run)
        say_json(told | validation.found_as_json(report))
    elif dry_run:
        say(run.dry_run_lines(report, request, place.command))
        say(validation.found_lines(report))
    else:
        if report.download is not None:
            say(download_table(report.download))
        say(run.run_lines(report, request, place.command))
        say(validation.found_lines(report))
    raise click.exceptions.Exit(run.exit_code(report, request))


@click.command(epilog=example("warehouse download trades --start 2024-01-02 --end 2024-01-31"))
@click.argument("types", metavar="[TYPE]...", nargs=-1, type=DataTypes())
@click.option(
    "--symbols", metavar="A,B|@FILE", multiple=True, help="Only theirs, of one file a symbol."
)
@writer_options
def download(
    place: Place,
    types: tuple[str, ...],
    symbols: tuple[str, ...],
    start: str | None,
    end: str | None,
    **options: Any,
) -> None:
    """Bring new and changed files into the raw tier.

    TYPE is trades, quotes, minute_aggs or day_aggs; none means all of them. Nothing is read or
    published yet: that is the work of `ingest`. Killed, it goes on where it was. A file that holds
    all symbols is fetched whole, whatever --symbols says.
    """
    request = parse_request(types, start, end, parse_symbols(symbols))
    dry_run = options["dry_run"]
    _run(place, request, lambda each: each.download(request, dry_run=dry_run), **options)


@click.command(epilog=example("warehouse ingest", "warehouse ingest quotes --dry-run"))
@click.argument("types", metavar="[TYPE]...", nargs=-1, type=DataTypes())
@allow_option
@writer_options
def ingest(
    place: Place,
    types: tuple[str, ...],
    allow: tuple[str, ...],
    start: str | None,
    end: str | None,
    **options: Any,
) -> None:
    """Verify, clean and publish what the raw tier holds.

    Takes files that are not published yet. One that fails verification is set aside with the
    reason, and the rest goes on. Where a rule of sql/validate finds an error nothing of that data
    type and month is published.
    """
    request = parse_request(types, start, end, allow=allow)
    dry_run = options["dry_run"]
    _run(place, request, lambda each: each.ingest(request, dry_run=dry_run), **options)


@click.command(epilog=example("warehouse update", "warehouse update trades --start 2024-01-02"))
@click.argument("types", metavar="[TYPE]...", nargs=-1, type=DataTypes())
@click.option("--symbols", metavar="A,B|@FILE", multiple=True, help="Publish only theirs for now.")
@allow_option
@writer_options
def update(
    place: Place,
    types: tuple[str, ...],
    symbols: tuple[str, ...],
    allow: tuple[str, ...],
    start: str | None,
    end: str | None,
    **options: Any,
) -> None:
    """Download what is new, and ingest each file as soon as it is here.

    The command of every day: run it as often as you like, it does what is left to do: sessions
    that are new, were restated, or failed before. TYPE is trades, quotes, minute_aggs or day_aggs;
    none means all of them. Of a file that holds all symbols, those not named by --symbols follow
    with the next update of all. Validation may keep a data type and month out, as at `ingest`.
    """
    request = parse_request(types, start, end, parse_symbols(symbols), allow)
    dry_run = options["dry_run"]
    _run(place, request, lambda each: each.update(request, dry_run=dry_run), **options)


@click.command(
    epilog=example(
        "warehouse rebuild --changed --dry-run",
        "warehouse rebuild trades --symbols AAPL,BRK.B --start 2024-01-02",
        "warehouse rebuild day_aggs --layout market",
    )
)
@click.argument("types", metavar="TYPE...", nargs=-1, type=DataTypes())
@click.option("--symbols", metavar="A,B|@FILE", multiple=True, help="Only these; case-sensitive.")
@click.option("--changed", is_flag=True, help="Only what SQL, settings or files have changed for.")
@click.option("--fetch", is_flag=True, help="Fetch raw files that were pruned.")
@click.option(
    "--layout",
    type=Choice(["market", "symbol"]),
    help="Convert whole months: all symbols in one file, or one each.",
)
@allow_option
@writer_options
def rebuild(
    place: Place,
    types: tuple[str, ...],
    symbols: tuple[str, ...],
    allow: tuple[str, ...],
    start: str | None,
    end: str | None,
    *,
    changed: bool,
    fetch: bool,
    layout: PartitionLayout | None,
    **options: Any,
) -> None:
    """Make partitions anew from the raw tier.

    After a change of sql/ or of the settings, or when in doubt: the same files and the same SQL
    give the same bytes. TYPE is trades, quotes, minute_aggs, day_aggs or all; or bars that are
    kept, as bars_1m, which are made from the partitions of the trades.

    --changed makes only what was made by other SQL, by other settings or from another version of
    a file, and says why of each; a comment or a line break in the SQL is no change. Then no TYPE
    means all of them.

    --layout converts what is published from the partitions themselves, row for row; raw files may
    be gone. New months are laid out as storage.layout says.
    """
    from warehouse.report.status import check_symbols

    if layout is not None:
        if changed or fetch or symbols or allow:
            raise click.UsageError("--layout goes with TYPE, --start and --end alone")
        if not types:
            raise click.UsageError("say which: TYPE...")
        _rebuild_layout(place, parse_request(types, start, end), layout, **options)
    if not types and not changed:
        raise click.UsageError("say which: TYPE..., all, or --changed")
    request = parse_request(types, start, end, parse_symbols(symbols), allow)
    check_symbols(place.open()[0], request)
    dry_run = options["dry_run"]
    if changed:
        _rebuild_changed(place, request, fetch=fetch, **options)
    from warehouse.maintenance.refetch import rebuild as make

    _run(place, request, lambda each: make(each, request, fetch=fetch, dry_run=dry_run), **options)


def _rebuild_changed(
    place: Place,
    request: Request,
    *,
    fetch: bool,
    dry_run: bool,
    as_json: bool,
    wait: float,
) -> NoReturn:
    from warehouse.cli.render import integrity, validation
    from warehouse.cli.render.terminal import progress
    from warehouse.maintenance.rebuild_stale import rebuild_changed
    from warehouse.pipeline.pipeline import Pipeline

    with progress() as shown:
        report = rebuild_changed(
            Pipeline(*place.open(), shown, wait), request, fetch=fetch, dry_run=dry_run
        )
    if as_json:
        told = integrity.changed_as_json(report, dry_run=dry_run)
        say_json(told | validation.found_as_json(report.run))
    else:
        say(integrity.changed_lines(report, place.command, dry_run=dry_run))
        say(validation.found_lines(report.run))
    failed = report.absent or report.run.set_aside or report.run.refused
    raise click.exceptions.Exit(1 if failed else 0)


def _rebuild_layout(
    place: Place,
    request: Request,
    layout: PartitionLayout,
    *,
    dry_run: bool,
    as_json: bool,
    wait: float,
) -> NoReturn:
    from warehouse.cli.render import integrity
    from warehouse.cli.render.terminal import progress
    from warehouse.maintenance.convert_layout import convert_layout
    from warehouse.pipeline.pipeline import Pipeline

    folders, config = place.open()
    with progress() as shown:
        pipeline = Pipeline(folders, config, shown, wait)
        report = convert_layout(pipeline, request, layout, dry_run=dry_run)
    if as_json:
        say_json(integrity.layout_as_json(report, dry_run=dry_run))
    else:
        say(integrity.layout_lines(report, config, request, dry_run=dry_run))
    raise click.exceptions.Exit(0)


@click.command(epilog=example("warehouse prune --dry-run", "warehouse prune"))
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@wait_option
@click.pass_obj
def prune(place: Place, dry_run: bool, as_json: bool, wait: float) -> None:
    """Remove raw files that have done their work.

    Those published more than storage.retention_days days ago, and unchanged since: the bytes of
    each are compared with what was published. Their rows stay; `rebuild --fetch` fetches files
    again.
    """
    from warehouse.cli.render import run
    from warehouse.maintenance.prune import prune as remove

    layout, config = place.open()
    report = remove(layout, config, dry_run=dry_run, wait=wait)
    if as_json:
        say_json(run.pruned_as_json(report, dry_run=dry_run))
    else:
        say(run.pruned_lines(report, config.storage.retention_days, dry_run=dry_run))
    raise click.exceptions.Exit(1 if report.refused or report.unread else 0)


COMMANDS = (download, ingest, update, rebuild, prune)
