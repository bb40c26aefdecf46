"""What may run as a SELECT: exactly one, that only reads, from what it may read.

DuckDB's own parser says what a statement is made of. Its statement type alone does not: since 2.0 a
SELECT may carry a COPY TO, an INSERT or a DELETE in a WITH clause. Questions of a person and files
of sql/, which may be a stranger's, pass the same check.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import duckdb

from warehouse.errors import QueryError, SqlFileError
from warehouse.sqlfolder.determinism import STABLE_TABLE_FUNCTIONS, function_name, nodes, parse
from warehouse.sqlfolder.files import SqlFile
from warehouse.text import meant

_READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})

INGESTING = STABLE_TABLE_FUNCTIONS | {"read_csv"}
"""What the files of sql/ingest may select from beside tables: the piece of a raw file."""
READING_REJECTS = STABLE_TABLE_FUNCTIONS | {"read_parquet"}
"""What sql/coverage/rejected may select from: files of rejects that it is given by name."""

_MOST_NAMED = 10_000
"""So many tables a SELECT may name once each WITH stands where it is named. Forty that name the one
before twice would be a million million: DuckDB binds them without end, in any amount of memory, and
hears no Ctrl-C."""
_REMEMBERED = 1024
_passed: set[tuple[str, frozenset[str]]] = set()


@dataclass(frozen=True)
class Select:
    """A SELECT that may run.

    Attributes:
        tree: its syntax tree, as DuckDB has it.
        parameters: the names that need a value.
    """

    tree: Any
    parameters: frozenset[str]


def check_select(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    may_call: Collection[str],
    what: str = "a query",
) -> Select:
    """A SELECT, checked.

    Args:
        may_call: names of the functions that may stand in FROM, in lower case.
        what: what it is, for the message.

    Raises:
        QueryError: it is something else, or cannot be parsed.
    """
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(sql, explained(error)) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(_kind(statement) for statement in statements) or "nothing"
        hint = " (write out PIVOT's values: on x in ('a', 'b'))" if "MULTI" in kinds else ""
        raise QueryError(sql, f"{what} is exactly one SELECT; this is {kinds}{hint}")
    tree = parse(connection, sql)
    check_tree(tree, sql, may_call, what)
    return Select(tree, frozenset(statements[0].named_parameters))


def check_tree(tree: Any, sql: str, may_call: Collection[str], what: str) -> None:
    """The same of a syntax tree that `parse` gave.

    Raises:
        QueryError: it does more than read, or reads what it may not.
    """
    for node in nodes(tree):
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _READING_NODES:
            verb = kind.removesuffix("_NODE").removesuffix("_QUERY")
            raise QueryError(sql, f"{what} is exactly one SELECT; this one holds a {verb}")
        if kind == "TABLE_FUNCTION":
            name = function_name(node["function"])
            if name not in may_call:
                hint = meant(name, sorted(may_call))
                raise QueryError(sql, f"{what} may not select from {name}(){hint}")
    if _named(tree) > _MOST_NAMED:
        raise QueryError(
            sql,
            f"{what} may name {_MOST_NAMED:,} tables at most, once each WITH stands where it is"
            " named; let each name those before it less often",
        )


def _named(tree: Any) -> int:
    """How many tables a SELECT names, at most, once each WITH stands where it is named."""
    within: dict[str, Counter[str]] = {}
    for node in nodes(tree):
        for one in node.get("cte_map", {}).get("map", ()):
            found = within.setdefault(str(one["key"]).lower(), Counter())
            found |= _tables(one["value"])
    counts: dict[str, int] = {}

    def count(names: Counter[str]) -> int:
        return sum(many * counts.get(name, 1) for name, many in names.items())

    waiting = [*within]
    begun: set[str] = set()
    while waiting:
        name = waiting[-1]
        before = [] if name in begun else [one for one in within[name] if one in within]
        begun.add(name)
        waiting += [one for one in before if one not in begun]
        if waiting[-1] == name:
            counts[waiting.pop()] = max(count(within[name]), 1)
    return count(_tables(tree))


def _tables(tree: Any) -> Counter[str]:
    return Counter(
        str(node["table_name"]).lower() for node in nodes(tree) if node.get("type") == "BASE_TABLE"
    )


def _kind(statement: duckdb.Statement) -> str:
    return str(statement.type).removeprefix("StatementType.")


def check_file(
    connection: duckdb.DuckDBPyConnection,
    file: SqlFile,
    may_call: frozenset[str] = STABLE_TABLE_FUNCTIONS,
) -> None:
    """Refuse a file of sql/ that is more than one SELECT; a text is looked at once.

    Raises:
        SqlFileError: names the file.
    """
    key = (file.body, may_call)
    if key in _passed:
        return
    try:
        check_select(connection, file.body, may_call, f"a file of sql/{file.name.split('/')[0]}")
    except QueryError as error:
        raise SqlFileError(file.path, error.problem) from error
    if len(_passed) >= _REMEMBERED:
        _passed.clear()
    _passed.add(key)


def explained(error: Exception) -> str:
    """DuckDB's message with its hint, without the picture of the statement."""
    text = re.sub(r"\n+LINE \d+:.*", "", str(error), flags=re.DOTALL)
    return " ".join(text.split())[:1000]
