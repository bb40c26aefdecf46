"""The design's order of modules, and what an installed wheel carries."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from building import REPOSITORY

PACKAGE = REPOSITORY / "warehouse"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
BELOW = {
    "text": set(),
    "errors": {"text"},
    "core": {"errors"},
    "sqlfolder": {"core"},
    "executors": {"core"},
    "source": {"core"},
    "objects": {"source"},
    "store": {"sqlfolder", "objects"},
    "validation": {"executors", "store"},
    "bars": {"store"},
    "ingest": {"executors", "source", "validation", "bars"},
    "pipeline": {"ingest"},
    "maintenance": {"pipeline"},
    "read": {"validation", "bars"},
    "report": {"maintenance", "read"},
    "api": {"report"},
    "synthetic": {"core"},
    "cli": {"api", "synthetic"},
}
"""Packages, and modules that stand beside them, with those next below. What is below these may be
imported too, and nothing else: `read` and `pipeline` do not know of each other."""

MOST_MODULES = 12
OF_ONE_PACKAGE = {"click": "cli", "rich": "cli", "plotly": "report"}
"""What other packages bring along for one of ours alone."""

MAY_PRINT = {"cli.main"}
OUTSIDE = {"__init__", "__main__"}
"""What hands the project to others: it may import whatever it names."""


def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text("utf-8"))


def imported(name: str) -> Iterator[str]:
    """Every module that is imported anywhere in the file, at its head or within a function."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix("warehouse.")
                yield f"warehouse.{inner}" if inner in MODULES else module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def of_ours(name: str) -> set[str]:
    found = {module.removeprefix("warehouse.") for module in imported(name)}
    return found & set(MODULES)


GRAPH = {name: of_ours(name) for name in MODULES}


def package_of(name: str) -> str:
    return name.split(".")[0]


def folder_of(name: str) -> str:
    """The package that a module stands in, one within another told apart: `read.query`."""
    return name.rpartition(".")[0] or name


def reachable(name: str) -> set[str]:
    found: set[str] = set()
    waiting = {name}
    while waiting:
        nearer = GRAPH[waiting.pop()]
        waiting |= nearer - found
        found |= nearer
    return found


def below(package: str) -> set[str]:
    found = set(BELOW[package])
    for each in BELOW[package]:
        found |= below(each)
    return found


def packages() -> dict[str, set[str]]:
    """What each package imports of the others, the modules that stand beside them too."""
    graph: dict[str, set[str]] = {name: set() for name in BELOW}
    for name, others in GRAPH.items():
        if name not in OUTSIDE:
            package = package_of(name)
            graph[package] |= {package_of(other) for other in others} - {package} - OUTSIDE
    return graph


def graph_lines() -> tuple[list[str], list[str]]:
    """The imports between packages as they are, the highest first; and what is wrong with them."""
    graph = packages()
    width = max(map(len, graph))
    lines, wrong = [], []
    for name in reversed(BELOW):
        upward = graph[name] - below(name)
        shown = [f"{each} (!)" if each in upward else each for each in BELOW if each in graph[name]]
        lines.append(f"{name:<{width}} → {', '.join(shown) or '–'}")
        wrong += [f"{name} imports {each}, which is not below it" for each in sorted(upward)]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        wrong.append(f"a circle: {' → '.join(reversed(error.args[1]))}")
    return lines, wrong


def test_the_graph_shows_every_import_between_packages_and_nothing_wrong() -> None:
    lines, wrong = graph_lines()
    assert wrong == []
    assert sum(line.count(",") + ("–" not in line) for line in lines) == sum(
        map(len, packages().values())
    )


def test_the_graph_tells_an_upward_arrow_and_a_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GRAPH, "core.paths", {*GRAPH["core.paths"], "read.cache"})
    lines, wrong = graph_lines()
    assert any(line.startswith("core ") and "read (!)" in line for line in lines)
    assert wrong[0] == "core imports read, which is not below it"
    assert wrong[1].startswith("a circle: ")


def test_every_package_has_its_place() -> None:
    assert {package_of(name) for name in MODULES} - OUTSIDE == set(BELOW)


def test_no_module_imports_itself_by_way_of_others() -> None:
    order = list(TopologicalSorter(GRAPH).static_order())
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in OUTSIDE])
def test_a_module_imports_its_own_package_and_those_below(name: str) -> None:
    package = package_of(name)
    assert {package_of(other) for other in GRAPH[name]} <= {package, *below(package)}


def test_packages_within_packages_stand_in_no_circle_either() -> None:
    graph: dict[str, set[str]] = {}
    for name, others in GRAPH.items():
        if name not in OUTSIDE:
            within = {folder_of(other) for other in others} - {folder_of(name)}
            graph.setdefault(folder_of(name), set()).update(within)
    assert set(TopologicalSorter(graph).static_order()) >= set(graph)


def test_a_package_is_small_enough_to_be_read_at_a_glance() -> None:
    sizes = Counter(folder_of(name) for name in MODULES if not name.endswith("__init__"))
    assert {name: size for name, size in sizes.items() if size > MOST_MODULES} == {}
    assert len({package_of(name) for name in MODULES if "." in name}) <= 15


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(tree(name))


@pytest.mark.parametrize("name", [name for name in MODULES if name not in MAY_PRINT])
def test_the_library_never_prints(name: str) -> None:
    calls = [node.func for node in ast.walk(tree(name)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]


def test_no_module_is_named_for_nothing_in_particular() -> None:
    assert not {"utils", "util", "helpers", "common", "misc", "base"} & {
        name.rpartition(".")[2] for name in MODULES
    }


def test_what_a_program_imports_does_not_bring_the_terminal_with_it() -> None:
    used = {
        (package_of(name), module.split(".")[0])
        for name in MODULES
        for module in imported(name)
        if module.split(".")[0] in OF_ONE_PACKAGE
    }
    assert used == {(package, name) for name, package in OF_ONE_PACKAGE.items()}
    assert not any(package_of(name) == "cli" for name in reachable("api"))


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
    assert project["scripts"]["warehouse"].startswith("warehouse.cli.")
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "Apache-2.0"


def test_no_module_asks_the_machine_which_day_it_is() -> None:
    """Sessions are held in New York: `calendar.today`, or an instant with its zone."""
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call = ast.unparse(node)
                assert node.func.attr not in ("today", "utcnow"), f"{name}: {call}"
                assert node.func.attr != "now" or node.args or node.keywords, f"{name}: {call}"


if __name__ == "__main__":  # make graph
    drawn, faults = graph_lines()
    print("\n".join([*drawn, *faults]))
    sys.exit(1 if faults else 0)
