-- features/effective_spread: what each trade cost against the middle of the quote, for a round
-- trip.
-- grain: symbol, timestamp, sequence_number, exchange, id
-- params: $strictly_before boolean = false
-- lookback: session
-- columns: price dollars, size shares, mid_price dollars, effective_spread dollars,
-- effective_spread_pct share of mid_price
-- source: Huang and Stoll (1996), Dealer versus auction markets, Journal of Financial Economics
-- 41(3), 313-357 (here twice the half-spread)
--
-- effective_spread is 2 |price - mid_price|. The quote is the last one at or before the trade's
-- stamp, of the same session; with $strictly_before the last one before it. Quotes of one
-- nanosecond are taken as one, the last by sequence_number, then by bid_exchange and
-- ask_exchange. NULL where there is no quote yet, or one side is not quoted.
with
    nbbo as (
        select
            symbol,
            session,
            epoch_ns(timestamp) as quote_ns,
            arg_max(
                struct_pack(bid_price, ask_price),
                struct_pack(
                    a := sequence_number is not null,
                    b := coalesce(sequence_number, 0),
                    c := bid_exchange is not null,
                    d := coalesce(bid_exchange, 0),
                    e := ask_exchange is not null,
                    f := coalesce(ask_exchange, 0)
                )
            ) as quote
        from quotes
        group by symbol, session, timestamp
    ),
    middles as (
        select
            symbol,
            session,
            quote_ns,
            case
                when quote.bid_price > 0 and quote.ask_price > 0
                then (quote.bid_price + quote.ask_price) / 2
            end as mid_price
        from nbbo
    ),
    stamped as (
        select *, epoch_ns(timestamp) - case when $strictly_before then 1 else 0 end as known_ns
        from trades
    ),
    matched as (
        select
            stamped.symbol,
            stamped.timestamp,
            stamped.sequence_number,
            stamped.exchange,
            stamped.id,
            stamped.price,
            stamped.size,
            middles.mid_price,
            2 * abs(stamped.price - middles.mid_price) as effective_spread,
            stamped.session
        from stamped
        asof left join
            middles
            on stamped.symbol = middles.symbol
            and stamped.session = middles.session
            and stamped.known_ns >= middles.quote_ns
    ),
    measured as (
        select
            symbol,
            timestamp,
            sequence_number,
            exchange,
            id,
            price,
            size,
            mid_price,
            effective_spread,
            effective_spread / mid_price as effective_spread_pct,
            session
        from matched
    )
select *
from measured
order by symbol, timestamp, sequence_number nulls first, exchange nulls first, id nulls first
