"""Is it all there, and is it right? The two answers of the report, in a word and in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from warehouse.core.calendar import today, trading_days
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import WORDS, FileState
from warehouse.text import count, listed

Row = dict[str, Any]

ABSENT = (
    FileState.MISSING,
    "never",
    FileState.ROWS_LOST,
    FileState.SET_ASIDE,
    FileState.FAILED,
    "waiting",
    FileState.NOT_IN_PLAN,
)
"""States of sessions that should be here and are not."""


@dataclass(frozen=True)
class Verdict:
    """The answer to one question, in a word and in a sentence.

    Attributes:
        answer: yes, mostly, no, or unknown.
        command: what mends it, without the program's name; empty: nothing needs to.
    """

    answer: str
    text: str
    command: str = ""


def is_complete(
    generation: int,
    coverage: Sequence[Row],
    start: date | None,
    end: date | None,
    runs: Sequence[Row] = (),
) -> Verdict:
    """Whether every session that should be here is: of `coverage`, from `start` to `end`.

    Args:
        runs: the last of them, the latest first.
    """
    here = [row for row in coverage if row["state"] == "here"]
    absent = [row for row in coverage if row["state"] in ABSENT]
    if generation == 0 or not (here or absent):
        if generation == 0 or not (start and end):
            return Verdict("unknown", "Nothing has been ingested yet.", "update")
        days = f"{start}" if start == end else f"{start} to {end}"
        sessions = trading_days(start, end)
        if not sessions:
            return Verdict("unknown", f"The exchange has no session in {days}.")
        if sessions[0] >= today():
            return Verdict("unknown", f"No session of {days} is due yet.")
        return Verdict("no", f"There is nothing of {days}.", f"update --start {start} --end {end}")
    kinds = [name for name in DATA_TYPES if any(row["data_type"] == name for row in here)]
    # A session that has lost rows may have others.
    there = {row["data_type"] for row in coverage if row["state"] == "here" or row["rows"]}
    none_of = [name for name in DATA_TYPES if name not in there]
    without = f" There are no {listed(none_of, 'or')} at all." if none_of else ""
    # Their files are here and accounted for: no update brings more.
    in_vain = [row for row in here if not row["rows"] and row["rejects"]]
    if in_vain:
        without += f" {_by_type(in_vain)} had all rows rejected."
    if not absent:
        days = f"on {start}" if start == end else f"from {start} to {end}"
        text = f"{_all_here(here, kinds)} {days} {{}} here.{_ends(here, kinds)}{without}"
        text = text.format("is" if text.startswith("The one") else "are") + _broken_off(runs)
        return Verdict("mostly", text, 'query "from rejects"') if in_vain else Verdict("yes", text)
    by_state = {
        state: sum(row["state"] == state for row in absent)
        for state in ABSENT
        if any(row["state"] == state for row in absent)
    }
    reasons = listed([f"{count:,} {WORDS[state]}" for state, count in by_state.items()])
    text = (
        f"{len(absent):,} of {count(len(here) + len(absent), 'session')}"
        f" {'is' if len(absent) == 1 else 'are'} not here ({_by_type(absent)}):"
        f" {reasons}.{without}{_broken_off(runs)}"
    )
    first, last = min(row["session"] for row in absent), max(row["session"] for row in absent)
    if set(by_state) == {"waiting"}:
        return Verdict("no", text, "ingest")
    # Of a type that is not asked for none need be had.
    due = [name for name in DATA_TYPES if any(row["data_type"] == name for row in absent)]
    types = "".join(f" {name}" for name in due) if len(due) < len(DATA_TYPES) else ""
    return Verdict("no", text, f"update{types} --start {first} --end {last}")


def _broken_off(runs: Sequence[Row]) -> str:
    """That the last run which fetches was cut short, in words: the rest is not known of here."""
    last = next((run for run in runs if run["command"] in ("update", "download")), None)
    if last is None or last["state"] not in ("interrupted", "failed"):
        return ""
    command, again = last["command"], "the same command again brings that too."
    if last["state"] == "interrupted":
        return (
            f" The last {command} was interrupted: what it had yet to fetch is not among them;"
            f" {again}"
        )
    return (
        f" The last {command} failed: what it had yet to fetch, if anything, is not among them;"
        f" once its problem is mended {again}"
    )


def _by_type(rows: Sequence[Row]) -> str:
    """How many sessions they are of each data type, in words."""
    counts = {name: sum(row["data_type"] == name for row in rows) for name in DATA_TYPES}
    return listed([f"{count:,} of {name}" for name, count in counts.items() if count])


def _all_here(here: Sequence[Row], kinds: Sequence[str]) -> str:
    sessions = {name: sum(row["data_type"] == name for row in here) for name in kinds}
    if len(set(sessions.values())) > 1:
        each = listed([f"{count:,} of {name}" for name, count in sessions.items()])
        return f"All sessions that there should be ({each})"
    count = next(iter(sessions.values()))
    return f"{'The one session' if count == 1 else f'All {count:,} sessions'} of {listed(kinds)}"


def _ends(here: Sequence[Row], kinds: Sequence[str]) -> str:
    """Which data types end before others, in words: nothing says that more of them was due."""
    last = {name: max(row["session"] for row in here if row["data_type"] == name) for name in kinds}
    early = [f"{name} after {day}" for name, day in last.items() if day < max(last.values())]
    return f" There are no {listed(early, 'or')}." if early else ""


def is_right(generation: int, files: Sequence[Row], rules: Sequence[Row], checked: str) -> Verdict:
    """Whether every line is accounted for, and validation found nothing that counts.

    Args:
        checked: which rules were asked: all, those of ingest, or never any.
    """
    if generation == 0 or not (files or rules):
        return Verdict("unknown", "There is nothing to judge.")
    off = sum(row["off"] for row in files)
    lines = sum(row["lines"] or 0 for row in files)
    published = sum(row["rows_published"] or 0 for row in files if row["lines"] is not None)
    rejected = sum(row["rows_rejected"] or 0 for row in files if row["lines"] is not None)
    left_out = sum(row["rows_unselected"] or 0 for row in files)
    if off:
        return Verdict(
            "no", f"The lines of {count(off, 'file')} are not all accounted for.", "rebuild all"
        )
    accounts = ""
    if lines:
        accounts = f" Every line is accounted for: {lines:,} read = {published:,} published"
        accounts += f" + {rejected:,} rejected"
        # Of other symbols, or brought by files of the other layout.
        accounts += f" + {left_out:,} left out." if left_out else "."
    if checked == "never":
        return Verdict("unknown", f"No validation has been run.{accounts}", "validate")
    counting = [rule for rule in rules if rule["allowed"] is None]
    found = {
        severity: [rule for rule in counting if rule["severity"] == severity]
        for severity in ("error", "warning")
    }
    said = [
        f"{count(sum(rule['findings'] for rule in those), severity)}"
        f" by {count(len({rule['rule'] for rule in those}), 'rule')}"
        for severity, those in found.items()
        if those
    ]
    allowed = sum(rule["findings"] for rule in rules if rule["allowed"] is not None)
    excused = f" ({allowed:,} allowed, with reasons)" if allowed else ""
    result = f"found {listed(said)}{excused}" if said else f"found nothing amiss{excused}"
    answer = "no" if found["error"] else "mostly" if said else "yes"
    if checked == "all":
        return Verdict(answer, f"Validation {result}.{accounts}")
    return Verdict(
        "mostly" if answer == "yes" else answer,
        f"Of the rules only those of ingest were asked about all of it; validation {result}."
        f"{accounts}",
        "validate",
    )
