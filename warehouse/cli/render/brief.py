"""The report's facts in short: two answers, and a line of the last weeks for each data type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from warehouse.cli.render.terminal import labelled, table
from warehouse.core.datatypes import DATA_TYPES
from warehouse.report.answers import ABSENT, Row
from warehouse.report.collect import Facts
from warehouse.text import count, percent, printable, some

_SESSIONS = 30
_WIDTH = 108
_BESIDE = 36
"""Columns that stand beside the two of rows and rejects by session."""
_RECONCILED, _NAMED = 2, 3
_BLOCKS = "▁▂▃▄▅▆▇█"
_NOT_HERE, _NOTHING = "×", "·"


def sparkline(values: Sequence[int | None]) -> str:
    """Counts as blocks between zero and the highest: `▂▅·█×`, where 0 is a dot and None a cross."""
    most = max((value for value in values if value is not None), default=0)
    return "".join(
        _NOT_HERE
        if value is None
        else _BLOCKS[-(-value * len(_BLOCKS) // most) - 1]
        if value
        else _NOTHING
        for value in values
    )


def brief_as_json(facts: Facts) -> Row:
    """The two answers, rows, rejects and findings of the last sessions, and how our bars compared
    with the vendor's, as one JSON object.
    """
    return {
        "complete": vars(facts.complete),
        "right": vars(facts.right),
        "last_sessions": {
            name: [
                {key: row[key] for key in ("session", "state", "rows", "rejects")} for row in rows
            ]
            for name, rows in _last(facts, _SESSIONS).items()
        },
        "checked": facts.checked,
        "findings": {name: _findings(facts, name) for name in DATA_TYPES},
        "reconciliations": facts.reconciliations,
    }


def brief_lines(facts: Facts, warehouse: str, width: int | None = None) -> Iterator[str]:
    """The same, line by line, and the command that settles what is not settled.

    Args:
        warehouse: how a command names it: `warehouse -C demo`.
        width: columns of the terminal; None: as many as reads well.
    """
    for name, verdict in (("all there", facts.complete), ("right", facts.right)):
        answer = "not known" if verdict.answer == "unknown" else verdict.answer
        yield from labelled(name, f"{answer}. {verdict.text}", min(width or _WIDTH, _WIDTH))
        # What was found by all rules is shown by asking them again.
        command = verdict.command or ("validate" if verdict.answer in ("mostly", "no") else "")
        if command:
            yield f"{'':<10} {warehouse} {command}"
    # Those of all symbols say most.
    reconciled = sorted(facts.reconciliations, key=lambda row: row["symbols"] is not None)
    for place, row in enumerate(reconciled[:_RECONCILED]):
        yield from labelled("" if place else "reconciled", _compared(row), width or _WIDTH)
    last = _last(
        facts, _SESSIONS if width is None else max(min(_SESSIONS, (width - _BESIDE) // 2), 5)
    )
    if not any(last.values()):
        return
    yield ""
    lines, _ = table(
        ["", "rows by session", "rejects by session", "findings"],
        [
            [
                name,
                sparkline([row["rows"] if row["state"] == "here" else None for row in rows]),
                sparkline([row["rejects"] if row["state"] == "here" else None for row in rows]),
                _counted(_findings(facts, name)) if facts.checked != "never" else "not validated",
            ]
            for name, rows in last.items()
            if rows
        ],
        [False] * 4,
    )
    yield from lines
    days = sorted({row["session"] for rows in last.values() for row in rows})
    yield f"{count(len(days), 'session')}, {days[0]} to {days[-1]}; {_NOT_HERE} is not here"


def _compared(row: Row) -> str:
    """How our bars compared with the vendor's, in short."""
    compared, equal = (sum(one[name] for one in row["shares"]) for name in ("compared", "equal"))
    days = " to ".join(dict.fromkeys((row["first_session"], row["last_session"])))
    of_whom = "" if row["symbols"] is None else f" of {some(row['symbols'].split(','), _NAMED)}"
    return printable(
        f"{row['data_type']}{of_whom} {days}: {percent(equal, compared)} of {compared:,} fields"
        " are equal to the vendor's"
    )


def _last(facts: Facts, most: int) -> dict[str, list[Row]]:
    """The last sessions of each data type, those that should be here."""
    days = sorted({row["session"] for row in facts.coverage if row["is_trading_day"]})[-most:]
    found: dict[str, list[Row]] = {name: [] for name in DATA_TYPES}
    for row in facts.coverage:
        if row["session"] in days and row["state"] in ("here", *ABSENT):
            found[row["data_type"]].append(row)
    return found


def _findings(facts: Facts, data_type: str) -> dict[str, int]:
    """Findings that count, by severity."""
    found = {"error": 0, "warning": 0}
    for rule in facts.rules:
        if rule["allowed"] is None:
            # Edited SQL may have others.
            found.setdefault(rule["severity"], 0)
            found[rule["severity"]] += rule["findings_by_data_type"].get(data_type, 0)
    return found


def _counted(found: dict[str, Any]) -> str:
    said = [count(number, severity) for severity, number in found.items() if number]
    return ", ".join(said) or "none"
