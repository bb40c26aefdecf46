-- validate/time_order: rows that stand before an earlier one of their symbol and session.
-- grain: one row per offending row
-- severity: error
-- data_types: trades, quotes, minute_aggs, day_aggs
-- on_ingest: yes
--
-- Whatever goes through the tape row by row would look into the future and back. Asked is the order
-- in which the rows stand in their partition: to order them here would hide what is looked for.
with
    as_stored as (
        select
            symbol,
            session,
            timestamp,
            lag(symbol) over stored as previous_symbol,
            lag(session) over stored as previous_session,
            lag(timestamp) over stored as previous_timestamp
        from checked
        window stored as (rows between unbounded preceding and current row)
    )

select symbol, session, timestamp, previous_timestamp
from as_stored
where symbol = previous_symbol and session = previous_session and timestamp < previous_timestamp
order by symbol, session, timestamp, previous_timestamp
