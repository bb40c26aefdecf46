-- features/trade_sign: whether the buyer (1) or the seller (-1) began each trade, by Lee and
-- Ready.
-- grain: symbol, timestamp, sequence_number, exchange, id
-- params: $strictly_before boolean = false
-- lookback: session
-- columns: price dollars, size shares, mid_price dollars, trade_sign 1 or -1, by_quote true or
-- false
-- source: Lee and Ready (1991), Inferring trade direction from intraday data, Journal of Finance
-- 46(2), 733-746
--
-- Above the middle of the quote a trade is a buy, below it a sell (by_quote). At the middle, or
-- where there is none, it is the sign of the last change of price among the session's trades
-- (the tick test; a trade at the price before goes by the change before); NULL where there was
-- none. The quote is the last one at or before the trade's stamp, of the same session; with
-- $strictly_before the last one before it. Quotes of one nanosecond are taken as one, the last
-- by sequence_number, then by bid_exchange and ask_exchange. Prices count as equal where they
-- differ by less than a ten-millionth of a dollar.
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
            nullif(sign(round(ticked.price - middles.mid_price, 7)), 0) as quote_sign
        from ticked
        asof left join
            middles
            on ticked.symbol = middles.symbol
            and ticked.session = middles.session
            and ticked.known_ns >= middles.quote_ns
    ),
    signed as (
        select
            symbol,
            timestamp,
            sequence_number,
            exchange,
            id,
            price,
            size,
            mid_price,
            coalesce(quote_sign, last_tick)::tinyint as trade_sign,
            quote_sign is not null as by_quote,
            session
        from matched
    )
select *
from signed
order by symbol, timestamp, sequence_number nulls first, exchange nulls first, id nulls first
