"""What came of each file that was to be fetched, as a table for a person."""

from __future__ import annotations

from collections.abc import Iterator

from warehouse.cli.render.run import label
from warehouse.cli.render.terminal import table
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import FileState
from warehouse.pipeline.download_plan import DownloadPlan, did_not_come
from warehouse.text import duration, size

MOST_FILES = 20
"""So many files have a line each; of more there is a line for each data type."""

_NOT_HERE = (FileState.FAILED, FileState.MISSING, FileState.NOT_IN_PLAN, FileState.SET_ASIDE)


def download_table(plan: DownloadPlan) -> Iterator[str]:
    """A line for each file that came or did not, or for each data type; nothing where none was due.

    A file's time runs from its first byte until it was here and verified.
    """
    many = len(plan.fetch) + len(plan.problems) > MOST_FILES
    header = (
        ("data type", "files", "bytes", "state") if many else ("file", "bytes", "took", "state")
    )
    rows = list(_by_type(plan) if many else _by_file(plan))
    if rows:
        lines, _ = table(header, rows, (False, True, True, False))
        yield from (*lines, "")


def _by_file(plan: DownloadPlan) -> Iterator[tuple[str, ...]]:
    found = [
        (item, duration(plan.seconds[item.file]), "changed" if item in plan.changed else "new")
        for item in plan.fetch
    ]
    found += [(outcome.item, "", did_not_come(outcome)[1].state.words) for outcome in plan.problems]
    for item, took, state in sorted(found, key=lambda row: row[0].file.sort_key):
        yield label(item.file), size(item.size), took, state


def _by_type(plan: DownloadPlan) -> Iterator[tuple[str, ...]]:
    for name in DATA_TYPES:
        came = [item for item in plan.fetch if item.file.data_type == name]
        changed = sum(item.file.data_type == name for item in plan.changed)
        states = {"new": len(came) - changed, "changed": changed} | dict.fromkeys(
            (state.words for state in _NOT_HERE), 0
        )
        for outcome in plan.problems:
            if outcome.item.file.data_type == name:
                states[did_not_come(outcome)[1].state.words] += 1
        if files := sum(states.values()):
            said = ", ".join(f"{n:,} {state}" for state, n in states.items() if n)
            yield name, f"{files:,}", size(sum(item.size for item in came)), said
