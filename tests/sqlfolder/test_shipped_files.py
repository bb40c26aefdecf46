"""A warehouse's copies of the shipped SQL: what nobody changed is brought up to date, once."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from building import REPOSITORY, SESSION, Made, MakeWarehouse, bar, day_key, instant
from click.testing import CliRunner

from warehouse.cli.main import cli
from warehouse.core.config import CONFIG_FILE
from warehouse.core.metrics import Silent
from warehouse.core.request import Request
from warehouse.pipeline.pipeline import Pipeline
from warehouse.sqlfolder import shipped_files
from warehouse.sqlfolder.shipped_files import RECORD

CLEAN = "sql/clean/day_aggs.sql"
RULE = "sql/validate/zero_sizes.sql"


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What the project ships, in a folder where the next version can be made of it."""
    for name in ("sql", "config"):
        shutil.copytree(REPOSITORY / name, tmp_path / "shipped" / name)
    monkeypatch.setattr(shipped_files, "shipped", lambda folder: tmp_path / "shipped" / folder)
    shipped_files._shipped.cache_clear()
    yield tmp_path / "shipped"
    shipped_files._shipped.cache_clear()


@pytest.fixture
def made(release: Path, make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse({day_key("day_aggs", SESSION): [bar("A", instant(SESSION, "00:00"))]})
    assert update(made) == []
    return made


def update(made: Made) -> list[str]:
    notes = Notes()
    config = made.config
    request = Request.of((), SESSION, SESSION)
    Pipeline(config.layout(made.root), config, notes).update(request)
    return notes.lines


def append(path: Path, text: str = "-- another word\n") -> None:
    path.write_text(path.read_text("utf-8") + text, "utf-8")
    shipped_files._shipped.cache_clear()


def test_a_file_that_nobody_changed_gives_way_to_the_next_versions(
    made: Made, release: Path
) -> None:
    append(release / CLEAN)
    assert update(made) == [f"{CLEAN}: replaced by the present version's"]
    assert (made.root / CLEAN).read_bytes() == (release / CLEAN).read_bytes()
    assert update(made) == []


def test_a_file_that_was_changed_is_kept_and_named_as_long_as_it_is_behind(
    made: Made, release: Path
) -> None:
    append(made.root / CLEAN, "-- mine\n")
    mine = (made.root / CLEAN).read_bytes()
    assert update(made) == []
    append(release / CLEAN)
    append(release / RULE)
    told = f"{CLEAN}: kept as you changed it, though the shipped one has changed since"
    assert update(made) == [f"{RULE}: replaced by the present version's", told]
    assert update(made) == [told]
    assert (made.root / CLEAN).read_bytes() == mine
    shutil.copy(release / CLEAN, made.root / CLEAN)
    assert update(made) == []


def save_as_windows_does(folder: Path) -> None:
    for path in (*folder.glob("sql/**/*.sql"), *folder.glob("config/*.csv")):
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
        path.write_bytes(codecs.BOM_UTF8 + text.replace(b"\n", b"\r\n"))
    shipped_files._shipped.cache_clear()


@pytest.mark.parametrize("keeps_record", [True, False])
def test_other_line_ends_and_a_mark_before_the_text_are_no_change_of_a_file(
    made: Made, release: Path, keeps_record: bool
) -> None:
    save_as_windows_does(made.root)
    if not keeps_record:
        (made.root / RECORD).unlink()
    assert update(made) == []
    append(release / RULE)
    save_as_windows_does(release)
    assert update(made) == [f"{RULE}: replaced by the present version's"]
    assert (made.root / RULE).read_bytes() == (release / RULE).read_bytes()
    assert made.sql("select count(*) from day_aggs") == [(1,)]


def test_a_changed_file_with_other_line_ends_is_kept(made: Made, release: Path) -> None:
    append(made.root / CLEAN, "-- mine\n")
    save_as_windows_does(made.root)
    append(release / CLEAN)
    told = f"{CLEAN}: kept as you changed it, though the shipped one has changed since"
    assert update(made) == [told]


def test_the_run_that_brings_it_uses_it(made: Made, release: Path) -> None:
    path = release / "sql/catalog/path_name.sql"
    append(path, "create or replace macro twice(n) as 2 * n;\n")
    made.put(day_key("day_aggs", SESSION), [bar("B", instant(SESSION, "00:00"))])
    update(made)
    assert made.sql("select twice(4)") == [(8,)]


def test_what_is_new_comes_and_what_is_gone_goes_unless_it_was_changed(
    made: Made, release: Path
) -> None:
    new = release / "sql/validate/brand_new.sql"
    shutil.copy(release / RULE, new)
    new.write_text(new.read_text("utf-8").replace("zero_sizes", "brand_new"), "utf-8")
    append(made.root / "sql/features/vwap.sql", "-- mine\n")
    for name in (RULE, "sql/features/vwap.sql"):
        (release / name).unlink()
    (made.root / "sql/validate/my_own.sql").write_text(new.read_text("utf-8"))
    (made.root / "sql/validate/locked_quotes.sql").unlink()
    shipped_files._shipped.cache_clear()

    assert update(made) == [
        "sql/validate/brand_new.sql: added, as the present version has it",
        f"{RULE}: removed, as the present version has it no more",
    ]
    assert not (made.root / RULE).exists()
    assert (made.root / "sql/features/vwap.sql").exists()
    assert (made.root / "sql/validate/my_own.sql").exists()
    # Taken away by the user, and not for us to bring back.
    assert not (made.root / "sql/validate/locked_quotes.sql").exists()


def test_what_is_new_may_be_read_by_whom_the_settings_may_be_whatever_the_umask(
    made: Made, release: Path
) -> None:
    """The first run of a new version may be that of a nightly job."""
    (made.root / CONFIG_FILE).chmod(0o644)
    (release / "sql/newer").mkdir()
    (release / "sql/newer/query.sql").write_text("select 1\n")
    shipped_files._shipped.cache_clear()
    before = os.umask(0o077)
    try:
        shipped_files.refresh(made.root, made.config)
    finally:
        os.umask(before)
    new = made.root / "sql/newer/query.sql"
    assert new.stat().st_mode & 0o777 == 0o644
    assert new.parent.stat().st_mode & 0o777 == 0o755


def test_a_warehouse_of_a_version_without_a_record_is_known_by_its_files_hashes(
    made: Made, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made.root / RECORD).unlink()
    listed = json.loads(shipped_files._BEFORE.read_text("utf-8"))
    names = {name for name, _ in shipped_files._files()}
    assert {len(digest) for digests in listed.values() for digest in digests} == {16}
    assert len(names & {*listed}) > 80
    listed[CLEAN] = [hashlib.sha256((made.root / CLEAN).read_bytes()).hexdigest()[:16]]
    listed[RULE] = [hashlib.sha256((made.root / RULE).read_bytes()).hexdigest()[:16]]
    monkeypatch.setattr(shipped_files, "_BEFORE", tmp_path / "before.json")
    (tmp_path / "before.json").write_text(json.dumps(listed))
    append(release / CLEAN)
    append(made.root / RULE, "-- mine\n")
    # The rule was changed by the user alone: nobody need be told.
    assert update(made) == [f"{CLEAN}: replaced by the present version's"]
    assert update(made) == []
    append(release / RULE)
    assert [line.partition(":")[0] for line in update(made)] == [RULE]


def test_init_does_the_same_and_restores_what_is_missing(made: Made, release: Path) -> None:
    append(release / CLEAN)
    (made.root / RULE).unlink()
    result = CliRunner().invoke(cli, ["init", str(made.root)])
    assert f"replaced   {CLEAN}" in result.stdout
    assert (made.root / RULE).exists()


def test_a_folder_of_the_users_own_is_left_alone(made: Made, release: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(made.root / "sql", own)
    made.configure(storage__sql_dir=str(own))
    before = (own / "clean/day_aggs.sql").read_bytes()
    append(release / CLEAN)
    append(release / "config/exchanges.csv", "")
    assert [line for line in update(made) if "sql" in line] == []
    assert (own / "clean/day_aggs.sql").read_bytes() == before


def test_nothing_is_written_through_a_link_or_by_the_word_of_a_record(
    made: Made, release: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    shutil.move(made.root / "sql/clean", outside)
    (made.root / "sql/clean").symlink_to(outside)
    victim = tmp_path / "victim.sql"
    victim.write_text("select 1")
    record = json.loads((made.root / RECORD).read_text("utf-8"))
    digest = hashlib.sha256(victim.read_bytes()).hexdigest()
    record["files"] |= {"sql/../../victim.sql": digest, f"sql//{victim}": digest, "sql": 1}
    record["of"] = None
    (made.root / RECORD).write_text(json.dumps(record))
    before = {path: path.read_bytes() for path in outside.iterdir()}
    append(release / CLEAN)
    update(made)
    assert victim.read_text() == "select 1"
    assert {path: path.read_bytes() for path in outside.iterdir()} == before


@pytest.mark.parametrize("draft", ["a link", "a pipe"])
def test_what_bears_the_name_of_a_draft_is_not_written_through_and_not_waited_for(
    made: Made, release: Path, tmp_path: Path, draft: str
) -> None:
    victim = tmp_path / "victim.sql"
    victim.write_text("select 1")
    append(release / CLEAN)
    for name in (CLEAN, RECORD):
        part = made.root / f"{name}.part"
        if draft == "a link":
            part.symlink_to(victim)
        else:
            os.mkfifo(part)
    assert update(made) == [f"{CLEAN}: replaced by the present version's"]
    assert victim.read_text() == "select 1"
    for name in (CLEAN, RECORD):
        assert (made.root / name).is_file()
        assert not (made.root / name).is_symlink()
    assert (made.root / CLEAN).read_bytes() == (release / CLEAN).read_bytes()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', "[" * 10_000])
def test_a_record_that_is_none_is_made_anew(made: Made, text: str) -> None:
    (made.root / RECORD).write_text(text)
    assert update(made) == []
    assert json.loads((made.root / RECORD).read_text("utf-8"))["files"]


def test_a_record_or_a_file_of_any_size_is_looked_at_in_little_memory(made: Made) -> None:
    large = made.root / "sql/report/span.sql"
    for path in (made.root / RECORD, large):
        with open(path, "wb") as file:
            file.truncate(1 << 40)
    update(made)
    assert json.loads((made.root / RECORD).read_text("utf-8"))["files"]
    assert large.stat().st_size == 1 << 40


def test_where_it_cannot_be_written_the_run_goes_on_and_says_so(
    made: Made, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(target: Path, content: bytes) -> None:
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(shipped_files, "write", refuse)
    append(release / CLEAN)
    made.put(day_key("day_aggs", SESSION), [bar("B", instant(SESSION, "00:00"))])
    told = "the shipped files cannot be brought up to date:"
    assert update(made) == [f"{told} {CLEAN}: Permission denied"]
    assert made.sql("select symbol from day_aggs") == [("B",)]
