"""What the files of sql/catalog may do, and whether all that they make can be asked.

They are run by whoever writes, and what they make is asked by every reader, so an edit that goes
wrong would stop all of them. A file creates tables, views and macros and fills tables, by SELECTs
that only read: partitions, rejects and the files of config/. Before a catalog is published, each is
made over partitions without rows, and each view and macro is bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import duckdb

from warehouse.errors import QueryError, SqlFileError, one_line
from warehouse.sqlfolder.determinism import STABLE_TABLE_FUNCTIONS, parse
from warehouse.sqlfolder.files import SqlFile
from warehouse.sqlfolder.select_check import check_select, check_tree, explained

PROBE = "PROBE"
"""The symbol whose partitions are there, without rows, while views and macros are bound."""

_WHAT = "a file of sql/catalog"
_ATTACHED = {"duckdb_databases", "duckdb_tables", "duckdb_views"}
_MAY_CALL = STABLE_TABLE_FUNCTIONS | {"read_parquet", "read_csv", "glob"} | _ATTACHED

_MADE = r"create\s+(?:or\s+replace\s+)?"
_TABLE = re.compile(
    rf"{_MADE}table\s+(?:if\s+not\s+exists\s+)?\w+\s+as\b(?P<select>.*)", re.IGNORECASE | re.DOTALL
)
_EMPTY_TABLE = re.compile(
    rf"{_MADE}table\s+(?:if\s+not\s+exists\s+)?\w+\s*\((?P<columns>[\w\s,()\[\].]*)\)",
    re.IGNORECASE,
)
_VIEW = re.compile(
    rf"{_MADE}view\s+(?:if\s+not\s+exists\s+)?\w+\s+as\b(?P<select>.*)", re.IGNORECASE | re.DOTALL
)
_INSERT = re.compile(
    r"insert\s+into\s+\w+\s+(?:by\s+(?:name|position)\s+)?(?P<select>(?:select|with|from)\b.*)",
    re.IGNORECASE | re.DOTALL,
)
WRITERS = frozenset(
    [
        "warehouse",
        "manifests",
        "source_files",
        "runs",
        "restatements",
        "findings",
        "reconciliations",
    ]
)
"""Tables of sql/catalog/tables.sql, which a writer fills: of what was done, and what is here."""
_REPLACED = re.compile(
    r"create\s+(?:or\s+replace\s+table|(?:or\s+replace\s+)?view)\s+(?:if\s+not\s+exists\s+)?"
    r"(?P<name>\w+)",
    re.IGNORECASE,
)
_NAMED_VIEW = re.compile(rf"{_MADE}view\s+(?:if\s+not\s+exists\s+)?(?P<name>\w+)", re.IGNORECASE)
_MACRO = re.compile(rf"{_MADE}macro\s+(?P<name>\w+)\s*\(", re.IGNORECASE)
_WORDS_OF_SELECTS = re.compile(r"\b(as|select|from|with|values)\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LEADING = re.compile(rf"(?:\s|{_COMMENT.pattern})+", re.DOTALL)

_REMEMBERED = 256
_passed: set[tuple[str, frozenset[str]]] = set()


def macros_of(files: Iterable[SqlFile]) -> frozenset[str]:
    """Names of the macros that files make, in lower case."""
    return frozenset(
        match["name"].lower() for file in files for match in _MACRO.finditer(file.body)
    )


def check_statements(
    connection: duckdb.DuckDBPyConnection, file: SqlFile, macros: frozenset[str] = frozenset()
) -> None:
    """Refuse a file that does more than create tables, views and macros, and fill tables.

    What a macro holds is looked at once it is made: `check_macros`.

    Args:
        macros: names of macros that it may select from.

    Raises:
        SqlFileError: names the file.
    """
    key = (file.body, macros)
    if key in _passed:
        return
    try:
        for statement in connection.extract_statements(file.body):
            _check_statement(connection, statement, _MAY_CALL | macros)
    except QueryError as error:
        raise SqlFileError(file.path, error.problem) from error
    except duckdb.Error as error:
        raise SqlFileError(file.path, one_line(error)) from error
    if len(_passed) >= _REMEMBERED:
        _passed.clear()
    _passed.add(key)


def _check_statement(
    connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement, may_call: frozenset[str]
) -> None:
    text = statement.query.strip().removesuffix(";").rstrip()
    if leading := _LEADING.match(text):
        text = text[leading.end() :]
    replaced = _REPLACED.match(text)
    if replaced and replaced["name"].lower() in WRITERS:
        problem = f"{_WHAT} puts nothing in the place of the table {replaced['name']}"
        raise QueryError(text, problem)
    for form in (_TABLE, _VIEW, _INSERT):
        if match := form.fullmatch(text):
            check_select(connection, match["select"], may_call, f"what {_WHAT} selects")
            return
    if _MACRO.match(text):
        return
    bare = _COMMENT.sub("", text).strip()
    match = _EMPTY_TABLE.fullmatch(bare)
    if match and not _WORDS_OF_SELECTS.search(match["columns"]):
        return
    raise QueryError(
        text,
        f"{_WHAT} creates tables, views and macros, and inserts what a SELECT gives into its"
        f" tables; this is another statement: {' '.join(text.split())[:60]}",
    )


def check_macros(
    connection: duckdb.DuckDBPyConnection, files: Sequence[SqlFile], names: frozenset[str]
) -> None:
    """Refuse macros that do more than read, and views and macros that cannot be bound.

    Args:
        connection: what the files make was made in it.
        names: of the macros that may be selected from.

    Raises:
        SqlFileError: names the file that makes it.
    """
    made_by = {name: file for file in files for name in macros_of([file])}
    definition = "if(function_type = 'macro', 'select ', '') || macro_definition"
    rows = connection.execute(
        f"""
        select function_name, function_type = 'table_macro', parameters, {definition}
        from duckdb_functions()
        where not internal and function_type in ('macro', 'table_macro')
        """
    ).fetchall()
    _check_views(connection, files)
    forms: dict[str, list[int]] = {}
    for name, _, parameters, _ in rows:
        forms.setdefault(name, []).append(len(parameters))
    for name, is_table, parameters, text in rows:
        file = made_by.get(name.lower())
        if file is None:
            continue
        try:
            check_tree(parse(connection, text), text, _MAY_CALL | names, f"the macro {name}")
        except QueryError as error:
            raise SqlFileError(file.path, error.problem) from error
        others = {count for count in forms[name] if count != len(parameters)}
        problem = _unbound(connection, name, is_table, parameters, others)
        if problem is not None:
            raise SqlFileError(file.path, f"its macro {name} cannot be asked: {problem}")


def _check_views(connection: duckdb.DuckDBPyConnection, files: Sequence[SqlFile]) -> None:
    """Refuse views that cannot be asked once all are made.

    One that takes the place of another was bound to that, and may name itself.
    """
    made_by = {name: file for file in files for name in _views_of(file)}
    for (name,) in connection.execute(
        "select view_name from duckdb_views() where not internal"
    ).fetchall():
        file = made_by.get(name.lower())
        if file is None:
            continue
        try:
            _ = connection.sql(f'from "{name}"').columns
        except (duckdb.BinderException, duckdb.CatalogException) as error:
            problem = f"its view {name} cannot be asked: {explained(error)}"
            raise SqlFileError(file.path, problem) from error


def _views_of(file: SqlFile) -> frozenset[str]:
    return frozenset(match["name"].lower() for match in _NAMED_VIEW.finditer(file.body))


def _unbound(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    is_table: bool,
    parameters: Sequence[str],
    others: set[int],
) -> str | None:
    """Why a form of a macro cannot be bound, whatever it is given; None: it can.

    Args:
        others: how many parameters its other forms have.
    """
    problems, has_refused = [], False
    for arguments in _arguments(parameters):
        if has_refused and len(arguments) == len(parameters):
            break
        if len(arguments) in others:
            continue
        call = f'"{name}"({", ".join(arguments)})'
        try:
            _ = connection.sql(f"from {call}" if is_table else f"select {call}").columns
        except (duckdb.BinderException, duckdb.CatalogException) as error:
            problems.append(explained(error))
        except duckdb.Error:
            # It has no use for such a value, and may have refused it before all of it was bound:
            # with its defaults, where it has any, it is.
            has_refused = True
        else:
            return None
    # That it takes other arguments says nothing of what it holds.
    telling = [text for text in problems if "argument" not in text and "parameter" not in text]
    return None if has_refused and not telling else (telling or problems)[0]


def _arguments(parameters: Sequence[str]) -> Iterator[list[str]]:
    """Values to ask a macro with: fewer, too, for a parameter may have a default."""
    known = {"symbol": f"'{PROBE}'", "first": "date '2000-01-03'", "last": "date '2000-01-03'"}
    for other in ("null", f"'{PROBE}'", "0"):
        values = [known.get(name.lower(), other) for name in parameters]
        for count in range(len(values), -1, -1):
            yield values[:count]
