"""The methods of `Warehouse` that write, as the commands of the same names do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from warehouse.arguments import run_request
from warehouse.config import Config
from warehouse.layout import Layout
from warehouse.sessions import Moment

if TYPE_CHECKING:
    from warehouse.pipeline import Pipeline
    from warehouse.run import RunReport
    from warehouse.validation import ValidationReport


class Written(Protocol):
    """What they need of a `Warehouse`."""

    _config: Config
    _layout: Layout


async def download(
    self: Written,
    data_types: str | Sequence[str],
    start: Moment | None = None,
    end: Moment | None = None,
    symbols: str | Sequence[str] | None = None,
) -> RunReport:
    """Bring new and changed files into the raw tier, as `warehouse download` does.

    Runs in a thread: the event loop goes on meanwhile. Who cancels it no longer waits, but
    what was begun goes on to its end.

    Args:
        data_types: one or several; none of them means all.
        start, end: sessions, both inclusive, or as `load` has them; None is open.
        symbols: only their files, where the source has one file a symbol.

    Returns:
        What came, and in `download` what did not come and why.

    Raises:
        RequestError: an argument is not one of the things it may be.
        ConfigError, SourceError: there is no source, or it cannot be asked.
        LockedError: another process is writing to the warehouse.
        StorageError: the disk has no room for what would come, or refuses.
    """
    request = run_request(data_types, start, end, symbols)
    return await asyncio.to_thread(_pipeline(self).download, request)


def update(
    self: Written,
    data_types: str | Sequence[str] = (),
    start: Moment | None = None,
    end: Moment | None = None,
    symbols: str | Sequence[str] | None = None,
) -> RunReport:
    """Download, then ingest, what is new, as `warehouse update` does; see `download`.

    Args:
        symbols: publish only their rows. A file that holds all symbols is fetched whole; the
            others' rows follow with the next update of all.
    """
    return _pipeline(self).update(run_request(data_types, start, end, symbols))


def validate(
    self: Written,
    data_types: str | Sequence[str] = (),
    start: Moment | None = None,
    end: Moment | None = None,
    symbols: str | Sequence[str] | None = None,
    rules: str | Sequence[str] = (),
) -> ValidationReport:
    """Ask the rules of sql/validate about what is published, as `warehouse validate` does.

    Args:
        data_types: one or several; none of them means all.
        start, end: sessions, both inclusive, or as `load` has them; None is open.
        symbols: only these; None: all.
        rules: only these; none of them means all.

    Returns:
        What was found: `results`, one for each rule, symbol and session, and of them `errors`,
        `warnings` and `allowed`. The catalog's table `findings` keeps them.

    Raises:
        RequestError: an argument is not one of the things it may be.
        SqlFileError: a rule breaks the conventions, or fails.
        LockedError: another process is writing to the warehouse.
    """
    request = run_request(data_types, start, end, symbols)
    return _pipeline(self).validate(request, [rules] if isinstance(rules, str) else rules)


def _pipeline(warehouse: Written) -> Pipeline:
    from warehouse.pipeline import Pipeline  # a reader need not wait for it

    return Pipeline(warehouse._layout, warehouse._config)
