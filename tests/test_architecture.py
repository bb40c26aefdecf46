"""The design's order of modules, and what an installed wheel carries."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from building import REPOSITORY

PACKAGE = REPOSITORY / "warehouse"
MODULES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}
LEVELS = {
    "errors": 0,
    "config": 1,
    "layout": 1,
    "schema": 1,
    "sqlfiles": 2,
    "rawfile": 2,
    "source": 2,
    "sessions": 2,
    "catalog": 3,
    "partitions": 3,
    "cache": 3,
    "download": 4,
    "metrics": 4,
    "pipeline": 5,
    "facade": 6,
    "cli": 7,
    "report": 7,
}
"""The modules that the design names. Others stand between those that they import and those that
import them."""

TERMINAL_PACKAGES = {"click", "rich", "plotly"}
MAY_PRINT = {"cli"}


def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text("utf-8"))


def imported(name: str) -> Iterator[str]:
    """Every module that is imported anywhere in the file, at its head or within a function."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            module = node.module or ""
            yield from (
                [f"warehouse.{alias.name}" for alias in node.names]
                if module == "warehouse"
                else [module]
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def of_ours(name: str) -> set[str]:
    found = {module.split(".")[1] for module in imported(name) if module.startswith("warehouse.")}
    return found & set(MODULES)


GRAPH = {name: of_ours(name) for name in MODULES}


def reachable(name: str) -> set[str]:
    found: set[str] = set()
    waiting = {name}
    while waiting:
        nearer = GRAPH[waiting.pop()]
        waiting |= nearer - found
        found |= nearer
    return found


def test_the_modules_that_the_design_names_are_there() -> None:
    assert set(LEVELS) - {"report"} <= set(MODULES)


def test_no_module_imports_itself_by_way_of_others() -> None:
    order = list(TopologicalSorter(GRAPH).static_order())
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("name", [name for name in LEVELS if name in MODULES])
def test_a_module_imports_only_from_below(name: str) -> None:
    above = {other for other in reachable(name) if LEVELS.get(other, -1) > LEVELS[name]}
    assert above == set()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(tree(name))


@pytest.mark.parametrize("name", [name for name in MODULES if name not in MAY_PRINT])
def test_the_library_never_prints(name: str) -> None:
    calls = [node.func for node in ast.walk(tree(name)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]


def test_no_module_is_named_for_nothing_in_particular() -> None:
    assert not {"utils", "util", "helpers", "common", "misc", "base"} & set(MODULES)


def test_what_a_program_imports_does_not_bring_the_terminal_with_it() -> None:
    library = reachable("facade") | reachable("pipeline") | {"facade", "pipeline"}
    used = {
        (name, module.split(".")[0])
        for name in library
        for module in imported(name)
        if module.split(".")[0] in TERMINAL_PACKAGES
    }
    assert used == set()


def test_an_installed_wheel_carries_the_sql_and_the_configuration(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (wheel,) = tmp_path.glob("flatfile_warehouse-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name
        }
    expected = {
        f"warehouse/{path.relative_to(REPOSITORY).as_posix()}": path
        for folder in ("sql", "config")
        for path in (REPOSITORY / folder).rglob("*.*")
    }
    expected |= {
        path.relative_to(REPOSITORY).as_posix(): path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert packed == {name: path.read_bytes() for name, path in expected.items()}
    assert "warehouse/py.typed" in packed


def test_the_command_and_the_import_are_named_as_promised() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == "flatfile-warehouse"
    assert project["scripts"]["warehouse"].startswith("warehouse.cli:")
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "Apache-2.0"


def test_no_module_asks_the_machine_which_day_it_is() -> None:
    """Sessions are held in New York: `sessions.today`, or an instant with its zone."""
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call = ast.unparse(node)
                assert node.func.attr not in ("today", "utcnow"), f"{name}: {call}"
                assert node.func.attr != "now" or node.args or node.keywords, f"{name}: {call}"
