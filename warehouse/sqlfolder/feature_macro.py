"""The features in the catalog: a table macro each, made from the same file that Python runs."""

from __future__ import annotations

import duckdb

from warehouse.core.datatypes import PRICES, SIZES
from warehouse.errors import SqlFileError
from warehouse.sqlfolder.feature import FREQUENCIES, MOST, Feature, Parameter
from warehouse.sqlfolder.feature_file import MACRO_ARGUMENTS, FeatureFolder
from warehouse.sqlfolder.feature_select import AGGS, CONDITIONS, columns_of, complaint, with_names

_SYMBOL, _FIRST, _LAST = MACRO_ARGUMENTS


def statements(folder: FeatureFolder) -> list[str] | None:
    """What `create` makes of a folder, as texts; None: one of its features cannot be made."""
    texts = folder.texts()
    found: list[str] = []
    for name, feature in folder.items():
        if not isinstance(feature, Feature):
            return None
        found += (macro(feature), repr(_described(feature)), texts.get(name, ""))
    return found


def create(connection: duckdb.DuckDBPyConnection, folder: FeatureFolder) -> bool:
    """Make each feature's macro, and fill the table `features`, in a catalog that has that table.

    A feature that cannot be made keeps none of the others from it: the table says why.

    Returns:
        Whether each could be made.
    """
    texts = folder.texts()
    are_made = True
    for name, found in folder.items():
        problem = None
        if isinstance(found, Feature):
            try:
                connection.execute(macro(found))
            except duckdb.Error as error:
                problem = f"its macro cannot be made: {complaint(error)}"
        else:
            problem = found.problem
        are_made = are_made and problem is None
        connection.execute(
            "insert into features values ($name, $description, $parameters, $lookback, $grain,"
            " $columns, $source, $problem, $sql)",
            {
                **_described(found),
                "name": name,
                "problem": problem,
                "sql": texts.get(name, ""),
            },
        )
    return are_made


def _described(found: Feature | SqlFileError) -> dict[str, str | None]:
    keys = ("params", "lookback", "grain", "columns", "source")
    if isinstance(found, SqlFileError):
        return dict.fromkeys(("description", "parameters", *keys[1:]))
    header = found.file.header
    parameters, *rest = (header.get(key) for key in keys)
    return {
        "description": found.description,
        "parameters": parameters,
        **dict(zip(keys[1:], rest, strict=True)),
    }


def macro(feature: Feature) -> str:
    """The statement that makes `<name>_of(symbol, first, last, parameter := default, …)`.

    The SELECT of the file stands in it as it is, but for its parameters, which are the macro's. In
    a macro a name that is a parameter's goes before that of a column, so that the symbol's and the
    sessions' have names that no column has. A second form takes `adjust` and `as_of` too.
    """
    parameters = [f"{one.name} := {_literal(one)}" for one in feature.parameters]
    if feature.freq is not None:
        parameters.append(f"freq := '{feature.freq}'")
    forms = (
        ([*MACRO_ARGUMENTS, *parameters], _table),
        ([*MACRO_ARGUMENTS, "adjust", "as_of := null", *parameters], _adjusted_table),
    )
    order = ", ".join(f"{name} nulls first" for name in feature.grain)
    body = with_names(feature.file.body, feature.statement.parameters)
    # By its bare name it would be a relation of the WITH of who asks, where that has one so called.
    rules = [f"{CONDITIONS} as (select * from main.{CONDITIONS})"]
    rules = rules if CONDITIONS in feature.statement.tables else []
    tables = {
        rows: ",\n".join(
            [*rules, *(f"{table} as ({rows(feature, table)})" for table in feature.reads)]
        )
        for _, rows in forms
    }
    bodies = [
        f"""({", ".join(arguments)}) as table (
with
{tables[rows]}
select *
from (
{body}
)
where session between {_FIRST}::date and {_LAST}::date
order by {order}
)"""
        for arguments, rows in forms
    ]
    return f"create or replace macro {feature.name}_of{', '.join(bodies)}"


def _adjusted_table(feature: Feature, table: str) -> str:
    """The rows of a table, with prices and sizes of the session `as_of`: see catalog/adjustment."""
    columns = columns_of(table)
    factors = [f"{name} * coalesce(price_factor, 1) as {name}" for name in PRICES]
    factors += [f"{name} * coalesce(size_factor, 1) as {name}" for name in SIZES]
    replaced = ", ".join(one for one in factors if one.split(" ")[0] in columns)
    return f"""
select traded.* replace ({replaced})
from ({_table(feature, table)}) as traded
left join
    factors_of({_SYMBOL}, adjust, coalesce(as_of, {_LAST})::date) as factors
    on traded.session >= factors.first_session
    and traded.session < factors.until_session
where is_adjustment(adjust, as_of, {_LAST})
"""


def _table(feature: Feature, table: str) -> str:
    files = f"{table}_files_of({_SYMBOL})"
    # Where all symbols of a month share a file. How far back it goes a list of files cannot ask.
    shared = f"{table}_market_files({_SYMBOL}, '0001-01-01', {_LAST})"
    data_type = f"'{table}'"
    if table == AGGS:
        files = _by_freq(f"aggs_files_of({_SYMBOL})")
        shared = _by_freq(shared)
        data_type = "freq || '_aggs'"
    lookback = feature.lookback
    first = f"{_FIRST}::date"
    if lookback.unit in ("rows", "sessions"):
        first = f"{lookback.unit}_before({data_type}, {_SYMBOL}, {_FIRST}, {lookback.count})"
    asked = [f"are_sessions({_FIRST}, {_LAST})", *map(_is_good, feature.parameters)]
    shared = f"case when {' and '.join(asked)} then {shared} end"
    return rows_of(files, shared, first)


def _by_freq(rest: str) -> str:
    cases = " ".join(f"when '{freq}' then {freq}_{rest}" for freq in FREQUENCIES)
    told = f"coalesce('''' || freq || '''', 'NULL') || ': it may be {', '.join(FREQUENCIES)}'"
    return f"case freq {cases} else error('freq := ' || {told}) end"


def _is_good(parameter: Parameter) -> str:
    """The condition on a value that `Parameter.check` is of Python's: met, or an error."""
    name = parameter.name
    kind = "boolean" if parameter.kind == "boolean" else "double"
    value = f"try_cast({name} as {kind})"
    good = f"{value} is not null"
    if kind == "double":
        least = -MOST if parameter.least is None else parameter.least
        good = f"{value} >= {least:f} and {value} < {MOST:f}"
    if parameter.kind == "integer":
        good += f" and {value} = floor({value})"
    told = f"coalesce({name}::varchar, 'NULL') || ': it must be of type {parameter.wanted}'"
    return f"case when {good} then true else error('{name} := ' || {told}) end"


def rows_of(files: str, shared: str, first: str) -> str:
    """The SELECT of a symbol's rows from a session to that of the macro's argument.

    Args:
        files, shared: lists of files, as SQL: the symbol's own, and those of all symbols.
        first: the session, as SQL.
    """
    return f"""select *
from read_parquet({files}, hive_partitioning = false)
where
    session between {first} and {_LAST}::date
    and is_in_place()
    and is_the_only_one()
union all
select *
from read_parquet({shared}, hive_partitioning = false) as shared
where
    shared.symbol = {_SYMBOL}
    and session between {first} and {_LAST}::date
    and is_in_place()
    and is_the_only_one()"""


def _literal(parameter: Parameter) -> str:
    if parameter.kind == "boolean":
        return str(parameter.default).lower()
    return f"{parameter.default!r}::{parameter.kind}"
