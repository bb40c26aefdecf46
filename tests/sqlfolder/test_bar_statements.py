"""The statements of sql/bars: each rests on what its header names, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest
from building import REPOSITORY

from warehouse.errors import SqlFileError
from warehouse.sqlfolder.bars.bar_file import BarFolder, check
from warehouse.sqlfolder.files import SqlFolder

NAMES = sorted(path.stem for path in (REPOSITORY / "sql/bars").glob("*.sql"))


def own(folder: Path, body: str, reads: str = "eligible") -> BarFolder:
    (folder / "bars").mkdir()
    head = f"-- bars/time: of my own.\n-- grain: symbol\n-- reads: {reads}\n"
    (folder / "bars/time.sql").write_text(f"{head}{body}\n")
    return BarFolder(SqlFolder(folder))


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_that_comes_with_the_project_keeps_the_rules(name: str) -> None:
    statement = BarFolder(SqlFolder(REPOSITORY / "sql"))[name]
    check(statement.file, statement.reads)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("select * from sessions", "sessions"),
        ("select * from read_csv('/etc/passwd')", "read_csv"),
        ("select *, now() as seen from eligible", "now"),
        ("select *, random() as dice from eligible", "random"),
        ("select 1; select 2", "exactly one SELECT"),
        ("delete from eligible", "exactly one SELECT"),
        ("select from where", "syntax error"),
    ],
)
def test_one_that_rests_on_anything_else_is_refused(body: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SqlFileError, match=told) as refused:
        own(tmp_path, body)["time"]
    assert refused.value.path == tmp_path / "bars/time.sql"


def test_one_may_read_what_its_header_names(tmp_path: Path) -> None:
    folder = own(tmp_path, "select * from eligible, sessions", "eligible, sessions")
    assert folder["time"].reads == ("eligible", "sessions")
    assert folder["day"].file.path == REPOSITORY / "sql/bars/day.sql"
