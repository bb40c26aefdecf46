-- validate/one_sided_quotes: symbols that lack a bid or an ask more often than is usual.
-- grain: one row per symbol and session
-- params: $max_one_sided_share double = 0.05
-- severity: warning
-- data_types: quotes
-- on_ingest: no
--
-- Of the regular hours: before the open and after the close a side is often absent. A spread or a
-- mid price taken from such a quote is none.
with
    counted as (
        select
            quotes.symbol,
            quotes.session,
            min(quotes.timestamp) filter (
                (quotes.bid_price = 0) <> (quotes.ask_price = 0)
            ) as timestamp,
            count(*) filter ((quotes.bid_price = 0) <> (quotes.ask_price = 0)) as row_count,
            count(*) as quotes
        from quotes
        inner join sessions on sessions.session = quotes.session
        where epoch_ns(quotes.timestamp) between sessions.open_ns and sessions.close_ns - 1
        group by quotes.symbol, quotes.session
    )

select symbol, session, timestamp, row_count, quotes, row_count / quotes as share
from counted
where row_count > 1 and row_count > $max_one_sided_share * quotes
order by symbol, session
