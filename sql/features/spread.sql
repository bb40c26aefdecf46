-- features/spread: the quoted spread of each quote, in dollars and over the middle of the quote.
-- grain: symbol, timestamp, sequence_number, bid_exchange, ask_exchange
-- lookback: none
-- columns: spread dollars, mid_price dollars, spread_pct share of mid_price (0.01 is 1%)
-- source: Huang and Stoll (1996), Dealer versus auction markets, Journal of Financial Economics
-- 41(3), 313-357
--
-- A row for each quote. Where a side is not quoted (its price is 0) there is no middle: all are
-- NULL. The spread of a locked market is 0, that of a crossed one negative.
with
    two_sided as (
        select
            symbol,
            timestamp,
            sequence_number,
            bid_exchange,
            ask_exchange,
            session,
            case when bid_price > 0 and ask_price > 0 then ask_price - bid_price end as spread,
            case
                when bid_price > 0 and ask_price > 0 then (bid_price + ask_price) / 2
            end as mid_price
        from quotes
    ),
    measured as (
        select
            symbol,
            timestamp,
            sequence_number,
            bid_exchange,
            ask_exchange,
            spread,
            mid_price,
            spread / mid_price as spread_pct,
            session
        from two_sided
    )
select *
from measured
order by
    symbol,
    timestamp,
    sequence_number nulls first,
    bid_exchange nulls first,
    ask_exchange nulls first
