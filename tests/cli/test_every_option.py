"""Every command with each of its options, as the parser has them: none is passed over."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import pandas as pd
import pytest
from building import Made, MakeWarehouse, bar, day_key, instant, quote, trade
from click.testing import CliRunner, Result

from warehouse.cli.main import cli

FIRST, LAST = (pd.Timestamp(day).date() for day in ("2024-01-30", "2024-01-31"))
NEEDED: dict[str, tuple[str, ...]] = {
    "rebuild": ("all",),
    "coverage": ("all", "--symbols", "A", "--start", str(FIRST)),
    "query": ("from trades order by all",),
    "bars": ("A", "--start", str(FIRST)),
    "explain-bar": ("A", f"{FIRST} 10:00"),
    "features": ("volume_ma", "--symbols", "A", "--start", str(FIRST)),
    "reference load": ("{folder}/splits.json",),
    "reference conditions": ("{folder}/conditions.json", "-o", "{folder}/conditions.csv"),
}
"""What each command wants at least."""
VALUES: dict[str, tuple[str, ...]] = {
    "start": (str(FIRST), "2013-10-07"),
    "end": (str(LAST), "2013-10-08"),
    "symbols": ("A", "NOPE"),
    "as_of": (str(LAST),),
    "pairs": ("periods=2",),
    "limit": ("0", "1"),
    "wait": ("1",),
    "allow": ("crossed_quotes=known",),
    "rules": ("crossed_quotes",),
    "every": ("5m", "1d", "1w", "3"),
    "path": ("{folder}/x.csv", "{folder}/x.parquet"),
    "picture": ("{folder}/x.html",),
    "layout": ("market", "symbol"),
    "table": ("{folder}/conditions.csv",),
}
"""Values of options that are no flag and no choice, by the parameter's name."""
SHAPED = ("form", "path", "limit", "safe_csv", "as_json")
"""Parameters that say how an answer is given: they are tried in pairs."""
ELSEWHERE = ("init", "demo", "shell")
"""Commands that are of no warehouse, or become another program."""
FEW = 3
"""So many calls of a command that writes are tried where there is little to ask about."""
IN_PYTHON = re.compile(r"\b(?:add|say|with|fewer) \w+=(?!…)")


def every_command() -> Iterator[tuple[str, click.Command]]:
    for name, command in cli.commands.items():
        if isinstance(command, click.Group):
            for inner, each in command.commands.items():
                yield f"{name} {inner}", each
        elif name not in ELSEWHERE:
            yield name, command


def given(option: click.Parameter) -> list[tuple[str, ...]]:
    """How the option may stand on the command line."""
    names = option.opts[-1:] + option.secondary_opts
    if option.name in ("help", "is_opened"):
        return []
    if isinstance(option, click.Option) and option.is_flag:
        return [(name,) for name in names]
    values = (
        tuple(option.type.choices)
        if isinstance(option.type, click.Choice)
        else VALUES[option.name or ""]
    )
    return [(names[0], value) for value in values]


def calls(name: str, command: click.Command) -> Iterator[tuple[str, ...]]:
    needed = NEEDED.get(name, ())
    options = [each for each in command.params if isinstance(each, click.Option)]
    # Those that write take long: each option once, and without waiting for nobody.
    is_writer = any(each.name == "wait" for each in options)
    yield needed
    for option in options:
        for one in given(option)[: 1 if is_writer else None]:
            if one[0] != "--wait":
                yield (*needed, *one)
    shaped = [one for each in options if each.name in SHAPED for one in given(each)[:2]]
    for one, other in itertools.combinations(shaped, 2):
        if one[0] != other[0] and not {one[0], other[0]} & {*needed}:
            yield (*needed, *one, *other)


COMMANDS = dict(every_command())
ALL = {name: list(calls(name, command)) for name, command in COMMANDS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("files")
    split = {"id": "E1", "execution_date": str(LAST), "split_from": 1, "split_to": 2}
    split |= {"ticker": "A", "adjustment_type": "forward_split"}
    (found / "splits.json").write_text(json.dumps({"results": [split]}), "utf-8")
    (found / "conditions.json").write_text('{"results": []}', "utf-8")
    return found


@pytest.fixture(scope="module")
def held(make_warehouse: MakeWarehouse) -> Made:
    files = {}
    for day in (FIRST, LAST):
        stamps = [instant(day, f"10:{n:02}", n) for n in range(8)]
        files[day_key("trades", day)] = [trade("A", at, n + 1) for n, at in enumerate(stamps)]
        files[day_key("quotes", day)] = [quote("A", at, n + 1) for n, at in enumerate(stamps)]
        minutes = [instant(day, f"10:{n:02}") for n in range(8)]
        files[day_key("minute_aggs", day)] = [bar("A", at, volume=100) for at in minutes]
        files[day_key("day_aggs", day)] = [bar("A", instant(day, "00:00"))]
    made = make_warehouse(files)
    made.update()
    return made


@pytest.fixture(scope="module")
def of_one_type(make_warehouse: MakeWarehouse) -> Made:
    made = make_warehouse({day_key("day_aggs", FIRST): [bar("A", instant(FIRST, "00:00"))]})
    made.update()
    return made


@pytest.fixture(scope="module")
def empty(make_warehouse: MakeWarehouse) -> Made:
    return make_warehouse({day_key("day_aggs", FIRST): [bar("A", instant(FIRST, "00:00"))]})


def faults(arguments: Sequence[str], result: Result) -> Iterator[str]:
    """What a person would stumble over."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        yield f"a traceback: {result.exception!r}"
    if result.exit_code not in (0, 1, 2):
        yield f"exit status {result.exit_code}"
    if result.exit_code == 2 and (result.stdout or "Error: " not in result.stderr):
        yield "it could not run, and does not say so alone"
    if found := IN_PYTHON.search(result.stderr):
        yield f"advice for Python: {found[0]}"
    if result.exit_code == 2:
        return
    named = dict(itertools.pairwise(arguments))
    for option in ("-o", "--output", "--picture"):
        if option in named and not Path(named[option]).exists():
            yield f"no file {named[option]}"
    if "--json" in arguments:
        try:
            json.loads(result.stdout)
        except ValueError:
            yield "no JSON"
    if named.get("--format") != "ndjson" and not (result.stdout or result.stderr):
        yield "not a word"


def tried(made: Made, root: Path, folder: Path, name: str, most: int) -> Mapping[str, list[str]]:
    """What is wrong with which call of a command, each on the warehouse as it was made."""
    wrong = {}
    for call in ALL[name][:most]:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(made.root, root)
        for old in folder.glob("x.*"):
            old.unlink()
        arguments = [*name.split(), *(each.replace("{folder}", str(folder)) for each in call)]
        result = CliRunner().invoke(cli, ["-C", str(root), *arguments], prog_name="warehouse")
        if found := list(faults(arguments, result)):
            wrong[" ".join(arguments)] = found
    return wrong


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("what", ["held", "of_one_type", "empty"])
def test_no_option_ends_in_a_traceback_or_is_passed_over(
    name: str,
    what: str,
    folder: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    made: Made = request.getfixturevalue(what)
    is_writer = any(each.name == "wait" for each in COMMANDS[name].params)
    most = FEW if is_writer and what != "held" else len(ALL[name])
    assert tried(made, tmp_path / "w", folder, name, most) == {}
