"""What the README shows is what happens."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from building import REPOSITORY
from click.testing import CliRunner

from warehouse.cli.main import cli

README = (REPOSITORY / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def beside_the_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    result = CliRunner().invoke(cli, ["demo", str(folder / "demo-warehouse")])
    assert result.exit_code == 0, result.output
    return folder


def test_the_python_examples_answer_as_they_are_printed(
    beside_the_demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(beside_the_demo)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README.md", None, 0)

    runner = doctest.DocTestRunner()
    result = runner.run(examples, clear_globs=False)
    examples.globs["wh"].close()

    assert result.attempted >= 5
    assert result.failed == 0


def test_every_command_stands_in_the_readme() -> None:
    for name in cli.commands:
        assert re.search(rf"`{name}[ `]", README), name


def test_every_folder_of_sql_stands_in_the_readme() -> None:
    for folder in (REPOSITORY / "sql").iterdir():
        assert f"sql/{folder.name}" in README, folder.name
