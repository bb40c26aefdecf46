-- validate/round_lots: symbols whose quoted sizes look like round lots, where shares are due.
-- grain: one row per symbol and session
-- params: $min_daily_trades integer = 100
-- severity: warning
-- data_types: quotes
-- on_ingest: no
--
-- The vendor gave sizes in round lots until 2025-11-03 and in shares since, and has made the older
-- files anew in shares; who fetched them before still has lots. Shares of a stock below 250 dollars
-- are quoted in multiples of 100, the round lot, so hardly any size is that is not: sizes that
-- mostly are no such multiples are numbers of lots. Dearer stocks have smaller lots: not asked.
with
    sides as (
        select symbol, session, timestamp, bid_price as price, bid_size as size
        from quotes
        where bid_price > 0
        union all
        select symbol, session, timestamp, ask_price as price, ask_size as size
        from quotes
        where ask_price > 0
    )

select
    symbol,
    session,
    min(timestamp) as timestamp,
    count(*) as row_count,
    count(*) filter (size % 100 <> 0) / count(*) as share_of_odd_sizes,
    median(size) as median_size
from sides
group by symbol, session
having
    count(*) >= $min_daily_trades
    and median(price) < 250
    and count(*) filter (size % 100 <> 0) > 0.5 * count(*)
order by symbol, session
