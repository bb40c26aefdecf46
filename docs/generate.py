"""Makes the pages of the reference out of the sources, whenever the site is built.

`pages` gives them as Markdown; what has no home in a source (units, the meaning of a column or of a
reason) stands in reference/dictionary.yml. MkDocs calls `on_files`.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import pyarrow as pa
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

import warehouse
from warehouse import errors
from warehouse.cli.main import cli
from warehouse.core.config import ENV_PREFIX, Config
from warehouse.core.datatypes import DATA_TYPES, bar_type
from warehouse.ingest.rejects import MALFORMED_LINE
from warehouse.read import arguments
from warehouse.read.bars.question import question as bar_question
from warehouse.read.stream import stream
from warehouse.sqlfolder.bars.bar_macro import MACROS, BarMacro
from warehouse.sqlfolder.feature import Feature
from warehouse.sqlfolder.feature_file import FeatureFolder
from warehouse.sqlfolder.files import SqlFile

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
SQL = REPOSITORY / "sql"
DICTIONARY = yaml.safe_load((HERE / "reference" / "dictionary.yml").read_text("utf-8"))
RESULTS = {
    "Stream": "warehouse.read.stream.stream",
    "FrameCache": "warehouse.read.cache",
    "CacheStats": "warehouse.read.cache",
    "PipelineMetrics": "warehouse.core.metrics",
    "RunReport": "warehouse.pipeline.report",
    "RunMetrics": "warehouse.core.metrics",
    "ChangedReport": "warehouse.maintenance.rebuild_stale",
    "ValidationReport": "warehouse.validation.validate",
    "VerifyReport": "warehouse.maintenance.verify",
    "RepairReport": "warehouse.maintenance.repair",
    "PruneReport": "warehouse.maintenance.prune",
    "ReferenceReport": "warehouse.pipeline.reference_load",
    "TableReport": "warehouse.pipeline.reference_load",
    "Problem": "warehouse.pipeline.reference_load",
    "Facts": "warehouse.report.collect",
}
"""What methods of the facade answer with, and programs have no need to import."""

JSON_EXAMPLES = {
    "download": ("download",),
    "ingest": ("ingest",),
    "update": ("update",),
    "rebuild": ("rebuild", "day_aggs", "--symbols", "BRK.B"),
    "rebuild --changed": ("rebuild", "--changed"),
    "rebuild --layout": ("rebuild", "day_aggs", "--layout", "symbol", "--dry-run"),
    "explain-bar": ("explain-bar", "BCpC", "2025-11-28 10:20", "--every", "5m"),
    "validate": ("validate", "trades"),
    "prune": ("prune", "--dry-run"),
    "verify": ("verify", "day_aggs"),
    "verify --repair": ("verify", "day_aggs", "--repair"),
    "status": ("status",),
    "report": ("report", "--symbols", "BRK.B"),
    "reference check": ("reference", "check"),
    "reference show": ("reference", "show"),
    "reconcile": ("reconcile", "minute_aggs", "--symbols", "BRK.B"),
}

NOTE = "*This page is made from the sources: {}.*\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


def cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


# --- the command line ---


def cli_page() -> str:
    parts = [
        "# Command line\n",
        NOTE.format("the commands of `warehouse/cli`, as `--help` shows them"),
        "`warehouse [-C DIR] COMMAND [OPTIONS]`. Without `-C` it is the warehouse around the"
        " working directory.\n",
        table(("exit status", "meaning"), DICTIONARY["exit_status"].items()),
        "\n`--json` prints one object: see [JSON outputs](json.md). Completion in the"
        ' shell: `eval "$(_WAREHOUSE_COMPLETE=bash_source warehouse)"` (`zsh_source`,'
        " `fish_source`).\n",
        options_of(cli),
    ]
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.commands[name]
        parts += command_section(name, command)
        for inner in command.commands if isinstance(command, click.Group) else ():
            parts += command_section(f"{name} {inner}", command.commands[inner], "###")
    return "\n".join(parts)


def command_section(name: str, command: click.Command, level: str = "##") -> Iterator[str]:
    yield f"{level} {name}\n"
    context = click.Context(command, info_name=f"warehouse {name}")
    yield f"```\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    yield f"{plain(command.help or '')}\n"
    yield options_of(command)
    if command.epilog:
        lines = [line.strip() for line in command.epilog.splitlines()[2:]]
        yield "```\n" + "\n".join(lines) + "\n```\n"


def options_of(command: click.Command) -> str:
    context = click.Context(command, help_option_names=["-h", "--help"])
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    records = [record for each in options if (record := each.get_help_record(context))]
    rows = [(code(name), plain(text)) for name, text in records]
    return table(("option", "what it does"), rows)


def plain(text: str) -> str:
    """A docstring as Markdown: paragraphs, code blocks where lines are indented."""
    return inspect.cleandoc(text).replace("\b", "").replace("<", "\\<")


# --- Python ---


def python_page() -> str:
    parts = [
        "# Python\n",
        NOTE.format("the docstrings of `warehouse`"),
        "What a program imports: " + ", ".join(code(name) for name in warehouse.__all__) + ".\n",
    ]
    names = ["Warehouse", *(name for name in warehouse.__all__ if name != "Warehouse")]
    for name in names:
        value = getattr(warehouse, name)
        if inspect.isclass(value):
            parts += class_section(name, value)
        elif callable(value):
            parts += function_section(f"## {name}", name, value)
    parts.append("## What methods answer with\n")
    for name, module in RESULTS.items():
        parts += class_section(name, getattr(import_module(module), name), "###")
    return "\n".join(parts)


def class_section(name: str, kind: type, level: str = "##") -> Iterator[str]:
    yield f"{level} {name}\n"
    yield docstring(kind)
    if issubclass(kind, Exception):
        yield "All others are in [Errors](errors.md).\n"
        return
    if name == "Warehouse":
        yield f"```python\n{signature(name, kind.__init__).removesuffix(' -> None')}\n```\n"
    for each, value in vars(kind).items():
        if each.startswith("_"):
            continue
        if isinstance(value, property):
            answer = inspect.signature(value.fget).return_annotation if value.fget else ""
            yield f"{level}# {name}.{each}\n\n*property*, {code(answer)}\n"
            yield docstring(value)
        elif inspect.isfunction(value):
            yield from function_section(f"{level}# {name}.{each}", each, value)


def function_section(heading: str, name: str, function: Any) -> Iterator[str]:
    yield f"{heading}\n"
    yield f"```python\n{signature(name, function)}\n```\n"
    yield docstring(function)


def signature(name: str, function: Any) -> str:
    """As it is written, with the keys of a TypedDict that `**options` stands for."""
    shown: list[str] = []
    found = inspect.signature(function)
    parameters = [each for each in found.parameters.values() if each.name != "self"]
    for each, before in zip(parameters, [None, *parameters], strict=False):
        if each.kind is each.KEYWORD_ONLY and (before is None or before.kind is not each.kind):
            shown.append("*")
        if unpacked := re.fullmatch(r"Unpack\[(\w+)\]", str(each.annotation)):
            shown += options_named(unpacked[1])
        else:
            shown.append(parameter(each))
        following = parameters[parameters.index(each) + 1 :]
        if each.kind is each.POSITIONAL_ONLY and (
            not following or following[0].kind is not each.kind
        ):
            shown.append("/")
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    answer = found.return_annotation
    arrow = "" if answer in (found.empty, "Any") else f" -> {answer}"
    one_line = f"{prefix}{name}({', '.join(shown)}){arrow}"
    if len(one_line) <= 88:
        return one_line
    return f"{prefix}{name}(\n" + "".join(f"    {each},\n" for each in shown) + f"){arrow}"


def parameter(each: inspect.Parameter) -> str:
    stars = "**" if each.kind is each.VAR_KEYWORD else ""
    default = "" if each.default is each.empty else f" = {each.default!r}"
    return f"{stars}{each.name}: {each.annotation}{default}"


def options_named(keys: str) -> Iterator[str]:
    """What a TypedDict of read/arguments.py lets a caller give by name, with its defaults."""
    taken_by = {
        "LoadOptions": arguments.question,
        "StreamOptions": stream.question,
        "BarOptions": bar_question,
    }[keys]
    defaults = inspect.signature(taken_by).parameters
    for key, hint in getattr(arguments, keys).__annotations__.items():
        yield f"{key}: {hint.__forward_arg__} = {defaults[key].default!r}"


_PART = re.compile(r"(Args|Attributes|Returns|Raises|Yields):")


def docstring(value: Any) -> str:
    """Its docstring, in Markdown: what each argument is as a list."""
    text = inspect.getdoc(value) or ""
    lines: list[str] = []
    is_list = False
    for line in text.splitlines():
        if match := _PART.fullmatch(line):
            lines += ["", f"**{match[1]}**", ""]
            is_list = match[1] in ("Args", "Attributes", "Raises")
        elif is_list and (found := re.fullmatch(r" {4}([\w*][\w, *]*): (.*)", line)):
            lines.append(f"- `{found[1]}`: {found[2]}")
        elif is_list and line.startswith("        "):
            lines.append(f"  {line.strip()}")
        elif lines and any(part in lines for part in ("**Returns**", "**Yields**")):
            lines.append(line.strip())
        else:
            lines.append(line)
    return re.sub(r"(?m)^(?! {4})(.*)$", lambda each: starred(each[1]), "\n".join(lines)) + "\n"


def starred(line: str) -> str:
    """A line in which no sign of SQL or Python is taken for Markdown's."""
    if line.startswith("**"):
        return line
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(
        part if part.startswith("`") else re.sub(r"([<*_\[\]])", r"\\\1", part) for part in parts
    )


# --- settings ---


def configuration_page() -> str:
    text = (REPOSITORY / "config" / "data_config.yaml").read_text("utf-8")
    told = comments(text)
    parts = [
        "# Configuration\n",
        NOTE.format("the models of `warehouse/core/config.py` and the shipped YAML"),
        "All settings are in `config/data_config.yaml`. An environment variable overrides a key:"
        f" `{ENV_PREFIX}SECTION__KEY`, lists with commas. An unknown key, or a value that makes no"
        " sense, is an error that names it. Relative paths start at the warehouse's folder."
        " YAML anchors and aliases are refused.\n",
    ]
    for name, field in Config.model_fields.items():
        section = field.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            parts.append(f"`{name}` is the version of the file's form ({field.default}).\n")
            continue
        parts.append(f"## {name}\n\n{inspect.getdoc(section)}\n")
        rows = []
        for key, inner in keys_of(section):
            default = inner.default
            shown = list(default) if isinstance(default, tuple) else default
            limits = ", ".join(limit(each) for each in inner.metadata if limit(each))
            kind = kind_of_key(inner.annotation)
            rows.append(
                (
                    code(f"{name}.{key}"),
                    told.get(f"{name}.{key}", ""),
                    "not said" if shown is None else code(shown) if shown != "" else "empty",
                    ", ".join(filter(None, (kind, limits))),
                    code(f"{ENV_PREFIX}{name}__{key.replace('.', '__')}".upper()),
                )
            )
        parts.append(table(("key", "meaning", "default", "value", "environment"), rows))
    parts.append(f"## The shipped file\n\n```yaml\n{text}```\n")
    return "\n".join(parts)


def keys_of(section: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """The keys of a section and their fields; a key within a key with its name before it."""
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from ((f"{key}.{name}", inner) for name, inner in keys_of(field.annotation))
        else:
            yield key, field


def comments(text: str) -> dict[str, str]:
    """What the YAML says of each key: beside it, and in the lines above it."""
    found: dict[str, str] = {}
    section, group, above = "", "", []
    for line in text.splitlines():
        if match := re.match(r"(\w+):\s*(?:#.*)?$", line):
            section, above = match[1], []
        elif match := re.match(r"  (?:  )?#\s*(.*)", line):
            above.append(match[1])
        elif match := re.match(r"  (\w+):[^#]*(?:#\s*(.*))?$", line):
            found[f"{section}.{match[1]}"] = " ".join(filter(None, (match[2], *above)))
            group, above = match[1], []
        elif match := re.match(r"    (\w+):[^#]*(?:#\s*(.*))?$", line):
            said = (match[2], *above, found.get(f"{section}.{group}"))
            found[f"{section}.{group}.{match[1]}"] = " ".join(filter(None, said))
            above = []
    return found


def kind_of_key(annotation: Any) -> str:
    names = {str: "text", int: "integer", float: "number", Path: "path"}
    if get_origin(annotation) is tuple:
        return "list"
    if type(None) in get_args(annotation):
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    if str(annotation).startswith("typing.Literal"):
        return " or ".join(code(each) for each in get_args(annotation))
    return names.get(annotation, str(annotation))


def limit(rule: Any) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    return ", ".join(
        f"{sign} {getattr(rule, name):g}" for name, sign in signs.items() if hasattr(rule, name)
    )


# --- sql/ ---


def sql_files(folder: str) -> list[SqlFile]:
    return [
        SqlFile(path, f"{folder}/{path.stem}", path.read_text("utf-8"))
        for path in sorted((SQL / folder).glob("*.sql"))
    ]


def catalog_page() -> str:
    parts = [
        "# Catalog\n",
        NOTE.format("`sql/catalog`, `sql/features` and `sql/bars`"),
        "`data/warehouse.duckdb` is a DuckDB file of tables, views and macros. A publish replaces"
        " it whole, and it is made anew from the partitions if it is lost. Each of the files of"
        " `sql/catalog` that come with the project is run, and no other: what is yours goes into"
        " one of them. They hold several statements each.\n",
        "## Views\n",
    ]
    files = sql_files("catalog")
    views = {
        match[1]: capital(file.sentence)
        for file in files
        for match in re.finditer(r"create or replace view (\w+)", file.text)
    }
    columns = "Columns: see the [data dictionary](data.md)."
    parts.append(table(("view", "what it is"), ((code(k), v) for k, v in views.items())))
    parts += [f"\n{columns}\n", "## Macros\n"]
    macros = [found for file in files for found in macros_of(file)]
    rows = [(code(call), told_of(call) or what) for call, is_table, what in macros if is_table]
    features = [each for each in FeatureFolder(SQL) if isinstance(each, Feature)]
    for each in features:
        told = f"Feature: {each.description}"
        rows.append((code(feature_call(each)), told))
        adjusted = "The same of prices and sizes of the session `as_of`."
        rows.append((code(feature_call(each, "adjust", "as_of := null")), adjusted))
    rows += [(code(bar_call(name, each)), each.description) for name, each in MACROS.items()]
    parts.append("Table macros: `from trades_of('AAPL')`. Symbols are case-sensitive.\n")
    parts.append(table(("macro", "what it gives"), rows))
    guide = "[Splits, dividends and renames](../guides/adjusting.md)"
    parts.append(
        f"\nWhat `adjust` and `as_of` mean: {guide}. A macro has the rows under the symbol that it"
        " names: none follows renames.\n"
    )
    inner = {
        code(f"sql/{file.name}.sql"): ", ".join(
            code(call) for call, is_table, _ in macros_of(file) if not is_table
        )
        for file in files
    }
    parts += ["\nMacros that these rest on, for readers of `sql/catalog`:\n"]
    parts.append(table(("file", "macros"), ((k, v) for k, v in inner.items() if v)))
    parts.append("\n## Tables\n")
    for file in files:
        for name, rows_of in tables_of(file.text).items():
            parts.append(f"### {name}\n")
            parts.append(table(("column", "type", "null", "meaning"), rows_of))
    return "\n".join(parts)


def told_of(call: str) -> str:
    """What a macro of a data type gives; nothing of another."""
    if (name := call.partition("_of(")[0]) not in DATA_TYPES:
        return ""
    span = ", of the sessions `first` to `last`, both inclusive" if "first" in call else ""
    adjusted = " With prices and sizes of the session `as_of`." if "adjust" in call else ""
    return f"{capital(name)} of one symbol{span}. Opens only files that have its rows.{adjusted}"


def feature_call(feature: Feature, *more: str) -> str:
    values = [f"{each.name} := {str(each.default).lower()}" for each in feature.parameters]
    if feature.freq:
        values.append(f"freq := '{feature.freq}'")
    return f"{feature.name}_of({', '.join(('symbol', 'first', 'last', *more, *values))})"


def bar_call(name: str, macro: BarMacro) -> str:
    values = [f"{key} := {value}" for key, value in macro.arguments.items()]
    return f"{name}({', '.join(('symbol', 'first', 'last', *values))})"


_MACRO = re.compile(r"\s*create or replace macro (\w+)\s*(\([^)]*\)) as( table)?")


def macros_of(file: SqlFile) -> Iterator[tuple[str, bool, str]]:
    bare = re.sub(r"--[^\n]*", "", file.text)
    for statement in bare.split(";"):
        if match := _MACRO.match(statement):
            what = capital(file.sentence)
            yield match[1] + " ".join(match[2].split()), bool(match[3]), what
            for more in re.finditer(r"\n(\([^)]*\)) as( table)?", statement):
                yield match[1] + more[1], bool(more[2]), what


def tables_of(text: str) -> dict[str, list[tuple[str, str, str, str]]]:
    """Tables with their columns, each with its type and what the comment above it says."""
    found: dict[str, list[tuple[str, str, str, str]]] = {}
    for match in re.finditer(r"create (?:or replace )?table (\w+) \((.*?)\n\);", text, re.DOTALL):
        rows, above, inner = [], [], ""
        for line in match[2].strip("\n").splitlines():
            said = line.strip()
            if said.startswith("--"):
                above.append(said.removeprefix("--").strip())
                continue
            inner = f"{inner} {said}".strip()
            if inner.count("(") > inner.count(")"):
                continue
            name, _, kind = inner.rstrip(",").partition(" ")
            null = "no" if kind.endswith(" not null") else "yes"
            kind = re.sub(r"\s+\)", ")", kind.removesuffix(" not null").replace("( ", "("))
            rows.append((code(name), code(kind), null, " ".join(above)))
            above, inner = [], ""
        found[match[1]] = rows
    of_csv = r"table (\w+) as\s+select.*?'config/\w+\.csv'.*?columns = \{(.*?)\}"
    for match in re.finditer(of_csv, text, re.DOTALL):
        columns = re.findall(r"'(\w+)': '(\w+)'", match[2])
        found[match[1]] = [(code(n), code(k.lower()), "yes", "") for n, k in columns]
    return found


def sql_page() -> str:
    parts = [
        "# SQL files\n",
        NOTE.format("the header comments of `sql/`"),
        (HERE / "reference" / "_headers.md").read_text("utf-8"),
    ]
    folders = sorted(path.name for path in SQL.iterdir() if path.is_dir())
    order = list(DICTIONARY["sql_folders"])
    for folder in sorted(folders, key=lambda each: order.index(each) if each in order else 99):
        parts.append(f"## sql/{folder}\n")
        if folder in order:
            parts.append(f"{DICTIONARY['sql_folders'][folder]}\n")
        files = sql_files(folder)
        keys = [key for file in files for key in file.header if key not in ("source",)]
        keys = list(dict.fromkeys(keys))
        rows = (
            (
                code(file.path.stem),
                capital(file.sentence),
                *(starred(file.header.get(k, "")) for k in keys),
            )
            for file in files
        )
        parts.append(table(("file", "what it gives", *keys), rows))
    return "\n".join(parts)


# --- data ---


def reasons() -> dict[str, list[str]]:
    """Every reason that sql/clean and sql/dedupe give, with the data types that it is given of.

    One that goes on with the name of a field, or a code, ends in `_`.
    """
    found: dict[str, list[str]] = {MALFORMED_LINE: list(DATA_TYPES)}
    for folder in ("clean", "dedupe"):
        for file in sql_files(folder):
            bare = re.sub(r"--[^\n]*", "", file.text)
            for name in re.findall(r"\b(?:then|else)\s+'(\w+)'", bare):
                kinds = found.setdefault(name, [])
                if file.path.stem not in kinds:
                    kinds.append(file.path.stem)
    return found


def duckdb_type(kind: pa.DataType) -> str:
    names = {"string": "VARCHAR", "timestamp[ns]": "TIMESTAMP_NS", "double": "DOUBLE"}
    names |= {"int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT"}
    names |= {"date32[day]": "DATE", "bool": "BOOLEAN"}
    return names[str(kind)]


def data_page() -> str:
    told = DICTIONARY["columns"]
    parts = [
        "# Data dictionary\n",
        NOTE.format(
            "`warehouse/core/datatypes.py`, `sql/clean` and `docs/reference/dictionary.yml`"
        ),
        DICTIONARY["data_words"],
    ]
    for kind in (*DATA_TYPES.values(), bar_type(is_day=True, is_filled=True)):
        parts.append(f"## {kind.name}\n\n{DICTIONARY['data_types'][kind.name]}\n")
        if kind.vendor_folder:
            parts.append(
                f"Vendor's folder: `us_stocks_sip/{kind.vendor_folder}`. Order of a symbol's rows:"
                f" {', '.join(map(code, kind.order))}.\n"
            )
        rows = []
        for field in kind.columns:
            entry = {**told.get(field.name, {}), **told.get(f"{kind.name}.{field.name}", {})}
            null = "never" if field.name in kind.required else entry.get("null", "may be")
            vendor = entry.get("vendor", field.name)
            rows.append(
                (
                    code(field.name),
                    code(duckdb_type(field.type)),
                    entry.get("unit", ""),
                    null,
                    entry.get("meaning", ""),
                    code(vendor) if vendor in kind.header else "",
                )
            )
        parts.append(table(("column", "type", "unit", "null", "meaning", "vendor's name"), rows))
    parts += [
        "## rejects\n",
        "A row that cleaning refused. These columns come first, then those of its data type, as far"
        " as they could be read.\n",
    ]
    first = next(iter(DATA_TYPES.values())).rejects_columns
    own = [field for field in first if field.name in DICTIONARY["rejects"]]
    parts.append(
        table(
            ("column", "type", "meaning"),
            (
                (code(field.name), code(duckdb_type(field.type)), DICTIONARY["rejects"][field.name])
                for field in own
            ),
        )
    )
    parts.append("## Reject reasons\n")
    rows_of_reasons = [
        (
            code(f"{name}…" if name.endswith("_") else name),
            DICTIONARY["reasons"].get(name, ""),
            ", ".join(kinds) if len(kinds) < len(DATA_TYPES) else "all",
        )
        for name, kinds in reasons().items()
    ]
    parts.append(table(("reason", "meaning", "of"), rows_of_reasons))
    return "\n".join(parts)


# --- errors ---


def all_errors(kind: type[errors.WarehouseError] = errors.WarehouseError) -> Iterator[type]:
    yield kind
    for each in kind.__subclasses__():
        yield from all_errors(each)


def errors_page() -> str:
    tree = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    parts = [
        "# Errors\n",
        NOTE.format("`warehouse/errors.py`"),
        "Each message is one line: what was asked, what was found, what to do. On the command line"
        " an error ends with exit status 2. In Python each has the evidence as attributes:"
        " `from warehouse.errors import NoDataError`.\n",
        f"```\n{tree}\n```\n",
    ]
    rows = []
    for kind in all_errors():
        text = inspect.cleandoc(kind.__doc__ or "")
        remedy = re.search(r"(?ms)^Remedy: (.*?)(?:\n\n|\Z)", text)
        said = re.sub(r"(?ms)^Remedy: .*?(?:\n\n|\Z)", "", text).partition("\nArgs:")[0]
        attributes = [code(name) for name in attributes_of(kind)]
        rows.append((code(kind.__name__), starred(said), capital(remedy[1]) if remedy else "",
                     ", ".join(attributes)))  # fmt: skip
    parts.append(table(("error", "meaning", "remedy", "attributes"), rows))
    return "\n".join(parts)


def attributes_of(kind: type) -> list[str]:
    """What its `__init__` gives it."""
    found: dict[str, None] = {}
    for each in reversed(kind.__mro__):
        if each.__module__ == errors.__name__ and "__init__" in vars(each):
            tree = ast.parse(textwrap.dedent(inspect.getsource(each.__init__)))
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    found[node.attr] = None
    return list(found)


# --- JSON ---


def json_page(demo: Path | None = None) -> str:
    """The page; `demo` is a warehouse of the demo's that may be written to, else one is made."""
    if demo is None:
        with tempfile.TemporaryDirectory() as folder:
            run("demo", str(made := Path(folder).resolve() / "demo-warehouse"))
            return json_page(made)
    parts = [
        "# JSON outputs\n",
        NOTE.format("the commands themselves, run on the demo's market"),
        "With `--json` a command prints one object to standard output; progress and errors go to"
        " standard error. What is no finite number is `null`. Stamps are UTC. Of each list the"
        " first element is shown here.\n",
    ]
    for title, given in JSON_EXAMPLES.items():
        answer = json.loads(run("-C", str(demo), *given, "--json"))
        shown = json.dumps(shortened(answer), indent=2, ensure_ascii=False)
        parts.append(f"## {title}\n\n```\nwarehouse {' '.join(given)} --json\n```\n")
        parts.append(f"```json\n{shown.replace(f'{demo.parent}/', '')}\n```\n")
    return "\n".join(parts)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments)
    if result.exit_code == 2 or (result.exception and not isinstance(result.exception, SystemExit)):
        raise RuntimeError(
            f"warehouse {' '.join(arguments)}: {result.output}"
        ) from result.exception
    return result.stdout


def shortened(value: Any) -> Any:
    if isinstance(value, list):
        return [shortened(each) for each in value[:1]]
    if isinstance(value, dict):
        return {key: shortened(each) for key, each in value.items()}
    return value


PAGES = {
    "reference/cli.md": cli_page,
    "reference/python.md": python_page,
    "reference/configuration.md": configuration_page,
    "reference/catalog.md": catalog_page,
    "reference/sql.md": sql_page,
    "reference/data.md": data_page,
    "reference/json.md": json_page,
    "reference/errors.md": errors_page,
}


def root_page(name: str) -> str:
    """A file of the repository's own folder, with its links as they are within docs/."""
    text = (REPOSITORY / name).read_text("utf-8")
    return re.sub(r"\]\(docs/", "](", text)


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs when it has gathered the files of docs/."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        files.append(File.generated(config, name.lower(), content=root_page(name)))
    return files
