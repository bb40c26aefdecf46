-- features/realized_spread: what was left of each trade's spread after a time, and what the
-- price moved.
-- grain: symbol, timestamp, sequence_number, exchange, id
-- params: $horizon_seconds double (0 or more) = 300, $strictly_before boolean = false
-- lookback: session
-- columns: trade_timestamp UTC, price dollars, size shares, trade_sign 1 or -1, mid_price
-- dollars, later_mid_price dollars, realized_spread dollars, price_impact dollars
-- source: Huang and Stoll (1996), Dealer versus auction markets, Journal of Financial Economics
-- 41(3), 313-357; Bessembinder (2003), Journal of Financial and Quantitative Analysis 38(4),
-- 747-777
--
-- realized_spread is 2 sign (price - later_mid_price), price_impact 2 sign (later_mid_price -
-- mid_price); together they are the effective spread. A row is stamped when it is known:
-- `timestamp` is the trade's own, trade_timestamp, plus $horizon_seconds, and later_mid_price
-- the middle of the last quote at or before that, of the same session. A trade whose time comes
-- after the day has no row. The sign and the quote at the trade are those of
-- features/trade_sign.
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
    ordered as (
        select
            *,
            epoch_ns(timestamp) - case when $strictly_before then 1 else 0 end as known_ns,
            epoch_ns(timestamp) + ($horizon_seconds * 1e9)::bigint as later_ns,
            nullif(sign(price - lag(price) over tape), 0) as tick
        from trades
        window
            tape as (
                partition by symbol, session
                order by
                    timestamp, sequence_number nulls first, exchange nulls first, id nulls first
            )
    ),
    ticked as (
        select
            *,
            last_value(tick ignore nulls) over (
                partition by symbol, session
                order by
                    timestamp, sequence_number nulls first, exchange nulls first, id nulls first
                rows between unbounded preceding and current row
            ) as last_tick
        from ordered
    ),
    matched as (
        select
            ticked.*,
            middles.mid_price,
            coalesce(
                nullif(sign(round(ticked.price - middles.mid_price, 7)), 0), ticked.last_tick
            ) as trade_sign
        from ticked
        asof left join
            middles
            on ticked.symbol = middles.symbol
            and ticked.session = middles.session
            and ticked.known_ns >= middles.quote_ns
    ),
    later as (
        select matched.*, middles.mid_price as later_mid_price
        from matched
        asof left join
            middles
            on matched.symbol = middles.symbol
            and matched.session = middles.session
            and matched.later_ns >= middles.quote_ns
        where
            matched.later_ns
            < epoch_ns(timezone('America/New_York', (matched.session + 1)::timestamp))
    ),
    measured as (
        select
            symbol,
            make_timestamp_ns(later_ns) as timestamp,
            sequence_number,
            exchange,
            id,
            timestamp as trade_timestamp,
            price,
            size,
            trade_sign::tinyint as trade_sign,
            mid_price,
            later_mid_price,
            2 * trade_sign * (price - later_mid_price) as realized_spread,
            2 * trade_sign * (later_mid_price - mid_price) as price_impact,
            session
        from later
    )
select *
from measured
order by symbol, timestamp, sequence_number nulls first, exchange nulls first, id nulls first
