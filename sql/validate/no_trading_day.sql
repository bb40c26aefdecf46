-- validate/no_trading_day: sessions with rows on which the exchange did not trade.
-- grain: one row per session
-- severity: error
-- data_types: trades, quotes, minute_aggs, day_aggs
-- on_ingest: no
--
-- A file under a wrong date, whose rows bear stamps of that date.
with
    present as (
        select
            unnest(list_transform(sessions, lambda entry:entry.session)) as session,
            unnest(list_transform(sessions, lambda entry:entry.rows)) as rows
        from partitions
    )

select
    null::varchar as symbol,
    present.session,
    null::timestamp_ns as timestamp,
    sum(present.rows)::bigint as row_count
from present
where
    present.session not in (select session from sessions)
    and present.session
    between (select min(session) from sessions) and (select max(session) from sessions)
group by present.session
order by present.session
