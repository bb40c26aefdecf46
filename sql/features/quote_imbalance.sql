-- features/quote_imbalance: which side of the quote is the larger, and the price that this leans
-- to.
-- grain: symbol, timestamp, sequence_number, bid_exchange, ask_exchange
-- lookback: none
-- columns: quote_imbalance -1 to 1, micro_price dollars
-- source: Gatheral and Oomen (2010), Zero-intelligence realized variance estimation, Finance and
-- Stochastics 14(2), 249-283
--
-- quote_imbalance is (bid size - ask size) / (bid size + ask size). micro_price is the mean of
-- bid and ask, each weighted by the size of the other side; it is where the martingale of
-- Stoikov (2018, The micro-price, Quantitative Finance 18(12)) starts from, not that martingale,
-- which has to be fitted. A row for each quote; both are NULL where a side is not quoted.
with
    two_sided as (
        select
            *,
            case
                when bid_price > 0 and ask_price > 0 then nullif(bid_size + ask_size, 0)
            end as both_sizes
        from quotes
    ),
    weighed as (
        select
            symbol,
            timestamp,
            sequence_number,
            bid_exchange,
            ask_exchange,
            (bid_size - ask_size) / both_sizes as quote_imbalance,
            (bid_price * ask_size + ask_price * bid_size) / both_sizes as micro_price,
            session
        from two_sided
    )
select *
from weighed
order by
    symbol,
    timestamp,
    sequence_number nulls first,
    bid_exchange nulls first,
    ask_exchange nulls first
