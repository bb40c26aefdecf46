-- catalog/features: what features there are, and how far before a session their rows begin.
--
-- Each feature that keeps the conventions gets a macro of its own: spread_of(symbol, first, last),
-- sessions, both inclusive. The two macros here give the session from which on there are `wanted`
-- sessions, or rows, of a symbol before `first_session`; where there are not so many, the first.
-- All are of the rows under the symbol that is named: they follow no renames.
create or replace table features (
    name varchar not null,
    description varchar,
    -- name, type and default of each
    parameters varchar,
    lookback varchar,
    -- the unique key
    grain varchar,
    columns varchar,
    source varchar,
    -- why it has no macro; null: it has one
    problem varchar,
    -- the file's text
    sql varchar not null
);
create or replace macro sessions_before(of_data_type, of_symbol, first_session, wanted) as coalesce(
    (
        with
            earlier as (
                select entry.session, entry.rows
                from main.partitions, unnest(sessions) as listed(entry)
                where data_type = of_data_type and symbol = of_symbol
            ),
            ranked as (
                select session, row_number() over (order by session desc) as place
                from earlier
                where session < first_session::date and rows > 0
            )
        select min(session) from ranked where place <= wanted
    ),
    first_session::date
);
create or replace macro rows_before(of_data_type, of_symbol, first_session, wanted) as coalesce(
    (
        with
            earlier as (
                select entry.session, entry.rows
                from main.partitions, unnest(sessions) as listed(entry)
                where data_type = of_data_type and symbol = of_symbol
            ),
            summed as (
                select
                    session,
                    sum(rows) over (
                        order by session desc rows between unbounded preceding and current row
                    ) - rows as later_rows
                from earlier
                where session < first_session::date and rows > 0
            )
        select min(session) from summed where later_rows < wanted
    ),
    first_session::date
);
