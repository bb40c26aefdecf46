"""One writer and any number of readers, in processes of their own."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from building import SESSION, Made, MakeWarehouse, day_key, instant, keep, put_back, trade

from warehouse.errors import StorageError

SCRIPTS = Path(sysconfig.get_path("scripts"))
WAREHOUSE = str(SCRIPTS / "warehouse")

# A writer that holds the lock until it is told to go on.
SLOW_WRITER = """
import sys
from warehouse.cli import main as cli
from warehouse.ingest.stage import Stager
stage = Stager.stage
def slow(*arguments):
    print("staging", flush=True)
    sys.stdin.readline()
    return stage(*arguments)
Stager.stage = slow
sys.argv = ["warehouse", "-C", sys.argv[1], "ingest"]
cli.main()
"""


@pytest.fixture(scope="module")
def template(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse({day_key("trades", SESSION): trades(1)})
    made.update("trades")
    keep(made)
    return made


@pytest.fixture
def made(template: Made) -> Made:
    put_back(template)
    return template


def trades(count: int) -> list[str]:
    return [trade("A", instant(SESSION, "10:00", n), n) for n in range(1, count + 1)]


@contextmanager
def slow_writer(made: Made) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of an ingest; it goes on when a line is written to it."""
    made.put_raw("day_aggs", SESSION, [f"A,1,1,1,1,1,{instant(SESSION, '00:00')},1"])
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(made.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "staging\n"
            yield process
        finally:
            process.kill()


def run(made: Made, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [WAREHOUSE, "-C", str(made.root), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_second_writer_says_who_writes_and_since_when(made: Made) -> None:
    with slow_writer(made) as writer:
        second = run(made, "ingest")

    assert (second.returncode, second.stdout) == (2, "")
    found = re.fullmatch(
        rf"Error: the warehouse is being written by process {writer.pid} on \S+"
        r" since ([\d :-]+) UTC; try again when it has finished,"
        r" or let the command wait with --wait \(readers need not\)\n",
        second.stderr,
    )
    assert found is not None, second.stderr
    since = datetime.fromisoformat(f"{found[1]}+00:00")
    assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=1)
    last = json.loads(made.layout.log.read_text().splitlines()[-1])
    assert (last["event"], last["level"]) == ("run refused", "error")


def test_a_second_writer_waits_as_long_as_it_is_told_to(made: Made) -> None:
    with slow_writer(made) as writer:
        began = time.monotonic()
        second = run(made, "update", "--wait", "1.5", "trades")
        waited = time.monotonic() - began
        assert second.returncode == 2
        assert "is still, after 1.5 s of waiting, being written by process" in second.stderr
        assert 1.5 < waited < 30

        with subprocess.Popen(
            [WAREHOUSE, "-C", str(made.root), "ingest", "--wait"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as third:
            time.sleep(1)
            assert third.poll() is None
            writer.communicate("go\n", timeout=60)
            assert writer.returncode == 0
            stdout, stderr = third.communicate(timeout=60)

    assert (third.returncode, stderr) == (0, "")
    assert stdout.startswith("nothing new")
    made.check_catalog()
    assert made.sql("select count(*) from day_aggs") == [(1,)]


def test_a_writer_that_was_killed_holds_nobody_up(made: Made) -> None:
    with slow_writer(made) as writer:
        writer.kill()
        writer.wait()
        assert run(made, "ingest").returncode == 0
    assert made.sql("select count(*) from day_aggs") == [(1,)]


@pytest.mark.parametrize("stands", ["a folder", "a link to itself"])
def test_what_stands_in_the_place_of_the_lock_is_named(made: Made, stands: str) -> None:
    lock = made.layout.lock
    lock.unlink(missing_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    if stands == "a folder":
        lock.mkdir()
    else:
        lock.symlink_to(lock)
    with pytest.raises(StorageError, match=r"is no file.*move it elsewhere") as told:
        made.update()
    assert told.value.path == lock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_that_keeps_no_locks_is_refused_with_what_to_do(
    number: int, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.put_raw("day_aggs", SESSION, [f"A,1,1,1,1,1,{instant(SESSION, '00:00')},1"])

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", refuse)
        with pytest.raises(StorageError, match=r"cannot be locked: .*; .* storage\.cache_dir"):
            made.ingest("day_aggs")
    assert made.ingest("day_aggs").metrics.files == 1


@pytest.mark.parametrize("command", ["prune", "download", "rebuild"])
def test_every_command_that_writes_waits_on_request(command: str, made: Made) -> None:
    arguments = [command, "all"] if command == "rebuild" else [command]
    with slow_writer(made):
        done = run(made, *arguments, "--wait=0.1")
    assert done.returncode == 2
    assert "after 0.1 s of waiting" in done.stderr


class Shell:
    """The real DuckDB shell, left open."""

    def __init__(self, catalog: Path) -> None:
        self._process = subprocess.Popen(
            [str(SCRIPTS / "duckdb"), "-readonly", "-csv", "-noheader", str(catalog)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ask(self, sql: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{sql};\nselect 'end of answer';\n")
        self._process.stdin.flush()
        lines = []
        while (line := self._process.stdout.readline()) != "end of answer\n":
            assert line, lines
            lines.append(line.rstrip("\n"))
        return lines

    def close(self) -> None:
        self._process.communicate(".exit\n", timeout=30)
        assert self._process.returncode == 0


@pytest.mark.skipif(not (SCRIPTS / "duckdb").exists(), reason="no DuckDB shell is installed")
@pytest.mark.torture
def test_shells_left_open_block_no_publish_and_keep_their_answers(made: Made) -> None:
    """Each shell answers about its own generation for as long as it is open."""
    questions = (
        "select generation from warehouse",
        "select count(*) from partitions",
        "select max(rows_published) from source_files",
        "select count(*) from runs",
        "select symbol, rows from partitions order by all",
    )
    shells: list[tuple[Shell, list[list[str]]]] = []
    try:
        for count in range(2, 5):
            shell = Shell(made.layout.catalog)
            shells.append((shell, [shell.ask(question) for question in questions]))
            made.put(day_key("trades", SESSION), trades(count))
            made.update("trades")
            for each, answers in shells:
                assert [each.ask(question) for question in questions] == answers
                # Partitions are replaced whole: what a shell opens now is the present version.
                assert each.ask("select count(*) from trades") == [f"{count}"]
        generations = [answers[0] for _, answers in shells]
        assert generations == [["1"], ["2"], ["3"]]
        assert [answers[4] for _, answers in shells] == [[f"A,{rows}"] for rows in range(1, 4)]
    finally:
        for shell, _ in shells:
            shell.close()
    assert made.sql("select count(*) from trades") == [(4,)]
