"""Answers to free-form SELECTs: checked, and kept where they cannot change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from warehouse.errors import QueryError
from warehouse.read.answers import Answers
from warehouse.read.cache import Held
from warehouse.read.fingerprint import fingerprint
from warehouse.read.frames import as_form, in_zone
from warehouse.read.query import query as queries
from warehouse.read.query.provenance import behind
from warehouse.read.snapshot import Snapshot
from warehouse.sqlfolder.select_check import explained
from warehouse.store.reference.reference_files import ACTIONS

_ACTIONS = """
    select *
    from actions
    where $symbols is null or list_contains($symbols, symbol)
    order by symbol, session, kind, id
"""


class QueryAnswers:
    """Answers SELECTs about one warehouse."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def query(self, sql: str, form: str, parameters: Mapping[str, Any]) -> Any:
        """The answer to one SELECT, as `Warehouse.query` says."""

        def answer(snapshot: Snapshot) -> Any:
            query = queries.check(snapshot, sql)
            values = queries.values(query, parameters)

            key = queries.key_of(parameters) if query.stable else None

            def run() -> Held:
                table = in_zone(queries.run(snapshot, query, values), "UTC")
                try:
                    frame = as_form(table, form)
                except Exception as error:  # each package has its own
                    raise QueryError(
                        sql,
                        f"the answer cannot be had as {form} ({explained(error)});"
                        " cast the column, or ask for 'arrow'",
                    ) from error
                if key is not None and isinstance(frame, pd.DataFrame):
                    facts = (sql, repr(key), behind(snapshot, query.names))
                    frame.attrs["fingerprint"] = fingerprint("query", *facts)
                return Held(frame)

            if key is None:
                return self._answers.snapshots.whole(snapshot, run).frame
            of = (sql, key, form, snapshot.generation, snapshot.identity)
            return self._answers.cache.get_or_make(
                of, lambda: self._answers.snapshots.whole(snapshot, run)
            )

        return self._answers.snapshots.read(answer)

    def actions(self, symbols: Sequence[str] | None) -> pd.DataFrame:
        """The corporate actions, as `Warehouse.actions` says.

        None are held in a catalog of an earlier version, nor where there is no catalog.
        """
        frame: pd.DataFrame
        if self._answers.snapshots.read(lambda snapshot: snapshot.reference) is None:
            frame = as_form(ACTIONS.empty_table(), "pandas")
            return frame
        wanted = None if symbols is None else list(symbols)
        frame = self.query(_ACTIONS, "pandas", {"symbols": wanted})
        return frame
