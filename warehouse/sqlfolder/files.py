"""The SQL files: where they stand, what their headers promise, what they come to as a fingerprint.

A file holds one statement (those of catalog/ hold several) under a header comment:

    -- report/runs: the last runs, latest first.
    -- grain: run_id
    -- params: $most integer
    --
    -- Whatever else a reader should know.

First its name and a sentence, then keys in this order, each where it applies: `grain`, what one row
is (its unique key); `params`, each with its type and, where it has one, its default. Rules go on
with `severity`, `data_types` and `on_ingest` (`rule_file` says what they mean), features with
`lookback`, `freq`, `columns` and `source` (`feature_file`). Statements of bars say after `grain`
under `reads` which relations they rest on (`bars.bar_file`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.core.paths import shipped
from warehouse.core.small_files import read_small
from warehouse.errors import DamagedCatalogError, QueryError, SqlFileError, WarehouseError, one_line

MOST_BYTES = 1 << 17
"""A larger file is not read: its trees, DuckDB's and sqlglot's, have thousands of times that."""
MOST_REPORT_ROWS = 100_000
"""Of an edited file of report/; a page is drawn from far fewer, and each becomes Python objects."""
_HEADER_LINE = re.compile(r"(\w+):\s*(.*)")
_PARAMETER = re.compile(r"\$([A-Za-z_]\w*)")
# What ends a line, and so a comment, in DuckDB; str.splitlines() takes form feeds and the like too.
_LINE_END = re.compile(r"\r\n|[\r\n]")


# What a statement is made of, in the order in which it is looked for: white space, comments, what
# stands in quotes, names and numbers, signs. A name goes on over `$`, as DuckDB has it.
_WORDS = re.compile(
    r"""
      (?P<blank> \s+ | --[^\r\n]* )
    | (?P<comment> /\* )
    | (?P<quoted> [eE]'(?:[^'\\]|\\.|'')*' | [xXbB]?'(?:[^']|'')*' | "(?:[^"]|"")*"
        | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<word> \d [\w.]* (?:(?<=[eE])[-+]\d+)? | [\w$]+ )
    | (?P<unended> ['"] )
    | (?P<signs> [-+*/<>=~!@%^&|?:\#`\\]+? (?= --|/\*|[^-+*/<>=~!@%^&|?:\#`\\]|$) | . )
    """,
    re.VERBOSE | re.DOTALL,
)


def words(sql: str) -> Iterator[str]:
    """The words and signs of a statement, without comments; in lower case outside of quotes.

    Raises:
        ValueError: a literal or a comment has no end.
    """
    place = 0
    while place < len(sql):
        found = _WORDS.match(sql, place)
        assert found is not None  # its last part takes any sign
        place = found.end()
        kind = found.lastgroup
        if kind == "comment":
            place = _end_of_comment(sql, place)
        elif kind == "unended":
            raise ValueError(f"what begins with {found[0]} has no end")
        elif found["quoted"]:
            yield found[0]
        elif kind != "blank":
            yield found[0].lower()


def _end_of_comment(sql: str, place: int) -> int:
    """The place after the comment that holds `place`; within one there may be others."""
    depth = 1
    for edge in re.finditer(r"/\*|\*/", sql[place:]):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return place + edge.end()
    raise ValueError("a comment has no end")


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("--")


def as_text(path: Path) -> str:
    """The name of a file of sql/ without `.sql`, as catalog and history can hold it.

    A disk takes names that are no UTF-8, as one that was written elsewhere may be.
    """
    return path.stem.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class SqlFile:
    """One statement.

    Attributes:
        path: where it was read.
        name: its path below the SQL folder without `.sql`, as `clean/trades`.
        text: the whole file.
        header: `grain`, `params`, … as its header comment gives them.
    """

    path: Path
    name: str
    text: str

    @cached_property
    def comment(self) -> list[str]:
        """The header comment's lines, without their dashes."""
        lines = (line.lstrip() for line in _LINE_END.split(self.text))
        kept = takewhile(lambda line: line.startswith("--"), lines)
        return [line.removeprefix("--").strip() for line in kept]

    @cached_property
    def sentence(self) -> str:
        """What stands in the header after the name, up to the first key or empty line."""
        rest = takewhile(lambda line: line and not _HEADER_LINE.match(line), self.comment[1:])
        return " ".join([*self.comment[:1], *rest]).partition(": ")[2]

    @cached_property
    def header(self) -> dict[str, str]:
        """A key's text goes on over the lines that follow; after an empty one there are none."""
        found: dict[str, str] = {}
        key = None
        for line in self.comment:
            if match := _HEADER_LINE.match(line):
                key = match[1]
                found[key] = match[2].strip()
            elif not line and found:
                break
            elif key is not None:
                found[key] = f"{found[key]} {line}".strip()
        return found

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Names of the `$parameters` that the header declares.

        Raises:
            SqlFileError: the statement uses others than those.
        """
        declared = frozenset(_PARAMETER.findall(self.header.get("params", "")))
        used = frozenset(_PARAMETER.findall(self.body))
        if declared != used:
            raise SqlFileError(
                self.path,
                f"its header declares params {sorted(declared)}, but the statement uses"
                f" {sorted(used)}; make them agree",
            )
        return declared

    @cached_property
    def body(self) -> str:
        """The statement without the header comment and its final semicolon."""
        lines = _LINE_END.split(self.text)
        start = next((n for n, line in enumerate(lines) if not _is_comment(line)), len(lines))
        return "\n".join(lines[start:]).strip().removesuffix(";")

    def fingerprint(self) -> str:
        """SHA-256 of the statement's words: comments, line breaks and capitals change nothing.

        It is the same whatever reads the statement: no version of a parser has a say in it.

        Raises:
            SqlFileError: a literal or a comment has no end.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        try:
            return _digest(self.body)
        except ValueError as error:
            raise SqlFileError(self.path, f"cannot be parsed: {error}") from error


@lru_cache(maxsize=256)
def _digest(body: str) -> str:
    """Of a statement's words; a question rests on some ten, which are the same each time."""
    normal = " ".join(words(body)).rstrip("; ")
    return hashlib.sha256(normal.encode(errors="surrogatepass")).hexdigest()


class SqlFolder:
    """The SQL files of one warehouse; each is read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, SqlFile] = {}
        self._fingerprints: dict[str, str] = {}

    def __getitem__(self, name: str) -> SqlFile:
        """The file of that name, as `clean/trades`.

        Raises:
            SqlFileError: there is none, or it cannot be read.
        """
        if name not in self._files:
            path = self.folder / f"{name}.sql"
            try:
                self._files[name] = SqlFile(path, name, read_small(path, MOST_BYTES))
            except (OSError, ValueError) as error:
                # What is no text is there, and the one that comes with the project is not added.
                added = (
                    "; `warehouse init DIR` adds the files that come with the project, which are in"
                    f" {shipped('sql')}"
                )
                hint = added if isinstance(error, OSError) else ""
                raise SqlFileError(path, f"cannot be read ({error}){hint}") from error
        return self._files[name]

    def or_shipped(self, name: str) -> SqlFile:
        """The file of that name; the project's own, where an earlier version made the folder."""
        is_here = (self.folder / f"{name}.sql").exists()
        return self[name] if is_here else come_with_us()[name]

    def forget(self) -> None:
        """Read each file again, when it is asked for: they have changed."""
        self._files.clear()
        self._fingerprints.clear()

    def fingerprint(self, names: tuple[str, ...], settings: Mapping[str, object]) -> str:
        """One id of several statements together with the settings they are given."""
        digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode())
        for name in names:
            digest.update(f"{name}={self.statement_fingerprint(name)};".encode())
        return digest.hexdigest()[:16]

    def statement_fingerprint(self, name: str) -> str:
        """That of one file alone."""
        if name not in self._fingerprints:
            self._fingerprints[name] = self[name].fingerprint()
        return self._fingerprints[name]


@lru_cache(maxsize=1)
def come_with_us() -> SqlFolder:
    """The files that come with the project, each read once a process."""
    return SqlFolder(shipped("sql"))


def answer_of(
    file: SqlFile,
    values: Mapping[str, Any],
    ask: Callable[[str, dict[str, Any]], pa.Table | None],
) -> pa.Table | None:
    """What a file of sql/ gives, in which stands what the shipped one gives, whoever edited it.

    Args:
        values: of its parameters, and perhaps others.
        ask: gives the answer to a statement and its values; None where there is nothing to ask.

    Raises:
        SqlFileError: it cannot be answered where the shipped one can, lacks a column of that, or
            has one of another kind; or a value is missing. Or it is one of report/ that gives more
            rows than a page is drawn from.
    """
    ours = come_with_us()[file.name]
    given = _given(file, values)
    is_bounded = file.body != ours.body and file.name.startswith("report/")

    def bounded(sql: str, given: dict[str, Any]) -> pa.Table | None:
        try:
            return ask(f"from (\n{sql}\n) limit {MOST_REPORT_ROWS + 1}", given)
        except _UNANSWERED:
            # What is wrong with it is told of the file as it stands.
            return ask(sql, given)

    try:
        found = (bounded if is_bounded else ask)(file.body, given)
    except _UNANSWERED as error:
        if file.body == ours.body or not _is_answered(ours, values, ask):
            raise
        cause = error if isinstance(error, duckdb.Error) else error.__cause__ or error
        raise SqlFileError(file.path, one_line(cause)) from error
    if is_bounded and found is not None and found.num_rows > MOST_REPORT_ROWS:
        problem = f"gives more than {MOST_REPORT_ROWS:,} rows; let it sum them, or end with LIMIT"
        raise SqlFileError(file.path, problem)
    if found is not None and file.body != ours.body:
        due = ask(f"from (\n{ours.body}\n) limit 0", _given(ours, values))
        for column in () if due is None else due.schema:
            place = found.schema.get_field_index(column.name)
            if place < 0:
                raise SqlFileError(file.path, f"its SELECT gives no column {column.name}")
            kind = found.schema.field(place).type
            if not _is_like(kind, column.type):
                problem = f"its column {column.name} is of the type {kind}, not {column.type}"
                raise SqlFileError(file.path, problem)
    return found


_UNANSWERED = (duckdb.Error, DamagedCatalogError, QueryError)
"""What it may be called that DuckDB cannot answer a statement: of its own fault, or of the data."""


def _is_answered(
    file: SqlFile,
    values: Mapping[str, Any],
    ask: Callable[[str, dict[str, Any]], pa.Table | None],
) -> bool:
    try:
        ask(file.body, _given(file, values))
    except (WarehouseError, duckdb.Error):
        return False
    return True


def _given(file: SqlFile, values: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(file.parameters - values.keys())
    if unknown:
        told = f"takes ${unknown[0]}, and is given {', '.join(f'${name}' for name in values)}"
        raise SqlFileError(file.path, told)
    return {name: values[name] for name in file.parameters}


def _is_like(kind: pa.DataType, due: pa.DataType) -> bool:
    """Whether one may stand for the other: numbers are as good as each other."""
    if pa.types.is_struct(due):
        return pa.types.is_struct(kind) and all(
            (place := kind.get_field_index(field.name)) >= 0
            and _is_like(kind.field(place).type, field.type)
            for field in due
        )
    if pa.types.is_list(due):
        return pa.types.is_list(kind) and _is_like(kind.value_type, due.value_type)
    return bool(kind == due or (_is_number(kind) and _is_number(due)))


def _is_number(kind: pa.DataType) -> bool:
    return any(
        is_one(kind) for is_one in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    )
