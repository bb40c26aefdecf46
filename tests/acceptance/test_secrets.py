"""A secret in the environment is nowhere else: in no file, no message, no list of processes."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import s3server
from building import SESSION, Made, bar, day_key, instant, make, trade
from s3server import ACCESS_KEY, BUCKET, LIST_ONLY_KEY, LIST_ONLY_SECRET, SECRET, S3TestServer

WAREHOUSE = str(Path(sysconfig.get_path("scripts")) / "warehouse")
CANARY = "CANARY+wJalrXUtnFEMI/K7MDENG/bPxRfiCY"
SECRETS = (SECRET, LIST_ONLY_SECRET, CANARY)
"""The first two open the server's doors: they are as secret as the canary."""


@pytest.fixture(scope="module")
def server() -> S3TestServer:
    if s3server.weed() is None:
        pytest.skip("no S3 server is installed")
    return s3server.shared()


@pytest.fixture
def made(server: S3TestServer, tmp_path: Path) -> Made:
    made = make(tmp_path, download__retry_attempts=0)
    folder = f"secrets-{tmp_path.name}"
    for key, lines in (
        (day_key("trades", SESSION), [trade("A", instant(SESSION)), "too,few"]),
        (day_key("day_aggs", SESSION), [bar("A", instant(SESSION, "00:00"))]),
    ):
        server.put(f"{folder}/{key}", made.put(key, lines).read_bytes())
    server.put(f"{folder}/{day_key('quotes', SESSION)}", b"no gzip")
    made.configure(source__url=f"s3://{BUCKET}/{folder}", source__endpoint=server.endpoint)
    return made


def run(made: Made, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with these variables; what ps shows must be clean."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "POLYGON_", "WAREHOUSE_"))
    }
    process = subprocess.Popen(
        [WAREHOUSE, "-C", str(made.root), *arguments],
        env={**inherited, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            seen.update(command_lines(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        stdout, stderr = process.communicate(timeout=60)
    finally:
        ended.set()
        watcher.join()
    assert any("warehouse" in each for each in seen) or not Path("/proc/self").exists()
    check_clean("the list of processes", "\n".join(seen).encode())
    check_clean("standard output", stdout.encode())
    check_clean("standard error", stderr.encode())
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def command_lines(pid: int) -> Iterator[str]:
    """What anybody may read of a process, its threads and its children."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if pid not in (int(path.name), parent):
                continue
            yield (path / "cmdline").read_bytes().decode("utf-8", "replace")
            for thread in (path / "task").iterdir():
                yield (thread / "comm").read_text()
        except OSError:
            continue


def check_clean(where: str, content: bytes) -> None:
    for secret in SECRETS:
        assert secret.encode() not in content, f"{secret[:6]}… in {where}"
        # Nor a part of it that would do.
        assert secret.encode()[:16] not in content, where


def check_files(made: Made) -> set[str]:
    """Every file of the warehouse, byte by byte, and what is within those that compress."""
    seen = set()
    for path in made.root.rglob("*"):
        if path.is_dir():
            continue
        check_clean(str(path), path.read_bytes())
        seen.add(path.name)
        if path.suffix == ".parquet":
            footer = pq.read_metadata(path)
            check_clean(f"{path}'s metadata", repr(footer.metadata).encode())
            check_clean(f"{path}'s rows", str(pq.read_table(path).to_pylist()).encode())
    if made.layout.catalog.exists():
        with duckdb.connect(str(made.layout.catalog), read_only=True) as catalog:
            tables = catalog.execute("select table_name from duckdb_tables()").fetchall()
            assert ("runs",) in tables
            for (table,) in tables:
                rows = catalog.execute(f"from {table}").fetchall()
                check_clean(f"the catalog's {table}", repr(rows).encode())
            macros = catalog.execute("select sql from duckdb_views()").fetchall()
            check_clean("the catalog's views", repr(macros).encode())
    return seen


UPDATE = ("update", "--start", str(SESSION), "--end", str(SESSION))
GOOD = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET}


def test_a_secret_that_is_used_is_nowhere_afterwards(made: Made) -> None:
    """The run fetches, publishes, rejects rows and sets a file aside; then the others read."""
    done = run(made, *UPDATE, "--json", **GOOD, CANARY=CANARY, POLYGON_KEY=CANARY)
    assert done.returncode == 1
    assert json.loads(done.stdout)["rows_published"] == 2
    for command in (["status"], ["status", "--openmetrics"], ["query", "from runs"], ["ingest"]):
        assert run(made, *command, **GOOD).returncode == 0
    variables = ["query", "select * from duckdb_settings()", "--format", "json"]
    assert run(made, *variables, **GOOD).returncode == 0

    seen = check_files(made)

    assert seen >= {
        *("warehouse.duckdb", "warehouse.jsonl", "warehouse.prom", "2024_01.parquet"),
        *("2024-01-31.parquet", "2024-01-31.csv.gz", "2024-01-31.csv.gz.json"),
    }


FAILING: dict[str, Mapping[str, str]] = {
    "a wrong secret": {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": CANARY},
    "the vendor's names": {"POLYGON_S3_ACCESS_KEY": ACCESS_KEY, "POLYGON_S3_SECRET": CANARY},
    "half of the credentials": {"POLYGON_S3_SECRET": CANARY},
    "an unknown key": {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN", "AWS_SECRET_ACCESS_KEY": CANARY},
    "a secret of odd letters": {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": f"{CANARY}\u00e9 \n",
    },
    "a token": {**GOOD, "AWS_SESSION_TOKEN": CANARY},
    "a server that is not there": {
        **GOOD,
        "WAREHOUSE_SOURCE__ENDPOINT": "http://127.0.0.1:9",
        "AWS_SESSION_TOKEN": CANARY,
    },
    "a bucket that is not there": {**GOOD, "WAREHOUSE_SOURCE__URL": "s3://nowhere/x"},
    "what may be listed and not fetched": {
        "AWS_ACCESS_KEY_ID": LIST_ONLY_KEY,
        "AWS_SECRET_ACCESS_KEY": LIST_ONLY_SECRET,
    },
    "a disk that is full": {**GOOD, "WAREHOUSE_STORAGE__RAW_DATA_DIR": "/dev/full/raw"},
    "a setting that is none": {**GOOD, "WAREHOUSE_STORAGE__RETENTION_DAYS": "x"},
}


@pytest.mark.parametrize("how", FAILING)
def test_a_run_that_fails_does_not_tell_the_secret(how: str, made: Made) -> None:
    done = run(made, *UPDATE, **FAILING[how])
    if how != "a token":
        assert done.returncode in (1, 2), done.stderr
    if done.returncode == 2:
        assert done.stderr.splitlines()[-1].startswith("Error: ")
        assert "Traceback" not in done.stderr

    check_files(made)

    if how != "a setting that is none":
        last = json.loads(made.layout.log.read_text().splitlines()[-1])
        assert last["event"] == "run ended"


def test_a_secret_in_an_address_is_not_repeated(made: Made, server: S3TestServer) -> None:
    for variable, value in (
        ("WAREHOUSE_SOURCE__ENDPOINT", f"http://me:{CANARY.replace('/', '')}@127.0.0.1:9"),
        ("WAREHOUSE_SOURCE__URL", f"s3://me:{CANARY}@{BUCKET}"),
    ):
        done = run(made, *UPDATE, **{**GOOD, variable: value})
        assert done.returncode == 2
        assert done.stderr == (
            f"Error: {variable}: {variable[10:].lower().replace('__', '.')} = '(not shown)':"
            " it holds a password; credentials come from the environment or ~/.aws\n"
        )
        check_files(made)
