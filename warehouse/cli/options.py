"""What the commands share: which warehouse is meant, how they end, what they print."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from warehouse import text
from warehouse.core.process import of_addresses
from warehouse.errors import NotAWarehouseError, StorageError, WarehouseError
from warehouse.text import shell_word

if TYPE_CHECKING:
    from warehouse.core.config import Config
    from warehouse.core.paths import Layout

OF_A_SIGNAL, PIPE_CLOSED = 128, 141
"""Exit status, as a shell would give it: 128 and the signal's number."""

_SOON_SECONDS = 0.05
_ORDER = ("init", "demo", "download", "ingest", "update", "rebuild", "validate", "prune",
          "verify", "status", "coverage", "report", "query", "bars", "explain-bar", "reconcile",
          "features", "reference", "pull", "shell")  # fmt: skip
_MAKERS = ("init", "demo")
_WRITERS = ("demo", "download", "ingest", "update", "rebuild", "validate", "verify", "reference",
            "reconcile")  # fmt: skip

_SQL_NAME = re.compile(r"[\w-]+", re.ASCII)
_COMMAND = re.compile(
    rf"(?<!the )\bwarehouse (?=(?:{'|'.join(each for each in _ORDER if each not in _MAKERS)})\b)"
)
_IN_PYTHON = (
    (r",? or take what is there with missing='ignore'", ""),
    (r"take what is there with missing='ignore'", "name those that have them"),
    (r"name fewer columns=, (ask for less at a time), .*", r"\1"),
    (r"\bsay by=", "say --by"),
    (r"add adjust='splits' or 'all'", "add --adjust splits or --adjust all"),
    (r"wh\.bars\(…, every='(\w+)', hours='all'\)", r"warehouse bars … --every \1 --hours all"),
    (r"\badd (\w+)=…", r"add -p \1=…"),
)
"""What the library advises that only Python has, and what the command line has in its place."""
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Place:
    """Which warehouse is meant: the folder of -C, or the one around the working directory."""

    folder: str | None

    @property
    def command(self) -> str:
        """How a command for this warehouse begins."""
        return "warehouse" if self.folder is None else f"warehouse -C {shell_word(self.folder)}"

    def told(self, message: str) -> str:
        """What the library says, whose commands mean the warehouse around the working directory."""
        for of_python, here in _IN_PYTHON:
            message = re.sub(of_python, here, message)
        return (
            message if self.folder is None else _COMMAND.sub(lambda _: f"{self.command} ", message)
        )

    def open(self) -> tuple[Layout, Config]:
        """Its folders and settings.

        Raises:
            NotAWarehouseError: there is none.
            ConfigError: its settings cannot be used.
        """
        from warehouse.core.config import CONFIG_FILE, check_paths, find_root, load

        root = find_root(Path.cwd()) if self.folder is None else Path(self.folder)
        if not (root / CONFIG_FILE).is_file():
            above = (each for each in root.parents if (each / CONFIG_FILE).is_file())
            raise NotAWarehouseError(root, next(above, None))
        config = load(root / CONFIG_FILE)
        check_paths(root, root / CONFIG_FILE, config)
        layout = config.layout(root)
        if layout.tier is not None:
            from warehouse.store.tier.pull import refresh_at_times

            refresh_at_times(layout)
        if self.folder is None and not config.source.url and not layout.catalog.exists():
            self._say_where_we_are(root)
        return layout, config

    def _say_where_we_are(self, root: Path) -> None:
        """A newcomer in the project's clone stands in a warehouse without knowing it."""
        from warehouse.cli.demo import FOLDER, program
        from warehouse.core.config import CONFIG_FILE
        from warehouse.core.paths import shipped

        if root.resolve() != shipped("config").parent.resolve():
            return
        told = f"make the demo's with: {program()} demo"
        if (root / FOLDER / CONFIG_FILE).is_file():
            folder = os.path.relpath(root / FOLDER)
            told = f"the demo's is beside: {program()} -C {shell_word(folder)} status"
        click.echo(
            f"this is the project's clone, a warehouse that holds nothing yet; {told}", err=True
        )


class Failure(click.ClickException):
    """It could not run: one line, exit status 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(text.printable(message))


class Commands(click.Group):
    """The commands in the order of work, and how all of them end.

    Attributes:
        interrupted: the signal that came, by Ctrl-C or from whoever ends the process: whatever is
            raised after that is its consequence. DuckDB for one makes an error of its own of it.
        is_over: nothing is left but to tell so and to end.
    """

    interrupted = 0
    is_over = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=_ORDER.index)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read the output has gone; Python must not find that out again as it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(PIPE_CLOSED) from None
        except (Exception, KeyboardInterrupt) as error:
            if self.interrupted or isinstance(error, KeyboardInterrupt):
                self.is_over = True
                is_writer = ctx.invoked_subcommand in _WRITERS
                kept = "; what was published stays, run the same command again" if is_writer else ""
                with suppress(OSError):  # of a terminal that is gone
                    click.echo(f"interrupted{kept}", err=True)
                number = self.interrupted or signal.SIGINT
                raise click.exceptions.Exit(OF_A_SIGNAL + number) from None
            if isinstance(error, WarehouseError):
                told = ctx.obj.told(str(error)) if isinstance(ctx.obj, Place) else str(error)
                if type(error.__cause__).__name__ == "OutOfMemoryException" and of_addresses():
                    told = f"{told}; {of_addresses()}"
                raise Failure(told) from error
            if isinstance(error, FileNotFoundError) and not _stands_somewhere():
                raise Failure("the working directory is gone; begin with: cd /") from error
            if isinstance(error, OSError) and error.filename is not None:
                # What the system refuses is no fault of the program, whoever came upon it.
                name = os.fsdecode(error.filename)
                raise Failure(f"{name}: {error.strerror or error}") from error
            raise

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal that ends the process: what is temporary goes, the run says how.

        Several may come at once, as of a scheduler that ends what does not hear the first, or of a
        terminal that is closed. Each may fall into the end that another has begun; there it waits
        for the next of its kind, which ends the process at once.
        """
        if self.is_over:
            signal.signal(number, signal.SIG_DFL)
            return
        if _duckdb_is_being_loaded():
            # DuckDB's C++ ends the process where an exception is raised while it begins.
            again = threading.Timer(_SOON_SECONDS, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        self.interrupted = number
        raise KeyboardInterrupt


def _duckdb_is_being_loaded() -> bool:
    """Whether DuckDB is just being imported, as Python itself notes it of a module."""
    spec = getattr(sys.modules.get("duckdb"), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def _stands_somewhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def storing(name: str) -> Iterator[None]:
    """Turns the system's refusal to write into a StorageError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(name, f"cannot be written: {error.strerror or error}") from error


def say(lines: Iterable[str], style: Callable[[str], str] | None = None) -> None:
    """Print lines, without anything in them that a terminal would obey.

    Args:
        style: gives a line its colours; they are for a terminal alone, and not where the
            environment has NO_COLOR or says that it knows no colours (TERM=dumb).
    """
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    is_coloured = style is not None and not is_plain
    with storing("standard output"):
        for line in lines:
            shown = text.printable(line)
            click.echo(style(shown) if style is not None and is_coloured else shown)


def say_json(value: Any) -> None:
    """Print one JSON value, as --json promises it: no NaN, nothing that a terminal would obey."""
    say(text.as_json(value, 2).split("\n"))


class DataTypes(click.types.StringParamType):
    """Names of data types, which the shell completes; the library judges them.

    Args:
        names: those that may be named; none: all, and the word for all.
    """

    name = "type"

    def __init__(self, *names: str) -> None:
        self._names = names

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from warehouse.core.datatypes import DATA_TYPES

        return _items(self._names or (*DATA_TYPES, "all"), incomplete)


class SqlNames(click.types.StringParamType):
    """Names of the warehouse's rules or features, which the shell completes.

    Args:
        folder: of sql/, that they have their files in.
        ending: what is put behind each.
    """

    name = "name"

    def __init__(self, folder: str, ending: str = "") -> None:
        self._folder, self._ending = folder, ending

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        folder = ctx.find_root().params.get("folder")
        with suppress(WarehouseError, OSError):
            layout, config = Place(folder).open()
            files = (config.sql_dir(layout.root) / self._folder).glob("[!.]*.sql")
            # The shell takes a name as it stands: a stranger's may be a command to it.
            names = [file.stem for file in sorted(files) if _SQL_NAME.fullmatch(file.stem)]
            return _items((f"{name}{self._ending}" for name in names), incomplete)
        return []


class PathName(click.types.StringParamType):
    """A path, which the shell completes; the library judges it.

    Args:
        kind: file or dir.
    """

    name = "path"

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type=self._kind)]


class Choice(click.Choice[str]):
    """One of a few words; where a word is near one of them, that is told."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        told = super().get_invalid_choice_message(value, ctx)
        return f"{told.removesuffix('.')}{text.meant(value, self.choices)}"


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def example(*lines: str) -> str:
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def allow_option(command: _Command) -> _Command:
    """The option of the commands whose rows go through validation."""
    return click.option(
        "--allow",
        metavar="RULE=REASON",
        type=SqlNames("validate", "="),
        multiple=True,
        help="Publish although this rule finds errors; the reason is kept.",
    )(command)


def adjustment_options(command: _Command) -> _Command:
    """The options of the commands that answer with prices and sizes."""
    for option in (
        click.option(
            "--follow-renames",
            is_flag=True,
            help="A series goes on under other symbols that its security had.",
        ),
        click.option(
            "--as-of", metavar="WHEN", help="Last session whose splits count; default: --end."
        ),
        click.option(
            "--adjust",
            type=Choice(("none", "splits", "all")),
            default="none",
            help="For splits, or for dividends too; default: as traded.",
        ),
    ):
        command = option(command)
    return command


wait_option = click.option(
    "--wait",
    metavar="[SECONDS]",
    type=click.FloatRange(min=0),
    is_flag=False,
    flag_value=math.inf,
    default=0,
    help="Wait for another writer to end; without SECONDS as long as it takes.",
)


def writer_options(command: _Command) -> _Command:
    """The options that all commands share that bring data in."""
    for option in (
        wait_option,
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("--end", metavar="SESSION", help="Last session, inclusive."),
        click.option("--start", metavar="SESSION", help="First session, YYYY-MM-DD, inclusive."),
    ):
        command = option(command)
    return click.pass_obj(command)  # type: ignore[return-value]
