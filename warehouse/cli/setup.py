"""The commands that lay out a warehouse: init, demo."""

from __future__ import annotations

from pathlib import Path

import click

from warehouse.cli.data import parse_symbols
from warehouse.cli.options import Failure, PathName, Place, example, say


@click.command(epilog=example("warehouse init my-warehouse --source ~/flatfiles"))
@click.argument("folder", metavar="[DIR]", type=PathName("dir"), required=False)
@click.option(
    "--source",
    metavar="URL",
    type=PathName("dir"),
    default="",
    help="The folder that holds us_stocks_sip/, or s3://BUCKET.",
)
@click.option(
    "--layout",
    metavar="day|symbol",
    multiple=True,
    help="The source has one file a day, or a symbol. trades=market: so partitions are laid out.",
)
@click.option("--endpoint", metavar="URL", default="", help="The S3 server; default: the vendor's.")
@click.option("--symbols", metavar="A,B|@FILE", multiple=True, help="Only these; case-sensitive.")
@click.pass_obj
def init(
    place: Place,
    folder: str | None,
    source: str,
    layout: tuple[str, ...],
    endpoint: str,
    symbols: tuple[str, ...],
) -> None:
    """Lay out a warehouse in DIR (default: here).

    Puts config/, sql/ and data/ there. Of a warehouse that is there already it adds what is
    missing, changes no file, and names the SQL files that are not as they are shipped.
    """
    from warehouse.cli.render import run
    from warehouse.maintenance.init import lay_out, source_url
    from warehouse.pipeline.download_plan import glance

    folder = folder or place.folder or "."
    url = source_url(source) if source else ""
    wanted = parse_symbols(symbols)
    of_source = [one for one in layout if "=" not in one]
    if len(of_source) > 1:
        raise click.UsageError(f"--layout: the source has one, not {' and '.join(of_source)}")
    (source_layout,) = of_source or [""]
    pairs = (one.partition("=") for one in layout if "=" in one)
    partitions = {name: value for name, _, value in pairs}
    laid = lay_out(Path(folder), url, source_layout, endpoint, wanted, partitions)
    seen = glance(laid.config, laid.root) if laid.config.source.url else []
    told = run.laid_lines(laid, folder, url, source_layout, seen, endpoint, wanted, partitions)
    say(told)


@click.command(epilog=example("warehouse demo", "warehouse demo /tmp/demo"))
@click.argument("folder", metavar="[DIR]", type=PathName("dir"), required=False)
@click.pass_obj
def demo(place: Place, folder: str | None) -> None:
    """Make a small market and show it through all three doors.

    Writes a synthetic market in the vendor's own format to DIR/flatfiles (default DIR:
    demo-warehouse), takes it through the warehouse, and asks the DuckDB shell, Python and the
    command line about it. Takes some seconds; needs no account and no network.
    """
    from warehouse.cli.demo import FOLDER, make, missing, show
    from warehouse.cli.render.terminal import progress

    folder = folder or place.folder or FOLDER
    with progress() as shown:
        report = make(Path(folder), shown)
    say(show(report, folder))
    if left_out := missing(Path(folder)):
        names = ", ".join(left_out)
        raise Failure(f"the demo is not whole: of its features {names} are left out, see above")


COMMANDS = (init, demo)
