"""The report: one HTML file that answers whether it is all there, and whether it is right.

It needs no network and allows none: plotly's script, our own and the data are in it. Everything
that comes from the data goes into the page as text: jinja2 escapes it, the JSON has no `<`, and
the policy in its head lets no script run but the two whose hashes it names.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from warehouse.bars.compare import COMPARED
from warehouse.core.calendar import NEW_YORK
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.file_state import WORDS
from warehouse.report import bar_facts, symbol_charts
from warehouse.report.answers import Row
from warehouse.report.chart_style import PALETTE, Chart
from warehouse.report.charts import by_session
from warehouse.report.charts import rejects as chart_of_rejects
from warehouse.report.charts import run_times as chart_of_run_times
from warehouse.report.collect import Facts
from warehouse.report.coverage_calendar import GLYPHS, WEEKDAYS, day_in_words, facets
from warehouse.report.output_file import replacing
from warehouse.text import as_json, count, minute, percent, shell_word, size, some

_PAGE = Path(__file__).resolve().parent / "page"
_WORDS = {"yes": "Yes", "mostly": "Mostly", "no": "No", "unknown": "Not known"}
_MARKS = {"yes": "✓", "mostly": "!", "no": "×", "unknown": "?"}
_FEW_MONTHS = 4
_WITH_UNITS = ("size", "peak memory", "here already", "both have it", *COMPARED)
_RUN_COLUMNS = {
    "started_at": "started (UTC)",
    "command": "command",
    "state": "state",
    "problem": "problem",
    "seconds": "seconds",
    "download_time": "of it download",
    "processing_time": "of it processing",
    "files": "files",
    "cache_hit_rate": "here already",
    "rows_published": "rows published",
    "rows_rejected": "rejected",
    "partitions": "partitions",
    "retries": "retries",
    "peak_memory_bytes": "peak memory",
}
"""Of a run's figures those that a person compares, as far as the catalog has them."""
_HOURS = {
    "regular": "regular hours, minutes",
    "extended": "extended hours, minutes",
    "all": "days",
}
_SYMBOLS_NAMED = 5
_PARTS = (
    ("holdings", "What there is"),
    ("coverage", "Coverage"),
    ("volume", "Rows and bytes"),
    ("rules", "Validation"),
    ("reconciliations", "Reconciliation"),
    ("rejects-part", "Rejects"),
    ("files", "Source files"),
    ("runs-part", "Runs"),
    ("symbols", "Symbols"),
)


def save(facts: Facts, path: Path, program: str) -> int:
    """Write the report to a file; a reader sees the old one or the new, whole. Returns its bytes.

    Args:
        program: how a command of this warehouse begins: `warehouse -C demo`.

    Raises:
        StorageError: it cannot be written.
    """
    page = html(facts, program).encode(errors="backslashreplace")
    with replacing(path) as file:
        file.write(page)
    return len(page)


def html(facts: Facts, program: str) -> str:
    """The report as one page; see `save`."""
    volume = [
        chart for what in ("rows", "file_bytes") if (chart := by_session(facts, what)) is not None
    ]
    rejects, run_times = chart_of_rejects(facts), chart_of_run_times(facts)
    symbols = [_symbol(facts, row, place) for place, row in enumerate(facts.symbols, start=1)]
    charts = [*volume, *(chart for chart in (rejects, run_times) if chart is not None)]
    charts += [chart for symbol in symbols for chart in symbol["charts"]]
    plotly, script = get_plotlyjs(), (_PAGE / "report.js").read_text("utf-8")
    environment = Environment(
        loader=FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figures": _figures,
        "counted": count,
        "right_of": _right_of,
        "size": size,
        "day": day_in_words,
        "minute": minute,
    }
    return environment.get_template("report.html.jinja").render(
        facts=facts,
        program=program,
        name=Path(facts.warehouse).name or facts.warehouse,
        policy=_policy(plotly, script),
        parts=_PARTS,
        # Where the exchange has no session, or all is here, no command brings more.
        brings=facts.complete.command if facts.complete.answer in ("unknown", "no") else "",
        words=_WORDS,
        marks=_MARKS,
        holdings=list(_holdings(facts)),
        coverage=list(facets(facts)) if facts.coverage else [],
        nothing_to_judge=facts.right.answer == "unknown" and not facts.right.command,
        has_trades=bool(facts.holdings["trades"]["rows"]),
        breadth=_breadth(facts),
        seen_states={row["state"] for row in facts.coverage},
        glyphs=GLYPHS,
        states=WORDS,
        weekdays=WEEKDAYS,
        volume=volume,
        rejects=rejects,
        run_times=run_times,
        rules=[_rule(rule) for rule in facts.rules],
        reconciliations=[_reconciliation(row) for row in facts.reconciliations],
        files=[
            [row["data_type"], row["state"].replace("_", " ")]
            + [row[key] for key in ("files", "bytes", "lines", "rows_published", "rows_rejected",
                                    "rows_unselected")]
            for row in facts.files
        ],
        unfinished=[
            [row["source"], row["state"].replace("_", " "), row["problem"],
             minute(row["recorded_at"])]
            for row in facts.unfinished_files
        ],
        restatements=[
            [row["source"], minute(row["restated_at"]), row["earlier_rows"],
             row["rows_published"], row["earlier_sha256"][:12], row["sha256"][:12]]
            for row in facts.restatements
        ],
        runs=_runs(facts.runs),
        cache_bytes=sum(held["bytes"] for held in facts.holdings.values()),
        symbols=symbols,
        css=Markup((_PAGE / "report.css").read_text("utf-8")),
        drawn=Markup(_inlined(_drawn(facts, charts))),
        plotly=Markup(plotly),
        script=Markup(script),
    )  # fmt: skip


def _drawn(facts: Facts, charts: Sequence[Chart]) -> Row:
    """What the page's script draws: charts, and tables of their data."""
    tables: dict[str, Row] = {
        chart.id: {"columns": chart.columns, "rows": chart.rows} for chart in charts
    }
    names = ("session", "data_type", "state", "rows", "rejects", "symbols", "file_bytes", "problem")
    tables["coverage-table"] = {
        "columns": [name.replace("_", " ") for name in names],
        "rows": [[row[name] for name in names] for row in facts.coverage],
    }
    tables |= {
        also.id: {"columns": also.columns, "rows": also.rows}
        for chart in charts
        for also in chart.also
    }
    return {
        "palette": PALETTE,
        "charts": {chart.id: chart.figure.to_plotly_json() for chart in charts},
        "tables": tables,
    }


def _inlined(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends one, or begins a comment."""
    text = as_json(value, compact=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(*scripts: str) -> str:
    """The page's Content-Security-Policy: nothing from anywhere, and only these scripts."""
    hashes = " ".join(
        f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    # Plotly makes style elements of its own.
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def _holdings(facts: Facts) -> Iterator[list[Any]]:
    rejects: dict[str, int] = {}
    for row in facts.files:
        rejects[row["data_type"]] = rejects.get(row["data_type"], 0) + (row["rows_rejected"] or 0)
    for name in DATA_TYPES:
        held = facts.holdings[name]
        yield [
            name,
            held["sessions"],
            held["expected_sessions"],
            held["symbols"],
            held["rows"],
            rejects.get(name, 0),
            held["partitions"],
            size(held["bytes"]),
            held["first_session"],
            held["last_session"],
        ]


def _rule(rule: Row) -> Row:
    """A rule with its first offending rows as one table."""
    columns: dict[str, None] = {}
    for finding in rule["examples"]:
        for row in finding["examples"]:
            columns |= dict.fromkeys(row)
    own = [name for name in columns if name not in ("symbol", "session", "data_type")]
    rows: list[list[Any]] = []
    for finding in rule["examples"]:
        place = [finding["symbol"], finding["session"], finding["data_type"], finding["rows"]]
        rows += [
            [*place, *(_scalar(row.get(name)) for name in own)]
            for row in finding["examples"] or [{}]
        ]
    return {
        "rule": rule["rule"],
        "kind": "allowed" if rule["allowed"] is not None else rule["severity"],
        "allowed": rule["allowed"],
        "said": f"{count(rule['rows'], 'row')} in {count(rule['findings'], 'finding')}, "
        f"{count(rule['symbols'], 'symbol')}, {count(rule['sessions'], 'session')}",
        "columns": ["symbol", "session", "data type", "rows", *own],
        "rows": rows,
        "sentence": rule["sentence"],
        "shown": _shown(rule),
        "quoted": shell_word(f"rule={rule['rule']}"),
    }


def _shown(rule: Row) -> str:
    shown, findings = len(rule["examples"]), rule["findings"]
    if shown == findings:
        return "The first rows of each finding; timestamps are UTC."
    return (
        f"The first rows of {shown:,} of {count(findings, 'finding')}, those with the most rows"
        " first; timestamps are UTC."
    )


def _scalar(value: Any) -> Any:
    return as_json(value) if isinstance(value, dict | list) else value


def _reconciliation(row: Row) -> Row:
    """How our bars compared with one of the vendor's data types: shares, and classes."""
    names = (row["symbols"] or "").split(",") if row["symbols"] is not None else []
    days = [day_in_words(row[name]) for name in ("first_session", "last_session")]
    shares: dict[str, dict[str, Row]] = {}
    for share in row["shares"]:
        shares.setdefault(share["hours"], {})[share["field"]] = share
    fields = [name for name in COMPARED if any(name in told for told in shares.values())]
    seen = next((one["example"] for one in row["classes"] if one["example"]), None)
    return {
        "data_type": row["data_type"],
        "symbols": some(names, _SYMBOLS_NAMED) if names else "all symbols with trades",
        "days": days[0] if days[0] == days[1] else f"{days[0]} to {days[1]}",
        "checked_at": row["checked_at"],
        "columns": ["bars of", "compared", *("both have it" if name == "bar" else name
                                             for name in fields)],
        "rows": [
            [
                _HOURS.get(hours, hours),
                max(share["compared"] for share in told.values()),
                *(
                    percent(told[name]["equal"], told[name]["compared"]) if name in told else None
                    for name in fields
                ),
            ]
            for hours, told in shares.items()
        ],
        "said": _said_of(row),
        "class_columns": ["differences", "due to", "vanish with", "for example", "field", "ours",
                          "the vendor's"],
        "classes": [
            [one["count"], one["class"], one["cause"], *_example(row["data_type"], one)]
            for one in row["classes"]
        ],
        "of_classes": row["of_classes"],
        "see": _command(row["data_type"], seen) if seen else None,
    }  # fmt: skip


def _said_of(row: Row) -> str:
    """What explains most of the differences, in a sentence."""
    if not row["differences"]:
        return "Every field that both have is equal."
    if row["cause"] is None:
        return f"No change of the rules explains any of {count(row['differences'], 'difference')}."
    return (
        f"The change of the rules that explains most, {row['cause']}, makes"
        f" {row['explained']:,} of {count(row['differences'], 'difference')} vanish."
    )


def _example(data_type: str, one: Row) -> list[Any]:
    """Where the first difference is, in which field, and both values."""
    example = one["example"]
    if example is None:
        return [None, one["field"], None, None]
    place = f"{example['symbol']} {_begins(data_type, example)}"
    if one["field"] == "bar":
        ours, theirs = ("a bar" if example[side] else "none" for side in ("ours", "theirs"))
        return [place, one["field"], ours, theirs]
    return [place, one["field"], example["ours"], example["theirs"]]


def _begins(data_type: str, example: Row) -> str:
    if data_type == "day_aggs":
        return str(example["session"])
    begins = datetime.fromisoformat(example["timestamp"]).astimezone(NEW_YORK)
    return f"{begins:%Y-%m-%d %H:%M}"


def _command(data_type: str, example: Row) -> str:
    every = "1d" if data_type == "day_aggs" else "1m"
    return bar_facts.command(example["symbol"], _begins(data_type, example), every)


def _runs(runs: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """The columns of the runs that say anything, and their rows."""
    names = [name for name in _RUN_COLUMNS if any(run.get(name) is not None for run in runs)]
    return [_RUN_COLUMNS[name] for name in names], [
        [_figure_of(name, run[name]) for name in names] for run in runs
    ]


def _figure_of(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "started_at":
        return minute(value)
    if name == "peak_memory_bytes":
        return size(value)
    if name == "cache_hit_rate":
        return f"{value:.0%}"
    return round(value, 2) if isinstance(value, float) else value


def _symbol(facts: Facts, row: Row, place: int) -> Row:
    """A symbol's charts, and a sentence for each that there is no data for."""
    candles, trades, bar = (
        symbol_charts.candles(facts, row, place),
        symbol_charts.trades(facts, row, place),
        symbol_charts.bar(row, place),
    )
    quoted = symbol_charts.quoted(row, place)
    charts = [chart for chart in (candles, *quoted, trades, bar) if chart is not None]
    missing = [
        _without(facts, row["symbol"], data_types, types)
        for data_types, types, is_there in (
            ("minute_aggs and no day_aggs", ("minute_aggs", "day_aggs"), candles),
            ("quotes", ("quotes",), quoted),
            ("trades", ("trades",), trades),
        )
        if not is_there
    ]
    if row["bar"] is not None and bar is None:
        example = bar_facts.command(row["symbol"], f"{row['bar']['last_session']} 09:30")
        sentence = f"No bar of it is shown: {row['bar']['problem']}. Any is explained by:"
        missing.append((sentence, example))
    sessions = [f"{name} {days:,}" for name, days in row["sessions"].items() if days]
    return {
        "name": row["symbol"],
        "said": f"Sessions in this range: {', '.join(sessions) or 'none'}.",
        "charts": charts,
        "missing": missing,
    }


def _without(facts: Facts, symbol: str, data_types: str, types: Sequence[str]) -> tuple[str, str]:
    """That a symbol has no rows of these types, and the command that gets them, or tells why.

    An update has nothing to bring of sessions that are here with all symbols that they have.
    """
    span = f"--start {facts.start} --end {facts.end}"
    sentence = f"There are no {data_types} of it in this range."
    states = {(row["data_type"], row["state"]) for row in facts.coverage}
    if {state for state in states if state[0] in types} == {(each, "here") for each in types}:
        name = shell_word(symbol)
        return (
            f"{sentence} The sessions are here; why it has none in them is told by:",
            f"coverage {' '.join(types)} --symbols={name} {span}",
        )
    return f"{sentence} Get them with:", f"update {' '.join(types)} {span}"


def _breadth(facts: Facts) -> str:
    """How much room the calendar of a data type wants."""
    months = len({row["session"][:7] for row in facts.coverage})
    return "one" if months == 1 else "few" if months <= _FEW_MONTHS else "many"


def _right_of(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[bool]:
    """Which columns stand to the right: numbers, and what has a unit."""
    return [
        name in _WITH_UNITS
        or any(isinstance(row[n], int | float) and not isinstance(row[n], bool) for row in rows)
        for n, name in enumerate(columns)
    ]


def _figures(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6f}".rstrip("0").rstrip(".")
