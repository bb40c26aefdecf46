"""Processes that are killed, and whose system calls fail, at any moment; then everything is right.

The short form, of CI, takes a sample of what `make torture` does whole.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from building import Made, day_key, instant, make, quote, trade

pytestmark = pytest.mark.torture

LONG = bool(os.environ.get("WAREHOUSE_TEST_LONG"))
DAYS = (date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1))
SYMBOLS = ("A", "BRK.B", "NA", "TpC")
KINDS = ("trades", "quotes")

Row = tuple[str, date, int, float]


def lines_of(kind: str, day: date, version: int) -> tuple[list[str], Counter[Row]]:
    """A file's lines in one version, and the rows that must come of them.

    Each version has other prices, some other rows, and a symbol that the one before had not.
    """
    lines: list[str] = []
    rows: Counter[Row] = Counter()
    symbols = [*SYMBOLS, f"V{version % 3}"]
    for symbol in symbols:
        for number in range(40 + version % 5):
            stamp, price = instant(day, "10:00", number // 2), 10.0 + version + number / 100
            if kind == "trades":
                line = trade(symbol, stamp, number, price=price, id=str(number))
            else:
                line = quote(symbol, stamp, number, bid=price, ask=price + 1)
            lines.append(line)
            rows[symbol, day, number, round(price, 6)] += 1
    return lines, rows


class Source:
    """What the vendor has now, and what the warehouse must come to when all is done."""

    def __init__(self, made: Made) -> None:
        self._made = made
        self._versions: dict[tuple[str, date], int] = {}
        for kind in KINDS:
            for day in DAYS:
                self.restate(kind, day)

    def restate(self, kind: str, day: date) -> None:
        version = self._versions.get((kind, day), -1) + 1
        self._versions[kind, day] = version
        self._made.put(day_key(kind, day), lines_of(kind, day, version)[0])

    def rows(self, kind: str) -> Counter[Row]:
        return sum((lines_of(kind, day, self._versions[kind, day])[1] for day in DAYS), Counter())


def published(made: Made, kind: str) -> Counter[Row]:
    price = "price" if kind == "trades" else "bid_price"
    table = made.table(kind)
    names = ("symbol", "session", "sequence_number", price)
    columns = [table[name].to_pylist() for name in names] if table.num_rows else [[]] * 4
    return Counter((*key, round(value, 6)) for *key, value in zip(*columns, strict=True))


def command(made: Made, *words: str) -> list[str]:
    return [sys.executable, "-m", "warehouse", "-C", str(made.root), *words]


COMMANDS = (
    ("download", "trades", "quotes"),
    ("ingest",),
    ("update", "trades", "quotes"),
    ("update", "trades", "quotes"),
    ("rebuild", "trades"),
    ("rebuild", "all", "--symbols", "NA,TpC"),
)


def bounded(words: Sequence[str]) -> list[str]:
    return [*words, "--start", str(DAYS[0]), "--end", str(DAYS[-1])]


def test_a_process_killed_at_random_loses_no_row_and_doubles_none(tmp_path: Path) -> None:
    made, dice = make(tmp_path), random.Random(5)
    source = Source(made)
    made.update(*KINDS)
    killed = 0
    while killed < (200 if LONG else 8):
        for kind in KINDS:
            for day in DAYS:
                if dice.random() < 0.4:
                    source.restate(kind, day)
        words = bounded(dice.choice(COMMANDS))
        process = subprocess.Popen(
            command(made, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        # Not while it still imports: at its first word, or up to a second after it.
        said = process.stdout.readline()
        time.sleep(dice.choice((0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4)) * dice.random())
        process.kill()
        rest = process.stdout.read()
        process.stdout.close()
        ended = process.wait()
        assert ended in (-9, 0), f"{words}: {said}{rest}"
        killed += ended == -9

        made.update(*KINDS)

        for kind in KINDS:
            assert published(made, kind) == source.rows(kind), f"{kind} after {words}"
        made.check_catalog()
        assert not made.layout.journal.exists()
        assert list(made.layout.staging.iterdir()) == []


# --- system calls ---

CALLS = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "sync",
    "rename",
    "unlink",
    "mkdir",
    "ftruncate",
)
FAULTS = ("signal=KILL", "error=EIO", "error=ENOSPC")


def strace(made: Made, log: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("strace", "-f", "-qq", "-o", str(log), "-e", f"trace={','.join(CALLS)}", *options),
            *command(made, "ingest", "trades"),
        ],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def traceable() -> None:
    done = subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True) \
        if shutil.which("strace") else None  # fmt: skip
    if done is None or done.returncode:
        pytest.skip("no strace, or it may not trace")


@pytest.mark.usefixtures("traceable")
def test_any_system_call_of_a_publish_may_fail_and_leaves_the_old_or_the_new(
    tmp_path: Path,
) -> None:
    made, log = make(tmp_path), tmp_path / "log"
    day = DAYS[0]
    made.put_raw("trades", day, [*lines_of("trades", day, 0)[0], "too,few"])
    made.ingest("trades")
    made.put_raw("trades", day, lines_of("trades", day, 1)[0])
    data, before = made.root / "data", tmp_path / "before"
    shutil.copytree(data, before)
    old = made.everything()
    assert strace(made, log).returncode == 0
    new = made.everything()
    assert old[0] != new[0]

    # Each thread's calls are counted by themselves.
    counts: dict[str, Counter[str]] = {name: Counter() for name in CALLS}
    for thread, name in re.findall(r"^(\d+) +(\w+)\(", log.read_text("utf-8", "replace"), re.M):
        counts[name][thread] += 1
    points = [
        (name, number, fault)
        for name in CALLS
        for number in range(1, max(counts[name].values(), default=0) + 1)
        for fault in FAULTS
    ]
    assert len(points) > 150
    seen = Counter[bool]()
    for name, number, fault in points if LONG else random.Random(3).sample(points, 9):
        shutil.rmtree(data)
        shutil.copytree(before, data)
        done = strace(made, log, "-e", f"inject={name}:{fault}:when={number}")
        where = f"{fault} at {name} {number}: {done.stderr}"
        assert "Traceback" not in done.stderr, where
        # A reader finds one or the other, and so does the next writer, who finishes or clears.
        made.ingest("quotes")
        found = made.everything()
        made.check_catalog()
        assert found in (old, new), where
        if done.returncode == 0:
            assert found == new, where
        seen[found == new] += 1

        made.ingest("trades")
        assert made.everything() == new, where
    assert set(seen) == {False, True} or not LONG
