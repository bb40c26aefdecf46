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
from pathlib import Path

import pytest
from building import Made, make
from vendor import DAYS, KINDS, Source, lines_of, published, rows_of

from warehouse.core.datatypes import DATA_TYPES

pytestmark = pytest.mark.torture

LONG = bool(os.environ.get("WAREHOUSE_TEST_LONG"))


def command(made: Made, *words: str) -> list[str]:
    return [sys.executable, "-m", "warehouse", "-C", str(made.root), *words]


LAYOUTS = [dict.fromkeys(DATA_TYPES, layout) for layout in ("symbol", "market")]
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_process_killed_at_random_loses_no_row_and_doubles_none(
    tmp_path: Path, layout: dict[str, str]
) -> None:
    made, dice = make(tmp_path, storage__layout=layout), random.Random(5)
    source = Source(made)
    source.restate_all()
    made.update(*KINDS)
    killed = 0
    while killed < (200 if LONG else 4):
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
            assert published(made, kind) == rows_of(source.versions, kind), f"{kind} after {words}"
        made.check_catalog()
        assert made.verify().faults == []
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
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_system_call_of_a_publish_may_fail_and_leaves_the_old_or_the_new(
    tmp_path: Path, layout: dict[str, str]
) -> None:
    made, log = make(tmp_path, storage__layout=layout), tmp_path / "log"
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
    for name, number, fault in points if LONG else random.Random(3).sample(points, 6):
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
        assert made.verify().faults == [], where
    assert set(seen) == {False, True} or not LONG
