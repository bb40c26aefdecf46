-- reference/trade_prices: first and last price of a symbol's regular hours, from its trades.
-- grain: session
-- params: $symbol varchar, $sessions date[], $open_ns bigint[], $close_ns bigint[]
--
-- Asked are sessions, each with its regular hours. As of the tape's rules a trade sets the first or
-- the last price where each of its conditions lets it; one that is in no list forbids nothing.
with
    hours as (
        select
            unnest($sessions::date[]) as session,
            unnest($open_ns::bigint[]) as open_ns,
            unnest($close_ns::bigint[]) as close_ns
    ),

    -- the codes that keep a trade from such a price, by session
    barred as (
        select hours.session, list(trade_conditions.id::varchar) as codes
        from hours
        inner join
            trade_conditions
            on hours.session >= coalesce(trade_conditions.valid_from, '0001-01-01')
            and hours.session <= coalesce(trade_conditions.valid_to, '9999-12-31')
        where not trade_conditions.updates_open_close
        group by hours.session
    ),

    tape as (
        select
            trades.session,
            trades.price,
            struct_pack(
                ns := epoch_ns(trades.timestamp),
                has_number := trades.sequence_number is not null,
                number := coalesce(trades.sequence_number, 0),
                has_exchange := trades.exchange is not null,
                exchange := coalesce(trades.exchange, 0),
                has_id := trades.id is not null,
                id := coalesce(trades.id, '')
            ) as place
        from trades_of($symbol, list_min($sessions::date[]), list_max($sessions::date[])) as trades
        inner join hours on hours.session = trades.session
        left join barred on barred.session = trades.session
        where
            epoch_ns(trades.timestamp) >= hours.open_ns
            and epoch_ns(trades.timestamp) < hours.close_ns
            and coalesce(trades.correction, 0) in (0, 1)
            and trades.price > 0
            and not coalesce(
                list_has_any(string_split_regex(trim(trades.conditions), ' *, *'), barred.codes),
                false
            )
    )

select session, arg_min(price, place) as first_price, arg_max(price, place) as last_price
from tape
group by session
order by session
