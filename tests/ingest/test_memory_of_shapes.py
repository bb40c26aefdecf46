"""Files of an odd shape keep to the memory limit, as plain ones do."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from building import HEADERS, SESSION, Made, instant

LONG = bool(os.environ.get("WAREHOUSE_TEST_LONG"))
ROWS = 1_500_000 if LONG else 600_000
T = instant(SESSION)
LIMIT = 1 << 29

INGEST = """
import resource, sys
from pathlib import Path
from warehouse.core import config
from warehouse.pipeline.pipeline import Pipeline
from warehouse.core.request import Request

unit = 1 if sys.platform == "darwin" else 1024

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

root = Path(sys.argv[1])
before = peak()
settings = config.load(root / "config/data_config.yaml", {})
report = Pipeline(settings.layout(root), settings).ingest(Request.of(["trades"]))
(file,) = report.files
assert file.problem is None, file.problem
print(peak() - before, file.rows_published, file.rows_rejected)
"""


def line(number: int, at: int, sequence: int | str, conditions: str = '"12,37"') -> str:
    return f"AAPL,{conditions},0,4,i{number},{T},10.5,{sequence},{at},100,1,0,0\n"


SHAPES: dict[str, tuple[Callable[[int], str], int]] = {
    "plain": (lambda n: line(n, T + n, n), ROWS),
    "one_stamp_without_numbers": (lambda n: line(n, T, ""), ROWS),
    "reversed": (lambda n: line(n, T + ROWS - n, ROWS - n), ROWS),
    "every_line_twice": (lambda n: line(n // 2, T + n // 2, n // 2), ROWS // 2),
    "no_quote_is_closed": (lambda n: line(n, T + n, n, '"12,37'), 0),
    "no_price_is_one": (lambda n: line(n, T + n, n).replace("10.5", "10.5x"), 0),
}


def write(path: Path, row: Callable[[int], str]) -> None:
    def blocks() -> Iterator[str]:
        for start in range(0, ROWS, 10_000):
            yield "".join(map(row, range(start, start + 10_000)))

    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write(HEADERS["trades"] + "\n")
        file.writelines(blocks())


@pytest.mark.torture
def test_no_shape_of_a_file_takes_more_than_the_memory_limit(
    make_warehouse: Callable[..., Made],
) -> None:
    def peak(row: Callable[[int], str], published: int) -> int:
        made = make_warehouse(processing__memory_limit_gb=0.5)
        write(made.root / f"data/raw/trades/{SESSION:%Y/%m/%Y-%m-%d}.csv.gz", row)
        done = subprocess.run(
            [sys.executable, "-c", INGEST, str(made.root)],
            capture_output=True,
            text=True,
            check=True,
        )
        taken, *rows = map(int, done.stdout.split())
        assert rows == [published, ROWS - published]
        return taken

    peaks = {name: peak(row, published) for name, (row, published) in SHAPES.items()}

    assert {name: taken for name, taken in peaks.items() if taken > 1.1 * LIMIT} == {}
