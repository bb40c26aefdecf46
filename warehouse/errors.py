"""Every error this library raises on purpose.

WarehouseError
├── ConfigError            a key of data_config.yaml (or its environment variable) cannot be used
├── NotAWarehouseError     the folder holds no config/data_config.yaml
├── ForeignWarehouseError  it is somebody else's, and was not named or leads out of its folder
├── RequestError           what was asked makes no sense: an unknown data type, `end` before `start`
├── TooLargeError          an answer would not fit into memory
├── SqlFileError           a file of sql/ breaks its conventions, or DuckDB refuses it
│   ├── LookAheadError     a row of a feature rests on what comes after it, or before its lookback
│   └── OversizedTradeError  a price or a size is more than the decimals of sql/bars hold
├── ReferenceFileError     an export of reference data is not what the vendor gives out
├── QueryError             a SELECT given to `query` is refused or fails
├── SourceError            the place the files come from cannot be read
│   ├── CredentialsError   it does not accept the access key or the secret, or there is none
│   ├── NotInPlanError     it has a file and does not hand it out
│   ├── MissingFileError   it no longer has a file
│   └── TransferError      a file did not come through, however often it was asked for
├── RawFileError           one raw file is not what the vendor publishes; it is set aside
│   └── DamagedInTransitError  it arrived twice, and neither time as the source has it
├── AccountingError        lines of a file ≠ rows published + rows rejected: a bug; it is set aside
├── StorageError           the disk refuses: full, read-only, no permission
│   ├── OutdatedCatalogError  another version wrote the catalog; it is made anew by any writer
│   ├── MovedCatalogError     its views read the place where it was made, and it stands elsewhere
│   ├── DamagedCatalogError   the catalog is no longer what was written
│   ├── DamagedJournalError   what a broken-off publish left to be done cannot be believed
│   ├── InterruptedPublishError  a publish was broken off half-way; a command that writes ends it
│   └── ObjectStorageError  the bucket that is the cache tier cannot be used
│       ├── ObjectMissingError  an object is not there
│       ├── ObjectExistsError   an object is there already
│       ├── ObjectChangedError  an object is not the version that it was
│       ├── NotOursError        its warehouse is another one than that of the data folder
│       └── LeaseLostError      another writer may have begun meanwhile; nothing more is published
├── EngineError            what runs units of work on other machines is not there, or failed
├── FunctionError          a function given to `map` raised, or returned what makes no rows
├── LockedError            another process is writing to this warehouse
├── CorruptPartitionError  a partition's bytes are not those that were written
│   └── UnreadablePartitionError  the system does not let it be read; it may be sound
├── SupersededError        a publish replaced what a stream was still to read; begin it again
└── NoDataError            nothing, or not all, of what was asked is in the warehouse

Each message is one line: what was asked, what was found, what to do. The evidence is kept as
attributes, so that a program need not parse the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from warehouse.text import printable, shell_word

_GIB = 1024**3
_SHOWN = 200
"""A value is shown up to so many characters."""


class WarehouseError(Exception):
    """Base of all errors of this library; what is pickled comes back with all it says.

    Its message is one line that no terminal obeys: names of files, and what servers answer, are
    spelt out where they hold anything else (`printable`). The attributes have them as they are.

    Remedy: that of the error itself; catch this one to catch all.
    """

    def __init__(self, *said: Any) -> None:
        super().__init__(*(printable(each) if isinstance(each, str) else each for each in said))

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args), vars(self)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows, a notebook or its shell, in place of a traceback: the message.

        A line for it, and those of each note that was added: one of `FunctionError` is a traceback.
        Whoever wants to know where the error came from asks `traceback.print_exception`.
        """
        notes = (str(note).rstrip("\n") for note in getattr(self, "__notes__", ()))
        said = [f"{type(self).__name__}: {self}", *"\n".join(notes).split("\n")]
        return [printable(line) for line in said if line]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _again(kind: type[WarehouseError], arguments: tuple[Any, ...]) -> WarehouseError:
    """An error with its message, as `__init__` does not take it."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    return error


class ConfigError(WarehouseError):
    """A configuration value is unknown, of the wrong type or out of range.

    Args:
        path: the file, or the environment's variable.
        key: `section.key`, or WHOLE: what is wrong is not the value of a key.

    Remedy: set the key to one of the values that the message names, in config/data_config.yaml
    or in the environment variable.
    """

    WHOLE = "(file)"

    def __init__(self, path: Path | str, key: str, value: Any, expected: str) -> None:
        self.path, self.key, self.value, self.expected = path, key, value, expected
        what = "" if key == self.WHOLE else f" {key[:_SHOWN]} = {_shown(value)}:"
        super().__init__(f"{path}:{what} {expected}")


class NotAWarehouseError(WarehouseError):
    """The folder (and none above it) is a warehouse.

    Remedy: name the warehouse with `-C DIR`, or make one with `warehouse init DIR --source URL`.

    Args:
        around: one that is above it, where only the folder itself would do.
    """

    def __init__(self, path: Path, around: Path | None = None) -> None:
        self.path = path
        told = "there or above); make one with:"
        folder = path
        if path.suffix == ".yaml":  # of a warehouse that is gone, whose file somebody still names
            folder = path.parent.parent if path.parent.name == "config" else path.parent
        command = f"init {shell_word(str(folder))} --source FOLDER_OR_S3_URL"
        if around is not None:
            told, command = "there); the one around it:", f"-C {shell_word(str(around))} …"
        super().__init__(
            f"{path} is not a warehouse (no config/data_config.yaml {told} warehouse {command}"
        )


class ForeignWarehouseError(WarehouseError):
    """A warehouse belongs to somebody else, and what it asks for is only done in one's own.

    `path` is what belongs to them, or what their configuration leads to.

    Remedy: name it with `-C DIR` if you trust it; set paths that lead out of it by environment
    variables of your own.
    """

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path} {problem}")


class RequestError(WarehouseError):
    """An argument is not one of the things it may be.

    Remedy: give one of the values that the message names.
    """

    def __init__(self, parameter: str, value: Any, expected: str) -> None:
        self.parameter, self.value, self.expected = parameter, value, expected
        super().__init__(f"{parameter} = {_shown(value)}: {expected}")


class TooLargeError(WarehouseError):
    """An answer would not fit into memory; nothing of it was read, or nothing is kept.

    `bytes` is what it would take, `needed` the most that would be there while it is put together,
    `available` what there is. Of an answer in SQL nobody knows before: `rows` is None then, and
    `bytes` what it had taken when it was ended.

    Remedy: name fewer `columns=`, ask for less at a time, or take it in batches with `stream`.
    """

    def __init__(
        self, asked: str, rows: int | None, size: int, needed: int, available: int
    ) -> None:
        self.asked, self.rows, self.bytes = asked, rows, size
        self.needed, self.available = needed, available
        if rows is None:
            super().__init__(
                f"{asked}: the answer has taken {size / _GIB:,.1f} GiB so far, of"
                f" {available / _GIB:,.1f} GiB of memory that were free; ask for less: fewer"
                " columns, WHERE, LIMIT or sums"
            )
            return
        more = f" ({needed / _GIB:,.1f} while it is put together)" if needed > size else ""
        super().__init__(
            f"{asked}: {rows:,} rows would take about {size / _GIB:,.1f} GiB{more}, and"
            f" {available / _GIB:,.1f} GiB of memory are free; name fewer columns=, ask for less at"
            " a time, let go of frames, or take it in batches with stream()"
        )


class SqlFileError(WarehouseError):
    """A file of sql/ is missing, breaks the conventions, or fails in DuckDB.

    Remedy: mend the file as the message says, or delete it and let `warehouse init DIR` add the
    shipped one.
    """

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


class ReferenceFileError(WarehouseError):
    """An export of reference data is not what the vendor gives out; nothing of it is loaded.

    `place` is where in the file: a line, or a record and its field; empty: the file as a whole.

    Remedy: fetch the export again, or mend the place that the message names.
    """

    def __init__(self, path: Path, place: str, problem: str) -> None:
        self.path, self.place, self.problem = path, place, problem
        where = f"{path}, {place}" if place else f"{path}"
        super().__init__(f"{where}: {problem}")


class LookAheadError(SqlFileError):
    """A feature's row is another where what comes after it, or before its lookback, is not there.

    `difference` is a `warehouse.lookahead.Difference`: the row in both answers.

    Remedy: mend the feature: let its windows end at the current row, or declare a longer
    `lookback:`.
    """

    def __init__(self, path: Path, difference: Any) -> None:
        self.difference = difference
        what = "looks ahead" if difference.ahead else "needs more than its lookback"
        super().__init__(path, f"{what}: {difference}")


class OversizedTradeError(SqlFileError):
    """A trade's price or size is more than the decimals of sql/bars hold.

    Remedy: ask for the bars of the other symbols by name. The row is as the vendor's file has it;
    a file that the vendor has mended comes with the next update.
    """

    def __init__(
        self, path: Path, symbol: str, timestamp: datetime, column: str, value: float, below: float
    ) -> None:
        self.symbol, self.timestamp = symbol, timestamp
        self.column, self.value, self.below = column, value, below
        super().__init__(
            path,
            f"fails on the trade of {symbol} at {timestamp} (UTC): its {column} is {value:g}, and"
            f" bars hold less than {below:g}; ask for the other symbols by name",
        )


class QueryError(WarehouseError):
    """A query is no single SELECT, or DuckDB could not run it.

    Remedy: give one SELECT and a value for each `$name`; DuckDB's hint is in the message.
    """

    def __init__(self, sql: str, problem: str) -> None:
        self.sql, self.problem = sql, problem
        super().__init__(problem)


class SourceError(WarehouseError):
    """The source of the flat files cannot be read.

    Remedy: check `source.url` and `source.endpoint`, then run the command again.
    """

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"source {url}: {problem}")


class CredentialsError(SourceError):
    """The server does not know the access key, or the secret does not fit it, or none is set.

    Remedy: set `POLYGON_S3_ACCESS_KEY` and `POLYGON_S3_SECRET`, or the usual AWS credentials.
    """


class NotInPlanError(SourceError):
    """The server lists a file and refuses to hand it out (403).

    Remedy: extend the vendor's plan, or ask for sessions that it includes.
    """

    def __init__(self, url: str, key: str, answer: str) -> None:
        self.key, self.answer = key, answer
        super().__init__(url, f"your plan does not include {key} ({answer})")


class MissingFileError(SourceError):
    """A file that was listed is not there (404).

    Remedy: ask the vendor; the next `warehouse update` looks again.
    """

    def __init__(self, url: str, key: str) -> None:
        self.key = key
        super().__init__(url, f"{key} is missing at the vendor")


class TransferError(SourceError):
    """A file did not come through; what came of it is kept, and the next download goes on there.

    Remedy: run the same command again.
    """

    def __init__(self, url: str, key: str, problem: str) -> None:
        self.key = key
        super().__init__(url, f"{key} did not come through: {problem}")


class RawFileError(WarehouseError):
    """A raw file is not a whole, readable file of its data type.

    `line` counts from 1 (the header) in the inflated text, where one line is to blame.

    Remedy: look at the record in data/set_aside/; fetch the file again with `warehouse download
    --start SESSION`.
    """

    def __init__(self, path: Path, problem: str, line: int | None = None) -> None:
        self.path, self.problem, self.line = path, problem, line
        where = f" (line {line:,})" if line is not None else ""
        super().__init__(f"{path.name}: {problem}{where}")


class DamagedInTransitError(RawFileError):
    """What arrived is not what the source has, and fetching it again did not help.

    Remedy: run the same command again later; if it persists, the source's copy is damaged.
    """


class AccountingError(WarehouseError):
    """The rows of a file do not add up; nothing of it is published.

    Remedy: please report the file; the rest of the run goes on.
    """

    def __init__(self, path: Path, lines: int, published: int, rejected: int, other: int) -> None:
        self.path, self.lines = path, lines
        self.published, self.rejected, self.other = published, rejected, other
        self.problem = (
            f"{lines:,} lines, but {published:,} rows kept + {rejected:,} rejected + {other:,} left"
            f" out = {published + rejected + other:,}; nothing of it is published, please report"
            " this file"
        )
        super().__init__(f"{path.name}: {self.problem}")


class StorageError(WarehouseError):
    """The disk refused; what was published before is untouched.

    Remedy: make room (`warehouse prune`) or give permission, then run the same command again.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


class OutdatedCatalogError(StorageError):
    """The catalog was written by a version that laid it out otherwise.

    Remedy: `warehouse update`.
    """

    def __init__(self, path: Path, found: Any, expected: int) -> None:
        self.found, self.expected = found, expected
        self.may_be_carried_over = isinstance(found, int) and found < expected
        super().__init__(
            path,
            f"is a catalog of format {found}, not {expected};"
            " make it anew from the partitions with: warehouse update",
        )


class MovedCatalogError(StorageError):
    """The catalog's views name the place where it was made, and the warehouse stands elsewhere.

    So it is where an earlier version made them; those of this one are led to where it stands.

    Remedy: `warehouse update`.
    """

    def __init__(self, path: Path, made_in: str) -> None:
        self.made_in = made_in
        super().__init__(
            path,
            f"its views read {made_in}, where it was made, and it stands elsewhere now;"
            " adapt it with: warehouse update",
        )


class DamagedCatalogError(StorageError):
    """The catalog cannot be read as it was written; all it says stands in the files too.

    Remedy: `warehouse verify --repair`.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            path,
            f"is damaged ({problem}); make it anew from the files with: warehouse verify --repair",
        )
        self.problem = f"damaged: {problem}"


class DamagedJournalError(StorageError):
    """The journal of a publish says what no publish of this warehouse would; nothing was done.

    Remedy: any command that writes puts it aside; `warehouse verify` says what is left to mend.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, f"is no journal of a publish that was begun here: {problem}")
        self.reason = problem
        self.problem = f"its journal cannot be believed ({problem})"


class InterruptedPublishError(StorageError):
    """A publish was broken off, and the files are not those of one generation.

    Remedy: `warehouse verify --repair`, as a user who may write there.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            path,
            f"a publish was broken off: {problem}; end it with: warehouse verify --repair,"
            " as who may write there",
        )
        self.problem = f"a publish was broken off: {problem}"


class ObjectStorageError(StorageError):
    """The bucket that is the cache tier cannot be reached, refuses, or is none to be trusted.

    `path` is the bucket's url; nothing that was published before is touched.

    Remedy: check `storage.cache_dir`, `storage.cache_endpoint` and the AWS credentials, then run
    the same command again.
    """

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(url, problem)


class ObjectMissingError(ObjectStorageError):
    """An object is not in the bucket (404).

    Remedy: ask again; of a partition: `warehouse verify --repair`.
    """

    def __init__(self, url: str, key: str) -> None:
        self.key = key
        super().__init__(url, f"{key} is not there; look for what is lost with: warehouse verify")


class ObjectExistsError(ObjectStorageError):
    """An object that was to be made is there already: another writer was first.

    Remedy: run the same command again.
    """

    def __init__(self, url: str, key: str) -> None:
        self.key = key
        super().__init__(url, f"{key} is there already; another writer was first")


class ObjectChangedError(ObjectStorageError):
    """An object is not the version that was asked for, or was to be replaced.

    Remedy: run the same command again.
    """

    def __init__(self, url: str, key: str) -> None:
        self.key = key
        super().__init__(url, f"{key} was replaced meanwhile; another writer was first")


class NotOursError(ObjectStorageError):
    """What lies in the bucket is another warehouse's than what lies in the data folder.

    Remedy: give one of them a prefix (`storage.cache_dir`), or a folder (`storage.cache_disk_dir`),
    of its own.
    """

    def __init__(self, url: str, data: Path) -> None:
        self.data = data
        super().__init__(
            url,
            f"is of another warehouse than {data}; give one of them a prefix (storage.cache_dir),"
            " or a folder (storage.cache_disk_dir), of its own",
        )


class LeaseLostError(ObjectStorageError):
    """A writer could not renew its lease in time: it publishes nothing more, for another may.

    Remedy: run the same command again; what was published before stands.
    """


class EngineError(WarehouseError):
    """Spark or Ray is not there, cannot begin, or one of its workers cannot do what it is asked.

    Args:
        engine: `spark` or `ray`, or the worker.

    Remedy: as the message says; `processing.engine: local` needs neither.
    """

    def __init__(self, engine: str, problem: str) -> None:
        self.engine, self.problem = engine, problem
        super().__init__(f"{engine} {problem}")


class FunctionError(WarehouseError):
    """A function of the caller's, given to `map`, raised, or returned what makes no rows.

    `key` is the symbol, or the session, whose rows it was handed. Where it raised, a note has its
    traceback.

    Remedy: try it on the rows of that symbol, or session, alone: `function(wh.trades(…))`.
    """

    def __init__(self, function: str, key: str | date, problem: str) -> None:
        self.function, self.key, self.problem = function, key, problem
        super().__init__(f"{function} of the rows of {key}: {problem}")


class LockedError(WarehouseError):
    """Another process holds the writer's lock.

    Remedy: run it again later, or let it wait with `--wait`; readers need not.
    """

    def __init__(self, path: Path | str, holder: str, waited: float = 0) -> None:
        self.path, self.holder, self.waited = path, holder, waited
        still = f"still, after {waited:,g} s of waiting, " if waited else ""
        super().__init__(
            f"the warehouse is {still}being written by {holder}; try again when it has finished,"
            " or let the command wait with --wait (readers need not)"
        )


class CorruptPartitionError(WarehouseError):
    """A partition cannot be read back as it was written.

    Remedy: `warehouse verify --repair`.
    """

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path} is damaged ({problem}); make it anew with: {remedy}")


class UnreadablePartitionError(CorruptPartitionError):
    """The system does not let a partition be read: no permission, or too many files are open.

    It may be sound, and to make it anew would not help who asks.

    Remedy: give permission to read, or raise the limit of open files.
    """

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        WarehouseError.__init__(self, f"{path}: cannot be read: {problem}")


class SupersededError(WarehouseError):
    """A publish replaced a partition that a stream had still to read, and had not open.

    Every row stamped before `resume` (an instant, as `start` takes it) was given, and none from
    there on: a stream that starts there goes on without a gap or a repeat.

    Remedy: begin the stream again with `start=error.resume`.
    """

    def __init__(self, path: Path, resume: str) -> None:
        self.path, self.resume = path, resume
        super().__init__(
            f"{path} was replaced by a publish before the stream got to it;"
            f" all rows before {resume} were given, begin again with start={resume!r}"
        )


class NoDataError(WarehouseError):
    """What was asked is not (all) in the warehouse.

    `missing` lists what is not there: symbols, or sessions as ISO dates.

    Remedy: run the command that the message names, or ask with `missing="ignore"`.
    """

    def __init__(self, asked: str, found: str, remedy: str, missing: Sequence[str] = ()) -> None:
        self.asked, self.found, self.remedy = asked, found, remedy
        self.missing = tuple(missing)
        super().__init__(f"{asked}: {found}; {remedy}")


def one_line(error: BaseException, limit: int = 500) -> str:
    """What another library's error says, on one line of at most `limit` characters."""
    return " ".join(str(error).split())[:limit]
