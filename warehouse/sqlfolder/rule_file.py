"""The rules of validation: the files of sql/validate, what their headers say, whether they keep it.

A rule is one SELECT that gives the offending rows out; where it gives none, all is well:

    -- validate/locked_quotes: symbols whose bid equals their ask more often than is usual.
    -- grain: one row per symbol and session
    -- params: $max_locked_share double = 0.1
    -- severity: warning
    -- data_types: quotes
    -- on_ingest: no

It reads the data type under its own name (`quotes`) or as `checked`, which is each of its
`data_types` in turn; it may read other data types too, and beside them `sessions` (session,
open_ns, close_ns, is_half_day of the exchange's calendar), `trade_conditions`, `quote_conditions`,
`exchanges`, `partitions`, `source_files`, `rejects` and `splits`, those that were loaded from the
vendor's export. Parameters are the keys of `validation` in the configuration; what the header gives
as their defaults is what holds where it has none. Its columns are `symbol`, `session`, `timestamp`
(each NULL where it makes no sense) and whatever a person wants to see of the row. One that stands
for several rows says for how many in `row_count`.

On ingest (`on_ingest: yes`) it sees whole symbols, but not all of them at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import duckdb

from warehouse.core.config import ValidationConfig
from warehouse.core.datatypes import DATA_TYPES
from warehouse.errors import QueryError, RequestError, SqlFileError, one_line
from warehouse.sqlfolder.determinism import STABLE_TABLE_FUNCTIONS, function_name, nodes, parser
from warehouse.sqlfolder.files import SqlFile, SqlFolder, as_text
from warehouse.sqlfolder.select_check import check_select
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
        "splits",
    )
)
"""What a rule may read beside data types."""

_ON_INGEST = frozenset(("sessions", "trade_conditions", "quote_conditions", "exchanges"))
# Columns of these that have the name of one of the rows', too.
_OF_REFERENCE = frozenset(("id",))
_ANSWERS = {"yes": True, "no": False}


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        severity: "error" or "warning".
        data_types: what it is asked about, one after the other.
        reads: names of all tables it reads; `checked` is the data type it is asked about.
        on_ingest: it is asked whenever rows come in, and an error of it keeps them out.
        names: what it calls by name, in lower case; None: it may take in columns that it does not
            name, by a `*`, say.
        sentence: what its header says of it.
    """

    file: SqlFile
    severity: str
    data_types: tuple[str, ...]
    reads: frozenset[str]
    on_ingest: bool
    names: frozenset[str] | None
    sentence: str = field(compare=False)

    @property
    def name(self) -> str:
        return self.file.name.removeprefix("validate/")

    def may_see(self, column: str) -> bool:
        """Whether its answer may rest on the column of the rows it is asked about."""
        return self.names is None or column in self.names

    def reads_rows(self, data_type: str) -> frozenset[str]:
        """The data types whose rows it reads when it is asked about `data_type`."""
        named = self.reads & frozenset(DATA_TYPES)
        return named | {data_type} if CHECKED in self.reads else named


@dataclass(frozen=True)
class BrokenRule:
    """A file of sql/validate that cannot be asked, and so finds nothing.

    Attributes:
        name: the file's, without .sql.
        error: what is wrong with it.
        on_ingest: incoming rows were to be asked by it, as far as it can be read.
    """

    name: str
    error: SqlFileError
    on_ingest: bool


NOT_ASKED = "rules not asked: "
"""How the record of a run names those."""
_RULE = re.compile(r"[^.].*\.sql", re.DOTALL)


def not_asked(broken: Sequence[BrokenRule]) -> str:
    """The same of rules, for the record of a run; empty: each was asked."""
    named = ", ".join(f"{one.name} ({one.error.problem[:200]})" for one in broken[:3])
    more = f" and {len(broken) - 3:,} more" if len(broken) > 3 else ""
    return f"{NOT_ASKED}{named}{more}" if broken else ""


def read_rules(sql: SqlFolder) -> tuple[list[Rule], list[BrokenRule]]:
    """All rules, by name, and the files that are none; or the folder, where it cannot be listed.

    Who wants no rule keeps an empty one.
    """
    found: list[Rule] = []
    broken: list[BrokenRule] = []
    folder = sql.folder / "validate"
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        problem = (
            f"no rule is asked: {error.strerror}; put the folder of rules there, or an empty one"
        )
        return [], [BrokenRule(folder.name, SqlFileError(folder, problem), True)]
    for path in (folder / name for name in names if _RULE.fullmatch(name)):
        says = "yes"
        name = as_text(path)
        try:
            if name != path.stem:
                raise SqlFileError(path, "its name is no UTF-8 text; rename it")
            file = sql[f"validate/{path.stem}"]
            says = file.header.get("on_ingest", "no")
            found.append(_rule(file))
        except SqlFileError as error:
            broken.append(BrokenRule(name, error, says != "no"))
    return found, broken


def rules(sql: SqlFolder) -> list[Rule]:
    """All rules, by name.

    Raises:
        SqlFileError: a file breaks the conventions.
    """
    found, broken = read_rules(sql)
    for one in broken:
        raise one.error
    return found


def chosen(
    every: Sequence[Rule], names: Sequence[str], broken: Sequence[BrokenRule] = ()
) -> list[Rule]:
    """The rules of those names; none of them means all.

    Raises:
        RequestError: there is no such rule, or none at all.
        SqlFileError: one that is named cannot be asked.
    """
    for one in broken:
        if one.name in names:
            raise one.error
    if not every and not broken:
        raise RequestError("rules", "none", "sql/validate is empty; `warehouse init` fills it")
    known = {rule.name: rule for rule in every}
    for name in names:
        if name not in known:
            raise RequestError("rule", name, one_of(name, known))
    return [known[name] for name in dict.fromkeys(names)] if names else list(every)


def _rule(file: SqlFile) -> Rule:
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
    try:
        reads, named = _named_in(file.body, on_ingest)
    except (QueryError, duckdb.Error) as error:
        raise SqlFileError(file.path, f"is no single SELECT: {one_line(error)}") from error
    strange = sorted(reads - FACTS - DATA_TYPES.keys() - {CHECKED})
    if strange:
        may = ", ".join((CHECKED, *DATA_TYPES, *sorted(FACTS)))
        raise _broken(file, f"a table {strange[0]!r}", f"tables among {may}")
    if on_ingest:
        _check_on_ingest(file, data_types, reads)
    return Rule(file, severity, data_types, reads, on_ingest, named, file.sentence)


def _check_on_ingest(file: SqlFile, data_types: tuple[str, ...], reads: frozenset[str]) -> None:
    own = {CHECKED} | (set(data_types) if len(data_types) == 1 else set())
    other = sorted(reads - _ON_INGEST - own)
    if other:
        raise _broken(
            file,
            f"on_ingest: yes, and reads {', '.join(other)}",
            "the incoming rows alone then: of on_ingest: no it may read more",
        )


@lru_cache(maxsize=256)
def _named_in(body: str, with_columns: bool) -> tuple[frozenset[str], frozenset[str] | None]:
    """The tables that a SELECT reads, and what `_names` says of it.

    The same file is in many warehouses, and is read once.

    Raises:
        QueryError, duckdb.Error: it is no single SELECT.
    """
    with parser() as connection:
        tree = check_select(connection, body, STABLE_TABLE_FUNCTIONS, "a rule of validation").tree
    return _tables(list(nodes(tree))), _names(tree) if with_columns else None


def _tables(found: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Names of the tables that a SELECT reads, but for those of its own WITH."""
    own = {str(e["key"]) for node in found for e in node.get("cte_map", {}).get("map", [])}
    named = {
        ".".join(node["qualified_name"]["path"])
        for node in found
        if node.get("type") == "BASE_TABLE"
    }
    return frozenset(named - own)


def _names(tree: Any) -> frozenset[str] | None:
    """Every name in a SELECT that may be a column's, in lower case.

    None where a column may count that is not named: by a `*` (which `from trades` alone has too),
    by a row taken whole (`select trades from trades`), or by its place.
    """
    names: set[str] = set()
    try:
        _add_names(tree, names, _Scope())
    except _WholeRowsError:
        return None
    return frozenset(names)


class _WholeRowsError(Exception):
    """A SELECT takes in columns that it does not name."""


@dataclass(frozen=True)
class _Scope:
    """What names mean in a part of a SELECT.

    Attributes:
        relations: what it selects from, and what the SELECTs around it do.
        of_reference: names of columns of the one table of reference that it selects from.
    """

    relations: frozenset[str] = frozenset()
    of_reference: frozenset[str] = frozenset()

    def within(self, select: Mapping[str, Any]) -> _Scope:
        tables = list(_base_tables(select.get("from_table")))
        called = {name.lower() for alias, path in tables for name in (alias, path) if name}
        is_reference = len(tables) == 1 and tables[0][1] in _ON_INGEST
        return _Scope(self.relations | called, _OF_REFERENCE if is_reference else frozenset())


def _base_tables(item: Any) -> Iterator[tuple[str, str]]:
    """(alias, name) of the tables of a FROM, but for those within subqueries."""
    if isinstance(item, dict):
        if item.get("type") == "BASE_TABLE":
            yield item.get("alias") or "", item["qualified_name"]["path"][-1]
        elif item.get("type") == "SUBQUERY":
            yield item.get("alias") or "", ""
        else:
            for value in item.values():
                yield from _base_tables(value)
    elif isinstance(item, list):
        for each in item:
            yield from _base_tables(each)


def _add_names(item: Any, names: set[str], scope: _Scope) -> None:
    """Add the names below a node of the tree.

    Raises:
        _WholeRowsError: columns are taken in that have no name there.
    """
    if isinstance(item, list):
        for each in item:
            _add_names(each, names, scope)
        return
    if not isinstance(item, dict):
        return
    _check_by_name(item)
    if item.get("type") == "SELECT_NODE":
        scope = scope.within(item)
    elif item.get("type") == "COLUMN_REF":
        parts = [str(part).lower() for part in item["column_names"]]
        if parts[-1] in scope.relations:
            raise _WholeRowsError
        is_qualified = len(parts) > 1
        if parts[0] not in (_ON_INGEST if is_qualified else scope.of_reference):
            names.update(parts)
    names.update(str(name).lower() for name in item.get("using_columns", []))
    for value in item.values():
        _add_names(value, names, scope)


def _check_by_name(node: Mapping[str, Any]) -> None:
    kind = node.get("type")
    if (
        kind in ("STAR", "PIVOT", "SHOW_REF")
        or (kind == "JOIN" and node.get("ref_type") in ("NATURAL", "POSITIONAL"))
        or (kind == "BASE_TABLE" and node.get("column_name_alias"))
        or (
            kind == "TABLE_FUNCTION"
            and function_name(node["function"]) not in STABLE_TABLE_FUNCTIONS
        )
    ):
        raise _WholeRowsError


def _broken(file: SqlFile, found: str, expected: str) -> SqlFileError:
    return SqlFileError(file.path, f"has {found}; a rule of validation has {expected}")
