"""The statements of sql/bars: each one SELECT of named relations, put together into one.

    -- bars/time: each trade with its window of a fixed length.
    -- grain: symbol, session, ordinal
    -- reads: eligible
    -- params: $every_ns bigint, $hours varchar

`reads` names the relations that the SELECT may read beside its own WITH. Each step of a chain is
read by its relation's name in those after it, so that a chain is one statement with parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from warehouse.errors import QueryError, SqlFileError
from warehouse.sqlfolder.determinism import (
    STABLE_TABLE_FUNCTIONS,
    Known,
    builtin,
    parse,
    parser,
    unstable,
)
from warehouse.sqlfolder.files import SqlFile, SqlFolder, come_with_us
from warehouse.sqlfolder.select_check import check_file

FOLDER = "bars"


@dataclass(frozen=True)
class BarStatement:
    """A file of sql/bars that keeps the rules.

    Attributes:
        reads: the relations that it may read, in the order of its header.
    """

    file: SqlFile
    reads: tuple[str, ...]

    @property
    def parameters(self) -> frozenset[str]:
        """Names of its `$parameters`."""
        return self.file.parameters


@dataclass(frozen=True)
class Chain:
    """Statements that rest on each other, the last one's rows the answer.

    Attributes:
        steps: (relation, statement), each reading the relations before it and what is registered.
    """

    steps: tuple[tuple[str, BarStatement], ...]

    @property
    def sql(self) -> str:
        """One SELECT of all of them."""
        parts = ",\n".join(
            f"{relation} as (\n{statement.file.body}\n)" for relation, statement in self.steps
        )
        return f"with\n{parts}\nselect *\nfrom {self.steps[-1][0]}"

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the `$parameters` of them all."""
        return frozenset[str]().union(*(statement.parameters for _, statement in self.steps))

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of each statement in turn: comments and line breaks change nothing."""
        return tuple(statement.file.fingerprint() for _, statement in self.steps)


class BarFolder:
    """The statements of one warehouse; the shipped one, where an earlier version made the folder.

    A file that is changed is noticed by who makes a new one.
    """

    def __init__(self, sql: SqlFolder) -> None:
        self._sql = sql

    def __getitem__(self, name: str) -> BarStatement:
        """The statement of that name, as `time`.

        Raises:
            SqlFileError: it is more than one SELECT of what it may read.
        """
        file = self._sql.or_shipped(f"{FOLDER}/{name}")
        reads = tuple(part.strip() for part in file.header.get("reads", "").split(",") if part)
        # Those that come with the project are checked by its tests.
        if file.text != come_with_us()[file.name].text:
            check(file, reads)
        return BarStatement(file, reads)

    def is_shipped(self, name: str) -> bool:
        """Whether the statement of that name says what the one that comes with the project does."""
        file = self._sql.or_shipped(f"{FOLDER}/{name}")
        return file.fingerprint() == come_with_us()[file.name].fingerprint()

    def chain(self, steps: Mapping[str, str] | Sequence[tuple[str, str]]) -> Chain:
        """A chain of (relation, name of the statement that makes it).

        Raises:
            SqlFileError: one of the files does not keep the rules.
        """
        pairs = steps.items() if isinstance(steps, Mapping) else steps
        return Chain(tuple((relation, self[name]) for relation, name in pairs))


_REMEMBERED = 256


@lru_cache(maxsize=_REMEMBERED)
def _breach(body: str, reads: tuple[str, ...]) -> str | None:
    """What a SELECT rests on that it may not; None: nothing."""
    try:
        with parser() as connection:
            tree = parse(connection, body)
    except QueryError as error:
        return error.problem
    return unstable(tree, Known(builtin() | STABLE_TABLE_FUNCTIONS, frozenset(reads)))


def check(file: SqlFile, reads: tuple[str, ...]) -> None:
    """Refuse a statement that is more than one SELECT of what it may read.

    Raises:
        SqlFileError: names the file.
    """
    with parser() as connection:
        check_file(connection, file)
        reason = _breach(file.body, reads)
    if reason is not None:
        raise SqlFileError(
            file.path,
            f"rests on {reason}; its header says `reads: {', '.join(reads)}`, and it may read"
            " nothing else, by functions whose answer depends on their arguments alone",
        )
    file.parameters  # noqa: B018 (raises where header and statement disagree)
