"""What an answer rests on is judged alike under every version of DuckDB that is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import duckdb
import pytest

from warehouse.sqlfolder.determinism import CHANGING, SERIALIZED, Known, builtin, parse, unstable

# An error is no answer, so there is none that could change.
_FAILING = {"error"}


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def test_what_duckdb_calls_changing_in_each_of_its_forms_is_on_our_list(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """A function that a newer DuckDB adds is noticed here."""
    found = connection.execute(
        """
        select lower(function_name)
        from duckdb_functions()
        where function_type in ('scalar', 'aggregate', 'window')
        group by all
        having bool_and(stability in ('VOLATILE', 'CONSISTENT_WITHIN_QUERY'))
        """
    ).fetchall()
    assert len(found) > 20
    assert {name for (name,) in found} - CHANGING == _FAILING


def test_a_macro_of_duckdbs_own_that_rests_on_what_changes_is_on_our_list(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    tree = SERIALIZED.format("'select ' || macro_definition")
    macros = connection.execute(
        f"""
        select lower(function_name), {tree}
        from duckdb_functions()
        where function_type = 'macro' and internal
        """
    ).fetchall()
    assert len(macros) > 100
    # One that makes rows of a list is one of these by name; SQL says it as unnest.
    rows = {"generate_subscripts", "regexp_split_to_table"}
    known = Known(builtin() | {"unnest"})
    changing = {
        name
        for name, text in macros
        if not json.loads(text)["error"] and unstable(json.loads(text), known) is not None
    }
    assert changing - rows <= CHANGING


def test_the_list_names_nothing_that_duckdb_has_not(connection: duckdb.DuckDBPyConnection) -> None:
    found = connection.execute("select distinct lower(function_name) from duckdb_functions()")
    assert {name for (name,) in found.fetchall()} >= CHANGING


@pytest.mark.parametrize(
    "sql",
    [
        "select a + b, a - b, date_part('hour', b), date_trunc('day', b), strftime(b, '%H')",
        "select sum(a) over (order by b rows between 1 preceding and current row), lag(a) over w"
        " from range(3) as t(a) window w as (order by a)",
        "select percentile_cont(0.5) within group (order by a), count(distinct a)",
        "select fmod(a, 2), nullif(a, b), if(a > 0, b, 1), coalesce(a, b), a[1:2], a.b, -a",
        "select a is null, a between 1 and 2, a in (1, 2), a like 'x', a similar to 'x', not a",
        "select [x + 1 for x in a], list_transform(a, lambda x: x + 1), {'a': 1}, map {'a': 1}",
        "select case a when 1 then 2 end, cast(a as date), a::timestamptz, interval 1 day",
    ],
)
def test_what_depends_on_its_arguments_alone_is_stable(
    sql: str, connection: duckdb.DuckDBPyConnection
) -> None:
    assert unstable(parse(connection, sql), Known(builtin())) is None
