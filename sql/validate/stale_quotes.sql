-- validate/stale_quotes: stretches of the regular hours in which a busy symbol's quote stood still.
-- grain: one row per stretch; `timestamp` is the quote that stood
-- params: $max_time_gap_minutes double = 5, $min_daily_trades integer = 100
-- severity: warning
-- data_types: quotes
-- on_ingest: no
--
-- As time_gaps asks of trades: longer than max_time_gap_minutes, and so long that at the symbol's
-- own pace thirty changes were due. Who trades against such a quote in a backtest trades at a price
-- that was not to be had.
with
    regular as (
        select
            quotes.symbol,
            quotes.session,
            quotes.timestamp,
            epoch_ns(quotes.timestamp) as at_ns,
            quotes.bid_price,
            quotes.ask_price,
            sessions.open_ns,
            sessions.close_ns
        from quotes
        inner join sessions on sessions.session = quotes.session
        where epoch_ns(quotes.timestamp) between sessions.open_ns and sessions.close_ns - 1
    ),

    neighbours as (
        select *, lead(at_ns, 1, close_ns) over following as end_ns, count(*) over whole as quotes
        from regular
        window
            following as (
                partition by symbol, session order by at_ns rows between current row and 1 following
            ),
            whole as (
                partition by symbol, session
                rows between unbounded preceding and unbounded following
            )
    )

select
    symbol,
    session,
    timestamp,
    make_timestamp_ns(end_ns) as stood_until,
    (end_ns - at_ns) / 60e9 as minutes,
    bid_price,
    ask_price,
    quotes
from neighbours
where
    quotes >= $min_daily_trades
    and end_ns - at_ns > $max_time_gap_minutes * 60e9
    and end_ns - at_ns > 30 * (close_ns - open_ns) / quotes
order by symbol, session, timestamp, bid_price, ask_price
