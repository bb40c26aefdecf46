"""Threads, forks and pickles: each gets its own connection, its own answers, and no crash."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from building import Made, MakeWarehouse, bar, day_key, instant, trade

from warehouse import Warehouse, errors
from warehouse.core.duckdb_connection import _spill_prefix, _sweep
from warehouse.errors import RequestError, WarehouseError
from warehouse.read.snapshot import Snapshot

DAYS = (date(2024, 1, 30), date(2024, 1, 31))
ROWS = 500

# Each child asks one question in a new process and ends in one way; who hangs is ended by a signal.
FORKING = """
import json, os, signal, sys, threading, time
from warehouse import Warehouse
root, *names = sys.argv[1:]
asked = ("AAPL", "2024-01-30", "2024-01-31")
wh = Warehouse(root)
ASK = {
    "query": lambda: len(wh.query("select * from trades")),
    "unstable query": lambda: len(wh.query("select *, random() from trades")),
    "pandas": lambda: len(wh.trades(*asked)),
    "polars": lambda: len(wh.trades(*asked, to="polars")),
    "part of polars": lambda: len(wh.trades("AAPL", "2024-01-31 09:30", "2024-01-31",
                                            columns=["price"], to="polars")),
    "arrow": lambda: len(wh.trades(*asked, to="arrow")),
    "features": lambda: len(wh.features("volume_ma", *asked)),
    "stream": lambda: sum(map(len, wh.stream(*asked, data_types="trades"))),
    "rows": lambda: sum(1 for _ in wh.stream(*asked, data_types="trades", to="rows")),
    "coverage": lambda: len(wh.coverage("trades", *asked)),
    "catalog": lambda: len(wh.catalog()),
    "nothing": lambda: 0,
    "close": lambda: wh.close() or 0,
    "close twice": lambda: (wh.close(), wh.close()) and 0,
}
due = {name: ASK[name]() for name in ASK if not name.startswith("close")}
stream = wh.stream(*asked, data_types="trades", batch_rows=2)
next(stream)
busy = True
# Whose interpreter ends in order was forked between two questions: what other libraries destroy
# then may have been in use otherwise.
gates = [threading.Lock() for _ in range(2)]
def work(gate):
    while busy:
        for name in ("query", "pandas", "polars", "features", "stream"):
            with gate:
                wh.cache.clear()
                ASK[name]()
            time.sleep(0.001)
threads = [threading.Thread(target=work, args=(gate,)) for gate in gates]
for thread in threads:
    thread.start()
time.sleep(0.2)
failed = {}
for name in names:
    for way in ("return", "exit"):
        for gate in gates if way == "return" else ():
            gate.acquire()
        child = os.fork()
        if child and way == "return":
            for gate in gates:
                gate.release()
        if child == 0:
            signal.alarm(120)
            try:
                if name != "part of polars":
                    wh.cache.clear()
                assert ASK[name]() == due.get(name, 0)
                try:
                    next(stream)
                except Exception as error:
                    assert "fork" in str(error), error
                else:
                    raise AssertionError("a stream of the parent's goes on")
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(3)
            if way == "exit":
                os._exit(0)
            # To the end of the interpreter, where all that is left is destroyed.
            sys.exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            failed[f"{name}, {way}"] = code
busy = False
for thread in threads:
    thread.join()
assert ASK["query"]() == due["query"]
rest = sum(map(len, stream))
print(json.dumps([failed, rest]))
"""


# Threads that ask all the time, and forks among their answers.
FORKING_AMONG_ANSWERS = """
import json, os, signal, sys, threading
from warehouse import Warehouse
wh = Warehouse(sys.argv[1])
busy = True
asked = ("AAPL", "2024-01-30", "2024-01-31")
def ask():
    wh.cache.clear()
    return len(wh.query("select * from trades")) + len(wh.trades(*asked))
def work():
    while busy:
        ask()
due = ask()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
ended = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if ask() == due else 1)
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
busy = False
for thread in threads:
    thread.join()
print(json.dumps(ended))
"""


def lines(count: int = ROWS) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for day in DAYS:
        files[day_key("trades", day)] = [
            trade("AAPL", instant(day, "09:30", n), n + 1, price=n + 1) for n in range(count)
        ]
        files[day_key("minute_aggs", day)] = [bar("AAPL", instant(day))]
    return files


@pytest.fixture(scope="module")
def made(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse(lines())
    made.update()
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="others do not fork with threads")
@pytest.mark.parametrize(
    "names",
    [
        ("query", "unstable query", "nothing", "close", "close twice", "catalog"),
        ("pandas", "polars", "part of polars", "arrow"),
        ("features", "stream", "rows", "coverage"),
    ],
    ids=lambda names: names[0],
)
def test_a_child_of_a_threaded_parent_asks_closes_and_ends_as_any_process(
    made: Made, names: tuple[str, ...]
) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, str(made.root), *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    failed, rest = json.loads(run.stdout)
    assert failed == {}, run.stderr
    # The parent's own stream was not touched.
    assert rest == 2 * ROWS - 2


@pytest.mark.skipif(sys.platform != "linux", reason="others do not fork with threads")
def test_a_fork_waits_for_the_answer_that_another_thread_is_given(made: Made) -> None:
    begun, forked = threading.Event(), threading.Event()
    inside: list[bool] = []

    def slow(snapshot: Snapshot) -> None:
        begun.set()
        inside.append(forked.wait(1))

    with Warehouse(made.root) as wh:
        asking = threading.Thread(target=wh._read, args=(slow,))
        asking.start()
        begun.wait()
        child = os.fork()
        if child == 0:
            os._exit(len(inside))
        forked.set()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        asking.join()
    assert (inside, code) == ([False], 1)


@pytest.mark.torture
@pytest.mark.skipif(sys.platform != "linux", reason="others do not fork with threads")
def test_forks_among_the_answers_of_threads_leave_children_that_can_ask(made: Made) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING_AMONG_ANSWERS, made.root],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == [0] * 10, run.stderr


@pytest.mark.torture
def test_threads_that_ask_while_another_publishes_get_answers(
    make_warehouse: MakeWarehouse,
) -> None:
    made = make_warehouse(lines())
    made.update()
    failures: list[BaseException] = []
    seen: set[int] = set()
    done = threading.Event()
    with Warehouse(made.root) as wh:

        def repeat(ask: Callable[[], Any]) -> None:
            try:
                while not done.is_set():
                    ask()
            except BaseException as error:
                failures.append(error)

        def count() -> None:
            found = wh.query("select count(*) as n, random() as r from trades")["n"].iloc[0]
            seen.add(int(found))

        def stream() -> None:
            seen.add(sum(map(len, wh.stream("AAPL", *DAYS, data_types="trades"))))

        def load() -> None:
            wh.cache.clear()
            seen.add(len(wh.trades("AAPL", *DAYS)))

        asks = [count, count, stream, load, lambda: wh.coverage("trades", "AAPL", *DAYS)]
        threads = [threading.Thread(target=repeat, args=(ask,)) for ask in asks]
        for thread in threads:
            thread.start()
        for publish in range(1, 6):
            for key, rows in lines(ROWS + publish).items():
                made.put(key, rows)
            made.update("trades")
        done.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(wh.trades("AAPL", *DAYS)) == 2 * (ROWS + 5)
    # Each answer is of one generation.
    assert seen <= {2 * (ROWS + publish) for publish in range(6)}


def test_a_generation_that_is_over_is_closed_by_the_last_who_uses_it(made: Made) -> None:
    with Warehouse(made.root) as wh:
        wh.query("select 1")
        snapshot = wh._answers.snapshots._present
        assert snapshot is not None
        with snapshot.connection() as one, snapshot.connection() as other:
            one.execute("select 1").fetchall()
            snapshot.retire()
            assert one.execute("select count(*) from trades").fetchone() == (2 * ROWS,)
            assert other.execute("select count(*) from trades").fetchone() == (2 * ROWS,)
        for closed in (one, other, snapshot._base):
            assert closed is not None
            with pytest.raises(Exception, match="closed"):
                closed.execute("select 1")


def test_a_pickle_opens_the_warehouse_again(made: Made, tmp_path: Path) -> None:
    with Warehouse(made.root) as wh:
        due = wh.trades("AAPL", *DAYS)
        text = pickle.dumps(wh)
    (other := pickle.loads(text)).close()
    with pickle.loads(text) as again:
        assert repr(again) == f"Warehouse({str(made.root)!r})"
        assert again.trades("AAPL", *DAYS).equals(due)
        assert again.cache.stats.hits == 0
    with pytest.raises(RequestError, match="closed"):
        other.trades("AAPL", *DAYS)
    # Of a configuration that stands elsewhere, too.
    elsewhere = tmp_path / "mine.yaml"
    settings = (made.root / "config/data_config.yaml").read_text()
    elsewhere.write_text(re.sub(r"(\w+): (data/\w+|sql)\b", rf"\1: {made.root}/\2", settings))
    with Warehouse(elsewhere) as wh, pickle.loads(pickle.dumps(wh)) as again:
        assert (again._layout, again._config) == (wh._layout, wh._config)


def test_errors_survive_a_pickle_with_all_they_say() -> None:
    """A pool of processes hands them over so; who could not be unpickled hung it."""
    count = 0
    for name, kind in vars(errors).items():
        if not (isinstance(kind, type) and issubclass(kind, WarehouseError)):
            continue
        size = kind.__init__.__code__.co_argcount - 1 if "__init__" in vars(kind) else None
        values = (Path("a.csv"), "b", 3, 4, 5)[: 1 if size is None else size]
        try:
            error = kind(*values)
        except Exception:
            error = kind.__new__(kind, "message")
            error.args, error.evidence = ("message",), [1]  # type: ignore[attr-defined]
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind, name
        assert (str(again), vars(again)) == (str(error), vars(error))
        count += 1
    assert count > 20


# Temporary folders


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("warehouse-*"))


def script(made: Made, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    whole = f"from warehouse import Warehouse\nwh = Warehouse({str(made.root)!r})\n{text}"
    return subprocess.run(
        [sys.executable, "-c", whole],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )


def test_a_killed_reader_leaves_a_folder_that_the_next_one_removes(
    made: Made, tmp_path: Path
) -> None:
    killed = script(
        made, "wh.query('select 1'); import os, signal; os.kill(os.getpid(), 9)", tmp_path
    )
    assert killed.returncode == -signal.SIGKILL
    (name,) = left(tmp_path)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o700
    # Another machine's, or one of a process that lives, stays.
    others = [
        f"{_spill_prefix()}{os.getpid()}-x",
        "warehouse-othermachine-1-x",
        "warehouse-x",
    ]
    for other in others:
        (tmp_path / other).mkdir()
    assert script(made, "print(len(wh.query('select 1')))", tmp_path).stdout == "1\n"
    assert left(tmp_path) == sorted(others)


def test_a_reader_in_a_container_leaves_the_folders_of_the_hosts_processes(
    made: Made, tmp_path: Path
) -> None:
    """It may share the host's folder and name, and sees none of its processes."""
    mine = tmp_path / f"{_spill_prefix()}{os.getpid()}-x"
    mine.mkdir()
    command = ["unshare", "--pid", "--fork", "--mount-proc"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], check=False).returncode
    ):
        pytest.skip("a container's processes are not permitted here")
    text = (
        "import sys; from warehouse import Warehouse;"
        "print(len(Warehouse(sys.argv[1]).query('select 1')))"
    )
    asked = subprocess.run(
        [*command, sys.executable, "-c", text, str(made.root)],
        capture_output=True, text=True, check=True, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert asked.stdout == "1\n"
    assert mine.is_dir()


def test_a_folder_named_for_no_process_that_can_be_stops_no_question(
    made: Made, tmp_path: Path
) -> None:
    name = f"{_spill_prefix()}{10**20}-x"
    (tmp_path / name).mkdir()
    assert script(made, "print(len(wh.query('select 1')))", tmp_path).stdout == "1\n"
    # None of ours: it is somebody's.
    assert left(tmp_path) == [name]


def test_who_asks_nothing_makes_no_folder(made: Made, tmp_path: Path) -> None:
    text = "import os; print(os.listdir(os.environ['TMPDIR']))"
    assert script(made, text, tmp_path).stdout == "[]\n"


def test_where_nothing_temporary_can_be_written_questions_are_answered(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with Warehouse(made.root) as wh:
        assert len(wh.query("select * from trades")) == 2 * ROWS
        assert len(wh.features("volume_ma", "AAPL", *DAYS)) == 2
        setting = "select value from duckdb_settings() where name = 'temp_directory'"
        assert wh.query(setting)["value"].iloc[0] == ""


def test_where_the_temporary_folder_is_no_utf_8_questions_are_answered(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/tmp\xff")
    os.mkdir(folder)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: folder)
    with Warehouse(made.root) as wh:
        assert len(wh.query("select * from trades")) == 2 * ROWS
        setting = "select value from duckdb_settings() where name = 'temp_directory'"
        assert wh.query(setting)["value"].iloc[0] == ""
    assert not os.listdir(folder)


def test_it_is_nobody_elses_folder_that_is_removed(tmp_path: Path) -> None:
    """A link is not followed, and a file is left alone."""
    victim = tmp_path / "victim"
    (victim / "below").mkdir(parents=True)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    (tmp_path / f"{_spill_prefix()}{gone}-a").symlink_to(victim)
    (tmp_path / f"{_spill_prefix()}{gone}-b").write_text("x")
    _sweep(tmp_path)
    assert (victim / "below").is_dir()
    assert len(left(tmp_path)) == 2


def test_a_folder_named_for_a_process_that_cannot_be_is_left_alone(tmp_path: Path) -> None:
    strange = tmp_path / f"{_spill_prefix()}{2**31}-a"
    strange.mkdir()
    _sweep(tmp_path)
    assert strange.is_dir()
