-- validate/thin_sessions: sessions with far fewer rows, or symbols, than those around them.
-- grain: one row per session
-- params: $min_session_share double = 0.5
-- severity: warning
-- data_types: trades, quotes, minute_aggs, day_aggs
-- on_ingest: no
--
-- Less than min_session_share of the median of the five sessions before and the five after it; of
-- rows on a half-day as much less as it is shorter. The file may have been cut off before it was
-- published, or hold a part of the market.
with
    present as (
        select
            symbol,
            unnest(list_transform(sessions, lambda entry:entry.session)) as session,
            unnest(list_transform(sessions, lambda entry:entry.rows)) as rows
        from partitions
    ),

    counted as (
        select session, sum(rows)::bigint as rows, count(distinct symbol) as symbols
        from present
        group by session
    ),

    compared as (
        select
            counted.session,
            counted.rows,
            counted.symbols,
            sessions.is_half_day,
            (sessions.close_ns - sessions.open_ns) / (23400 * 1e9) as length,
            median(counted.rows) over around as rows_around,
            median(counted.symbols) over around as symbols_around,
            count(*) over around as sessions_around
        from counted
        inner join sessions on sessions.session = counted.session
        window
            around as (
                order by counted.session
                rows between 5 preceding and 5 following exclude current row
            )
    )

select
    null::varchar as symbol,
    session,
    null::timestamp_ns as timestamp,
    rows,
    rows_around,
    symbols,
    symbols_around,
    is_half_day
from compared
where
    sessions_around >= 2
    and (
        rows < $min_session_share * length * rows_around
        or symbols < $min_session_share * symbols_around
    )
order by session
