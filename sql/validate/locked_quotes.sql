-- validate/locked_quotes: symbols whose bid equals their ask more often than is usual.
-- grain: one row per symbol and session
-- params: $max_locked_share double = 0.1
-- severity: warning
-- data_types: quotes
-- on_ingest: no
--
-- Of the regular hours. Liquid stocks of low price are locked in some per cent of their quotes; far
-- more than that, and spreads taken from them are too narrow.
with
    counted as (
        select
            quotes.symbol,
            quotes.session,
            min(quotes.timestamp) filter (
                quotes.bid_price = quotes.ask_price and quotes.ask_price > 0
            ) as timestamp,
            count(*) filter (
                quotes.bid_price = quotes.ask_price and quotes.ask_price > 0
            ) as row_count,
            count(*) as quotes
        from quotes
        inner join sessions on sessions.session = quotes.session
        where epoch_ns(quotes.timestamp) between sessions.open_ns and sessions.close_ns - 1
        group by quotes.symbol, quotes.session
    )

select symbol, session, timestamp, row_count, quotes, row_count / quotes as share
from counted
where row_count > 1 and row_count > $max_locked_share * quotes
order by symbol, session
