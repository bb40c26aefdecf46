"""The rules of validation: the files of sql/validate, what their headers say, whether they keep it.

A rule is one SELECT that gives the offending rows out; where it gives none, all is well:

    -- validate/locked_quotes: symbols whose bid equals their ask more often than is usual.
    -- severity: warning
    -- data_types: quotes
    -- grain: one row per symbol and session
    -- params: $max_locked_share
    -- on_ingest: no

It reads the data type under its own name (`quotes`) or as `checked`, which is each of its
`data_types` in turn; it may read other data types too, and beside them `sessions` (session,
open_ns, close_ns, is_half_day of the exchange's calendar), `trade_conditions`, `quote_conditions`,
`exchanges`, `partitions`, `source_files` and `rejects`. Parameters are the keys of `validation` in
the configuration. Its columns are `symbol`, `session`, `timestamp` (each NULL where it makes no
sense) and whatever a person wants to see of the row. One that stands for several rows says for how
many in `row_count`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import duckdb

from warehouse.config import ValidationConfig
from warehouse.duckdb_connection import connect
from warehouse.errors import QueryError, RequestError, SqlFileError, one_line
from warehouse.schema import DATA_TYPES
from warehouse.selects import check_select
from warehouse.sqlfiles import SqlFile, SqlFolder
from warehouse.syntax import STABLE_TABLE_FUNCTIONS, nodes
from warehouse.text import one_of

ERROR, WARNING = "error", "warning"

PARAMETERS = frozenset(ValidationConfig.model_fields)
CHECKED = "checked"
"""The name of the data type that is being validated, whichever it is."""

FACTS = frozenset(
    (
        "sessions",
        "trade_conditions",
        "quote_conditions",
        "exchanges",
        "partitions",
        "source_files",
        "rejects",
    )
)
"""What a rule may read beside data types."""

_ON_INGEST = frozenset(("sessions", "trade_conditions", "quote_conditions", "exchanges"))
_ANSWERS = {"yes": True, "no": False}


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        severity: "error" or "warning".
        data_types: what it is asked about, one after the other.
        reads: names of all tables it reads; `checked` is the data type it is asked about.
        on_ingest: it is asked whenever rows come in, and an error of it keeps them out.
        sentence: what its header says of it.
    """

    file: SqlFile
    severity: str
    data_types: tuple[str, ...]
    reads: frozenset[str]
    on_ingest: bool
    sentence: str = field(compare=False)

    @property
    def name(self) -> str:
        return self.file.name.removeprefix("validate/")

    def reads_rows(self, data_type: str) -> frozenset[str]:
        """The data types whose rows it reads when it is asked about `data_type`."""
        named = self.reads & frozenset(DATA_TYPES)
        return named | {data_type} if CHECKED in self.reads else named


def rules(sql: SqlFolder) -> list[Rule]:
    """All rules, by name.

    Raises:
        SqlFileError: a file breaks the conventions.
    """
    with connect(threads=1) as connection:
        return [
            _rule(sql[f"validate/{path.stem}"], connection)
            for path in sorted((sql.folder / "validate").glob("*.sql"))
        ]


def chosen(every: Sequence[Rule], names: Sequence[str]) -> list[Rule]:
    """The rules of those names; none of them means all.

    Raises:
        RequestError: there is no such rule, or none at all.
    """
    if not every:
        raise RequestError("rules", "none", "sql/validate is empty; `warehouse init` fills it")
    known = {rule.name: rule for rule in every}
    for name in names:
        if name not in known:
            raise RequestError("rule", name, one_of(name, known))
    return [known[name] for name in dict.fromkeys(names)] if names else list(every)


def _rule(file: SqlFile, connection: duckdb.DuckDBPyConnection) -> Rule:
    header = file.header
    severity = header.get("severity", "")
    if severity not in (ERROR, WARNING):
        raise _broken(file, f"severity: {severity!r}", f"{ERROR} or {WARNING}")
    data_types = tuple(filter(None, (n.strip() for n in header.get("data_types", "").split(","))))
    if not data_types or not set(data_types) <= DATA_TYPES.keys():
        found = ", ".join(data_types)
        raise _broken(file, f"data_types: {found!r}", f"one or more of {', '.join(DATA_TYPES)}")
    if "grain" not in header:
        raise _broken(file, "no grain:", "what one row of its answer is")
    on_ingest = _ANSWERS.get(header.get("on_ingest", "no"))
    if on_ingest is None:
        raise _broken(file, f"on_ingest: {header['on_ingest']!r}", "yes or no")
    unknown = sorted(file.parameters - PARAMETERS)
    if unknown:
        raise _broken(
            file, f"parameters {unknown}", f"keys of `validation`: {', '.join(sorted(PARAMETERS))}"
        )
    reads = _tables(file, connection)
    strange = sorted(reads - FACTS - DATA_TYPES.keys() - {CHECKED})
    if strange:
        may = ", ".join((CHECKED, *DATA_TYPES, *sorted(FACTS)))
        raise _broken(file, f"a table {strange[0]!r}", f"tables among {may}")
    if on_ingest:
        _check_on_ingest(file, data_types, reads)
    return Rule(file, severity, data_types, reads, on_ingest, sentence_of(file))


def _check_on_ingest(file: SqlFile, data_types: tuple[str, ...], reads: frozenset[str]) -> None:
    own = {CHECKED} | (set(data_types) if len(data_types) == 1 else set())
    other = sorted(reads - _ON_INGEST - own)
    if other:
        raise _broken(
            file,
            f"on_ingest: yes, and reads {', '.join(other)}",
            "the incoming rows alone then: of on_ingest: no it may read more",
        )


def _tables(file: SqlFile, connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Names of the tables that a SELECT reads, but for those of its own WITH."""
    try:
        tree = check_select(
            connection, file.body, STABLE_TABLE_FUNCTIONS, "a rule of validation"
        ).tree
    except (QueryError, duckdb.Error) as error:
        raise SqlFileError(file.path, f"is no single SELECT: {one_line(error)}") from error
    found = list(nodes(tree))
    own = {str(e["key"]) for node in found for e in node.get("cte_map", {}).get("map", [])}
    named = {
        ".".join(node["qualified_name"]["path"])
        for node in found
        if node.get("type") == "BASE_TABLE"
    }
    return frozenset(named - own)


def _broken(file: SqlFile, found: str, expected: str) -> SqlFileError:
    return SqlFileError(file.path, f"has {found}; a rule of validation has {expected}")


def sentence_of(file: SqlFile) -> str:
    """What stands in the header after the name, up to the first line of another kind."""
    lines = [line.removeprefix("--").strip() for line in file.text.splitlines()]
    taken: list[str] = []
    for line in lines:
        key, colon, _ = line.partition(":")
        if not line or (taken and colon and key.replace("_", "").isalpha()):
            break
        taken.append(line.partition(": ")[2] if not taken else line)
    return " ".join(taken)
