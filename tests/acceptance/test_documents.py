"""What the documents show is what happens, and the reference leaves nothing out."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import duckdb
import pytest
from building import REPOSITORY
from click.testing import CliRunner
from pydantic import BaseModel

import warehouse
from warehouse import Warehouse, errors
from warehouse.cli.main import cli
from warehouse.core.config import BarsConfig, Config, LayoutConfig
from warehouse.core.datatypes import DATA_TYPES

DOCS = REPOSITORY / "docs"
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(path for path in DOCS.rglob("*.md") if not path.name.startswith("_")),
]
NAMES = [path.relative_to(REPOSITORY).as_posix() for path in DOCUMENTS]
MOST_LINES_OF_THE_README = 200


@pytest.fixture(scope="module")
def beside_the_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    result = CliRunner().invoke(cli, ["demo", str(folder / "demo-warehouse")])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(generate: ModuleType) -> dict[str, str]:
    """All that are made but for the JSON outputs, which run the demo and its commands."""
    return {
        name.removeprefix("reference/").removesuffix(".md"): page()
        for name, page in generate.PAGES.items()
        if name != "reference/json.md"
    }


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"(?m)^```{language}\n(.*?)^```", path.read_text("utf-8"), re.DOTALL)


# --- what they show ---


@pytest.mark.parametrize("name", NAMES)
def test_the_python_examples_answer_as_they_are_printed(
    name: str, beside_the_demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(beside_the_demo)
    found = blocks(REPOSITORY / name, "python")
    for block in found:
        if ">>>" not in block:
            ast.parse(block)
    text = "\n".join(block for block in found if ">>>" in block)
    examples = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    result = doctest.DocTestRunner().run(examples, clear_globs=False)
    if "wh" in examples.globs:
        examples.globs["wh"].close()
    assert result.failed == 0


def test_the_readme_has_python_examples() -> None:
    assert sum(block.count(">>>") for block in blocks(DOCUMENTS[0], "python")) >= 5


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_answer_as_they_are_printed(name: str, beside_the_demo: Path) -> None:
    program = Path(sysconfig.get_path("scripts")) / "warehouse"
    for command, expected in shown_commands(REPOSITORY / name):
        assert command[0] == "warehouse"
        done = subprocess.run(
            [str(program), *command[1:]],
            cwd=beside_the_demo,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout.strip() == expected.strip(), done.stderr


def shown_commands(path: Path) -> Iterator[tuple[list[str], str]]:
    """Commands after a `$ ` with the lines that they print."""
    for block in blocks(path, "(?:console)?"):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            lines = part.splitlines()
            for end in range(1, len(lines) + 1):
                try:
                    yield shlex.split("\n".join(lines[:end])), "\n".join(lines[end:])
                    break
                except ValueError:
                    continue


def test_the_sizing_is_what_its_rates_come_to() -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "sizing.py")]
    tables = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    guide = (DOCS / "guides" / "scaling-out.md").read_text("utf-8")
    assert [table for table in tables.strip().split("\n\n") if table not in guide] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_sql_and_yaml_that_they_show_can_be_read(name: str, generate: ModuleType) -> None:
    for block in blocks(REPOSITORY / name, "yaml"):
        for section, keys in generate.yaml.safe_load(block).items():
            model: Any = Config.model_fields[section].annotation
            assert set(keys) <= set(model.model_fields), (name, keys)
    for block in blocks(REPOSITORY / name, "sql"):
        assert duckdb.extract_statements(block)


@pytest.mark.parametrize("name", NAMES)
def test_links_within_the_repository_lead_somewhere(name: str, generate: ModuleType) -> None:
    path = REPOSITORY / name
    text = re.sub(r"(?ms)^```.*?^```", "", path.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            there = (path.parent / target).resolve()
            made = {*generate.PAGES, "contributing.md", "changelog.md"}
            is_made = path.is_relative_to(DOCS) and there.relative_to(DOCS).as_posix() in made
            assert there.exists() or is_made, (name, target)


def test_the_readme_is_short() -> None:
    assert len(DOCUMENTS[0].read_text("utf-8").splitlines()) <= MOST_LINES_OF_THE_README


def test_every_command_stands_in_the_readme() -> None:
    for name in cli.commands:
        assert f"`{name}`" in DOCUMENTS[0].read_text("utf-8"), name


def test_every_feature_stands_in_the_guide() -> None:
    guide = (DOCS / "guides" / "features.md").read_text("utf-8")
    for path in (REPOSITORY / "sql" / "features").glob("*.sql"):
        assert f"| `{path.stem}` |" in guide, path


def test_every_page_stands_in_the_contents(generate: ModuleType) -> None:
    contents = (REPOSITORY / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    listed = set(re.findall(r": (\S+\.md)$", contents, re.MULTILINE))
    written = {path.relative_to(DOCS).as_posix() for path in DOCUMENTS if path.is_relative_to(DOCS)}
    assert listed == {*written, *generate.PAGES, "contributing.md", "changelog.md"}


def test_what_the_journey_names_is_there() -> None:
    text = (DOCS / "explanation" / "journey.md").read_text("utf-8")
    named = re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)\.([A-Z]\w+|[a-z_]+)(?:\.([a-z_]+))?`", text)
    checked = 0
    for module, name, method in named:
        if (REPOSITORY / "warehouse" / module.split(".")[0]).with_suffix(".py").exists() or (
            REPOSITORY / "warehouse" / module.split(".")[0]
        ).is_dir():
            value = getattr(importlib.import_module(f"warehouse.{module}"), name)
            assert not method or hasattr(value, method), (module, name, method)
            checked += 1
    assert checked > 15


def test_the_tests_that_guarantees_name_are_there() -> None:
    text = (DOCS / "explanation" / "guarantees.md").read_text("utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)`", text)
    assert len(named) > 20
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


# --- what the reference holds ---


def params_of(command: click.Command) -> list[click.Parameter]:
    """Those of a command, and of the commands within it; of the whole program its own alone."""
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    more = [each for one in inner for each in one.params] if command is not cli else []
    return [*command.params, *more]


def test_every_command_and_every_option_is_in_the_reference(pages: dict[str, str]) -> None:
    for name, command in cli.commands.items():
        section = re.search(rf"(?ms)^## {name}\n(.*?)(?=^## |\Z)", pages["cli"])
        assert section, name
        options = [
            option for each in params_of(command) for option in each.opts if option[0] == "-"
        ]
        for option in options:
            assert re.search(rf"^\| `[^`]*{option}\b", section[1], re.MULTILINE), (name, option)
            assert "| `" in section[1]


def test_every_public_method_is_in_the_reference(pages: dict[str, str]) -> None:
    public = [name for name in vars(Warehouse) if not name.startswith("_")]
    assert len(public) > 25
    for name in public:
        assert f"### Warehouse.{name}\n" in pages["python"]
        value = vars(Warehouse)[name]
        for parameter in () if isinstance(value, property) else inspect.signature(value).parameters:
            if parameter not in ("self", "options"):
                section = pages["python"].partition(f"### Warehouse.{name}\n")[2]
                assert f"{parameter}:" in section.partition("\n### ")[0], (name, parameter)
    for name in warehouse.__all__:
        assert f"`{name}`" in pages["python"]


def test_options_that_are_unpacked_are_written_out(pages: dict[str, str]) -> None:
    section = pages["python"].partition("### Warehouse.trades\n")[2].partition("\n###")[0]
    assert "downcast: bool = False" in section
    assert "Unpack" not in pages["python"]


def test_every_key_is_in_the_reference_with_its_meaning(pages: dict[str, str]) -> None:
    for section, field in Config.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            for key in _keys(model):
                row = re.search(rf"(?m)^\| `{section}\.{key}` \| (.*?) \| ", pages["configuration"])
                assert row, f"{section}.{key} is no key of config/data_config.yaml: give it a line"
                assert row[1], f"{section}.{key} has no comment in config/data_config.yaml"
                name = f"{section}__{key.replace('.', '__')}".upper()
                assert f"`WAREHOUSE_{name}`" in pages["configuration"]


def _keys(model: type[BaseModel]) -> Iterator[str]:
    """The keys of a section; of one that holds others, those."""
    for key, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from (f"{key}.{name}" for name in _keys(inner))
        else:
            yield key


def test_every_view_macro_table_and_column_is_in_the_reference(
    pages: dict[str, str], beside_the_demo: Path
) -> None:
    catalog = beside_the_demo / "demo-warehouse" / "data" / "warehouse.duckdb"
    with duckdb.connect(str(catalog), read_only=True) as connection:
        macros = connection.execute(
            "select function_name, len(parameters) from duckdb_functions()"
            " where not internal and function_type in ('macro', 'table_macro')"
        ).fetchall()
        views = connection.execute("select view_name from duckdb_views() where not internal")
        names = [name for (name,) in views.fetchall()]
        columns = connection.execute(
            "select table_name, column_name from duckdb_columns() where not internal"
        ).fetchall()
    page = pages["catalog"]
    calls = re.findall(r"`(\w+)\(([^`]*)\)`", page.partition("\n## Tables")[0])
    given = {(name, len([each for each in took.split(",") if each])) for name, took in calls}
    # Those of bars are there for each length that is kept; the demo keeps none.
    of_kept_bars = {each for each in given if each[0].startswith("bars_1m_")}
    assert ("bars_1m_of", 3) in of_kept_bars
    assert set(macros) == given - of_kept_bars
    for name in names:
        assert f"| `{name}` |" in page
    for table, column in columns:
        if table not in names:
            section = page.partition(f"### {table}\n")[2].partition("\n### ")[0]
            assert f"| `{column}` |" in section, (table, column)


def test_whoever_reads_a_macro_is_told_that_it_follows_no_renames(pages: dict[str, str]) -> None:
    assert "none follows renames" in pages["catalog"].partition("\n## Tables")[0]
    for name in (*DATA_TYPES, "bars", "kept_bars", "features"):
        text = (REPOSITORY / "sql" / "catalog" / f"{name}.sql").read_text("utf-8")
        header = " ".join(text.partition("\ncreate ")[0].replace("\n--", " ").split())
        assert re.search(r"follows? no renames|none follows renames", header), name


def test_every_file_of_sql_is_in_the_reference_with_its_sentence(pages: dict[str, str]) -> None:
    files = sorted((REPOSITORY / "sql").rglob("*.sql"))
    assert len(files) > 70
    for path in files:
        section = pages["sql"].partition(f"## sql/{path.parent.name}\n")[2].partition("\n## ")[0]
        row = re.search(rf"(?m)^\| `{path.stem}` \| (.*?) \|", section)
        assert row, path
        assert row[1].endswith((".", "?")), path


def test_every_column_and_every_reason_is_in_the_dictionary(pages: dict[str, str]) -> None:
    for kind in DATA_TYPES.values():
        section = pages["data"].partition(f"## {kind.name}\n")[2].partition("\n## ")[0]
        for field in kind.rejects_columns:
            if field.name in kind.columns.names:
                row = rf"(?m)^\| `{field.name}` \| `\w+` \| .*? \| \w.*? \| \S.* \|"
                assert re.search(row, section), (kind.name, field.name)
    reasons = pages["data"].partition("## Reject reasons\n")[2]
    for folder in ("clean", "dedupe"):
        for path in (REPOSITORY / "sql" / folder).glob("*.sql"):
            bare = re.sub(r"--[^\n]*", "", path.read_text("utf-8"))
            for reason in re.findall(r"'(\w+)'", bare):
                shown = f"{reason}…" if reason.endswith("_") else reason
                assert re.search(rf"(?m)^\| `{shown}` \| \S", reasons), (path, reason)


def test_every_error_is_in_the_reference_with_its_remedy(pages: dict[str, str]) -> None:
    kinds = [
        value for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.WarehouseError)
    ]  # fmt: skip
    assert len(kinds) > 20
    for kind in kinds:
        row = re.search(rf"(?m)^\| `{kind.__name__}` \| (.+?) \| (.+?) \|", pages["errors"])
        assert row, kind
        tree = pages["errors"].split("```")[1]
        assert re.search(rf"(?m)(^|[├└]── ){kind.__name__}\b", tree)


def test_every_command_with_json_has_an_output_in_the_reference(generate: ModuleType) -> None:
    with_json = {
        name for name, command in cli.commands.items()
        if any("--json" in each.opts for each in params_of(command))
    }  # fmt: skip
    assert with_json == {example[0] for example in generate.JSON_EXAMPLES.values()}


def test_the_json_outputs_are_objects_with_their_keys(
    generate: ModuleType, beside_the_demo: Path
) -> None:
    page = generate.json_page(beside_the_demo / "demo-warehouse")
    assert '"rows_published"' in page.partition("## update\n")[2]
    assert str(beside_the_demo) not in page
    assert all(f"## {title}\n" in page for title in generate.JSON_EXAMPLES)


def test_one_name_stands_for_one_thing(pages: dict[str, str]) -> None:
    """What the table of names says, the sources have."""
    rows = re.findall(r"(?m)^\| (.*) \|$", (DOCS / "reference" / "names.md").read_text("utf-8"))
    keys = set(re.findall(r"`(\w+(?:\.\w+)+)`", pages["configuration"]))
    arguments = {
        name for value in vars(Warehouse).values() if inspect.isfunction(value)
        for name in inspect.signature(value).parameters
    }  # fmt: skip
    arguments |= {name for name in vars(Warehouse) if not name.startswith("_")}
    arguments |= set(re.findall(r"(?m)^    (\w+):", pages["python"]))
    options = {
        option for command in (cli, *cli.commands.values()) for each in params_of(command)
        for option in each.opts
    }  # fmt: skip
    checked = 0
    for row in rows[2:]:
        _, python, line, _, yaml, *_ = (cell.strip() for cell in row.split(" | "))
        for name in re.findall(r"`(\w+)[^`]*`", python):
            assert name in arguments or name in warehouse.__all__, (row, name)
            checked += 1
        for option in re.findall(r"`(-[-\w]+)", line):
            assert option in options, (row, option)
            checked += 1
        for key in re.findall(r"`([\w.]+)`", yaml):
            assert key in keys, (row, key)
            checked += 1
    assert checked > 20


def test_every_key_of_bars_has_a_row_among_the_names() -> None:
    names = (DOCS / "reference" / "names.md").read_text("utf-8")
    keys = [f"bars.{key}" for key in BarsConfig.model_fields]
    keys += [f"storage.layout.{key}" for key in LayoutConfig.model_fields if "bars" in key]
    assert len(keys) > 3
    assert [key for key in keys if f"`{key}`" not in names] == []
