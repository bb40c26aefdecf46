-- validate/time_gaps: stretches of a session's regular hours in which a busy symbol did not trade.
-- grain: one row per gap; `timestamp` is the last trade before it, NULL at the open
-- params: $max_time_gap_minutes double = 5, $min_daily_trades integer = 100
-- severity: warning
-- data_types: trades
-- on_ingest: no
--
-- Longer than max_time_gap_minutes, and so long that at the symbol's own pace thirty trades were
-- due: a symbol that trades every ten minutes has gaps all day and tells nothing by them. Symbols
-- with fewer than min_daily_trades are not asked about. The open and the close count as trades, so
-- that half a session shows. A halt is such a gap, and rightly one.
with
    regular as (
        select
            trades.symbol,
            trades.session,
            trades.timestamp,
            epoch_ns(trades.timestamp) as at_ns,
            sessions.open_ns,
            sessions.close_ns
        from trades
        inner join sessions on sessions.session = trades.session
        where epoch_ns(trades.timestamp) between sessions.open_ns and sessions.close_ns - 1
    ),

    neighbours as (
        select
            symbol,
            session,
            timestamp,
            at_ns as start_ns,
            lead(at_ns, 1, close_ns) over following as end_ns,
            count(*) over whole as trades,
            (close_ns - open_ns) / count(*) over whole as pace_ns
        from regular
        window
            following as (
                partition by symbol, session order by at_ns rows between current row and 1 following
            ),
            whole as (
                partition by symbol, session
                rows between unbounded preceding and unbounded following
            )
        union all
        select
            symbol,
            session,
            null as timestamp,
            min(open_ns) as start_ns,
            min(at_ns) as end_ns,
            count(*) as trades,
            min(close_ns - open_ns) / count(*) as pace_ns
        from regular
        group by symbol, session
    )

select
    symbol,
    session,
    timestamp,
    make_timestamp_ns(start_ns) as gap_start,
    make_timestamp_ns(end_ns) as gap_end,
    (end_ns - start_ns) / 60e9 as minutes,
    trades
from neighbours
where
    trades >= $min_daily_trades
    and end_ns - start_ns > $max_time_gap_minutes * 60e9
    and end_ns - start_ns > 30 * pace_ns
order by symbol, session, gap_start
