"""One process publishes again and again while eight others read; none may notice but by the news.

The short form, of CI, takes seconds of what `make torture` does for a minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from building import instant, make, trade

pytestmark = pytest.mark.torture

SECONDS = 60.0 if os.environ.get("WAREHOUSE_TEST_LONG") else 3.0
DAYS = (date(2024, 1, 31), date(2024, 2, 1))
SYMBOLS = tuple("ABCDEF")
ROWS = 500
TOTAL = len(DAYS) * len(SYMBOLS) * ROWS

# Every price of a generation is the same number, so a mix shows.
WRITER = """
import sys, time
from building import Made
from test_torture_readers import DAYS, TOTAL, lines
from pathlib import Path
made = Made(Path(sys.argv[1]), Path(sys.argv[2]))
version, end = 1, time.monotonic() + float(sys.argv[4])
while version < 5 or time.monotonic() < end:
    version += 1
    for day in DAYS:
        made.put_raw("trades", day, lines(day, version))
    # The months are batches of one run, each with a publish of its own.
    report = made.ingest("trades")
    assert report.metrics.rows_published == TOTAL, report
Path(sys.argv[3]).touch()
print(version)
"""

READER = """
import json, sys
from pathlib import Path
from warehouse import Warehouse
from test_torture_readers import DAYS, ROWS, SYMBOLS
seen, asked, done = set(), 0, Path(sys.argv[2])
wh = Warehouse(sys.argv[1])
while not done.exists():
    for day in DAYS:
        frame = wh.trades(SYMBOLS, day, day, columns=["symbol", "price"])
        assert (frame.groupby("symbol").size() == ROWS).all() and len(frame) == ROWS * len(SYMBOLS)
        assert frame["price"].nunique() == 1, frame["price"].unique()
        seen.add(frame["price"].iloc[0])
        asked += 1
    found = wh.query(
        "select session, count(*) as n, min(price) as low, max(price) as high"
        " from trades group by session"
    )
    assert (found["n"] == ROWS * len(SYMBOLS)).all() and len(found) == len(DAYS), found
    assert (found["low"] == found["high"]).all(), found
    asked += 1
print(json.dumps([asked, len(seen)]))
"""

SHELL = """
import json, subprocess, sys
from pathlib import Path
shell, catalog, finished, asked = sys.argv[1], sys.argv[2], Path(sys.argv[3]), 0
sql = "select count(*) from trades; select count(*) from trades_of('C')"
while not finished.exists():
    done = subprocess.run(
        [shell, "-readonly", "-noheader", "-list", catalog, "-c", sql],
        capture_output=True, text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.split() == sys.argv[4:], done.stdout
    asked += 1
print(json.dumps([asked, asked]))
"""


def lines(day: date, version: int) -> list[str]:
    return [
        trade(symbol, instant(day, "10:00", number), number, price=version, id=str(number))
        for symbol in SYMBOLS
        for number in range(ROWS)
    ]


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    here, known = Path(__file__).parent, os.environ.get("PYTHONPATH")
    path = os.pathsep.join(filter(None, [str(here), str(here.parent), known]))
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.mark.parametrize("layout", ["symbol", "market"])
def test_readers_see_one_generation_or_the_next_while_a_writer_publishes(
    tmp_path: Path, layout: str
) -> None:
    made = make(tmp_path, storage__layout={"trades": layout})
    for day in DAYS:
        made.put_raw("trades", day, lines(day, 1))
    made.ingest("trades")
    shell = Path(sys.executable).with_name("duckdb")

    stop = tmp_path / "stop"
    writer = start(WRITER, made.root, made.source, stop, SECONDS)
    readers = [start(READER, made.root, stop) for _ in range(6)]
    readers += [
        start(SHELL, shell, made.layout.catalog, stop, TOTAL, len(DAYS) * ROWS) for _ in range(2)
    ]
    answers = []
    for process in (writer, *readers):
        out, complaint = process.communicate(timeout=SECONDS + 300)
        stop.touch()
        assert process.returncode == 0, complaint
        answers.append(json.loads(out))

    versions, *asked = answers
    assert versions >= 5
    assert all(count > 0 for count, _ in asked)
    # The readers did meet the news.
    assert max(generations for _, generations in asked[:6]) > 2
    made.check_catalog()
